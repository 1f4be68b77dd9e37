//! IPv6 packets in fragments that every path takes (RFC 8200 section 4.5).
//!
//! No router fragments them, and the kernel cuts them to what it believes that the path takes, which where routers are silent
//! is too much. So they are made here, of 1280 bytes each, for what has to arrive whatever the path takes: IKE, and packets
//! that a tunnel has to carry although its path is too narrow. That is rare, and costs a call for each fragment.

use super::socket_message::{Message, send_message};
use super::socket_setup::{family_of, raw_socket};
use crate::wire::checksum::Checksum;
use crate::wire::ip::{IPV6_HEADER_LEN, ipv6_header, protocol, set_traffic_class};
use nix::sys::socket::{self, SockFlag, SockProtocol, SockType, SockaddrStorage, sockopt};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// The MTU that every IPv6 link has (RFC 8200 section 5).
const IPV6_MIN_MTU: usize = 1280;
const FRAGMENT_HEADER_LEN: usize = 8;
const UDP_HEADER_LEN: usize = 8;
/// Payload of each fragment but the last: a multiple of 8.
const STEP: usize = (IPV6_MIN_MTU - IPV6_HEADER_LEN - FRAGMENT_HEADER_LEN) & !7;
const MORE_FRAGMENTS: u16 = 1;

/// Sends packets in fragments. To be shared by threads.
#[derive(Debug)]
pub(super) struct Ipv6Fragments {
    /// A raw socket that takes whole IPv6 packets, and receives none.
    fd: OwnedFd,
    mark: Option<u32>,
    /// What the fragments of the next packet share. Nobody outside can guess where it began (RFC 7739).
    identification: AtomicU32,
}

