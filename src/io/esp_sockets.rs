//! The sockets of the packet path together: NAT traversal port and raw ESP, IPv4 and IPv6.
//!
//! One thread receives from all of them, for an SA may get either form at any time (RFC 7296 section 2.23).

use super::message_batch::{RECEIVE_BATCH, ReceiveBatch, SendBatch};
use super::raw::RawSocket;
use super::send_refusals::RefusalWriter;
use super::socket_message::{Message, Received as ReceivedMessage};
use super::udp::{SocketOptions, UdpSocket};
use crate::dataplane::device::{DatagramSink, DatagramSource, ReceiveSlab, Received, Run, Sent, Wait};
use crate::dataplane::outer_header::Encapsulation;
use crate::wire::natt::{KEEPALIVE, NON_ESP_MARKER};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Datagrams that follow one another this fast mean load. Otherwise one alone is asked for, which is what an idle tunnel
/// has: looking for a second one takes a quarter of a receiving call.
const BUSY: Duration = Duration::from_micros(50);

/// Sockets, shared by the two loops and by IKE.
#[derive(Debug)]
pub struct EspSockets {
    udp: Vec<Arc<UdpSocket>>,
    raw: Vec<Arc<RawSocket>>,
}

/// What to open.
#[derive(Debug, Clone, Copy)]
pub struct EspSocketsConfig {
    /// The NAT traversal port, 4500 outside tests; 0 lets the kernel choose.
    pub port: u16,
    /// The firewall mark of everything that is sent.
    pub mark: Option<u32>,
    /// Raw sockets too. Without them, ESP goes only in UDP.
    pub raw: bool,
}

impl EspSockets {
    /// Opens sockets on all addresses, in the network namespace of the calling thread. A family that the system does not
    /// have is left out.
    ///
    /// # Errors
    /// When IPv4 cannot be bound, or IPv6 for another reason than that there is none.
    pub fn bind(config: EspSocketsConfig) -> io::Result<Self> {
        let options = SocketOptions { mark: config.mark, gro: true };
        let mut sockets = Self { udp: Vec::new(), raw: Vec::new() };
        for address in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            match UdpSocket::bind(SocketAddr::new(address, config.port), options) {
                Ok(socket) => sockets.udp.push(Arc::new(socket)),
                Err(error) if address.is_ipv6() && is_missing_family(&error) => continue,
                Err(error) => return Err(error),
            }
            if config.raw {
                sockets.raw.push(Arc::new(RawSocket::bind(address, config.mark)?));
            }
        }
        Ok(sockets)
    }

    /// The outbound loop's handle.
    pub fn sink(&self) -> EspSink {
        EspSink { udp: self.udp.clone(), raw: self.raw.clone(), batch: SendBatch::default(), refusals: None }
    }

    /// The inbound loop's handle.
    ///
    /// # Errors
    /// When the kernel gives no epoll instance.
    pub fn source(&self) -> io::Result<EspSource> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let sockets = self.udp.iter().cloned().map(Socket::Udp).chain(self.raw.iter().cloned().map(Socket::Raw));
        let sockets: Vec<_> = sockets.collect();
        for (index, socket) in sockets.iter().enumerate() {
            epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        }
        Ok(EspSource { epoll: Arc::new(epoll), sockets, batch: ReceiveBatch::default(), last: Instant::now() })
    }

    /// IKE's handle.
    pub fn ike_sender(&self) -> NatTraversalSender {
        NatTraversalSender { udp: self.udp.clone() }
    }

    /// The port that the IPv4 socket is bound to.
    pub fn port(&self) -> u16 {
        self.udp.first().map_or(0, |socket| socket.local_address().port())
    }
}

fn is_missing_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

fn of_family<T>(sockets: &[Arc<T>], local: impl Fn(&T) -> IpAddr, peer: IpAddr) -> Option<&T> {
    sockets.iter().map(AsRef::as_ref).find(|socket| local(socket).is_ipv4() == peer.is_ipv4())
}

/// Sends sealed packets.
#[derive(Debug)]
pub struct EspSink {
    udp: Vec<Arc<UdpSocket>>,
    raw: Vec<Arc<RawSocket>>,
    batch: SendBatch,
    refusals: Option<RefusalWriter>,
}

impl EspSink {
    /// Tells what the kernel refuses from now on.
    #[must_use]
    pub fn telling(self, refusals: RefusalWriter) -> Self {
        Self { refusals: Some(refusals), ..self }
    }
}

