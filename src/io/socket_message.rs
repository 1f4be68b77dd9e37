//! One `sendmsg` or `recvmsg` with the control messages that the packet path needs, without allocation.

use super::send_errors::tells_of_earlier_send;
use nix::errno::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a datagram is sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Source address; unspecified lets the kernel choose.
    pub source: IpAddr,
    /// Destination. Raw sockets ignore the port.
    pub peer: SocketAddr,
    /// TOS or traffic class.
    pub traffic_class: u8,
    /// The length of each datagram but the last when the bytes are several (UDP_SEGMENT).
    pub segment: Option<u16>,
}

/// What is known of a received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes received.
    pub len: usize,
    /// The length of each datagram but the last when the kernel joined several; otherwise `len`.
    pub segment: usize,
    /// Source.
    pub peer: SocketAddr,
    /// Destination address, and the port of the socket.
    pub local: SocketAddr,
    /// TOS or traffic class.
    pub traffic_class: u8,
}

/// Parts that a datagram may consist of.
const MAX_PARTS: usize = 4;
/// Room for IPV6_PKTINFO (20 bytes), a traffic class and a segment size, each with its header.
const CONTROL_LEN: usize = 128;

/// Memory aligned for control messages.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union Control {
    bytes: [u8; CONTROL_LEN],
    _align: libc::cmsghdr,
}

impl Control {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; CONTROL_LEN] }
    }

    /// A header whose control messages are the first `len` bytes here. Only `CMSG_FIRSTHDR` and `CMSG_NXTHDR` may use it.
    fn header(control: *mut Self, len: usize) -> libc::msghdr {
        libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: control.cast(),
            msg_controllen: len.min(CONTROL_LEN) as _,
            msg_flags: 0,
        }
    }
}

/// A socket address of either family.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union SocketName {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Default for SocketName {
    fn default() -> Self {
        let (address, scope) = (libc::in6_addr { s6_addr: [0; 16] }, 0);
        let family = libc::AF_UNSPEC as _;
        let v6 = libc::sockaddr_in6 {
            sin6_family: family,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: address,
            sin6_scope_id: scope,
        };
        Self { v6 }
    }
}

impl From<SocketAddr> for SocketName {
    fn from(address: SocketAddr) -> Self {
        let mut name = Self::default();
        match address {
            SocketAddr::V4(address) => {
                let ip = libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) };
                name.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as _,
                    sin_port: address.port().to_be(),
                    sin_addr: ip,
                    sin_zero: [0; 8],
                };
            }
            SocketAddr::V6(address) => {
                name.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as _,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
            }
        }
        name
    }
}

impl SocketName {
    /// Bytes of the address.
    pub(super) fn len(&self) -> libc::socklen_t {
        // SAFETY: every variant begins with the family, and the whole is always initialised.
        let ipv4 = i32::from(unsafe { self.family }) == libc::AF_INET;
        (if ipv4 { size_of::<libc::sockaddr_in>() } else { size_of::<libc::sockaddr_in6>() }) as _
    }

    /// The address, if it is one of IP.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        // SAFETY: the whole is always initialised, any bytes are a valid address, and the family says which one it is.
        unsafe {
            match i32::from(self.family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(self.v4.sin_addr.s_addr.to_ne_bytes());
                    Some(SocketAddr::from((ip, u16::from_be(self.v4.sin_port))))
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    Some(SocketAddr::from((ip, u16::from_be(self.v6.sin6_port))))
                }
                _ => None,
            }
        }
    }
}

/// Sends one datagram, or with `segment` several in one call. Waits for room in the socket's buffer.
///
/// # Errors
/// What the kernel says.
pub fn send_message(fd: BorrowedFd<'_>, parts: &[&[u8]], message: &Message) -> io::Result<()> {
    assert!(parts.len() <= MAX_PARTS, "a datagram of too many parts");
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; MAX_PARTS];
    for (vector, part) in vectors.iter_mut().zip(parts) {
        // sendmsg only reads; the type is shared with recvmsg.
        *vector = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
    }
    let mut name = SocketName::from(message.peer);
    let mut control = Control::new();
    let used = write_control(&mut control, message);
    let header = libc::msghdr {
        msg_name: (&raw mut name).cast(),
        msg_namelen: name.len(),
        msg_iov: vectors.as_mut_ptr(),
        msg_iovlen: parts.len() as _,
        msg_control: if used == 0 { ptr::null_mut() } else { (&raw mut control).cast() },
        msg_controllen: used as _,
        msg_flags: 0,
    };
    loop {
        // SAFETY: every pointer in the header is to memory that lives until the end of this function, of the length given.
        let result = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
        match Errno::result(result) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes control messages one after another.
struct ControlWriter<'a> {
    header: &'a libc::msghdr,
    at: *mut libc::cmsghdr,
    used: usize,
}

