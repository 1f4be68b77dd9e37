//! A kernel TUN device with offloads, by the `tun-rs` crate: IFF_VNET_HDR and the super-packets of TSO and USO, so that
//! one system call moves up to 64 KiB of one flow.
//!
//! What comes is taken apart in front of the outbound loop ([`FairSource`](crate::dataplane::fair_source::FairSource)), what
//! goes is put together here ([`Coalescer`]): the gateway in between sees packets of the size that the network carries.

use super::own_sources::accept_own_sources;
use super::readiness::{Readiness, is_transient};
use crate::dataplane::coalesce::{Coalescer, MAX_SEGMENTS, Offers};
use crate::dataplane::device::{FrameSource, MAX_DELIVERY, PacketSink, Wait};
use crate::wire::virtio_net::{Segmentation, VirtioNetHeader};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tun_rs::{DeviceBuilder, SyncDevice};

/// Super-packets that wait in the kernel for the outbound loop, at most.
const QUEUE_LEN: u32 = 1000;

/// A TUN device with offloads.
#[derive(Clone)]
pub struct OffloadDevice {
    tun: Arc<SyncDevice>,
    name: Arc<str>,
    offers: Arc<SharedOffers>,
}

impl std::fmt::Debug for OffloadDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OffloadDevice").field("name", &self.name).field("offers", &self.offers).finish()
    }
}

/// What the device still takes; given up at the first sign that it does not.
#[derive(Debug)]
struct SharedOffers {
    tcp: AtomicBool,
    udp: AtomicBool,
}

impl SharedOffers {
    fn get(&self) -> Offers {
        Offers { tcp: self.tcp.load(Ordering::Relaxed), udp: self.udp.load(Ordering::Relaxed) }
    }

    fn give_up(&self, kind: Segmentation) {
        let flag = if kind == Segmentation::Udp { &self.udp } else { &self.tcp };
        if flag.swap(false, Ordering::Relaxed) {
            tracing::warn!("the TUN device refuses super-packets ({kind:?}); from now on packets go one by one");
        }
    }
}

impl OffloadDevice {
    /// See [`Device::open`](super::Device::open).
    ///
    /// # Errors
    /// When the kernel refuses, or has no offloads.
    pub fn open(name: &str) -> io::Result<Self> {
        let tun = DeviceBuilder::new()
            .name(name)
            .with(|device| {
                device.offload(true).tx_queue_len(QUEUE_LEN);
            })
            .enable(false)
            .build_sync()?;
        if !tun.tcp_gso() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel gives no super-packets"));
        }
        tun.set_nonblocking(true)?;
        let name = tun.name()?;
        accept_own_sources(&name);
        let offers = SharedOffers { tcp: AtomicBool::new(true), udp: AtomicBool::new(tun.udp_gso()) };
        Ok(Self { tun: Arc::new(tun), name: name.into(), offers: Arc::new(offers) })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has super-packets of UDP too.
    pub fn takes_udp(&self) -> bool {
        self.tun.udp_gso()
    }

    /// The outbound loop's end.
    pub fn source(&self) -> OffloadSource {
        OffloadSource { tun: Arc::clone(&self.tun), readiness: Readiness::default() }
    }

    /// An end to write to; any number of them.
    pub fn sink(&self) -> OffloadSink {
        OffloadSink {
            tun: Arc::clone(&self.tun),
            coalescer: Coalescer::new(MAX_DELIVERY),
            offers: Arc::clone(&self.offers),
        }
    }
}

impl AsFd for OffloadDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tun.as_fd()
    }
}

/// Reads packets and super-packets, each behind its virtio header.
pub struct OffloadSource {
    tun: Arc<SyncDevice>,
    readiness: Readiness,
}

impl std::fmt::Debug for OffloadSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OffloadSource").finish_non_exhaustive()
    }
}

impl FrameSource for OffloadSource {
    fn read(&mut self, frame: &mut [u8], wait: Wait) -> io::Result<Option<usize>> {
        self.readiness.read_or_wait(self.tun.as_fd(), wait, || match self.tun.recv(frame) {
            Ok(0) => Ok(None),
            Ok(len) => Ok(Some(len)),
            Err(error) if is_transient(&error) => Ok(None),
            Err(error) => Err(error),
        })
    }
}

/// Writes packets, joined where that can be undone.
pub struct OffloadSink {
    tun: Arc<SyncDevice>,
    coalescer: Coalescer,
    offers: Arc<SharedOffers>,
}

impl std::fmt::Debug for OffloadSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OffloadSink").finish_non_exhaustive()
    }
}

impl PacketSink for OffloadSink {
    fn deliver(&mut self, buffer: &mut [u8], packets: &[Range<usize>]) -> io::Result<usize> {
        let mut refused = 0;
        self.coalescer.sort(buffer, packets, self.offers.get());
        for group in 0..self.coalescer.len() {
            let header = self.coalescer.describe(group, buffer, packets);
            match write(&self.tun, header, self.coalescer.parts(group, packets).map(|part| &buffer[part])) {
                Ok(()) => {}
                Err(error) if is_gone(&error) => return Err(error),
                Err(_) if header.segmentation == Segmentation::None => refused += 1,
                Err(_) => {
                    self.coalescer.restore(group, buffer, packets);
                    let one_by_one = self.write_members(group, buffer, packets)?;
                    if one_by_one == 0 {
                        self.offers.give_up(header.segmentation);
                    }
                    refused += one_by_one;
                }
            }
        }
        Ok(refused)
    }
}

impl OffloadSink {
    /// Writes the packets of a group one by one. Returns how many the device did not take.
    fn write_members(&self, group: usize, buffer: &[u8], packets: &[Range<usize>]) -> io::Result<usize> {
        let mut refused = 0;
        for packet in self.coalescer.members(group, packets) {
            match write(&self.tun, VirtioNetHeader::PLAIN, std::iter::once(&buffer[packet])) {
                Ok(()) => {}
                Err(error) if is_gone(&error) => return Err(error),
                Err(_) => refused += 1,
            }
        }
        Ok(refused)
    }
}

/// EINVAL, ENOBUFS and the like concern a packet; EBADFD means that the device is gone.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADFD)
}

fn write<'a>(tun: &SyncDevice, header: VirtioNetHeader, parts: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let header = header.to_bytes();
    let mut slices = [IoSlice::new(&[]); MAX_SEGMENTS + 1];
    slices[0] = IoSlice::new(&header);
    let mut count = 1;
    for (slice, part) in slices[1..].iter_mut().zip(parts) {
        *slice = IoSlice::new(part);
        count += 1;
    }
    tun.send_vectored(&slices[..count]).map(drop)
}
