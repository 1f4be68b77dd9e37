//! A packet has no SA: what it asks of IKE.

use std::sync::Arc;

use super::Wiring;
use crate::dataplane::acquire::Acquire;
use crate::ike::{self, Command, Start};
use crate::wire::ike::TrafficSelector;
use crate::wire::ip::{Flow, Ports};

impl Wiring {
    /// The command that a packet without an SA asks for. Of a connection that starts at once it asks only for what the
    /// peer has left out, which IKE sees to; those that wait are the peer's to start.
    pub fn acquire(&self, acquire: &Acquire) -> Option<Command> {
        let name = self.channels.ids.name(acquire.connection)?;
        let connection = self.configured.connection(&name)?;
        if connection.start == Start::Wait {
            return None;
        }
        let packet = packet_selectors(&acquire.flow);
        let covers = |child: &&ike::Child| {
            let inside = |list: &[TrafficSelector], packet: &TrafficSelector| list.iter().any(|s| packet.is_subset(s));
            inside(&child.local_selectors, &packet.0) && inside(&child.peer_selectors, &packet.1)
        };
        let child = connection.children.iter().find(covers)?;
        Some(Command::Acquire { connection: name, child: Arc::clone(&child.name), packet: Some(packet) })
    }
}

/// One packet as the pair of selectors that covers just it (RFC 7296 section 2.9).
fn packet_selectors(flow: &Flow) -> (TrafficSelector, TrafficSelector) {
    let (source, destination) = match flow.ports {
        Ports::Known { source, destination } => (Some(source), Some(destination)),
        Ports::TypeAndCode(both) => (Some(both), Some(both)),
        Ports::Opaque | Ports::None => (None, None),
    };
    let one = |address, port: Option<u16>| TrafficSelector {
        protocol: flow.protocol,
        start_port: port.unwrap_or(0),
        end_port: port.unwrap_or(u16::MAX),
        ..TrafficSelector::from_address(address)
    };
    (one(flow.source, source), one(flow.destination, destination))
}
