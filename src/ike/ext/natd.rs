//! NAT detection (RFC 7296 2.23): each end tells hashes of the addresses that it sees, and compares.

use std::net::{IpAddr, SocketAddr};

use crate::crypto::Entropy;
use crate::crypto::digest::{constant_time_eq, sha1};
use crate::ike::context::Context;
use crate::ike::event::{Output, Path, Transmit};
use crate::ike::keys::Spis;
use crate::ike::message::Payloads;
use crate::wire::ike::{Notify, NotifyType, Payload};

/// What NAT detection found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::ike) struct NatStatus {
    /// Both ends took part.
    pub(in crate::ike) supported: bool,
    /// The peer sees us at another address than our own.
    pub(in crate::ike) local_behind_nat: bool,
    /// We see the peer at another address than its own, or it pretends so.
    pub(in crate::ike) peer_behind_nat: bool,
}

impl NatStatus {
    /// Whether anything asks for UDP encapsulation.
    pub(in crate::ike) fn detected(&self) -> bool {
        self.local_behind_nat || self.peer_behind_nat
    }
}

/// `SHA-1(SPIi | SPIr | IP | port)`.
fn hash(spis: Spis, address: SocketAddr) -> [u8; 20] {
    let mut data = [&spis.initiator.0[..], &spis.responder.0[..]].concat();
    match address.ip() {
        IpAddr::V4(ip) => data.extend(ip.octets()),
        IpAddr::V6(ip) => data.extend(ip.octets()),
    }
    data.extend(address.port().to_be_bytes());
    sha1(&data)
}

/// The two notifications for a message on `path`. When encapsulation is forced, the hash of our own address is one
/// that no address has, so that the peer sees a NAT.
pub(in crate::ike) fn announce(spis: Spis, path: &Path, force: bool, entropy: &mut dyn Entropy) -> [Payload; 2] {
    let mut source = hash(spis, path.local);
    if force {
        entropy.fill(&mut source);
    }
    [
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, source.to_vec())),
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, hash(spis, path.peer).to_vec())),
    ]
}

/// Compares the peer's hashes with the addresses of the datagram that brought them.
pub(in crate::ike) fn detect(spis: Spis, path: &Path, payloads: &Payloads) -> NatStatus {
    let mut sources = payloads.notifies(NotifyType::NAT_DETECTION_SOURCE_IP).peekable();
    let mut destinations = payloads.notifies(NotifyType::NAT_DETECTION_DESTINATION_IP).peekable();
    if sources.peek().is_none() || destinations.peek().is_none() {
        return NatStatus::default();
    }
    let (peer, local) = (hash(spis, path.peer), hash(spis, path.local));
    NatStatus {
        supported: true,
        // A peer with several addresses sends several hashes of its own; one that fits is enough.
        peer_behind_nat: !sources.any(|notify| constant_time_eq(&notify.data, &peer)),
        local_behind_nat: !destinations.any(|notify| constant_time_eq(&notify.data, &local)),
    }
}

/// Sends a NAT keepalive (RFC 3948 2.3).
pub(in crate::ike) fn keep_alive(path: Path, cx: &mut Context<'_>) {
    if path.non_esp_marker {
        cx.outbox.push(Output::Transmit(Transmit::new(path, vec![0xff])));
    }
}
