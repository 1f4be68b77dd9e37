//! IKE SAs whose path is silent (see [`crate::ike::liveness`]), attempts for others beside them, and what makes those that
//! wait for an answer ask again at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::connections::Connections;
use super::runtime::Beside;
use super::start_limit::Turn;
use crate::ike::association::AssociationId;
use crate::ike::config::Start;
use crate::ike::sa::Cause;
use crate::ike::state::IkeSa;
use crate::ike::state::established::liveness;
use crate::ike::wanted::WantedChild;
use crate::wire::ike::IkeSpi;

/// Requests that a hint has repeated at once.
const HINTED: usize = 32;

/// Pairs with the same outbound SPI that a hint looks at.
const SENDERS: usize = 64;

impl Connections {
    /// Another IKE SA is to be negotiated beside one that its peer does not rekey, or whose path is silent. What such a one has
    /// asked is asked again as well, and both wait for their turn.
    pub(super) fn negotiate_beside(&mut self, spi: IkeSpi, now: Instant) {
        let Some(state) = self.ike_sas.established(&spi) else { return };
        let Some(since) = state.sa().liveness().unanswered_since() else {
            self.attempt_beside(spi, now);
            return;
        };
        let name = &state.sa().connection().name;
        let asks = self.by_name.get(name).is_some_and(|runtime| !runtime.ike_sas.attempts().is_empty());
        let Some(addresses) = self.ike_sas.addresses(&spi) else { return };
        self.start_limit.unanswered(addresses, false, since, now);
        // With each repetition of an attempt it asks, too.
        if asks || self.closed {
            return;
        }
        let has_packets = self.has_packets(&spi, now);
        let is_new = self.wait_for_turn(addresses, Turn::Ask(spi), has_packets, now);
        if is_new && self.start_limit.has_to_wait(addresses) {
            self.with_established(spi, now, |state, cx| {
                let wait = cx.jitter(cx.config.retransmission.longest, 50, 100);
                state.channel_mut().window_mut().rest(wait, cx.now);
            });
        }
    }

    /// Negotiates another IKE SA beside one whose path is silent, or that its peer does not rekey; if it is set up, it takes
    /// over. One at a time, not while another one of the association answers, not when it is for the peer to initiate, and not
    /// at once after the peer has refused one.
    pub(super) fn attempt_beside(&mut self, spi: IkeSpi, now: Instant) -> Option<IkeSpi> {
        let state = self.ike_sas.established(&spi)?;
        let (name, is_silent) = (state.sa().connection().name.clone(), state.sa().liveness().is_silent());
        let association = state.sa().association();
        let own = state.children().current().filter(|pair| Arc::ptr_eq(&pair.association, association));
        let served: Vec<Arc<str>> = own.map(|pair| pair.child.clone()).collect();
        let runtime = self.by_name.get(&name)?;
        let mut others = runtime.ike_sas.of(association.id()).iter().filter(|other| **other != spi);
        // One that is silent itself helps nobody.
        let answers =
            others.any(|other| self.ike_sas.active(other).is_some_and(|state| !state.sa().liveness().is_silent()));
        let negotiating = !runtime.ike_sas.attempts().is_empty();
        let initiates = runtime.wanted || runtime.connection.start == Start::OnTraffic;
        let refused = is_silent && runtime.next_attempt.is_some_and(|at| at > now);
        if !initiates || self.closed || answers || negotiating || refused {
            return None;
        }
        let configured = runtime.connection.children.iter().map(|child| child.name.clone());
        let children: Vec<Arc<str>> = if runtime.wanted { configured.collect() } else { served };
        let wanted = children.into_iter().map(WantedChild::new).collect();
        let attempt = self.initiate(&name, wanted, now);
        if let Some(runtime) = self.by_name.get_mut(&name) {
            runtime.beside = attempt.filter(|_| is_silent).map(|attempt| Beside { attempt, silent: spi });
        }
        attempt
    }

    /// The deadline of an IKE SA has come. What went unanswered on a silent one goes before the attempt beside it: if both
    /// arrive, no other IKE SA is needed.
    pub(super) fn ike_sa_due(&mut self, spi: IkeSpi, now: Instant) {
        if let Some(silent) = self.silent_beside(spi) {
            self.with_ike_sa(silent, now, |mut sa, cx| {
                sa.prompt(cx.now);
                sa.handle_timeout(cx)
            });
        }
        self.with_ike_sa(spi, now, |sa, cx| sa.handle_timeout(cx));
    }

    /// The IKE SA beside which this one is attempted.
    fn silent_beside(&self, attempt: IkeSpi) -> Option<IkeSpi> {
        let Some(IkeSa::InitSent(state)) = self.ike_sas.get(&attempt) else { return None };
        let beside = self.by_name.get(&state.connection().name)?.beside.filter(|beside| beside.attempt == attempt)?;
        self.ike_sas.active(&beside.silent).is_some().then_some(beside.silent)
    }

    /// The path of an IKE SA answers that was silent. What was attempted beside it, or beside another one of its association, is
    /// given up as long as the peer has seen no more of it than IKE_SA_INIT, and what was wanted of it is wanted of this one.
    pub(super) fn silent_one_answers(&mut self, spi: IkeSpi, now: Instant) {
        let Some(state) = self.ike_sas.established(&spi) else { return };
        let (name, association) = (state.sa().connection().name.clone(), state.sa().association().id());
        let Some(runtime) = self.by_name.get_mut(&name) else { return };
        runtime.next_attempt = None;
        let own = runtime.ike_sas.of(association);
        let Some(Beside { attempt, .. }) = runtime.beside.take_if(|beside| own.contains(&beside.silent)) else {
            return;
        };
        if matches!(self.ike_sas.get(&attempt), Some(IkeSa::InitSent(_)))
            && let Some(IkeSa::InitSent(attempt)) = self.forget(attempt)
        {
            self.negotiate(&name, attempt.into_wanted(), now);
        }
    }