impl Ipv6Fragments {
    /// Opens the socket in the network namespace of the calling thread; needs CAP_NET_RAW.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn open(mark: Option<u32>) -> io::Result<Self> {
        let fd = raw_socket(IpAddr::V6(Ipv6Addr::UNSPECIFIED), libc::IPPROTO_RAW)?;
        if let Some(mark) = mark {
            socket::setsockopt(&fd, sockopt::Mark, &mark)?;
        }
        let identification = AtomicU32::new(RandomState::new().hash_one(fd.as_raw_fd()) as u32);
        Ok(Self { fd, mark, identification })
    }

    /// Whether a payload of an IP packet has to be fragmented to reach everybody.
    pub(super) fn needs(payload: usize) -> bool {
        IPV6_HEADER_LEN + payload > IPV6_MIN_MTU
    }

    /// Whether a UDP datagram has to be.
    pub(super) fn needs_datagram(datagram: usize) -> bool {
        Self::needs(UDP_HEADER_LEN + datagram)
    }

    /// Sends one UDP datagram, which is the parts one after the other, from a port.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn send_datagram(&self, parts: &[&[u8]], port: u16, message: &Message) -> io::Result<()> {
        let (source, destination) = (self.source(message)?, message.peer.ip());
        let len = UDP_HEADER_LEN + parts.iter().map(|part| part.len()).sum::<usize>();
        let total = u16::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
        let mut header = [0; UDP_HEADER_LEN];
        for (field, value) in header.chunks_exact_mut(2).zip([port, message.peer.port(), total]) {
            field.copy_from_slice(&value.to_be_bytes());
        }
        let pseudo = Checksum::default().add_pseudo_header(source, destination, protocol::UDP, total.into());
        let mut odd = Joined::new(&header, parts);
        let mut sum = pseudo;
        let mut chunk = [0; STEP];
        while let Some(len) = odd.fill(&mut chunk) {
            sum = sum.add_bytes(&chunk[..len]);
        }
        // Zero would say that there is none (RFC 768).
        let sum = match sum.finish() {
            0 => u16::MAX,
            sum => sum,
        };
        header[6..].copy_from_slice(&sum.to_be_bytes());
        self.send(protocol::UDP, Joined::new(&header, parts), len, source, message)
    }

    /// Sends the payload of one IP packet.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn send_payload(&self, protocol: u8, payload: &[u8], message: &Message) -> io::Result<()> {
        self.send(protocol, Joined::new(payload, &[]), payload.len(), self.source(message)?, message)
    }

    fn send(
        &self,
        protocol: u8,
        mut payload: Joined<'_>,
        len: usize,
        source: IpAddr,
        message: &Message,
    ) -> io::Result<()> {
        let (IpAddr::V6(from), IpAddr::V6(to)) = (source, message.peer.ip()) else {
            return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        };
        let mut peer = message.peer;
        peer.set_port(0);
        let identification = self.identification.fetch_add(1, Ordering::Relaxed);
        let mut packet = [0; IPV6_MIN_MTU];
        let headers = IPV6_HEADER_LEN + FRAGMENT_HEADER_LEN;
        let mut done = 0;
        while let Some(piece) = payload.fill(&mut packet[headers..headers + STEP]) {
            let header = ipv6_header(from, to, protocol::FRAGMENT, (FRAGMENT_HEADER_LEN + piece) as u16);
            packet[..IPV6_HEADER_LEN].copy_from_slice(&header);
            set_traffic_class(&mut packet, message.traffic_class);
            let more = if done + piece < len { MORE_FRAGMENTS } else { 0 };
            // The offset counts 8 bytes, and stands above three flags.
            let offset = done as u16 | more;
            packet[IPV6_HEADER_LEN..][..4].copy_from_slice(&[protocol, 0, (offset >> 8) as u8, offset as u8]);
            packet[IPV6_HEADER_LEN + 4..headers].copy_from_slice(&identification.to_be_bytes());
            let fragment = Message { source, peer, traffic_class: 0, segment: None };
            send_message(self.fd.as_fd(), &[&packet[..headers + piece]], &fragment)?;
            done += piece;
        }
        Ok(())
    }

    /// The source that a message names, or the one that the kernel would choose.
    fn source(&self, message: &Message) -> io::Result<IpAddr> {
        if !message.source.is_unspecified() {
            return Ok(message.source);
        }
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket::socket(family_of(message.peer.ip()), SockType::Datagram, flags, SockProtocol::Udp)?;
        if let Some(mark) = self.mark {
            socket::setsockopt(&fd, sockopt::Mark, &mark)?;
        }
        socket::connect(
            fd.as_raw_fd(),
            &SockaddrStorage::from(SocketAddr::new(message.peer.ip(), message.peer.port())),
        )?;
        let local: SockaddrStorage = socket::getsockname(fd.as_raw_fd())?;
        let local = local.as_sockaddr_in6().map(|local| IpAddr::V6(local.ip()));
        local.ok_or_else(|| io::Error::from_raw_os_error(libc::EADDRNOTAVAIL))
    }
}

/// Bytes that lie in several places, read one after the other.
struct Joined<'a> {
    part: &'a [u8],
    rest: std::slice::Iter<'a, &'a [u8]>,
}

impl<'a> Joined<'a> {
    fn new(first: &'a [u8], rest: &'a [&'a [u8]]) -> Self {
        Self { part: first, rest: rest.iter() }
    }

    /// Fills the room as far as there are bytes, and returns how many that were; `None` after the last.
    fn fill(&mut self, room: &mut [u8]) -> Option<usize> {
        let mut filled = 0;
        while filled < room.len() {
            if self.part.is_empty() {
                match self.rest.next() {
                    Some(part) => self.part = part,
                    None => break,
                }
                continue;
            }
            let len = self.part.len().min(room.len() - filled);
            let (now, later) = self.part.split_at(len);
            room[filled..filled + len].copy_from_slice(now);
            (self.part, filled) = (later, filled + len);
        }
        (filled > 0).then_some(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_one() {
        let mut joined = Joined::new(&[1, 2, 3], &[&[], &[4], &[5, 6, 7, 8]]);
        let mut room = [0; 3];
        let mut read = Vec::new();
        while let Some(len) = joined.fill(&mut room) {
            read.push(room[..len].to_vec());
        }
        assert_eq!(read, [vec![1, 2, 3], vec![4, 5, 6], vec![7, 8]]);
    }
}
