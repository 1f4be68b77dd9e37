//! Many datagrams in one `sendmmsg` or `recvmmsg`. The headers are memory of a loop's own, laid out once: a call writes
//! only what differs from the last one, and allocates nothing.

use super::send_errors::{class_of, is_too_big, tells_of_earlier_send};
use super::socket_message::{Control, Message, Received, SocketName, read_control, write_control};
use crate::dataplane::device::Sent;
use nix::errno::Errno;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Datagrams of one `sendmmsg`: as many as a run has.
const SEND_BATCH: usize = 64;
/// Datagrams of one `recvmmsg` at most.
pub const RECEIVE_BATCH: usize = 32;

const NO_MESSAGE: libc::mmsghdr = libc::mmsghdr {
    msg_hdr: libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: ptr::null_mut(),
        msg_iovlen: 1,
        msg_control: ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    },
    msg_len: 0,
};
const NO_VECTOR: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

/// Sends packets that share all but their bytes.
#[derive(Debug, Default)]
pub struct SendBatch(Box<SendSlots>);

struct SendSlots {
    headers: [libc::mmsghdr; SEND_BATCH],
    vectors: [libc::iovec; SEND_BATCH],
    name: SocketName,
    control: Control,
    control_len: usize,
    /// What name and control say.
    message: Option<Message>,
    /// The errno of the last refusal that was not about a size.
    refusal: i32,
}

// SAFETY: the pointers in the headers and vectors are written anew before each system call, and read by it alone.
unsafe impl Send for SendSlots {}

impl Default for SendSlots {
    fn default() -> Self {
        Self {
            headers: [NO_MESSAGE; SEND_BATCH],
            vectors: [NO_VECTOR; SEND_BATCH],
            name: SocketName::default(),
            control: Control::new(),
            control_len: 0,
            message: None,
            refusal: 0,
        }
    }
}

impl std::fmt::Debug for SendSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendSlots").field("message", &self.message).finish_non_exhaustive()
    }
}

impl SendBatch {
    /// Sends bytes as one datagram, or with `message.segment` as several in one call (UDP_SEGMENT). Waits for room in the
    /// socket's buffer.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send_run(&mut self, fd: BorrowedFd<'_>, bytes: &[u8], message: &Message) -> io::Result<()> {
        let slots = &mut *self.0;
        slots.address(message);
        slots.lay_out(0, bytes);
        slots.send(fd, 0..1).map(drop)
    }

    /// What became of so many datagrams that were refused together.
    pub fn refused(&mut self, error: &io::Error, datagrams: u64) -> Sent {
        self.0.refusal = error.raw_os_error().unwrap_or(0);
        Sent { too_big: 0, failed: datagrams, why: class_of(error) }
    }

    /// The errno of the last refusal that was not about a size; 0 before the first.
    pub fn refusal(&self) -> i32 {
        self.0.refusal
    }

    /// Sends each packet in another way than by this batch's calls. One that the kernel refuses is counted, and those behind it
    /// are sent all the same.
    pub(super) fn send_by<'a>(
        &mut self,
        packets: impl Iterator<Item = &'a [u8]>,
        send: impl Fn(&[u8]) -> io::Result<()>,
    ) -> Sent {
        let mut refused = Sent::default();
        for error in packets.filter_map(|packet| send(packet).err()) {
            let Sent { too_big, failed, why } = self.refused(&error, 1);
            refused = Sent { too_big: refused.too_big + too_big, failed: refused.failed + failed, why };
        }
        refused
    }

    /// Sends each packet as a datagram of its own. Waits for room in the socket's buffer. A packet that the kernel refuses
    /// is counted, and those behind it are sent all the same.
    pub fn send_each<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        mut packets: impl Iterator<Item = &'a [u8]>,
        message: &Message,
    ) -> Sent {
        let slots = &mut *self.0;
        slots.address(message);
        let mut refused = Sent::default();
        loop {
            let mut filled = 0;
            for packet in packets.by_ref().take(SEND_BATCH) {
                slots.lay_out(filled, packet);
                filled += 1;
            }
            let mut next = 0;
            while next < filled {
                match slots.send(fd, next..filled) {
                    Ok(sent) => next += sent,
                    // The error is the first one's: the kernel reports none behind a datagram that it sent.
                    Err(error) => {
                        next += 1;
                        if is_too_big(&error) {
                            refused.too_big += 1;
                        } else {
                            slots.refusal = error.raw_os_error().unwrap_or(0);
                            (refused.failed, refused.why) = (refused.failed + 1, class_of(&error));
                        }
                    }
                }
            }
            if filled < SEND_BATCH {
                return refused;
            }
        }
    }
}

impl SendSlots {
    /// Writes name and control messages, unless they are those of the last call.
    fn address(&mut self, message: &Message) {
        if self.message.as_ref() != Some(message) {
            self.name = SocketName::from(message.peer);
            self.control_len = write_control(&mut self.control, message);
            self.message = Some(*message);
        }
    }

