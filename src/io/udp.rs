//! UDP sockets for IKE and for ESP in UDP, by `sendmsg` and `recvmsg` of our own: runs of datagrams in one call
//! (UDP_SEGMENT, UDP_GRO; `sendmmsg` where that is refused), DSCP and ECN per send (IP_TOS, IPV6_TCLASS), source addresses (IP_PKTINFO), DF.
//!
//! UDP_ENCAP is never set: the kernel would take the ESP packets for itself.
//!
//! DF is an option of the socket, not of a message: a [`UdpSocket`] is two of one port, one that sets DF and receives,
//! and one whose datagrams may be fragmented.

use super::fragmenting::{self, Fragmenting};
use super::ipv6_fragments::Ipv6Fragments;
use super::message_batch::SendBatch;
use super::send_errors::is_too_big;
use super::socket_message::{Message, Received, receive_message, send_message};
use super::socket_setup::{family_of, prepare, set_int};
use crate::dataplane::device::Sent;
use nix::errno::Errno;
use nix::sys::socket::{self, SockFlag, SockProtocol, SockType, sockopt};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How a socket is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketOptions {
    /// The firewall mark of everything that it sends (SO_MARK); needs CAP_NET_ADMIN.
    pub mark: Option<u32>,
    /// Whether the kernel may join received datagrams (UDP_GRO). Off where a datagram is read at a time.
    pub gro: bool,
}

/// A bound UDP port, to be shared by threads: each call is one system call, and no option changes.
#[derive(Debug)]
pub struct UdpSocket {
    /// Receives, and sends with DF.
    fd: OwnedFd,
    /// Sends without.
    fragmenting: Fragmenting,
    local: SocketAddr,
    /// Whether UDP_SEGMENT works here. It is given up at the first sign that it does not.
    segmentation: AtomicBool,
    /// See [`unreachable`](Self::unreachable).
    unreachable: AtomicU64,
}

impl UdpSocket {
    /// Binds a socket in the network namespace of the calling thread. An IPv6 socket takes no IPv4.
    ///
    /// # Errors
    /// When the kernel refuses the address or an option.
    pub fn bind(address: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let family = family_of(address.ip());
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket::socket(family, SockType::Datagram, flags, SockProtocol::Udp)?;
        prepare(fd.as_fd(), address.ip(), options.mark)?;
        if address.is_ipv6() {
            socket::setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        }
        if options.gro {
            // Kernels before 5.0 lack it; datagrams then come one by one.
            let _ = set_int(fd.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        let fragmenting = match address {
            SocketAddr::V4(address) => {
                let fragmenting = fragmenting::udp(address, options.mark)?;
                fragmenting::share_port(
                    fragmenting.as_fd(),
                    fd.as_fd(),
                    bound_to(fragmenting.as_fd(), address.into())?,
                )?;
                Fragmenting::Kernel(fragmenting)
            }
            SocketAddr::V6(_) => {
                socket::bind(fd.as_raw_fd(), &socket::SockaddrStorage::from(address))?;
                Fragmenting::Ourselves(Ipv6Fragments::open(options.mark)?)
            }
        };
        let local = bound_to(fd.as_fd(), address)?;
        Ok(Self { fd, fragmenting, local, segmentation: AtomicBool::new(true), unreachable: AtomicU64::new(0) })
    }

    /// The bound address and port.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Sends one datagram, which is the parts one after the other. `source` may be unspecified.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send(&self, parts: &[&[u8]], source: IpAddr, peer: SocketAddr, dont_fragment: bool) -> io::Result<()> {
        let message = Message { source, peer, traffic_class: 0, segment: None };
        let len = parts.iter().map(|part| part.len()).sum();
        match self.sender(len, dont_fragment) {
            Ok(fd) => send_message(fd, parts, &message),
            Err(fragments) => fragments.send_datagram(parts, self.local.port(), &message),
        }
    }

    /// Receives one datagram, if one is there. Returns its length and what else is known of it. The socket must not have
    /// been bound with `gro`: [`ReceiveBatch`](super::message_batch::ReceiveBatch) is for such.
    ///
    /// # Errors
    /// What the kernel says, but for errors that only tell of an earlier send.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        receive_message(self.fd.as_fd(), buffer, self.local, &self.unreachable)
    }

