//! Raw sockets for ESP as IP protocol 50. The kernel writes the outer header; IPv4 hands it over on receive, IPv6 does not.

use super::socket_message::{Message, Received, receive_message, send_message};
use super::udp::{family_of, is_too_big, prepare, set_dont_fragment};
use nix::sys::socket::{self, SockFlag, SockType};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::AtomicI32;

/// The smallest IPv4 header.
const IPV4_HEADER_LEN: usize = 20;

/// A raw socket for protocol 50, to be shared by threads.
#[derive(Debug)]
pub struct RawSocket {
    fd: OwnedFd,
    local: SocketAddr,
    discover: AtomicI32,
}

/// An ESP packet in a receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawReceived {
    /// Where the ESP packet starts.
    pub start: usize,
    /// Addresses, traffic class, and the length from the start of the buffer.
    pub received: Received,
}

impl RawSocket {
    /// Opens a socket in the network namespace of the calling thread; needs CAP_NET_RAW. `address` may be unspecified.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn bind(address: IpAddr, mark: Option<u32>) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let domain = family_of(address) as i32;
        // SAFETY: no pointers are involved.
        let fd = unsafe { libc::socket(domain, SockType::Raw as i32 | flags.bits(), libc::IPPROTO_ESP) };
        let fd = nix::errno::Errno::result(fd)?;
        // SAFETY: the descriptor was just opened and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        prepare(fd.as_fd(), address, mark)?;
        let local = SocketAddr::new(address, 0);
        socket::bind(fd.as_raw_fd(), &socket::SockaddrStorage::from(local))?;
        Ok(Self { fd, local, discover: AtomicI32::new(-1) })
    }

    /// The bound address.
    pub fn address(&self) -> IpAddr {
        self.local.ip()
    }

    /// Receives one ESP packet, if one is there.
    ///
    /// # Errors
    /// What the kernel says, but for errors that only tell of an earlier send.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<RawReceived>> {
        let Some(mut received) = receive_message(self.fd.as_fd(), buffer, self.local)? else { return Ok(None) };
        received.peer.set_port(0);
        let start = match (self.local.ip(), buffer.first_chunk::<IPV4_HEADER_LEN>()) {
            (IpAddr::V6(_), _) => 0,
            (IpAddr::V4(_), Some(header)) => {
                received.traffic_class = header[1];
                (usize::from(header[0] & 0x0f) * 4).min(received.len)
            }
            (IpAddr::V4(_), None) => received.len,
        };
        Ok(Some(RawReceived { start, received }))
    }

    /// Sends ESP packets. Returns how many the kernel refused as too big, and how many for another reason.
    pub fn send<'a>(
        &self,
        packets: impl Iterator<Item = &'a [u8]>,
        message: &Message,
        dont_fragment: bool,
    ) -> (u64, u64) {
        let prepared = set_dont_fragment(self.fd.as_fd(), self.local.ip(), &self.discover, dont_fragment);
        let peer = SocketAddr::new(message.peer.ip(), 0);
        let message = Message { peer, segment: None, ..*message };
        let (mut too_big, mut failed) = (0, 0);
        for packet in packets {
            let sent = match &prepared {
                Ok(()) => send_message(self.fd.as_fd(), &[packet], &message),
                Err(_) => Err(io::ErrorKind::Other.into()),
            };
            match sent {
                Ok(()) => {}
                Err(error) if is_too_big(&error) => too_big += 1,
                Err(_) => failed += 1,
            }
        }
        (too_big, failed)
    }
}

impl AsFd for RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esp_arrives_without_its_ip_header() {
        for (address, other) in [("127.0.0.21", "127.0.0.22"), ("::1", "::1")] {
            let (address, other): (IpAddr, IpAddr) = (address.parse().unwrap(), other.parse().unwrap());
            let bound = RawSocket::bind(address, None).and_then(|one| Ok((one, RawSocket::bind(other, None)?)));
            let (sender, receiver) = match bound {
                Ok(sockets) => sockets,
                Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EADDRNOTAVAIL)) => {
                    eprintln!("SKIPPED: no raw sockets for {address}: {error}");
                    continue;
                }
                Err(error) => panic!("{address}: {error}"),
            };
            let packets: [&[u8]; 2] = [&[1; 50], &[2; 60]];
            let peer = SocketAddr::new(other, 4500);
            let message = Message { source: address, peer, traffic_class: 0xb8, segment: None };
            assert_eq!(sender.send(packets.into_iter(), &message, true), (0, 0));
            let mut buffer = [0; 2048];
            for packet in packets {
                let raw = receiver.receive(&mut buffer).unwrap().expect("loopback delivers at once");
                assert_eq!(&buffer[raw.start..raw.received.len], packet);
                assert_eq!(raw.received.traffic_class, 0xb8);
                assert_eq!(raw.received.peer, SocketAddr::new(address, 0));
                assert_eq!(raw.received.local.ip(), other);
            }
        }
    }
}
