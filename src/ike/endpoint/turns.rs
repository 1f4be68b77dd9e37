//! What asks a peer that has not answered waits for its turn (see [`super::start_limit`]); and what it does then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connections::Connections;
use super::ike_sas::Before;
use super::start_limit::{Addresses, Turn};
use super::timers::Timer;
use crate::ike::config::{Peer, Retransmission};
use crate::ike::ended::Ended;
use crate::ike::sa::Cause;
use crate::ike::wanted::{WantedChild, want};
use crate::wire::ike::IkeSpi;

/// Turns that one call gives: what the network brings need not wait for all of them;
const TURNS_AT_ONCE: usize = 64;
/// and no more when their key pairs have cost so much.
const COST_AT_ONCE: Duration = Duration::from_millis(2);

impl Connections {
    /// It is time to try a wanted connection, which waits for its turn. Whoever is `urgent` comes before others.
    pub(super) fn attempt(&mut self, name: &Arc<str>, urgent: bool, now: Instant) {
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        runtime.next_attempt = None;
        if runtime.wanted {
            self.start_in_turn(name, urgent, now);
        }
    }

    /// A packet wants a child of a connection.
    pub(super) fn acquire(&mut self, name: &Arc<str>, wanted: WantedChild, now: Instant) {
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        if !runtime.ike_sas.is_empty() {
            return self.negotiate(name, vec![wanted], now);
        }
        want(&mut runtime.acquired, wanted);
        self.start_in_turn(name, true, now);
    }

    /// Packets wait for a connection: if it waits for its turn, it does so before those that have none.
    pub(super) fn hurry(&mut self, name: &Arc<str>, now: Instant) {
        if self.start_limit.waits(&Turn::Start(name.clone())) {
            self.start_in_turn(name, true, now);
        }
    }

    /// A connection is not to start any more, or not between the same addresses.
    pub(super) fn waits_no_more(&mut self, name: &Arc<str>) {
        self.start_limit.forget(&Turn::Start(name.clone()));
        self.turns_changed();
    }

    fn start_in_turn(&mut self, name: &Arc<str>, urgent: bool, now: Instant) {
        let Some(runtime) = self.by_name.get(name) else { return };
        match runtime.connection.peer {
            Peer::Address(peer) if runtime.ike_sas.is_empty() => {
                let addresses = Addresses::of(&runtime.connection, peer);
                self.wait_for_turn(addresses, Turn::Start(name.clone()), urgent, now);
            }
            _ => self.start(name, now),
        }
    }

    /// Negotiates what is wanted of a connection.
    fn start(&mut self, name: &Arc<str>, now: Instant) {
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        let mut wanted = std::mem::take(&mut runtime.acquired);
        if runtime.wanted {
            let missing = runtime.not_in_hosts(&self.ike_sas);
            missing.into_iter().for_each(|child| want(&mut wanted, WantedChild::new(child)));
        }
        if !wanted.is_empty() {
            self.negotiate(name, wanted, now);
        }
    }

    /// Whether it is new that this waits for a turn.
    pub(super) fn wait_for_turn(&mut self, addresses: Addresses, turn: Turn, urgent: bool, now: Instant) -> bool {
        let is_new = self.start_limit.wait(addresses, turn, urgent, now);
        self.turns_changed();
        is_new
    }

    /// Lets those go on whose turn it is.
    pub(super) fn take_turns(&mut self, now: Instant) {
        self.spent = Duration::ZERO;
        for _ in 0..TURNS_AT_ONCE {
            if self.spent >= COST_AT_ONCE {
                break;
            }
            let Some((addresses, turn)) = self.start_limit.next(now) else { break };
            if !self.closed {
                self.take_turn(addresses, turn, now);
            }
        }
        self.turns_changed();
    }

    /// Turns are given when there is time: not in the middle of what led to them.
    pub(super) fn turns_changed(&mut self) {
        self.ike_sas.timers.set(Timer::Turns, self.start_limit.deadline());
    }