impl DatagramSink for EspSink {
    fn send(&mut self, run: &Run<'_>) -> Sent {
        let message = Message {
            source: run.path.local.ip(),
            peer: run.path.peer,
            traffic_class: run.traffic_class,
            segment: None,
        };
        let peer = run.path.peer.ip();
        let sent = match run.encapsulation {
            Encapsulation::Udp => of_family(&self.udp, |socket| socket.local_address().ip(), peer).map(|socket| {
                socket.send_segments(run.bytes, run.segment, message, run.dont_fragment, &mut self.batch)
            }),
            Encapsulation::Raw => of_family(&self.raw, RawSocket::address, peer)
                .map(|socket| socket.send(run.packets(), &message, run.dont_fragment, &mut self.batch)),
        };
        let no_socket = || io::Error::from(Errno::EAFNOSUPPORT);
        let sent = sent.unwrap_or_else(|| self.batch.refused(&no_socket(), run.packets().len() as u64));
        if sent.failed > 0
            && let Some(refusals) = &mut self.refusals
        {
            refusals.raise(&message, sent.why, self.batch.refusal(), sent.failed, Instant::now());
        }
        sent
    }
}

#[derive(Debug)]
enum Socket {
    Udp(Arc<UdpSocket>),
    Raw(Arc<RawSocket>),
}

/// Receives from every socket.
#[derive(Debug)]
pub struct EspSource {
    epoll: Arc<Epoll>,
    sockets: Vec<Socket>,
    batch: ReceiveBatch,
    /// When something was received last.
    last: Instant,
}

impl EspSource {
    /// A way to have waits end for another descriptor too. It is off at first.
    pub fn companion(&self, descriptor: OwnedFd) -> Companion {
        Companion { epoll: Arc::clone(&self.epoll), descriptor }
    }
}

/// A descriptor that waits for datagrams may end for, although [`EspSource`] does not read it.
#[derive(Debug)]
pub struct Companion {
    epoll: Arc<Epoll>,
    descriptor: OwnedFd,
}

impl Companion {
    /// From now on, waits end when the descriptor is readable, the one that is under way too.
    ///
    /// # Errors
    /// It is on already, or the kernel has no memory.
    pub fn watch(&self) -> io::Result<()> {
        Ok(self.epoll.add(&self.descriptor, EpollEvent::new(EpollFlags::EPOLLIN, COMPANION))?)
    }

    /// Waits no longer end for it.
    ///
    /// # Errors
    /// It is off already.
    pub fn ignore(&self) -> io::Result<()> {
        Ok(self.epoll.delete(&self.descriptor)?)
    }
}

/// What the companion's event says, which is the index of no socket.
const COMPANION: u64 = u64::MAX;

impl DatagramSource for EspSource {
    /// One `epoll_wait` and one receiving call for each socket that has something. What is left is there the next time:
    /// a socket stays ready until it is empty, so no call is spent on finding out.
    fn receive(&mut self, slab: &mut ReceiveSlab, wait: Wait) -> io::Result<()> {
        let timeout = match wait {
            Wait::No => EpollTimeout::ZERO,
            Wait::AtMost(time) => EpollTimeout::try_from(time).unwrap_or(EpollTimeout::MAX),
        };
        let mut events = [EpollEvent::empty(); 5];
        let ready = match self.epoll.wait(&mut events, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Ok(()),
            Ok(ready) => ready,
            Err(error) => return Err(error.into()),
        };
        let of_socket =
            |event: &EpollEvent| usize::try_from(event.data()).ok().filter(|index| *index < self.sockets.len());
        let mut left = events[..ready].iter().filter_map(of_socket).count();
        if left == 0 {
            return Ok(());
        }
        let now = Instant::now();
        let at_most = if now.saturating_duration_since(self.last) < BUSY { RECEIVE_BATCH } else { 1 };
        self.last = now;
        for index in events[..ready].iter().filter_map(of_socket) {
            left -= 1;
            // One buffer is left for each of the others: none starves.
            let room = slab.free().saturating_sub(left);
            self.sockets[index].receive_into(slab, room.min(at_most), &mut self.batch)?;
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Raw(socket) => socket.as_fd(),
        }
    }
}

impl Socket {
    /// Fills at most this many free buffers with what is there.
    fn receive_into(&self, slab: &mut ReceiveSlab, at_most: usize, batch: &mut ReceiveBatch) -> io::Result<()> {
        let first = slab.next_buffer();
        let buffers = slab.free_buffers().take(at_most);
        let (count, local) = match self {
            Self::Udp(socket) => (batch.receive(self.as_fd(), buffers)?, socket.local_address()),
            Self::Raw(socket) => (batch.receive(self.as_fd(), buffers)?, SocketAddr::new(socket.address(), 0)),
        };
        slab.note_unreachable(batch.take_unreachable());
        for n in 0..count {
            let Some(mut received) = batch.received(n, local) else { continue };
            let (start, form) = match self {
                Self::Udp(_) => (0, Encapsulation::Udp),
                Self::Raw(socket) => (socket.start(slab.buffer(first + n), &mut received), Encapsulation::Raw),
            };
            slab.commit_from(first + n, describe(start, received, form));
        }
        Ok(())
    }
}

