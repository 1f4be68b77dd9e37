//! One `sendmsg` or `recvmsg` with the control messages that the packet path needs, without allocation.

use nix::errno::Errno;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// What a datagram is sent with.
#[derive(Debug, Clone, Copy)]
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
union Control {
    bytes: [u8; CONTROL_LEN],
    _align: libc::cmsghdr,
}

impl Control {
    fn new() -> Self {
        Self { bytes: [0; CONTROL_LEN] }
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
    let peer = SockaddrStorage::from(message.peer);
    let mut control = Control::new();
    // SAFETY: all zeros is a valid msghdr: null pointers and zero lengths.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = peer.as_ptr().cast_mut().cast();
    header.msg_namelen = peer.len();
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = parts.len() as _;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = CONTROL_LEN as _;
    let used = write_control(&header, message);
    header.msg_controllen = used as _;
    if used == 0 {
        header.msg_control = ptr::null_mut();
    }
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

fn write_control(header: &libc::msghdr, message: &Message) -> usize {
    // SAFETY: the header's control buffer was set to a zeroed buffer of `msg_controllen` bytes.
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
/// What the kernel says, but for errors that only tell of an earlier send (an ICMP message came).
pub fn receive_message(fd: BorrowedFd<'_>, buffer: &mut [u8], local: SocketAddr) -> io::Result<Option<Received>> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Control::new();
    // SAFETY: all zeros is a valid msghdr: null pointers and zero lengths.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as _;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = CONTROL_LEN as _;
    let len = loop {
        // SAFETY: every pointer in the header is to memory that lives until the end of this function, of the length given.
        let result = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
        match Errno::result(result) {
            Ok(len) => break len as usize,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR | Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EMSGSIZE) => {}
            Err(error) => return Err(error.into()),
        }
    };
    // SAFETY: the kernel wrote `msg_namelen` bytes of a socket address over the zeros.
    let name = unsafe { name.assume_init() };
    // SAFETY: the pointer is to a whole sockaddr_storage, and the length is what the kernel reported.
    let peer = unsafe { SockaddrStorage::from_raw((&raw const name).cast(), Some(header.msg_namelen)) };
    let Some(peer) = peer.as_ref().and_then(address_of) else { return Ok(None) };
    let mut received = Received { len, segment: len, peer, local, traffic_class: 0 };
    read_control(&header, &mut received);
    Ok(Some(received))
}

fn read_control(header: &libc::msghdr, received: &mut Received) {
    // SAFETY: the kernel filled the control buffer of `header`, and set `msg_controllen` to what it wrote.
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

/// The IP address and port in a socket address of either family.
pub(super) fn address_of(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddr::from((address.ip(), address.port())));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddr::from((address.ip(), address.port()))))
}
