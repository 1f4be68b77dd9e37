//! What the two ends of a tunnel must agree on, and what must be left of one whose outer end is gone.

use std::time::Duration;

use ipsec_gateway::wire::ike::IkeSpi;

use crate::end::End;
use crate::pair::Pair;
use crate::setup::{RIGHT, name};
use crate::world::World;

impl World {
    /// Lets time pass until the ends agree; a violation when they do not within `bound`.
    pub fn agree_within(&mut self, bound: Duration) {
        self.wait_for(bound, "agreement", Self::disagreement);
    }

    /// The same, until there is nothing besides what they agree on either.
    pub fn settle_within(&mut self, bound: Duration) {
        self.wait_for(bound, "rest", |world| world.disagreement().or_else(|| world.surplus()));
    }

    fn wait_for(&mut self, bound: Duration, what: &str, missing: impl Fn(&mut Self) -> Option<String>) {
        let limit = self.now + bound;
        let mut disagreement = Some(String::new());
        while self.now < limit && disagreement.is_some() && !self.is_violated() {
            self.run_for(Duration::from_secs(1));
            disagreement = missing(self);
        }
        if let Some(disagreement) = disagreement.filter(|_| !self.is_violated()) {
            self.violate(format!("no {what} after {} s: {disagreement}", bound.as_secs()));
        }
    }

    /// What the ends do not agree on, if anything.
    fn disagreement(&mut self) -> Option<String> {
        for tunnel in 0..self.tunnels.len() {
            let outer = self.tunnels[tunnel].outer;
            let found = if self.tunnels[tunnel].is_wanted { self.differing(outer) } else { self.left_over(outer) };
            if let Some(found) = found {
                return Some(format!("{} and {}: {found}", name(outer), name(RIGHT)));
            }
        }
        let running = self.ends.iter().filter(|end| end.runs);
        let mut misled = running.filter(|end| end.told_pairs() != end.installed_pairs());
        misled.next().map(|end| {
            let (told, installed) = (end.told_pairs(), end.installed_pairs());
            format!("{} told {told:x?}, installed {installed:x?}", name(end.side))
        })
    }

    /// What is not the same at both ends of a tunnel.
    fn differing(&mut self, outer: usize) -> Option<String> {
        let ours = self.ends[outer].ike_sa();
        // Of several peers of a connection the status shows one; of the others' IKE SAs one can only ask.
        let theirs =
            self.ends[RIGHT].ike_sa_with(outer).or_else(|| ours.filter(|spis| self.ends[RIGHT].holds(*spis, self.now)));
        if ours.is_none() || ours != theirs {
            return Some(format!("IKE SAs {ours:?} and {theirs:?}"));
        }
        let (left, right) = (&self.ends[outer], &self.ends[RIGHT]);
        for (end, far) in [(left, RIGHT), (right, outer)] {
            let leads = |pair: &&Pair| {
                let arrives = self.network.leads_to(pair.path.peer);
                arrives.is_some_and(|arrives| arrives.ip() == self.ends[far].address)
            };
            if let Some(astray) = end.pairs_in_use(far).find(|pair| !leads(pair)) {
                return Some(format!("the path to {}", astray.path.peer));
            }
        }
        (0..left.children()).find_map(|child| differing_in(left, right, &format!("net-{child}")))
    }

    /// What the right end still has of a peer that is gone.
    fn left_over(&self, outer: usize) -> Option<String> {
        let pair = self.ends[RIGHT].pairs.values().find(|pair| pair.far == outer)?;
        Some(format!("the pair {:08x} of an end that is gone", pair.inbound_spi))
    }

    /// An IKE SA that an end keeps besides the one of each tunnel.
    fn surplus(&mut self) -> Option<String> {
        let wanted = self.tunnels.iter().filter(|tunnel| tunnel.is_wanted);
        let serving: Vec<(IkeSpi, IkeSpi)> = wanted.filter_map(|tunnel| self.ends[tunnel.outer].ike_sa()).collect();
        for side in 0..self.ends.len() {
            let known = std::mem::take(&mut self.ike_sas_of[side]);
            self.ike_sas_of[side] = known.into_iter().filter(|spis| self.ends[side].holds(*spis, self.now)).collect();
            if let Some(spis) = self.ike_sas_of[side].iter().find(|spis| !serving.contains(spis)) {
                return Some(format!("{} keeps the IKE SA {spis:?}", name(side)));
            }
        }
        None
    }
}

/// What is not the same at both ends of one child.
fn differing_in(left: &End, right: &End, child: &str) -> Option<String> {
    let of =
        |end: &End, far: usize| end.pairs_in_use(far).filter(|pair| &*pair.child == child).cloned().collect::<Vec<_>>();
    // Both ends may ask for the same child at once; nothing says that one of the two pairs must go then.
    let most = if [left, right].iter().all(|end| end.asks_at_once()) { 2 } else { 1 };
    let (left, right) = (of(left, right.side), of(right, left.side));
    if left.len() != right.len() || left.is_empty() || left.len() > most {
        return Some(format!("{} and {} pairs of {child}", left.len(), right.len()));
    }
    for pair in &left {
        let Some(mirror) = right.iter().find(|mirror| mirror.inbound_spi == pair.outbound_spi) else {
            return Some(format!("SPIs of {child}"));
        };
        if mirror.outbound_spi != pair.inbound_spi {
            return Some(format!("SPIs of {child}"));
        }
        if (&pair.inbound_key, &pair.outbound_key) != (&mirror.outbound_key, &mirror.inbound_key) {
            return Some(format!("keys of {child}"));
        }
    }
    let silent = [&left, &right].iter().any(|pairs| pairs.iter().all(|pair| pair.active.is_none()));
    silent.then(|| format!("whether to send on {child}"))
}
