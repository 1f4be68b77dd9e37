//! Several IKE SAs of one connection with the same peer: at most one is to stay.
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
use super::ike_sas::IkeSas;
use super::runtime::Runtime;
use super::timers::Timer;
use crate::ike::event::{Deadline, Removal, Why};
use crate::ike::exchange::task::Task;
use crate::ike::identity::same_identity;
use crate::ike::state::IkeSa;
use crate::ike::state::established::Established;
use crate::wire::ike::IkeSpi;

/// How long after the second IKE SA a superfluous one of ours is closed,
const OURS: Duration = Duration::from_secs(2);
/// and one of the peer's, which the peer should have closed by then.
const THEIRS: Duration = Duration::from_millis(3500);
/// How often it is looked again whether another one carries the same.
const AGAIN: Duration = Duration::from_secs(2);
/// From then on it is believed that the peer means to have several.
const MEANT: Duration = Duration::from_secs(30);

impl Connections {
    /// An IKE SA was established beside others of its connection.
    ///
    /// 1. An own attempt that has sent no more than IKE_SA_INIT is given up for it.
    /// 2. With another authenticated identity the other one stays: it is another peer's (peer `any`).
    /// 3. INITIAL_CONTACT (RFC 7296 2.4), or silence on the other one that let us negotiate this: the other one is a
    ///    left-over, and goes at once.
    /// 4. Of the rest one stays, which is settled later.
    pub(super) fn meet_others(&mut self, new: IkeSpi, others: &[IkeSpi], initial_contact: bool, now: Instant) {
        let mut duplicated = None;
        for other in others {
            match (self.ike_sas.get(&new), self.ike_sas.get(other)) {
                (_, Some(IkeSa::InitSent(_))) => self.forget(*other),
                (Some(IkeSa::Established(state)), Some(IkeSa::Established(old))) => {
                    if !state.sa().is_active()
                        || !old.sa().is_active()
                        || !same_identity(old.sa().peer_id(), state.sa().peer_id())
                    {
                        continue;
                    }
                    if initial_contact || old.sa().liveness().is_replacing() {
                        self.close(*other, Removal::Redundant, now);
                    } else {
                        duplicated = Some(state.sa().connection().name.clone());
                        // It stays only if its peer still knows it.
                        self.act(*other, now, |_, _, agenda, _| agenda.tasks.queue(Task::Liveness));
                    }
                }
                _ => {}
            }
        }
        if let Some(name) = duplicated {
            let Some(runtime) = self.by_name.get_mut(&name) else { return };
            // Those that are looked at already are not put off.
            if runtime.duplicated.is_none() {
                runtime.duplicated = Some(now);
                self.ike_sas.timers.set(Timer::Duplicates(name), Some(look(now + OURS)));
            }
        }
    }

    /// Closes superfluous IKE SAs of a connection.
    pub(super) fn settle_duplicates(&mut self, name: &Arc<str>, now: Instant) {
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        let Some(since) = runtime.duplicated else { return };
        let age = now.saturating_duration_since(since);
        let superfluous = superfluous(runtime, &self.ike_sas, since);
        let (close, wait): (Vec<_>, Vec<_>) =
            superfluous.into_iter().partition(|one| one.carried && (one.initiated || age >= THEIRS));
        for one in close {
            self.close(one.spi, Removal::Redundant, now);
        }
        if wait.is_empty() || age >= MEANT {
            if let Some(runtime) = self.by_name.get_mut(name) {
                runtime.duplicated = None;
            }
        } else {
            let at = if age < THEIRS { since + THEIRS } else { now + AGAIN };
            self.ike_sas.timers.set(Timer::Duplicates(name.clone()), Some(look(at)));
        }
    }
}

fn look(at: Instant) -> Deadline {
    Deadline { at, why: Why::Duplicates }
}

/// Of a connection's active IKE SAs with one identity, all but the one that stays. That is, of those whose peer has
/// given a sign of life since there were several: if all were initiated by the same end the newest, else that with the
/// highest SPI of its initiator, which both ends know.
fn superfluous(runtime: &Runtime, ike_sas: &IkeSas, since: Instant) -> Vec<Superfluous> {
    let active = |spi: &IkeSpi| {
        let state = ike_sas.established(spi).filter(|state| state.sa().is_active())?;
        Some((*spi, state))
    };
    // The newest is at the end.
    let mut left: Vec<(IkeSpi, &Established)> = runtime.ike_sas.iter().filter_map(active).collect();
    let mut superfluous = Vec::new();
    while let Some((_, first)) = left.first().copied() {
        let (peers, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|(_, state)| same_identity(state.sa().peer_id(), first.sa().peer_id()));
        left = others;
        let initiated = |state: &Established| state.sa().channel().is_initiator();
        let one_sided = peers.iter().all(|(_, state)| initiated(state) == initiated(first));
        let alive = peers.iter().copied().filter(|(_, state)| state.sa().liveness().heard() >= since);
        let newest = alive.clone().next_back();
        let highest = alive.max_by_key(|(_, state)| state.sa().channel().spis().initiator);
        let stays = if one_sided { newest } else { highest };
        let Some((kept, stays)) = stays else { continue };
        for (spi, state) in peers.into_iter().filter(|(spi, _)| *spi != kept) {
            let carried = state.children().current().all(|pair| stays.children().carries_all_of(pair));
            superfluous.push(Superfluous { spi, initiated: initiated(state), carried });
        }
    }
    superfluous
}

/// An IKE SA beside the one that is to stay.
struct Superfluous {
    spi: IkeSpi,
    /// By us.
    initiated: bool,
    /// The one that stays carries all its children.
    carried: bool,
}
