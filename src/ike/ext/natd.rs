//! NAT detection (RFC 7296 2.23): each end tells hashes of the addresses that it sees, and compares. Where there is a NAT,
//! IKE and ESP go to the port of NAT traversal, the end behind it keeps the mapping alive, and the other one follows it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::extension::{At, Extension, Point, Voice};
use super::negotiated::{Nat, Negotiated};
use crate::crypto::digest::{constant_time_eq, sha1};
use crate::ike::config::Connection;
use crate::ike::context::Context;
use crate::ike::event::{Deadline, Path, Why};
use crate::ike::keys::Spis;
use crate::ike::message::Payloads;
use crate::wire::ike::{Notify, NotifyType, Payload};

/// The row of NAT detection.
pub(super) struct NatDetection;

impl Extension for NatDetection {
    fn name(&self) -> &'static str {
        "nat-detection"
    }

    fn is_on(&self, connection: &Connection) -> bool {
        connection.nat_traversal
    }

    fn is_used(&self, negotiated: &Negotiated) -> bool {
        negotiated.nat.supported
    }

    /// The two hashes. When encapsulation is forced, that of our own address is one that no address has, so that the peer
    /// sees a NAT; it is the same one when the request is sent again with a cookie (RFC 7296 2.6). A responder answers who
    /// has asked.
    fn say(&self, at: At, voice: &mut Voice<'_>, negotiated: &mut Negotiated) -> Vec<Payload> {
        match at.point {
            Point::InitRequest => {}
            Point::InitResponse if negotiated.nat.supported => {}
            _ => return Vec::new(),
        }
        let source = if voice.connection.force_encapsulation {
            *negotiated.nat.made_up_source.get_or_insert_with(|| {
                let mut drawn = [0; 20];
                voice.entropy.fill(&mut drawn);
                drawn
            })
        } else {
            hash(at.spis, at.path.local)
        };
        let destination = hash(at.spis, at.path.peer);
        vec![
            Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, source.to_vec())),
            Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, destination.to_vec())),
        ]
    }

    fn hear(&self, at: At, payloads: &Payloads, negotiated: &mut Negotiated) {
        if let Point::InitRequest | Point::InitResponse = at.point {
            negotiated.nat = detect(at, payloads);
        }
    }

    fn settle(&self, connection: &Connection, negotiated: &mut Negotiated) {
        let Nat { supported, local_behind_nat, peer_behind_nat, .. } = negotiated.nat;
        let needed = local_behind_nat || peer_behind_nat || connection.force_encapsulation;
        negotiated.nat.encapsulate = connection.nat_traversal && supported && needed;
    }

    fn begin(&self, connection: &Connection, negotiated: &mut Negotiated, now: Instant) {
        let keeps_alive = negotiated.nat.local_behind_nat && !connection.nat_keepalive.is_zero();
        negotiated.nat.keepalive_at = keeps_alive.then(|| now + connection.nat_keepalive);
    }

    /// The same hosts, on the ports of NAT traversal.
    fn path(&self, mut path: Path, nat_port: u16, negotiated: &Negotiated) -> Path {
        if negotiated.nat.encapsulate {
            path.local.set_port(nat_port);
            path.peer.set_port(nat_port);
            path.non_esp_marker = true;
        }
        path
    }

    /// A peer behind a NAT is followed when its address changes; who is behind a NAT itself does not follow, for then
    /// anybody on the way could redirect it.
    fn follows(&self, from: Path, to: Path, negotiated: &Negotiated) -> bool {
        let Nat { local_behind_nat, peer_behind_nat, .. } = negotiated.nat;
        to.non_esp_marker == from.non_esp_marker && peer_behind_nat && !local_behind_nat
    }

    fn deadline(&self, negotiated: &Negotiated) -> Option<Deadline> {
        negotiated.nat.keepalive_at.map(|at| Deadline { at, why: Why::NatKeepalive })
    }

    /// Sends a keepalive (RFC 3948 2.3).
    fn timeout(&self, connection: &Connection, path: Path, negotiated: &mut Negotiated, cx: &mut Context<'_>) {
        if negotiated.nat.keepalive_at.is_some_and(|at| at <= cx.now) {
            negotiated.nat.keepalive_at = Some(cx.now + connection.nat_keepalive);
            if path.non_esp_marker {
                cx.transmit(path, [[0xff]]);
            }
        }
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

/// Compares the peer's hashes with the addresses of the datagram that brought them.
fn detect(at: At, payloads: &Payloads) -> Nat {
    let mut sources = payloads.notifies(NotifyType::NAT_DETECTION_SOURCE_IP).peekable();
    let mut destinations = payloads.notifies(NotifyType::NAT_DETECTION_DESTINATION_IP).peekable();
    if sources.peek().is_none() || destinations.peek().is_none() {
        return Nat::default();
    }
    let (peer, local) = (hash(at.spis, at.path.peer), hash(at.spis, at.path.local));
    Nat {
        supported: true,
        // A peer with several addresses sends several hashes of its own; one that fits is enough.
        peer_behind_nat: !sources.any(|notify| constant_time_eq(&notify.data, &peer)),
        local_behind_nat: !destinations.any(|notify| constant_time_eq(&notify.data, &local)),
        ..Nat::default()
    }
}
