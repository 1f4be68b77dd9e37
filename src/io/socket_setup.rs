//! How the sockets that carry packets are opened, and the options that they are given once.

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, sockopt};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Bytes of a kernel receive buffer: 10 Gbit/s for some 10 ms.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;
const SEND_BUFFER: usize = 4 * 1024 * 1024;

/// The address family of an address.
pub(super) fn family_of(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// Opens a raw socket for an IP protocol, of the family of an address.
pub(super) fn raw_socket(family: IpAddr, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are involved.
    let fd = unsafe { libc::socket(family_of(family) as i32, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    let fd = Errno::result(fd)?;
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets the options that receiving UDP and raw sockets share: what is told of received packets, buffers, the mark, and DF
/// on all that they send (see [`fragmenting`](super::fragmenting) for the rest).
pub(super) fn prepare(fd: BorrowedFd<'_>, address: IpAddr, mark: Option<u32>) -> io::Result<()> {
    if address.is_ipv4() {
        set_int(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        set_int(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
    } else {
        set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
    }
    set_dont_fragment(fd, address)?;
    if let Some(mark) = mark {
        socket::setsockopt(&fd, sockopt::Mark, &mark)?;
    }
    // Beyond the system's limit where we may, else up to it.
    if socket::setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket::setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER);
    }
    widen_send_buffer(fd);
    Ok(())
}

/// Sets DF on all that a socket sends. Only what the device takes counts, not what the kernel believes of the path.
pub(super) fn set_dont_fragment(fd: BorrowedFd<'_>, family: IpAddr) -> io::Result<()> {
    if family.is_ipv4() {
        set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
    } else {
        set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)
    }
}

/// Gives a socket the room that a burst takes, beyond the system's limit where we may, else up to it.
pub(super) fn widen_send_buffer(fd: BorrowedFd<'_>) {
    widen_send_buffer_to(fd, SEND_BUFFER);
}

/// Likewise, the room for so many bytes.
pub(super) fn widen_send_buffer_to(fd: BorrowedFd<'_>, bytes: usize) {
    if socket::setsockopt(&fd, sockopt::SndBufForce, &bytes).is_err() {
        let _ = socket::setsockopt(&fd, sockopt::SndBuf, &bytes);
    }
}

/// Sets an option whose value is an `int`.
pub(super) fn set_int(fd: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    set_option(fd, level, option, value)
}

/// Sets an option whose value the kernel reads as these bytes.
pub(super) fn set_option<T: Copy>(fd: BorrowedFd<'_>, level: i32, option: i32, value: T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the descriptor is open for the call, and the pointer and length describe `value`, which outlives it.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast::<libc::c_void>(), length) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}
