//! A socket of rtnetlink(7) whose messages are looked at where they lie, one datagram after the other.
use std::io;

use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_packet_route::{link::LinkMessage, route::RouteMessage, rule::RuleMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket};
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN, NetlinkHeader, NetlinkMessage,
};

use super::message::{Message, messages};
use crate::io::netns::Namespace;

/// Room for one datagram: the kernel fills up to 32 KiB with the answers to a dump, and tells one change in each.
const DATAGRAM: usize = 64 << 10;
/// What may wait to be read of what the kernel tells, in bytes as the kernel counts them (twice this, socket(7)): some
/// thousand changes. What comes on top is lost, and the reader is told so.
const BACKLOG: usize = 2 << 20;

/// Everything of one kind in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dump {
    /// The routes of a family.
    Routes(AddressFamily),
    /// The policy rules of a family.
    Rules(AddressFamily),
    /// The devices.
    Links,
}

impl Dump {
    fn request(self) -> RouteNetlinkMessage {
        match self {
            Dump::Routes(family) => {
                let mut message = RouteMessage::default();
                message.header.address_family = family;
                RouteNetlinkMessage::GetRoute(message)
            }
            Dump::Rules(family) => {
                let mut message = RuleMessage::default();
                message.header.family = family;
                RouteNetlinkMessage::GetRule(message)
            }
            Dump::Links => RouteNetlinkMessage::GetLink(LinkMessage::default()),
        }
    }
}

/// A socket in one namespace. It stays there, however long it lives.
pub struct RouteSocket {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl RouteSocket {
    /// Opens a socket in `namespace`, on the runtime of the caller, that hears of changes by `groups`.
    ///
    /// # Errors
    /// The namespace cannot be entered, the socket not be opened, or the kernel knows none of the groups.
    pub fn open(namespace: &Namespace, groups: &[MulticastGroup]) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let socket = namespace.run(|| {
            let _inside = runtime.enter();
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind_auto()?;
            if !groups.is_empty() {
                let forced = setsockopt(socket.socket_ref(), sockopt::RcvBufForce, &BACKLOG);
                // Without CAP_NET_ADMIN it is what the machine allows: changes are lost sooner, of which the kernel tells.
                forced.or_else(|_| setsockopt(socket.socket_ref(), sockopt::RcvBuf, &BACKLOG))?;
            }
            for group in groups {
                socket.socket_mut().add_membership(*group as u32)?;
            }
            io::Result::Ok(socket)
        })??;
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Waits for the next datagram. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// `ENOBUFS` when the kernel had more to tell than the socket could hold; else the socket is of no use any more.
    pub async fn receive(&mut self) -> io::Result<&[u8]> {
        self.buffer.clear();
        self.socket.recv(&mut self.buffer).await?;
        Ok(&self.buffer)
    }

    /// Takes a datagram that is there already; none without one.
    ///
    /// # Errors
    /// As for [`RouteSocket::receive`].
    pub fn take(&mut self) -> io::Result<Option<&[u8]>> {
        self.buffer.clear();
        // Asked directly: the runtime may not have heard yet of what the kernel told a moment ago.
        match self.socket.socket_ref().recv(&mut self.buffer, libc::MSG_DONTWAIT) {
            Ok(_) => Ok(Some(&self.buffer)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands everything of one kind to `each`, message by message as the kernel gives them; nothing is collected. A kernel
    /// without a family has nothing of it.
    ///
    /// # Errors
    /// What the kernel answers instead.
    pub async fn dump(&mut self, dump: Dump, mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = 1;
        let mut request = NetlinkMessage::new(header, dump.request().into());
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes).await?;
        loop {
            for message in messages(self.receive().await?) {
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => return done(message.payload),
                    NLMSG_OVERRUN => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                    _ => each(message),
                }
            }
            // A hundred thousand routes are hundreds of datagrams, each there as soon as it is asked for.
            tokio::task::yield_now().await;
        }
    }
}

/// The end of a dump: zero, or the negative error number.
fn done(payload: &[u8]) -> io::Result<()> {
    let errno = payload.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number).saturating_neg());
    match errno {
        0 | libc::EAFNOSUPPORT | libc::EOPNOTSUPP => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}