    /// How often [`receive`](Self::receive) found out by ICMP that an earlier datagram did not arrive.
    pub fn unreachable(&self) -> u64 {
        self.unreachable.load(Ordering::Relaxed)
    }

    /// Sends packets that lie back to back, each `segment` bytes long but for the last, as datagrams of their own: in one
    /// UDP_SEGMENT send where the kernel and the driver can, otherwise in one `sendmmsg`. Tells how many were refused.
    pub fn send_segments(
        &self,
        bytes: &[u8],
        segment: usize,
        message: Message,
        dont_fragment: bool,
        batch: &mut SendBatch,
    ) -> Sent {
        if bytes.is_empty() {
            return Sent::default();
        }
        let segment = segment.clamp(1, bytes.len());
        let count = bytes.len().div_ceil(segment) as u64;
        let fd = match self.sender(segment, dont_fragment) {
            Ok(fd) => fd,
            Err(fragments) => {
                let port = self.local.port();
                return batch.send_by(bytes.chunks(segment), |chunk| fragments.send_datagram(&[chunk], port, &message));
            }
        };
        let mut refusal = None;
        if count > 1 && self.uses_segmentation() {
            let one_call = Message { segment: u16::try_from(segment).ok(), ..message };
            match batch.send_run(fd, bytes, &one_call) {
                Ok(()) => return Sent::default(),
                Err(error) if is_gso_refusal(&error) => refusal = error.raw_os_error(),
                Err(error) if is_too_big(&error) => {}
                Err(error) => return batch.refused(&error, count),
            }
        }
        let sent = batch.send_each(fd, bytes.chunks(segment), &message);
        // What goes out singly could have gone as a run: UDP_SEGMENT does not work here. Kernels that say EINVAL say it also
        // to segments that the kernel would have to fragment, which with DF it would not have done singly either.
        if let Some(error) = refusal
            && sent == Sent::default()
            && (dont_fragment || error != libc::EINVAL)
        {
            self.segmentation.store(false, Ordering::Relaxed);
        }
        sent
    }

    /// Whether runs still go out in one call.
    pub fn uses_segmentation(&self) -> bool {
        self.segmentation.load(Ordering::Relaxed)
    }

    /// The socket that sends datagrams of this length, or what sends their fragments.
    fn sender(&self, len: usize, dont_fragment: bool) -> Result<BorrowedFd<'_>, &Ipv6Fragments> {
        match &self.fragmenting {
            Fragmenting::Kernel(fragmenting) if !dont_fragment => Ok(fragmenting.as_fd()),
            Fragmenting::Ourselves(fragments) if !dont_fragment && Ipv6Fragments::needs_datagram(len) => Err(fragments),
            _ => Ok(self.fd.as_fd()),
        }
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The address and port that a socket has.
fn bound_to(fd: BorrowedFd<'_>, asked: SocketAddr) -> io::Result<SocketAddr> {
    let bound: socket::SockaddrStorage = socket::getsockname(fd.as_raw_fd())?;
    let ipv4 = bound.as_sockaddr_in().map(|bound| SocketAddr::from((bound.ip(), bound.port())));
    let ipv6 = || bound.as_sockaddr_in6().map(|bound| SocketAddr::from((bound.ip(), bound.port())));
    Ok(ipv4.or_else(ipv6).unwrap_or(asked))
}

fn is_gso_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EIO | Errno::EINVAL | Errno::EOPNOTSUPP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::message_batch::ReceiveBatch;
    use crate::missing::skipped;

