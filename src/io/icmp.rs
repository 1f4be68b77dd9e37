//! What routers say of our packets: a raw socket of each family that gets the ICMP messages "too big".
//!
//! IP_RECVERR on the sockets that send would tell the same, but have their next send fail too, whoever wrote the message.

use super::socket_setup::{raw_socket, set_option};
use crate::wire::ip::IPV4_HEADER_LEN;
use crate::wire::quoted::TooBig;
use nix::errno::Errno;
use nix::sys::socket::{self, MsgFlags};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Of linux/icmp.h: the option of a raw socket with the types that it does not get, a bit each.
const ICMP_FILTER: i32 = 1;
const UNREACHABLE: u32 = 3;
/// Of linux/icmpv6.h: the same, for 256 types.
const ICMP6_FILTER: i32 = 1;
const PACKET_TOO_BIG: u32 = 2;
/// As much as a message quotes, and more than we read of it.
const MESSAGE: usize = 1500;

/// A raw socket for the ICMP of one family.
#[derive(Debug)]
pub struct IcmpSocket {
    fd: OwnedFd,
    ipv4: bool,
}

impl IcmpSocket {
    /// Opens one for the family of an address, in the network namespace of the calling thread; needs CAP_NET_RAW.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(family: IpAddr) -> io::Result<Self> {
        let ipv4 = family.is_ipv4();
        let fd = raw_socket(family, if ipv4 { libc::IPPROTO_ICMP } else { libc::IPPROTO_ICMPV6 })?;
        if ipv4 {
            set_option(fd.as_fd(), libc::SOL_RAW, ICMP_FILTER, !(1_u32 << UNREACHABLE))?;
        } else {
            let mut blocked = [u32::MAX; 8];
            blocked[0] = !(1 << PACKET_TOO_BIG);
            set_option(fd.as_fd(), libc::SOL_ICMPV6, ICMP6_FILTER, blocked)?;
        }
        Ok(Self { fd, ipv4 })
    }

    /// Reads a message, if one is there. `Some(None)` is one that says nothing of sizes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn receive(&self) -> io::Result<Option<Option<TooBig>>> {
        let mut buffer = [0; MESSAGE];
        let len = match socket::recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(len) => len.min(buffer.len()),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let message = &buffer[..len];
        let header_len = match message.first() {
            Some(first) if self.ipv4 => (usize::from(first & 0x0f) * 4).max(IPV4_HEADER_LEN),
            _ => 0,
        };
        Ok(Some(message.get(header_len..).and_then(|icmp| TooBig::parse(icmp, self.ipv4))))
    }
}

impl AsFd for IcmpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
