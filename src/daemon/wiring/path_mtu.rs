//! The paths to the peers: the table of `dataplane::path_mtu`, which pairs use each path, and what tells of the own device.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use crate::dataplane::drop::{DropCounters, DropReason};
use crate::dataplane::outer_header::OuterPath;
use crate::dataplane::path_mtu::{PathMtus, Step};

/// Tells what the own device takes that packets from the first address to the second leave by.
pub type DeviceMtu = Box<dyn Fn(IpAddr, IpAddr) -> io::Result<u16> + Send>;

/// The paths to the peers and who uses them.
pub struct Paths {
    table: PathMtus,
    /// By the peer's address: the outbound SPI of each pair, and the inbound one.
    users: HashMap<IpAddr, HashMap<u32, u32>>,
    device: DeviceMtu,
    /// Of the outbound thread.
    drops: Arc<DropCounters>,
    /// Packets that the kernel had refused as too big when it was asked last.
    refused: u64,
}

impl Paths {
    /// Without paths. `outer_mtu`, in bytes, is what none is believed to exceed; what no IP packet reaches is as good as the
    /// largest. A path that takes more again is found within `raise`.
    pub fn new(outer_mtu: u32, raise: Duration, drops: Arc<DropCounters>, device: DeviceMtu) -> Self {
        let table = PathMtus::new(u16::try_from(outer_mtu).unwrap_or(u16::MAX), raise);
        Self { table, users: HashMap::new(), device, drops, refused: 0 }
    }

    /// A pair uses the path. Returns what it takes.
    pub fn join(&mut self, path: OuterPath, outbound_spi: u32, inbound_spi: u32, now: Instant) -> u16 {
        let peer = path.peer.ip();
        let device = || device_mtu(&self.device, path.local.ip(), peer);
        self.table.join(peer, device, now);
        self.users.entry(peer).or_default().insert(outbound_spi, inbound_spi);
        self.table.mtu(peer)
    }

    /// A pair uses the path no longer.
    pub fn leave(&mut self, peer: IpAddr, outbound_spi: u32) {
        self.table.leave(peer);
        if let Some(users) = self.users.get_mut(&peer) {
            users.remove(&outbound_spi);
            if users.is_empty() {
                self.users.remove(&peer);
            }
        }
    }

    /// What the path to a peer takes.
    pub fn mtu(&self, peer: IpAddr) -> u16 {
        self.table.mtu(peer)
    }

    /// A packet that not every path takes went to a peer at this time.
    pub fn large_sent(&mut self, peer: IpAddr, at: Instant) {
        self.table.large_sent(peer, at);
    }

    /// What became of a probe.
    pub fn probed(&mut self, peer: IpAddr, asked: u16, sent: u16, in_time: bool, now: Instant) {
        debug!(%peer, asked, sent, in_time, "probed the path MTU");
        self.table.probed(peer, asked, sent, in_time, now);
    }

    /// A router says about a packet of ours what it takes, in bytes. Whoever calls has made sure that it was ours.
    pub fn told(&mut self, peer: IpAddr, mtu: u16, now: Instant) {
        self.table.told(peer, mtu, now);
    }

    /// What discovery asks for next; to be called until there is no more.
    pub fn next(&mut self, now: Instant) -> Option<Step> {
        self.table.next(now)
    }

    /// Looks what the own device takes that packets from `local` to the peer leave by.
    pub fn ask_device(&mut self, local: IpAddr, peer: IpAddr, now: Instant) {
        let mtu = device_mtu(&self.device, local, peer);
        self.table.device(peer, mtu, now);
    }

    /// The pairs that use the path to a peer, each by its outbound SPI and its inbound one.
    pub fn users(&self, peer: IpAddr) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.users.get(&peer).into_iter().flatten().map(|(outbound, inbound)| (*outbound, *inbound))
    }

    /// The inbound SPI of the pair that sends to a peer with this outbound SPI.
    pub fn user(&self, peer: IpAddr, outbound_spi: u32) -> Option<u32> {
        self.users.get(&peer)?.get(&outbound_spi).copied()
    }

    /// Lets time pass, and looks whether the kernel has refused packets.
    pub fn look(&mut self, now: Instant) {
        self.table.look(now);
        let refused = self.drops.count(DropReason::OuterTooBig);
        if refused != std::mem::replace(&mut self.refused, refused) {
            self.table.refused(now);
        }
    }
}

/// Where the system does not tell, the path may take what is configured: it is tried.
fn device_mtu(device: &DeviceMtu, local: IpAddr, peer: IpAddr) -> u16 {
    device(local, peer).unwrap_or_else(|error| {
        debug!(%error, %peer, "the device's MTU is unknown");
        u16::MAX
    })
}