    fn pair(gro: bool) -> (UdpSocket, UdpSocket) {
        let any = "127.0.0.1:0".parse().unwrap();
        let sender = UdpSocket::bind(any, SocketOptions::default()).unwrap();
        (sender, UdpSocket::bind(any, SocketOptions { mark: None, gro }).unwrap())
    }

    /// Loopback delivers before the send returns.
    fn receive(socket: &UdpSocket) -> Option<(Received, Vec<u8>)> {
        let mut buffer = vec![0; 65_536];
        let received = socket.receive(&mut buffer).unwrap()?;
        buffer.truncate(received.len);
        Some((received, buffer))
    }

    #[test]
    fn parts_arrive_as_one_datagram_with_both_addresses() {
        let (sender, receiver) = pair(false);
        let source = "127.0.0.9".parse().unwrap();
        sender.send(&[&[0; 4], b"ike"], source, receiver.local_address(), false).unwrap();
        // The sender is bound to 127.0.0.1, so its own address stands.
        let (received, bytes) = receive(&receiver).unwrap();
        assert_eq!(bytes, [&[0; 4][..], b"ike"].concat());
        assert_eq!(received.local, receiver.local_address());
        assert_eq!(received.peer.port(), sender.local_address().port());
        assert!(receive(&receiver).is_none());
    }

    #[test]
    fn a_wildcard_socket_sends_from_the_address_that_is_asked_for() {
        let sender = UdpSocket::bind("0.0.0.0:0".parse().unwrap(), SocketOptions::default()).unwrap();
        let (_, receiver) = pair(false);
        for source in ["127.0.0.7", "127.0.0.8"] {
            let source: IpAddr = source.parse().unwrap();
            sender.send(&[b"x"], source, receiver.local_address(), true).unwrap();
            assert_eq!(receive(&receiver).unwrap().0.peer.ip(), source);
        }
    }

    fn message(receiver: &UdpSocket, traffic_class: u8) -> Message {
        let peer = receiver.local_address();
        let source = if peer.is_ipv4() { "127.0.0.1" } else { "::1" }.parse().unwrap();
        Message { source, peer, traffic_class, segment: None }
    }

    #[test]
    fn a_run_arrives_as_its_datagrams_with_its_traffic_class() {
        for gso in [true, false] {
            let (sender, receiver) = pair(false);
            sender.segmentation.store(gso, Ordering::Relaxed);
            let run: Vec<u8> = (0..250).map(|n| n as u8).collect();
            let mut batch = SendBatch::default();
            assert_eq!(sender.send_segments(&run, 100, message(&receiver, 0xb9), true, &mut batch), Sent::default());
            let received: Vec<_> = std::iter::from_fn(|| receive(&receiver)).collect();
            assert!(received.iter().all(|(received, _)| received.traffic_class == 0xb9), "{received:?}");
            let datagrams: Vec<_> = received.into_iter().map(|(_, bytes)| bytes).collect();
            assert_eq!(datagrams, [run[..100].to_vec(), run[100..200].to_vec(), run[200..].to_vec()], "gso: {gso}");
        }
    }

    #[test]
    fn one_batch_serves_runs_of_every_kind_in_turn() {
        let (sender, receiver) = pair(false);
        let mut batch = SendBatch::default();
        for (bytes, segment, traffic_class) in [(250, 100, 4), (250, 250, 0), (90, 30, 8), (90, 90, 8), (70, 40, 0)] {
            let run = vec![segment as u8; bytes];
            let message = message(&receiver, traffic_class);
            assert_eq!(sender.send_segments(&run, segment, message, true, &mut batch), Sent::default());
            let received: Vec<_> = std::iter::from_fn(|| receive(&receiver)).collect();
            assert!(received.iter().all(|(received, _)| received.traffic_class == traffic_class));
            assert_eq!(received.len(), bytes.div_ceil(segment));
            assert_eq!(received.into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<_>>(), run);
        }
    }