fn describe(start: usize, received: ReceivedMessage, form: Encapsulation) -> Received {
    let ReceivedMessage { len, segment, peer, local, traffic_class } = received;
    Received { buffer: 0, start, end: len, segment, peer, local, form, traffic_class }
}

/// Sends IKE messages and keepalives from the NAT traversal port.
#[derive(Debug, Clone)]
pub struct NatTraversalSender {
    udp: Vec<Arc<UdpSocket>>,
}

impl NatTraversalSender {
    /// Sends an IKE message behind the non-ESP marker.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send_ike(&self, message: &[u8], source: IpAddr, peer: SocketAddr, dont_fragment: bool) -> io::Result<()> {
        self.send(&[&NON_ESP_MARKER, message], source, peer, dont_fragment)
    }

    /// Sends a NAT keepalive (RFC 3948 section 2.3).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send_keepalive(&self, source: IpAddr, peer: SocketAddr) -> io::Result<()> {
        self.send(&[&KEEPALIVE], source, peer, false)
    }

    fn send(&self, parts: &[&[u8]], source: IpAddr, peer: SocketAddr, dont_fragment: bool) -> io::Result<()> {
        let socket = of_family(&self.udp, |socket| socket.local_address().ip(), peer.ip());
        let socket = socket.ok_or_else(|| io::Error::from(Errno::EAFNOSUPPORT))?;
        socket.send(parts, source, peer, dont_fragment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::outer_header::OuterPath;
    use crate::missing::skipped;

    const SOON: Wait = Wait::AtMost(Duration::from_secs(5));

    /// Sockets on a port of their own, or `None` without the privilege for raw ones.
    fn sockets() -> Option<EspSockets> {
        match EspSockets::bind(EspSocketsConfig { port: 0, mark: None, raw: true }) {
            Ok(sockets) => Some(sockets),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                skipped(format_args!("raw sockets: {error}"));
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Raw sockets see what other tests send, so each test has loopback addresses of its own: its port tells which.
    fn own_address(port: u16, host: u8) -> IpAddr {
        let [high, low] = port.to_be_bytes();
        IpAddr::from([127, high, low, host])
    }

    fn run<'a>(sockets: &EspSockets, bytes: &'a [u8], segment: usize, encapsulation: Encapsulation) -> Run<'a> {
        let address = |host| SocketAddr::from((own_address(sockets.port(), host), sockets.port()));
        let path = OuterPath { local: address(1), peer: address(2) };
        Run { bytes, segment, path, encapsulation, traffic_class: 0, dont_fragment: true }
    }

    /// The ESP packets of a form that came from our own address, receiving until there are so many.
    fn receive(port: u16, source: &mut EspSource, form: Encapsulation, count: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut slab = ReceiveSlab::new(8);
        while packets.len() < count {
            slab.clear();
            source.receive(&mut slab, SOON).unwrap();
            for n in 0..slab.received().len() {
                let (buffer, received) = slab.datagram(n).unwrap();
                if received.form == form && received.peer.ip() == own_address(port, 1) {
                    packets.extend(buffer[received.start..received.end].chunks(received.segment).map(<[u8]>::to_vec));
                }
            }
        }
        packets
    }

    #[test]
    fn runs_of_both_forms_arrive_in_order() {
        let Some(sockets) = sockets() else { return };
        let (mut sink, mut source) = (sockets.sink(), sockets.source().unwrap());
        let bytes: Vec<u8> = (0..=255).cycle().take(100 * 40 + 30).collect();
        let packets: Vec<_> = bytes.chunks(100).map(<[u8]>::to_vec).collect();
        for form in [Encapsulation::Udp, Encapsulation::Raw] {
            assert_eq!(sink.send(&run(&sockets, &bytes, 100, form)), Sent::default());
            assert_eq!(receive(sockets.port(), &mut source, form, packets.len()), packets);
        }
    }

    #[test]
    fn a_flood_of_one_form_does_not_starve_the_other() {
        let Some(sockets) = sockets() else { return };
        let (mut sink, mut source) = (sockets.sink(), sockets.source().unwrap());
        for form in [Encapsulation::Raw, Encapsulation::Udp] {
            for n in 0..100 {
                // Of different lengths, so that each takes a buffer.
                let bytes = vec![n; 100 + usize::from(n)];
                assert_eq!(sink.send(&run(&sockets, &bytes, bytes.len(), form)), Sent::default());
            }
        }
        let mut slab = ReceiveSlab::new(8);
        // The first call may be one that takes a single datagram of each.
        for _ in 0..2 {
            slab.clear();
            source.receive(&mut slab, SOON).unwrap();
            for form in [Encapsulation::Raw, Encapsulation::Udp] {
                assert!(slab.received().iter().any(|received| received.form == form), "{form:?}");
            }
        }
    }
}
