//! Why the kernel refuses to send a datagram, by what a person can do about it.

use super::drop::DropReason;

/// A class of errors of `sendmsg` and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum SendRefusal {
    /// No route leads to the peer, or its neighbour or device does not answer: ENETUNREACH, EHOSTUNREACH, ENETDOWN.
    Unreachable,
    /// A filter or a policy of this host: EPERM, EACCES.
    Forbidden,
    /// No memory, or a full queue of the device: ENOBUFS, ENOMEM, EAGAIN.
    NoBuffers,
    /// The outer address is none of this host's: EINVAL, EADDRNOTAVAIL.
    BadSource,
    /// The datagram is larger than the device or the path takes: EMSGSIZE.
    TooBig,
    /// Anything else.
    #[default]
    Other,
}

impl SendRefusal {
    /// What the lost datagrams are counted as.
    pub fn drop_reason(self) -> DropReason {
        match self {
            Self::Unreachable => DropReason::SendUnreachable,
            Self::Forbidden => DropReason::SendForbidden,
            Self::NoBuffers => DropReason::SendNoBuffers,
            Self::BadSource => DropReason::SendBadSource,
            Self::TooBig => DropReason::OuterTooBig,
            Self::Other => DropReason::SendFailed,
        }
    }

    /// What to look at, for a person.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => "this host has no working route to it",
            Self::Forbidden => "a firewall or policy of this host forbids it",
            Self::NoBuffers => "the device or the host has no room; look at its load and queue",
            Self::BadSource => "look at local_address, which must be an address of this host",
            Self::TooBig => "it is larger than the device or the path takes",
            Self::Other => "look at the kernel's log",
        }
    }
}