    #[test]
    fn datagrams_of_several_lengths_come_in_one_call() {
        let (sender, receiver) = pair(false);
        let lengths = [700, 1, 0, 1400, 33];
        for (n, len) in lengths.into_iter().enumerate() {
            let bytes = vec![n as u8; len];
            sender.send(&[&bytes], "127.0.0.1".parse().unwrap(), receiver.local_address(), true).unwrap();
        }
        let (mut batch, mut buffers) = (ReceiveBatch::default(), vec![0xff; 8 * 2048]);
        // Used before, with other lengths, and fewer buffers than datagrams.
        assert_eq!(batch.receive(receiver.as_fd(), buffers.chunks_mut(2048).take(2)).unwrap(), 2);
        assert_eq!(batch.receive(receiver.as_fd(), buffers.chunks_mut(2048)).unwrap(), 3);
        for (n, len) in lengths.into_iter().enumerate().skip(2) {
            let received = batch.received(n - 2, receiver.local_address()).unwrap();
            assert_eq!((received.len, received.segment), (len, len));
            assert_eq!((received.peer, received.local), (sender.local_address(), receiver.local_address()));
            assert!(buffers[(n - 2) * 2048..][..len].iter().all(|byte| *byte == n as u8));
        }
        assert_eq!(batch.receive(receiver.as_fd(), buffers.chunks_mut(2048)).unwrap(), 0);
    }

    #[test]
    fn runs_go_out_singly_where_the_kernel_refuses_to_segment() {
        let (sender, receiver) = pair(false);
        let mut batch = SendBatch::default();
        // Segmentation needs checksums, so that the kernel refuses it on a socket without.
        set_int(sender.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        for _ in 0..2 {
            assert_eq!(sender.send_segments(&[9; 250], 100, message(&receiver, 0), true, &mut batch), Sent::default());
            let lengths: Vec<_> = std::iter::from_fn(|| receive(&receiver)).map(|(received, _)| received.len).collect();
            assert_eq!(lengths, [100, 100, 50]);
            assert!(!sender.uses_segmentation(), "it was not tried in vain twice");
        }
    }

    #[test]
    fn a_run_of_too_long_datagrams_is_told_and_does_not_end_segmentation() {
        let (sender, receiver) = pair(false);
        let mut batch = SendBatch::default();
        // More than the loopback's MTU takes with DF; a shorter last one passes.
        let run = vec![1; 2 * 65_520 + 10];
        let sent = sender.send_segments(&run, 65_520, message(&receiver, 0), true, &mut batch);
        assert_eq!(sent, Sent { too_big: 2, ..Sent::default() });
        assert_eq!(receive(&receiver).unwrap().0.len, 10);
        assert!(sender.uses_segmentation());
    }

    #[test]
    fn joined_datagrams_tell_their_segment() {
        let (sender, receiver) = pair(true);
        let sent = sender.send_segments(&[7; 3000], 1000, message(&receiver, 0), true, &mut SendBatch::default());
        assert_eq!(sent, Sent::default());
        let received: Vec<_> = std::iter::from_fn(|| receive(&receiver)).collect();
        assert_eq!(received.iter().map(|(received, _)| received.len).sum::<usize>(), 3000);
        assert!(received.iter().all(|(received, _)| received.segment == 1000), "{received:?}");
    }

    #[test]
    fn ipv6_works_alike() {
        let any = "[::1]:0".parse().unwrap();
        let sender = match UdpSocket::bind(any, SocketOptions::default()) {
            Ok(sender) => sender,
            Err(error) => return skipped(format_args!("an IPv6 loopback: {error}")),
        };
        let receiver = UdpSocket::bind(any, SocketOptions::default()).unwrap();
        let sent = sender.send_segments(&[5; 150], 100, message(&receiver, 0x2e << 2), true, &mut SendBatch::default());
        assert_eq!(sent, Sent::default());
        let (first, _) = receive(&receiver).unwrap();
        assert_eq!((first.len, first.traffic_class, first.local), (100, 0x2e << 2, receiver.local_address()));
        assert_eq!(receive(&receiver).unwrap().0.len, 50);
    }
}