impl ControlWriter<'_> {
    fn push<T: Copy>(&mut self, level: i32, kind: i32, value: T) {
        let length = size_of::<T>() as u32;
        // SAFETY: `CMSG_LEN` and `CMSG_SPACE` only compute. `at` is null or points into the control buffer of `header`
        // with room for this message, for the buffer has room for all that `write_control` writes (see CONTROL_LEN) and
        // the macros step by aligned sizes within `msg_controllen`.
        unsafe {
            if self.at.is_null() {
                return;
            }
            (*self.at).cmsg_level = level;
            (*self.at).cmsg_type = kind;
            (*self.at).cmsg_len = libc::CMSG_LEN(length) as _;
            ptr::write_unaligned(libc::CMSG_DATA(self.at).cast(), value);
            self.used += libc::CMSG_SPACE(length) as usize;
            self.at = libc::CMSG_NXTHDR(self.header, self.at);
        }
    }
}

/// Writes the control messages of a send, and returns how many bytes they take.
pub(super) fn write_control(control: &mut Control, message: &Message) -> usize {
    // `CMSG_NXTHDR` looks at the length of the message that will be written there.
    *control = Control::new();
    let header = &Control::header(control, CONTROL_LEN);
    // SAFETY: the header's control buffer is a zeroed buffer of `msg_controllen` bytes.
    let at = unsafe { libc::CMSG_FIRSTHDR(header) };
    let mut writer = ControlWriter { header, at, used: 0 };
    match message.source {
        IpAddr::V4(source) if !source.is_unspecified() => {
            let address = libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) };
            let info =
                libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: libc::in_addr { s_addr: 0 } };
            writer.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        IpAddr::V6(source) if !source.is_unspecified() => {
            let address = libc::in6_addr { s6_addr: source.octets() };
            writer.push(
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 },
            );
        }
        _ => {}
    }
    if message.traffic_class != 0 {
        let (level, kind) = if message.peer.is_ipv4() {
            (libc::IPPROTO_IP, libc::IP_TOS)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        };
        writer.push(level, kind, i32::from(message.traffic_class));
    }
    if let Some(segment) = message.segment {
        writer.push(libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    writer.used
}

/// Receives one datagram if one is there. `local` is the address of the socket, for what the kernel does not tell.
///
/// # Errors
/// What the kernel says, but for errors that only tell of an earlier send (an ICMP message came): those count as
/// `unreachable`.
pub fn receive_message(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    local: SocketAddr,
    unreachable: &AtomicU64,
) -> io::Result<Option<Received>> {
    let mut name = SocketName::default();
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Control::new();
    let mut header = libc::msghdr {
        msg_name: (&raw mut name).cast(),
        msg_namelen: size_of::<SocketName>() as _,
        msg_iov: &raw mut vector,
        msg_iovlen: 1,
        msg_control: (&raw mut control).cast(),
        msg_controllen: CONTROL_LEN as _,
        msg_flags: 0,
    };
    let len = loop {
        // SAFETY: every pointer in the header is to memory that lives until the end of this function, of the length given.
        let result = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
        match Errno::result(result) {
            Ok(len) => break len as usize,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(error) if tells_of_earlier_send(error) => drop(unreachable.fetch_add(1, Ordering::Relaxed)),
            Err(error) => return Err(error.into()),
        }
    };
    let Some(peer) = name.address() else { return Ok(None) };
    let mut received = Received { len, segment: len, peer, local, traffic_class: 0 };
    read_control(&control, header.msg_controllen as _, &mut received);
    Ok(Some(received))
}

/// Reads the control messages of a received datagram, which the kernel wrote into the first `len` bytes.
pub(super) fn read_control(control: &Control, len: usize, received: &mut Received) {
    let header = &Control::header(ptr::from_ref(control).cast_mut(), len);
    // SAFETY: the kernel filled the control buffer of `header` and told the length; nothing is written through the header.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !at.is_null() {
        // SAFETY: `at` is not null, so it points to a whole control message in the buffer; each kind is read as the type
        // that the kernel documents for it, unaligned.
        unsafe {
            let data = libc::CMSG_DATA(at);
            match ((*at).cmsg_level, (*at).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    received.local.set_ip(IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    received.local.set_ip(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => received.traffic_class = *data,
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    received.traffic_class = ptr::read_unaligned(data.cast::<i32>()) as u8;
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let segment = ptr::read_unaligned(data.cast::<i32>());
                    received.segment =
                        usize::try_from(segment).ok().filter(|segment| *segment > 0).unwrap_or(received.len);
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
}
