//! The sockets of the packet path together: NAT traversal port and raw ESP, IPv4 and IPv6.
//!
//! One thread receives from all of them, for an SA may get either form at any time (RFC 7296 section 2.23).

use super::raw::RawSocket;
use super::socket_message::{Message, Received as ReceivedMessage};
use super::udp::{SocketOptions, UdpSocket};
use crate::dataplane::device::{DatagramSink, DatagramSource, ReceiveSlab, Received, Run, Sent, Wait};
use crate::dataplane::outer_header::Encapsulation;
use crate::wire::natt::{KEEPALIVE, NON_ESP_MARKER};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

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
        EspSink { udp: self.udp.clone(), raw: self.raw.clone() }
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
            let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            match socket {
                Socket::Udp(socket) => epoll.add(socket.as_fd(), event)?,
                Socket::Raw(socket) => epoll.add(socket.as_fd(), event)?,
            }
        }
        Ok(EspSource { epoll, sockets })
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
        let counts = match run.encapsulation {
            Encapsulation::Udp => of_family(&self.udp, |socket| socket.local_address().ip(), peer)
                .map(|socket| socket.send_segments(run.bytes, run.segment, message, run.dont_fragment)),
            Encapsulation::Raw => of_family(&self.raw, RawSocket::address, peer)
                .map(|socket| socket.send(run.packets(), &message, run.dont_fragment)),
        };
        let (too_big, failed) = counts.unwrap_or((0, run.packets().len() as u64));
        Sent { too_big, failed }
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
    epoll: Epoll,
    sockets: Vec<Socket>,
}

impl DatagramSource for EspSource {
    fn receive(&mut self, slab: &mut ReceiveSlab, wait: Wait) -> io::Result<()> {
        let timeout = match wait {
            Wait::No => EpollTimeout::ZERO,
            Wait::AtMost(time) => EpollTimeout::try_from(time).unwrap_or(EpollTimeout::MAX),
        };
        let mut events = [EpollEvent::empty(); 4];
        let ready = match self.epoll.wait(&mut events, timeout) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in events.iter().take(ready) {
            if let Some(socket) = usize::try_from(event.data()).ok().and_then(|index| self.sockets.get(index)) {
                socket.drain_into(slab)?;
            }
        }
        Ok(())
    }
}

impl Socket {
    /// Fills free buffers with what is there, but leaves one for each of the other sockets: none starves.
    fn drain_into(&self, slab: &mut ReceiveSlab) -> io::Result<()> {
        const RESERVED: usize = 3;
        loop {
            let enough = slab.free() <= RESERVED && slab.next_buffer() > 0;
            let Some(buffer) = slab.free_buffers().next() else { return Ok(()) };
            let (start, received, form) = match self {
                Self::Udp(socket) => match socket.receive(buffer)? {
                    Some(received) => (0, received, Encapsulation::Udp),
                    None => return Ok(()),
                },
                Self::Raw(socket) => match socket.receive(buffer)? {
                    Some(raw) => (raw.start, raw.received, Encapsulation::Raw),
                    None => return Ok(()),
                },
            };
            slab.commit(describe(start, received, form));
            if enough {
                return Ok(());
            }
        }
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
    /// Sends an IKE message behind the non-ESP marker. DF is clear: IKE has to get through.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send_ike(&self, message: &[u8], source: IpAddr, peer: SocketAddr) -> io::Result<()> {
        self.send(&[&NON_ESP_MARKER, message], source, peer)
    }

    /// Sends a NAT keepalive (RFC 3948 section 2.3).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send_keepalive(&self, source: IpAddr, peer: SocketAddr) -> io::Result<()> {
        self.send(&[&KEEPALIVE], source, peer)
    }

    fn send(&self, parts: &[&[u8]], source: IpAddr, peer: SocketAddr) -> io::Result<()> {
        let socket = of_family(&self.udp, |socket| socket.local_address().ip(), peer.ip());
        let socket = socket.ok_or_else(|| io::Error::from(Errno::EAFNOSUPPORT))?;
        socket.send(parts, source, peer, false)
    }
}
