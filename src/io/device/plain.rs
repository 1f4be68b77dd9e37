//! A kernel TUN device by the `tun-tap` crate: one packet a system call, which every kernel can.

use crate::dataplane::device::{FrameRoom, PacketSink, PacketSource, Wait};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use tun_tap::{Iface, Mode};

/// A TUN device without packet information. The interface is removed when the last handle is gone.
#[derive(Debug, Clone)]
pub struct PlainDevice {
    tun: Arc<Iface>,
}

impl PlainDevice {
    /// Makes a TUN interface in the network namespace of the calling thread; needs CAP_NET_ADMIN and /dev/net/tun.
    /// A name with `%d` is completed by the kernel.
    ///
    /// # Errors
    /// When the kernel refuses, for example because the name is taken.
    pub fn open(name: &str) -> io::Result<Self> {
        // 15 bytes and a NUL are what an interface name has room for.
        if name.is_empty() || name.len() > 15 || name.contains(['/', '\0', ' ']) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot name an interface")));
        }
        let tun = Iface::without_packet_info(name, Mode::Tun)?;
        tun.set_non_blocking()?;
        accept_own_sources(tun.name());
        Ok(Self { tun: Arc::new(tun) })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        self.tun.name()
    }

    /// The outbound loop's end.
    pub fn source(&self) -> PlainSource {
        PlainSource { tun: Arc::clone(&self.tun), eager: false }
    }

    /// An end to write to; any number of them.
    pub fn sink(&self) -> PlainSink {
        PlainSink { tun: Arc::clone(&self.tun) }
    }
}

/// The gateway's own ICMP messages come out of the TUN with an address of this host as their source, which the kernel
/// takes for a forgery unless told otherwise. Where it cannot be told (a read-only /proc), senders of packets that are too
/// big learn nothing; everything else works.
fn accept_own_sources(name: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/accept_local"), "1");
}

/// Reads packets. There must be only one.
#[derive(Debug)]
pub struct PlainSource {
    tun: Arc<Iface>,
    /// The last read found a packet without waiting, so the next probably does: it is tried before `poll`.
    eager: bool,
}

impl PlainSource {
    fn read(&self, room: &mut FrameRoom<'_>) -> io::Result<bool> {
        let space = room.space();
        if space.is_empty() {
            return Ok(false);
        }
        match self.tun.recv(space) {
            Ok(0) => Ok(false),
            Ok(len) => {
                room.commit(len);
                Ok(true)
            }
            // EIO: the interface is down. It may come up again.
            Err(error) if is_transient(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn wait(&self, time: std::time::Duration) -> io::Result<bool> {
        // SAFETY: the descriptor belongs to `self.tun`, which lives as long as this borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(self.tun.as_raw_fd()) };
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EAGAIN | Errno::EINTR | Errno::EIO))
}

impl PacketSource for PlainSource {
    fn receive(&mut self, room: &mut FrameRoom<'_>, wait: Wait) -> io::Result<bool> {
        let Wait::AtMost(time) = wait else {
            self.eager = self.read(room)?;
            return Ok(self.eager);
        };
        if self.eager {
            self.eager = self.read(room)?;
            if self.eager {
                return Ok(true);
            }
        }
        Ok(self.wait(time)? && self.read(room)?)
    }
}

/// Writes packets.
#[derive(Debug, Clone)]
pub struct PlainSink {
    tun: Arc<Iface>,
}

impl PacketSink for PlainSink {
    fn deliver(&mut self, buffer: &[u8], packets: &[Range<usize>]) -> io::Result<usize> {
        let mut refused = 0;
        for packet in packets {
            let bytes = buffer.get(packet.clone()).unwrap_or_default();
            // EINVAL, ENOBUFS and the like concern this packet; EBADFD means that the device is gone.
            match self.tun.send(bytes) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EBADFD) => return Err(error),
                Err(_) => refused += 1,
            }
        }
        Ok(refused)
    }
}