    fn lay_out(&mut self, n: usize, packet: &[u8]) {
        // sendmsg only reads; the type is shared with recvmsg.
        self.vectors[n] = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        let header = &mut self.headers[n].msg_hdr;
        header.msg_name = (&raw mut self.name).cast();
        header.msg_namelen = self.name.len();
        header.msg_iov = &raw mut self.vectors[n];
        header.msg_control = if self.control_len == 0 { ptr::null_mut() } else { (&raw mut self.control).cast() };
        header.msg_controllen = self.control_len as _;
    }

    /// Sends the datagrams that were laid out at these places, and returns how many.
    fn send(&mut self, fd: BorrowedFd<'_>, places: std::ops::Range<usize>) -> io::Result<usize> {
        let headers = &mut self.headers[places];
        loop {
            // SAFETY: the kernel reads `headers.len()` headers, which were laid out since the last change of their targets:
            // name, control and vectors are of `self`, and the vectors' bytes outlive the calls of this module's functions.
            let result = unsafe {
                libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, libc::MSG_NOSIGNAL as _)
            };
            match Errno::result(result) {
                Ok(sent) => return Ok(sent as usize),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Receives datagrams, one a buffer.
#[derive(Debug, Default)]
pub struct ReceiveBatch {
    slots: Box<ReceiveSlots>,
    unreachable: u64,
}

struct ReceiveSlots {
    headers: [libc::mmsghdr; RECEIVE_BATCH],
    vectors: [libc::iovec; RECEIVE_BATCH],
    names: [SocketName; RECEIVE_BATCH],
    controls: [Control; RECEIVE_BATCH],
}

// SAFETY: the pointers in the headers and vectors are written anew before each system call, and followed by it alone.
unsafe impl Send for ReceiveSlots {}

impl Default for ReceiveSlots {
    fn default() -> Self {
        Self {
            headers: [NO_MESSAGE; RECEIVE_BATCH],
            vectors: [NO_VECTOR; RECEIVE_BATCH],
            names: [SocketName::default(); RECEIVE_BATCH],
            controls: [Control::new(); RECEIVE_BATCH],
        }
    }
}

impl std::fmt::Debug for ReceiveSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveSlots").finish_non_exhaustive()
    }
}

impl ReceiveBatch {
    /// Receives what is there, the first datagram into the first buffer and so on, and returns how many came. None is
    /// waited for. Fewer than there are buffers, or than [`RECEIVE_BATCH`], means that no more are there.
    ///
    /// # Errors
    /// What the kernel says, but for errors that only tell of an earlier send (an ICMP message came); see
    /// [`take_unreachable`](Self::take_unreachable).
    pub fn receive<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        buffers: impl Iterator<Item = &'a mut [u8]>,
    ) -> io::Result<usize> {
        let slots = &mut *self.slots;
        let mut count = 0;
        for buffer in buffers.take(RECEIVE_BATCH) {
            slots.vectors[count] = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let header = &mut slots.headers[count].msg_hdr;
            header.msg_name = (&raw mut slots.names[count]).cast();
            header.msg_namelen = size_of::<SocketName>() as _;
            header.msg_iov = &raw mut slots.vectors[count];
            header.msg_control = (&raw mut slots.controls[count]).cast();
            header.msg_controllen = size_of::<Control>() as _;
            count += 1;
        }
        loop {
            let (headers, wait) = (slots.headers.as_mut_ptr(), ptr::null_mut());
            // SAFETY: the kernel uses `count` headers, which were just laid out: names, controls and vectors are of `slots`,
            // each of the length given, and the vectors are buffers that this function holds exclusively.
            let result =
                unsafe { libc::recvmmsg(fd.as_raw_fd(), headers, count as u32, libc::MSG_DONTWAIT as _, wait) };
            match Errno::result(result) {
                Ok(received) => return Ok(received as usize),
                Err(Errno::EAGAIN) => return Ok(0),
                Err(Errno::EINTR) => {}
                Err(error) if tells_of_earlier_send(error) => self.unreachable += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How often ICMP told of an earlier datagram that did not arrive, since the last call.
    pub fn take_unreachable(&mut self) -> u64 {
        std::mem::take(&mut self.unreachable)
    }

    /// What is known of the `n`th datagram of the last call. `local` is the address of the socket, for what the kernel does
    /// not tell. `None` for a datagram from no IP address.
    ///
    /// # Panics
    /// When `n` is not below [`RECEIVE_BATCH`].
    pub fn received(&self, n: usize, local: SocketAddr) -> Option<Received> {
        let header = &self.slots.headers[n];
        let len = header.msg_len as usize;
        let peer = self.slots.names[n].address()?;
        let mut received = Received { len, segment: len, peer, local, traffic_class: 0 };
        read_control(&self.slots.controls[n], header.msg_hdr.msg_controllen as _, &mut received);
        Some(received)
    }
}
