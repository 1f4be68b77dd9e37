//! Several IKE SAs of one association: at most one is to stay. And whether an IKE SA is the only one between its
//! identities.
//!
//! Both ends may initiate at once, and a peer may reauthenticate by a new IKE SA before it deletes the old one
//! (RFC 7296 2.8.3). What a peer does about that is its own affair, and gateways differ: some delete one at once, some
//! none. So nothing is closed while the peer may still see to it, and nothing that carries what no other carries:
//!
//! ```text
//!  second one established ─ OURS ─► those that we initiated go ─ THEIRS ─► those that the peer initiated go, too
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connections::Connections;
use super::ike_sas::IkeSaTable;
use super::runtime::Runtime;
use super::timers::Timer;
use crate::ike::association::AssociationId;
use crate::ike::event::{Deadline, Removal, Why};
use crate::ike::exchange::task::Task;
use crate::ike::identity::expected_id;
use crate::ike::state::IkeSa;
use crate::ike::state::established::Established;
use crate::wire::ike::IkeSpi;

/// How long after the second IKE SA a superfluous one of ours is closed,
const OURS: Duration = Duration::from_secs(2);
/// and one of the peer's, which the peer should have closed by then.
const THEIRS: Duration = Duration::from_millis(3500);
/// How often it is looked again whether another one carries the same.
const AGAIN: Duration = Duration::from_secs(2);
/// From then on it is believed that the peer means to have several, unless one of them may still carry more.
const MEANT: Duration = Duration::from_secs(30);

impl Connections {
    /// An IKE SA of ours is about to send IKE_AUTH: it may say INITIAL_CONTACT if no other one stands between the
    /// identities of its connection or is being authenticated, for the peer drops all others (RFC 7296 2.4).
    pub(super) fn before_auth(&mut self, spi: IkeSpi) {
        let Some(IkeSa::InitSent(state)) = self.ike_sas.get(&spi) else { return };
        // A connection that takes any identity waits for its peer.
        let connection = state.connection();
        let only = expected_id(connection).is_some_and(|peer| !self.ike_sas.any_between(&connection.local_id, &peer));
        if let Some(IkeSa::InitSent(state)) = self.ike_sas.get_mut(&spi) {
            state.set_initial_contact(only);
        }
    }

    /// An IKE SA was established beside others of its connection: attempts, and those of the same association. With another
    /// authenticated identity (peer `any`) they are another peer's, and none of its business.
    ///
    /// 1. An own attempt that has sent no more than IKE_SA_INIT is given up for it.
    /// 2. INITIAL_CONTACT (RFC 7296 2.4): the other one is a left-over, and goes at once. So does one whose silence let us
    ///    negotiate this, if this carries all that it did: it is not proven that its peer has lost it.
    /// 3. Of the rest one stays, which is settled later.
    pub(super) fn meet_others(&mut self, new: IkeSpi, others: &[IkeSpi], initial_contact: bool, now: Instant) {
        let mut duplicated = None;
        for other in others {
            match (self.ike_sas.get(&new), self.ike_sas.get(other)) {
                (_, Some(IkeSa::InitSent(_))) => drop(self.forget(*other)),
                (Some(IkeSa::Established(state)), Some(IkeSa::Established(old))) => {
                    if !state.sa().is_active() || !old.sa().is_active() {
                        continue;
                    }
                    let replaced = old.sa().liveness().is_silent();
                    if initial_contact || (replaced && state.children().carry_all_of(old.children())) {
                        self.close(*other, Removal::Redundant, now);
                    } else {
                        duplicated = Some(state.sa().association().clone());
                        // It stays only if its peer still knows it.
                        self.act(*other, now, |_, _, agenda, _| agenda.tasks.queue(Task::Liveness));
                    }
                }
                _ => {}
            }
        }
        if let Some(association) = duplicated {
            let (name, id) = (association.name(), association.id());
            // Those that are looked at already are not put off.
            if let Some(duplicated @ None) = self.duplicated(name, id) {
                *duplicated = Some(now);
                self.ike_sas.timers.set(Timer::Duplicates(name.clone(), id), Some(look(now + OURS)));
            }
        }
    }

