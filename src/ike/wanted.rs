//! A Child SA that somebody asked for: which child, by which packet, and which part of its traffic.

use std::sync::Arc;

use super::config::Child;
use super::coverage::Flows;
use crate::wire::ike::{MAX_SELECTORS, TrafficSelector};

/// A child that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedChild {
    pub(super) child: Arc<str>,
    /// The packet that asked.
    pub(super) packet: Option<Flows>,
    /// Only this part of the child's traffic, because others have the rest or the peer takes no more at once.
    pub(super) part: Option<Flows>,
}

impl WantedChild {
    /// The whole of a child.
    pub(super) fn new(child: Arc<str>) -> Self {
        Self { child, packet: None, part: None }
    }

    /// The packet that alone wants this part: the next one asks again.
    pub(super) fn packet_alone(&self) -> Option<Flows> {
        self.packet.filter(|_| self.part.is_some())
    }

    /// The selectors to offer: the packet's own first (RFC 7296 2.9), if there is room, then those of the part, or as
    /// configured. A part of one pair of hosts stands alone: a peer may take no second selector (SINGLE_PAIR_REQUIRED).
    pub(super) fn selectors(&self, child: &Child) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
        let with = |first: Option<TrafficSelector>, others: &[TrafficSelector]| {
            let first = first.filter(|_| others.len() < MAX_SELECTORS);
            first.into_iter().chain(others.iter().copied().filter(|other| Some(*other) != first)).collect()
        };
        let packet = self.packet.filter(|_| !self.part.is_some_and(|part| part.is_one_pair_of_hosts()));
        let (local, peer) = packet.map(|packet| (packet.local, packet.peer)).unzip();
        match self.part {
            Some(part) => (with(local, &[part.local]), with(peer, &[part.peer])),
            None => (with(local, &child.local_selectors), with(peer, &child.peer_selectors)),
        }
    }
}

/// Adds a child to a list of wanted ones, once.
pub(super) fn want(list: &mut Vec<WantedChild>, wanted: WantedChild) {
    if !list.iter().any(|known| known.child == wanted.child) {
        list.push(wanted);
    }
}
