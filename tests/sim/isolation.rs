//! What one peer of an end does never moves another one's SAs, status or events.

use ipsec_gateway::ike::{ChildState, ConnectionState, Failure};

use crate::end::Said;
use crate::setup::{RIGHT, name};
use crate::world::World;

/// How the right end stands with one of its peers.
#[derive(Debug, PartialEq)]
pub struct Standing {
    outer: usize,
    /// Whether it knows the IKE SA that the peer has.
    holds_ike_sa: bool,
    /// Inbound and outbound SPI and state of each pair, as the endpoint tells them.
    pairs: Vec<(u32, u32, ChildState)>,
    /// What the connection shows, while the peer has a pair in use.
    shown: Option<(ConnectionState, Option<Failure>)>,
}

impl World {
    /// How an end stands with all its peers but one.
    pub fn standings(&mut self, side: usize, but: usize) -> Vec<Standing> {
        if side != RIGHT || self.tunnels.len() < 2 {
            return Vec::new();
        }
        let others: Vec<usize> = self.tunnels.iter().map(|tunnel| tunnel.outer).filter(|outer| *outer != but).collect();
        let (now, status) = (self.now, self.ends[side].endpoint.status());
        let standing = |outer: usize| {
            let ike_sa = self.ends[outer].ike_sa();
            let end = &mut self.ends[side];
            let theirs = |spi: u32| end.pairs.get(&spi).is_some_and(|pair| pair.far == outer);
            let children = status.iter().flat_map(|connection| &connection.children);
            let pairs = children.filter(|child| theirs(child.inbound_spi));
            let pairs = pairs.map(|child| (child.inbound_spi, child.outbound_spi, child.state)).collect();
            let shown = status.first().map(|connection| (connection.state, connection.last_error.clone()));
            let shown = shown.filter(|_| end.pairs_in_use(outer).next().is_some());
            let holds_ike_sa = ike_sa.is_some_and(|spis| end.holds(spis, now));
            Standing { outer, holds_ike_sa, pairs, shown }
        };
        others.into_iter().map(standing).collect()
    }

    /// Checks that a datagram changed nothing between its receiver and the peers that did not send it.
    pub fn check_isolation(&mut self, side: usize, sender: usize, before: &[Standing], said: &Said) {
        if let Some(moved) = said.moved.iter().find(|far| **far != sender) {
            return self.violate(format!("a datagram of {} moves the SAs of {}", name(sender), name(*moved)));
        }
        if before.is_empty() {
            return;
        }
        let after = self.standings(side, sender);
        for (before, after) in before.iter().zip(&after) {
            if before != after {
                let (sender, other) = (name(sender), name(before.outer));
                return self.violate(format!("a datagram of {sender} makes {before:?} of {other} {after:?}"));
            }
            if before.shown.is_some() && (said.went_up || said.went_down) {
                let other = name(before.outer);
                return self.violate(format!("{} says up or down while {other} has been up all along", name(side)));
            }
        }
    }
}
