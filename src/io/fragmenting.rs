//! How a port or protocol sends what may be fragmented.
//!
//! Whether a packet has DF is an option of the socket, not of a message. So there is a second socket beside the one that
//! receives and sends with DF (PMTUDISC_PROBE: the SA knows the path better than the kernel, whom anybody's ICMP may have
//! persuaded). The options of both are set once: threads may share them without minding each other. The second one
//! (PMTUDISC_OMIT) leaves DF clear and has the kernel make fragments as the device asks; routers make more.
//!
//! Over IPv6 only the sender makes fragments, and they are made here.

use super::ipv6_fragments::Ipv6Fragments;
use super::socket_setup::{family_of, raw_socket, set_int, widen_send_buffer};
use nix::sys::socket::{self, SockFlag, SockProtocol, SockType, SockaddrStorage, sockopt};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Where no packet is ever for: the dummy address of RFC 7600 section 4.8.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// Who makes the fragments.
#[derive(Debug)]
pub(super) enum Fragmenting {
    /// The kernel, by a socket that sends from the port or protocol and never receives.
    Kernel(OwnedFd),
    /// We, of what is larger than every path takes.
    Ourselves(Ipv6Fragments),
}

/// A UDP socket for IPv4, for an address and a port that nobody has. 0 lets the kernel choose one.
///
/// # Errors
/// When the kernel refuses an option or the address.
pub(super) fn udp(address: SocketAddrV4, mark: Option<u32>) -> io::Result<OwnedFd> {
    let address = SocketAddr::V4(address);
    let fd = socket::socket(family_of(address.ip()), SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::Udp)?;
    prepare(fd.as_fd(), mark)?;
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd)
}

/// Binds `receiver` to the port of `fragmenting` too; from then on it receives everything.
///
/// The kernel lets two sockets have one port if both say so while the second is bound. It gives unicast datagrams to the
/// one that was bound last, and both take their word back, so that nobody else can bind the port.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn share_port(fragmenting: BorrowedFd<'_>, receiver: BorrowedFd<'_>, local: SocketAddr) -> io::Result<()> {
    for fd in [fragmenting, receiver] {
        socket::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    socket::bind(receiver.as_raw_fd(), &SockaddrStorage::from(local))?;
    for fd in [fragmenting, receiver] {
        socket::setsockopt(&fd, sockopt::ReuseAddr, &false)?;
    }
    Ok(())
}

/// A raw socket for ESP over IPv4. It is bound to an address that no packet is for, so every send has to name its source.
///
/// # Errors
/// When the kernel refuses; it takes CAP_NET_RAW.
pub(super) fn raw(mark: Option<u32>) -> io::Result<OwnedFd> {
    let fd = raw_socket(IpAddr::V4(NOWHERE), libc::IPPROTO_ESP)?;
    prepare(fd.as_fd(), mark)?;
    set_int(fd.as_fd(), libc::IPPROTO_IP, libc::IP_FREEBIND, 1)?;
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(IpAddr::V4(NOWHERE), 0)))?;
    Ok(fd)
}

fn prepare(fd: BorrowedFd<'_>, mark: Option<u32>) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)?;
    if let Some(mark) = mark {
        socket::setsockopt(&fd, sockopt::Mark, &mark)?;
    }
    widen_send_buffer(fd);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::device::Sent;
    use crate::io::message_batch::SendBatch;
    use crate::io::raw::RawSocket;
    use crate::io::socket_message::Message;
    use crate::io::udp::{SocketOptions, UdpSocket};
    use crate::missing::skipped;
    use nix::errno::Errno;
    use std::time::Duration;

    const LOOPBACKS: [&str; 2] = ["127.0.0.1", "::1"];

    fn bind(address: &str) -> Option<UdpSocket> {
        let address = SocketAddr::new(address.parse().unwrap(), 0);
        match UdpSocket::bind(address, SocketOptions::default()) {
            Ok(socket) => Some(socket),
            Err(error) if address.is_ipv6() => {
                skipped(format_args!("an IPv6 loopback: {error}"));
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn one_socket_of_the_port_receives_everything_and_nobody_else_gets_the_port() {
        for address in LOOPBACKS {
            let Some(receiver) = bind(address) else { continue };
            let peer = receiver.local_address();
            let mut buffer = [0; 64];
            // Where a kernel spreads datagrams over the sockets of a port, it does so by the sender's.
            for n in 0..64_u8 {
                let Some(sender) = bind(address) else { return };
                sender.send(&[&[n]], peer.ip(), peer, n % 2 == 0).unwrap();
                let received =
                    receiver.receive(&mut buffer).unwrap().expect("loopback delivers before the send returns");
                assert_eq!((received.len, buffer[0]), (1, n));
            }
            let flags = SockFlag::SOCK_CLOEXEC;
            for reuse in [false, true] {
                let intruder =
                    socket::socket(family_of(peer.ip()), SockType::Datagram, flags, SockProtocol::Udp).unwrap();
                socket::setsockopt(&intruder, sockopt::ReusePort, &reuse).unwrap();
                socket::setsockopt(&intruder, sockopt::ReuseAddr, &reuse).unwrap();
                let bound = socket::bind(intruder.as_raw_fd(), &SockaddrStorage::from(peer));
                assert_eq!(bound, Err(Errno::EADDRINUSE), "{address}");
            }
        }
    }

    #[test]
    fn the_raw_socket_that_fragments_gets_no_copy() {
        let (address, other) = ([127, 0, 0, 31].into(), [127, 0, 0, 32].into());
        let sender = match RawSocket::bind(address, None) {
            Ok(sender) => sender,
            Err(error) => return skipped(format_args!("raw sockets: {error}")),
        };
        let (receiver, silent) = (RawSocket::bind(other, None).unwrap(), raw(None).unwrap());
        let message = Message { source: address, peer: SocketAddr::new(other, 0), traffic_class: 0, segment: None };
        let packets = vec![5; 2000];
        let mut batch = SendBatch::default();
        for dont_fragment in [true, false] {
            let sent = sender.send(packets.chunks(1000), &message, dont_fragment, &mut batch);
            assert_eq!(sent, Sent::default(), "{dont_fragment}");
        }
        crate::io::wake::wait_readable(&[receiver.as_fd()], Duration::from_secs(5)).unwrap();
        let mut byte = [0];
        let received = socket::recv(silent.as_raw_fd(), &mut byte, socket::MsgFlags::MSG_DONTWAIT);
        assert_eq!(received, Err(Errno::EAGAIN));
    }
}