    /// Where nobody answers, or the peer is known to have forgotten IKE SAs, another one is negotiated while a silent one asks;
    /// elsewhere only when all have asked.
    fn take_turn(&mut self, addresses: Addresses, turn: Turn, now: Instant) {
        match turn {
            Turn::Start(name) => self.start(&name, now),
            Turn::Ask(spi) => {
                self.ask(spi, now);
                if !self.ike_sas.is_silent(&spi) {
                    if self.ike_sas.is_awaiting(&spi) {
                        let negotiates = self.ike_sas.is_being_negotiated(&spi);
                        self.start_limit.started(addresses, spi, negotiates, now);
                    }
                } else if self.start_limit.is_silent(addresses) || self.start_limit.has_forgotten(addresses) {
                    self.negotiate_in_turn(addresses, spi, now);
                } else {
                    let has_packets = self.has_packets(&spi, now);
                    self.start_limit.started(addresses, spi, false, now);
                    self.start_limit.wait(addresses, Turn::Beside(spi), has_packets, now);
                }
            }
            Turn::Beside(spi) if self.ike_sas.is_silent(&spi) => {
                self.ask(spi, now);
                self.negotiate_in_turn(addresses, spi, now);
            }
            Turn::Beside(_) => {}
        }
    }

    /// Beside an IKE SA whose path is silent. The place is for what asks.
    fn negotiate_in_turn(&mut self, addresses: Addresses, silent: IkeSpi, now: Instant) {
        if self.attempt_beside(silent, now).is_none() {
            self.prompt_attempts(silent, now);
            self.start_limit.started(addresses, silent, false, now);
        }
    }

    /// Whether packets wait for an IKE SA whose path is silent.
    pub(super) fn has_packets(&self, spi: &IkeSpi, now: Instant) -> bool {
        self.ike_sas.established(spi).is_some_and(|state| state.sa().liveness().packets_wait(now))
    }

    /// A peer has answered IKE_SA_INIT: it is there, though nothing is authenticated yet.
    pub(super) fn peer_answers(&mut self, spi: IkeSpi, now: Instant) {
        if let Some(addresses) = self.ike_sas.addresses(&spi)
            && self.start_limit.is_silent(addresses)
        {
            self.start_limit.answered_unproven(addresses, now);
            self.turns_changed();
        }
    }

    /// The peer of an IKE SA gave a sign of life: between these addresses somebody is there, whoever waits for an answer of
    /// another one.
    pub(super) fn notes_life(&mut self, spi: IkeSpi, now: Instant) {
        if let Some(state) = self.ike_sas.active(&spi)
            && !state.sa().liveness().is_silent()
        {
            let heard = state.sa().liveness().heard();
            let addresses = Addresses::of(state.sa().connection(), state.sa().channel().path().peer.ip());
            if self.start_limit.heard(addresses, heard, now) {
                self.turns_changed();
            }
        }
    }

    /// What has become of an IKE SA, as far as it concerns those that wait for their turn.
    pub(super) fn keep_turns(
        &mut self,
        spi: IkeSpi,
        before: &Before,
        end: Option<&Ended>,
        established: bool,
        answers: bool,
        now: Instant,
    ) {
        let cause = end.map(|ended| &ended.cause);
        if !established && !answers && end.is_none() {
            return;
        }
        let addresses = if established { self.ike_sas.addresses(&spi) } else { before.addresses };
        if let Some(addresses) = addresses {
            if established || answers {
                let beside =
                    before.connection.as_ref().and_then(|connection| self.by_name.get(&connection.name)?.beside);
                let forgotten = beside.is_some_and(|beside| beside.attempt == spi).then_some(true);
                self.start_limit.answered(addresses, if answers { Some(false) } else { forgotten }, now);
            } else if cause == Some(&Cause::Restarted) {
                self.start_limit.answered(addresses, Some(true), now);
            } else if cause == Some(&Cause::NoAnswer) && before.negotiating {
                let since = now.checked_sub(Retransmission::ATTEMPT).unwrap_or(now);
                self.start_limit.unanswered(addresses, true, since, now);
            }
        }
        self.start_limit.over(&spi);
        self.turns_changed();
    }

    /// An IKE SA asks no more.
    pub(super) fn turn_is_over(&mut self, spi: IkeSpi) {
        if self.start_limit.over(&spi) {
            self.turns_changed();
        }
    }
}
