//! Raw sockets for ESP as IP protocol 50. The kernel writes the outer header; IPv4 hands it over on receive, IPv6 does not.

use super::fragmenting::{self, Fragmenting};
use super::ipv6_fragments::Ipv6Fragments;
use super::message_batch::SendBatch;
use super::socket_message::{Message, Received};
use super::socket_setup::{prepare, raw_socket};
use crate::dataplane::device::Sent;
use crate::wire::ip::protocol;
use nix::sys::socket;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::slice::Chunks;

/// The smallest IPv4 header.
const IPV4_HEADER_LEN: usize = 20;

/// Raw sockets for protocol 50, to be shared by threads: no option changes.
#[derive(Debug)]
pub struct RawSocket {
    /// Receives, and sends with DF.
    fd: OwnedFd,
    /// Sends without.
    fragmenting: Fragmenting,
    local: SocketAddr,
}

impl RawSocket {
    /// Opens a socket in the network namespace of the calling thread; needs CAP_NET_RAW. `address` may be unspecified.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn bind(address: IpAddr, mark: Option<u32>) -> io::Result<Self> {
        let fd = raw_socket(address, libc::IPPROTO_ESP)?;
        prepare(fd.as_fd(), address, mark)?;
        let local = SocketAddr::new(address, 0);
        socket::bind(fd.as_raw_fd(), &socket::SockaddrStorage::from(local))?;
        let fragmenting = match address {
            IpAddr::V4(_) => Fragmenting::Kernel(fragmenting::raw(mark)?),
            IpAddr::V6(_) => Fragmenting::Ourselves(Ipv6Fragments::open(mark)?),
        };
        Ok(Self { fd, fragmenting, local })
    }

    /// The bound address.
    pub fn address(&self) -> IpAddr {
        self.local.ip()
    }

    /// Where the ESP packet starts that was received into this buffer, and its traffic class: IPv4 tells both in the IP
    /// header, which it hands over too.
    pub fn start(&self, buffer: &[u8], received: &mut Received) -> usize {
        received.peer.set_port(0);
        match (self.local.ip(), buffer.first_chunk::<IPV4_HEADER_LEN>()) {
            (IpAddr::V6(_), _) => 0,
            (IpAddr::V4(_), Some(header)) => {
                received.traffic_class = header[1];
                (usize::from(header[0] & 0x0f) * 4).min(received.len)
            }
            (IpAddr::V4(_), None) => received.len,
        }
    }

    /// Sends ESP packets, a run in one `sendmmsg`. Tells how many were refused. Without a source, those of IPv4 cannot be
    /// allowed to be fragmented; but who does not know its own address cannot tell that there is no NAT, and encapsulates.
    pub fn send(&self, packets: Chunks<'_, u8>, message: &Message, dont_fragment: bool, batch: &mut SendBatch) -> Sent {
        let peer = SocketAddr::new(message.peer.ip(), 0);
        let message = Message { peer, segment: None, ..*message };
        let fd = match &self.fragmenting {
            Fragmenting::Kernel(fd) if !dont_fragment && !message.source.is_unspecified() => fd.as_fd(),
            Fragmenting::Ourselves(fragments)
                if !dont_fragment && packets.clone().any(|packet| Ipv6Fragments::needs(packet.len())) =>
            {
                return batch.send_by(packets, |packet| fragments.send_payload(protocol::ESP, packet, &message));
            }
            _ => self.fd.as_fd(),
        };
        batch.send_each(fd, packets, &message)
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
    use crate::io::message_batch::ReceiveBatch;
    use crate::io::wake::wait_readable;
    use crate::missing::skipped;
    use std::time::Duration;

    /// Two sockets that can reach each other, or `None` where there are none.
    fn pair(address: &str, other: &str) -> Option<(RawSocket, RawSocket)> {
        let (address, other): (IpAddr, IpAddr) = (address.parse().unwrap(), other.parse().unwrap());
        match RawSocket::bind(address, None).and_then(|one| Ok((one, RawSocket::bind(other, None)?))) {
            Ok(sockets) => Some(sockets),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EADDRNOTAVAIL)) => {
                skipped(format_args!("raw sockets for {address}: {error}"));
                None
            }
            Err(error) => panic!("{address}: {error}"),
        }
    }

    fn message(sender: &RawSocket, receiver: &RawSocket) -> Message {
        let peer = SocketAddr::new(receiver.address(), 4500);
        Message { source: sender.address(), peer, traffic_class: 0xb8, segment: None }
    }

    /// Receives until so many packets came: a busy machine delivers even over the loopback a little later.
    fn receive(socket: &RawSocket, count: usize) -> Vec<(Received, Vec<u8>)> {
        let mut buffers = vec![0; 8 * 65_536];
        let (mut batch, mut all) = (ReceiveBatch::default(), Vec::new());
        while all.len() < count {
            wait_readable(&[socket.as_fd()], Duration::from_secs(5)).unwrap();
            let count = batch.receive(socket.as_fd(), buffers.chunks_mut(65_536)).unwrap();
            assert!(count > 0, "only {} packets came", all.len());
            all.extend(buffers.chunks(65_536).enumerate().take(count).map(|(n, buffer)| {
                let mut received = batch.received(n, SocketAddr::new(socket.address(), 0)).unwrap();
                let start = socket.start(buffer, &mut received);
                (received, buffer[start..received.len].to_vec())
            }));
        }
        all
    }

    #[test]
    fn a_run_arrives_without_ip_headers() {
        for (address, other) in [("127.0.0.21", "127.0.0.22"), ("::1", "::1")] {
            let Some((sender, receiver)) = pair(address, other) else { continue };
            let run: Vec<u8> = (0..=255).cycle().take(1000).collect();
            let mut batch = SendBatch::default();
            let sent = sender.send(run.chunks(300), &message(&sender, &receiver), true, &mut batch);
            assert_eq!(sent, Sent::default());
            let received = receive(&receiver, 4);
            assert_eq!(
                received.iter().map(|(_, bytes)| &bytes[..]).collect::<Vec<_>>(),
                run.chunks(300).collect::<Vec<_>>()
            );
            for (received, _) in received {
                assert_eq!(received.traffic_class, 0xb8);
                assert_eq!(received.peer, SocketAddr::new(sender.address(), 0));
                assert_eq!(received.local.ip(), receiver.address());
            }
        }
    }

    #[test]
    fn a_run_may_be_longer_than_a_call() {
        let Some((sender, receiver)) = pair("127.0.0.23", "127.0.0.24") else { return };
        let run: Vec<u8> = (0..=255).cycle().take(150 * 10).collect();
        let sent = sender.send(run.chunks(10), &message(&sender, &receiver), true, &mut SendBatch::default());
        assert_eq!(sent, Sent::default());
        let bytes: Vec<u8> = receive(&receiver, 150).into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(bytes, run);
    }

    #[test]
    fn a_packet_that_is_too_big_does_not_stop_those_behind_it() {
        let Some((sender, receiver)) = pair("127.0.0.25", "127.0.0.26") else { return };
        // No IP packet is this long.
        let (small, huge) = ([7; 100], vec![0; 65_536]);
        let packets: [&[u8]; 5] = [&huge, &small, &huge, &small, &huge];
        let message = Message { peer: SocketAddr::new(receiver.address(), 0), ..message(&sender, &receiver) };
        let sent = SendBatch::default().send_each(sender.as_fd(), packets.into_iter(), &message);
        assert_eq!(sent, Sent { too_big: 3, ..Sent::default() });
        assert_eq!(receive(&receiver, 2).len(), 2);
    }
}