    /// An IKE SA or an attempt has ended while others of its connection go on. After an attempt beside a silent one in vain
    /// comes the next: at once if nobody answered, which has taken a while, and later if the peer has refused it. A peer that
    /// has proven to have restarted is there.
    pub(super) fn one_beside_ended(
        &mut self,
        spi: IkeSpi,
        name: &Arc<str>,
        association: Option<AssociationId>,
        cause: &Cause,
        now: Instant,
    ) {
        if *cause == Cause::Restarted {
            self.prompt_attempts_of(name, now);
        }
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        let silent = if let Some(association) = association {
            // What was attempted beside it goes on beside another one that is left silent.
            let mut left = runtime.ike_sas.of(association).iter().copied();
            let Some(silent) = left.find(|spi| self.ike_sas.is_silent(spi)) else { return };
            if let Some(beside) = runtime.beside.as_mut().filter(|beside| beside.silent == spi) {
                beside.silent = silent;
            }
            silent
        } else {
            let Some(beside) = runtime.beside.take_if(|beside| beside.attempt == spi) else { return };
            beside.silent
        };
        if *cause == Cause::Refused && association.is_none() {
            let wait = runtime.retry_wait(false, cause, now);
            runtime.next_attempt = Some(now + wait);
            return;
        }
        if self.ike_sas.is_silent(&silent) && (runtime.wanted || self.has_packets(&silent, now)) {
            self.negotiate_beside(silent, now);
        }
    }

    /// Something about this machine's links, addresses or routes has changed: whoever waits for an answer asks again, when it is
    /// its turn. Who was refused does not, for that is no matter of paths.
    pub(super) fn paths_changed(&mut self, now: Instant) {
        self.start_limit.hope(now);
        let waiting: Vec<IkeSpi> = self.ike_sas.awaiting().collect();
        for spi in waiting {
            if let Some(addresses) = self.ike_sas.addresses(&spi) {
                self.start_limit.wait(addresses, Turn::Ask(spi), self.has_packets(&spi, now), now);
            }
        }
        self.turns_changed();
    }

    /// The peer at this address seems to be there: who finds out whether it answers, if anybody does, asks again at once, or
    /// else some of those that wait for its answer.
    pub(super) fn prompt_peer(&mut self, peer: IpAddr, now: Instant) {
        if self.start_limit.hint(peer, now) {
            return self.turns_changed();
        }
        let waiting: Vec<IkeSpi> = self.ike_sas.awaiting_from(peer).take(HINTED).collect();
        waiting.into_iter().for_each(|spi| self.ask(spi, now));
    }

    /// Something that anybody can say hints that the peer of an IKE SA is there. What is negotiated beside a silent one asks
    /// again at once, or is negotiated when it is its turn.
    pub(super) fn prompt_beside(&mut self, spi: IkeSpi, now: Instant) {
        if !self.ike_sas.is_silent(&spi) {
            return;
        }
        let Some(addresses) = self.ike_sas.addresses(&spi) else { return };
        self.prompt_attempts(spi, now);
        // It has its answer.
        self.start_limit.over(&spi);
        self.start_limit.hint(addresses.peer, now);
        self.wait_for_turn(addresses, Turn::Beside(spi), self.has_packets(&spi, now), now);
    }

    /// What is being negotiated of an IKE SA's connection asks again at once.
    pub(super) fn prompt_attempts(&mut self, spi: IkeSpi, now: Instant) {
        let name = self.ike_sas.established(&spi).map(|state| state.sa().connection().name.clone());
        name.into_iter().for_each(|name| self.prompt_attempts_of(&name, now));
    }

    fn prompt_attempts_of(&mut self, name: &Arc<str>, now: Instant) {
        let attempts = self.by_name.get(name).map_or_else(Vec::new, |runtime| runtime.ike_sas.attempts().to_vec());
        attempts.into_iter().for_each(|spi| self.prompt(spi, now));
    }

    /// What an IKE SA has asked is asked again at once, and before that what went unanswered on the one that it is beside.
    pub(super) fn ask(&mut self, spi: IkeSpi, now: Instant) {
        self.silent_beside(spi).into_iter().chain([spi]).for_each(|spi| self.prompt(spi, now));
    }

    fn prompt(&mut self, spi: IkeSpi, now: Instant) {
        self.with_ike_sa(spi, now, |mut sa, cx| {
            sa.prompt(cx.now);
            Ok(sa)
        });
    }

    /// Somebody at this address got ESP on an SPI that it does not know, and may be the peer, restarted: the IKE SA that sends
    /// on it asks its peer.
    pub(super) fn esp_disowned(&mut self, outbound_spi: u32, peer: IpAddr, now: Instant) {
        let sends = |spi: &IkeSpi| {
            let Some(state) = self.ike_sas.active(spi) else { return false };
            let is_peers = state.sa().channel().path().peer.ip() == peer;
            is_peers && state.children().current().any(|pair| pair.outbound_spi == outbound_spi)
        };
        // Few peers choose the same SPI but on purpose.
        let Some(spi) = self.ike_sas.inbound_spis.senders(outbound_spi).take(SENDERS).find(sends) else { return };
        self.act(spi, now, |sa, _, agenda, cx| liveness::is_reported_unknown(sa, agenda, cx.now));
        self.prompt_beside(spi, now);
    }
}
