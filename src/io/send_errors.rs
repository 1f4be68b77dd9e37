//! What the errors mean that sending calls answer, and receiving ones for an earlier send.

use crate::dataplane::refusal::SendRefusal;
use nix::errno::Errno;
use std::io;

/// The class of an error that a send answered.
pub fn class_of(error: &io::Error) -> SendRefusal {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENETDOWN | Errno::EHOSTDOWN | Errno::ENONET) => {
            SendRefusal::Unreachable
        }
        Some(Errno::EPERM | Errno::EACCES) => SendRefusal::Forbidden,
        Some(Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN) => SendRefusal::NoBuffers,
        Some(Errno::EINVAL | Errno::EADDRNOTAVAIL) => SendRefusal::BadSource,
        Some(Errno::EMSGSIZE) => SendRefusal::TooBig,
        _ => SendRefusal::Other,
    }
}

/// Whether a receiving call answered with what an ICMP message told of an earlier send: that datagram was lost, and the
/// socket goes on. These are all that Linux makes of ICMP and ICMPv6 (`icmp_err_convert`, `icmpv6_err_convert`).
pub(super) fn tells_of_earlier_send(error: Errno) -> bool {
    matches!(
        error,
        Errno::ECONNREFUSED
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EMSGSIZE
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::EPROTO
            | Errno::EACCES
    )
}

/// Whether a send was refused because a datagram is larger than the device or the path takes.
pub(super) fn is_too_big(error: &io::Error) -> bool {
    error.raw_os_error().map(Errno::from_raw) == Some(Errno::EMSGSIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::message_batch::ReceiveBatch;
    use crate::io::udp::{SocketOptions, UdpSocket};
    use nix::sys::socket::{setsockopt, sockopt};
    use std::os::fd::AsFd;

    #[test]
    fn errors_have_the_class_that_says_what_to_do() {
        let classes = [
            (libc::ENETUNREACH, SendRefusal::Unreachable),
            (libc::EHOSTUNREACH, SendRefusal::Unreachable),
            (libc::EPERM, SendRefusal::Forbidden),
            (libc::EACCES, SendRefusal::Forbidden),
            (libc::ENOBUFS, SendRefusal::NoBuffers),
            (libc::EINVAL, SendRefusal::BadSource),
            (libc::EADDRNOTAVAIL, SendRefusal::BadSource),
            (libc::EMSGSIZE, SendRefusal::TooBig),
            (libc::EIO, SendRefusal::Other),
        ];
        for (errno, class) in classes {
            assert_eq!(class_of(&io::Error::from_raw_os_error(errno)), class, "{errno}");
        }
    }

    #[test]
    fn what_icmp_tells_of_an_earlier_send_is_counted_and_no_error_of_the_socket() {
        let any = "127.0.0.1:0".parse().unwrap();
        let socket = UdpSocket::bind(any, SocketOptions::default()).unwrap();
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true).unwrap();
        // Nobody listens there any more.
        let closed = UdpSocket::bind(any, SocketOptions::default()).unwrap().local_address();
        let send = || socket.send(&[b"x"], [127, 0, 0, 1].into(), closed, true).unwrap();
        send();
        let mut buffer = [0; 16];
        assert_eq!((socket.receive(&mut buffer).unwrap(), socket.unreachable()), (None, 1));
        send();
        let mut batch = ReceiveBatch::default();
        assert_eq!(batch.receive(socket.as_fd(), std::iter::once(&mut buffer[..])).unwrap(), 0);
        assert_eq!((batch.take_unreachable(), batch.take_unreachable()), (1, 0));
    }
}
