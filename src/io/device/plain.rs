//! A kernel TUN device by the `tun-tap` crate: one packet a system call, which every kernel can.

use super::own_sources::accept_own_sources;
use super::readiness::{Readiness, is_transient};
use crate::dataplane::device::{FrameSource, PacketSink, Wait};
use crate::wire::virtio_net::{HEADER_LEN, VirtioNetHeader};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use tun_tap::{Iface, Mode};

/// A TUN device without packet information.
#[derive(Debug, Clone)]
pub struct PlainDevice {
    tun: Arc<Iface>,
}

impl PlainDevice {
    /// See [`Device::open`](super::Device::open).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(name: &str) -> io::Result<Self> {
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
        PlainSource { tun: Arc::clone(&self.tun), readiness: Readiness::default() }
    }

    /// An end to write to; any number of them.
    pub fn sink(&self) -> PlainSink {
        PlainSink { tun: Arc::clone(&self.tun) }
    }
}

impl AsFd for PlainDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        descriptor(&self.tun)
    }
}

fn descriptor(tun: &Iface) -> BorrowedFd<'_> {
    // SAFETY: the descriptor belongs to `tun`, which lives as long as this borrow.
    unsafe { BorrowedFd::borrow_raw(tun.as_raw_fd()) }
}

/// Reads packets.
#[derive(Debug)]
pub struct PlainSource {
    tun: Arc<Iface>,
    readiness: Readiness,
}

/// Reads a packet behind a virtio header that says nothing. Says how many bytes both have.
fn read(tun: &Iface, frame: &mut [u8]) -> io::Result<Option<usize>> {
    let Some((header, packet)) = frame.split_first_chunk_mut() else { return Ok(None) };
    *header = VirtioNetHeader::PLAIN.to_bytes();
    match tun.recv(packet) {
        Ok(0) => Ok(None),
        Ok(len) => Ok(Some(HEADER_LEN + len)),
        Err(error) if is_transient(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

impl FrameSource for PlainSource {
    fn read(&mut self, frame: &mut [u8], wait: Wait) -> io::Result<Option<usize>> {
        self.readiness.read_or_wait(descriptor(&self.tun), wait, || read(&self.tun, frame))
    }
}

/// Writes packets.
#[derive(Debug, Clone)]
pub struct PlainSink {
    tun: Arc<Iface>,
}

impl PacketSink for PlainSink {
    fn deliver(&mut self, buffer: &mut [u8], packets: &[Range<usize>]) -> io::Result<usize> {
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
