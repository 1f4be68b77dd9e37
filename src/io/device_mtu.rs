//! What the own device towards an address takes in one packet.
//!
//! The kernel tells when it is asked to send more: nothing leaves, and the error names the size. IP_MTU would be less work,
//! but is also what ICMP messages told the kernel, and it believes more of them than we do.

use super::socket_setup::{family_of, set_dont_fragment};
use nix::errno::Errno;
use nix::sys::socket::{
    self, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sockopt,
};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Where the packet that is not sent would go (discard, RFC 863).
const DISCARD_PORT: u16 = 9;
/// The longest datagram that an IPv4 packet holds.
const LONGEST_IPV4: usize = 65_507;
/// IPv6 counts without its own header.
const LONGEST_IPV6: usize = 65_527;

/// The largest IP packet that the device takes which packets from `local` (which may be unspecified) to `peer` leave by, with
/// this firewall mark.
///
/// # Errors
/// When there is no route, or the kernel does not tell.
pub fn device_mtu(local: IpAddr, peer: IpAddr, mark: Option<u32>) -> io::Result<u16> {
    let fd = socket::socket(family_of(peer), SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::Udp)?;
    if let Some(mark) = mark {
        socket::setsockopt(&fd, sockopt::Mark, &mark)?;
    }
    set_dont_fragment(fd.as_fd(), peer)?;
    if peer.is_ipv4() {
        socket::setsockopt(&fd, sockopt::Ipv4RecvErr, &true)?;
    } else {
        socket::setsockopt(&fd, sockopt::Ipv6RecvErr, &true)?;
    }
    if !local.is_unspecified() {
        socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(local, 0)))?;
    }
    socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(peer, DISCARD_PORT)))?;
    // What the kernel believes is never more than the device takes. A device that takes the longest packet of IPv4 would send
    // it; of IPv6, there is none that does.
    if peer.is_ipv4() && socket::getsockopt(&fd, sockopt::IpMtu)? >= i32::from(u16::MAX) {
        return Ok(u16::MAX);
    }
    let longest = vec![0; if peer.is_ipv4() { LONGEST_IPV4 } else { LONGEST_IPV6 }];
    match socket::send(fd.as_raw_fd(), &longest, MsgFlags::MSG_DONTWAIT) {
        Err(Errno::EMSGSIZE) => told(&fd),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(u16::MAX),
    }
}

/// Reads the error that was left about the packet.
fn told(fd: &OwnedFd) -> io::Result<u16> {
    let mut bytes = [0; 64];
    let mut vectors = [IoSliceMut::new(&mut bytes)];
    let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = socket::recvmsg::<SockaddrStorage>(fd.as_raw_fd(), &mut vectors, Some(&mut control), flags)?;
    for message in message.cmsgs()? {
        if let ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) = message
            && error.ee_errno == Errno::EMSGSIZE as u32
        {
            return Ok(u16::try_from(error.ee_info).unwrap_or(u16::MAX));
        }
    }
    Err(io::Error::other("the kernel does not tell what the device takes"))
}