    /// Since when an association has had several IKE SAs of which one is to stay.
    fn duplicated(&mut self, name: &str, association: AssociationId) -> Option<&mut Option<Instant>> {
        let peers = self.by_name.get_mut(name)?.ike_sas.peers_mut(association)?;
        Some(&mut peers.duplicated)
    }

    /// Closes superfluous IKE SAs of an association.
    pub(super) fn settle_duplicates(&mut self, name: &Arc<str>, association: AssociationId, now: Instant) {
        let Some(Some(since)) = self.duplicated(name, association).copied() else { return };
        let age = now.saturating_duration_since(since);
        let Some(runtime) = self.by_name.get(name) else { return };
        let superfluous = superfluous(runtime, association, &self.ike_sas, since);
        for one in superfluous.into_iter().filter(|one| one.carried && (one.initiated || age >= THEIRS)) {
            self.close(one.spi, Removal::Redundant, now);
        }
        let left = self.by_name.get(name).map_or(&[][..], |runtime| runtime.ike_sas.of(association));
        let unsettled = left.iter().filter_map(|spi| self.ike_sas.get(spi)).any(may_carry_more);
        if left.len() < 2 || (age >= MEANT && !unsettled) {
            if let Some(duplicated) = self.duplicated(name, association) {
                *duplicated = None;
            }
        } else {
            let at = if age < THEIRS { since + THEIRS } else { now + AGAIN };
            self.ike_sas.timers.set(Timer::Duplicates(name.clone(), association), Some(look(at)));
        }
    }
}

/// Whether an IKE SA may still get what others of its association carry: its peer has not answered yet, or is to be asked
/// for a child again.
fn may_carry_more(sa: &IkeSa) -> bool {
    sa.awaited().is_some() || matches!(sa, IkeSa::Established(state) if state.agenda().creates_any())
}

fn look(at: Instant) -> Deadline {
    Deadline { at, why: Why::Duplicates }
}

/// Of an association's active IKE SAs, all but the one that stays. That is, of those whose peer has given a sign of life
/// since there were several: if all were initiated by the same end the newest, else that with the highest SPI of its
/// initiator, which both ends know.
fn superfluous(
    runtime: &Runtime,
    association: AssociationId,
    ike_sas: &IkeSaTable,
    since: Instant,
) -> Vec<Superfluous> {
    // The newest is at the end.
    let active = runtime.ike_sas.of(association).iter().filter_map(|spi| Some((*spi, ike_sas.active(spi)?)));
    let all: Vec<(IkeSpi, &Established)> = active.collect();
    let initiated = |state: &Established| state.sa().channel().is_initiator();
    let first = all.first().map(|(_, first)| initiated(first));
    let one_sided = all.iter().all(|(_, state)| Some(initiated(state)) == first);
    let alive = all.iter().copied().filter(|(_, state)| state.sa().liveness().heard() >= since);
    let newest = alive.clone().next_back();
    let highest = alive.max_by_key(|(_, state)| state.sa().channel().spis().initiator);
    let Some((kept, stays)) = (if one_sided { newest } else { highest }) else { return Vec::new() };
    let others = all.iter().filter(|(spi, _)| *spi != kept);
    let superfluous = others.map(|(spi, state)| {
        let carried = stays.children().carry_all_of(state.children());
        Superfluous { spi: *spi, initiated: initiated(state), carried }
    });
    superfluous.collect()
}

/// An IKE SA beside the one that is to stay.
struct Superfluous {
    spi: IkeSpi,
    /// By us.
    initiated: bool,
    /// The one that stays carries all its children.
    carried: bool,
}
