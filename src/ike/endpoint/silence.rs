//! IKE SAs whose path is silent (see [`crate::ike::liveness`]), attempts for others beside them, and what makes those that
//! wait for an answer ask again at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::connections::Connections;
use super::runtime::Beside;
use crate::ike::config::Start;
use crate::ike::sa::Cause;
use crate::ike::state::IkeSa;
use crate::ike::state::established::{Established, liveness};
use crate::ike::wanted::WantedChild;
use crate::wire::ike::IkeSpi;

impl Connections {
    /// Negotiates another IKE SA beside one whose path is silent, or that its peer does not rekey; if it is set up, it takes
    /// over. One at a time, not when it is for the peer to initiate, and not at once after the peer has refused one.
    pub(super) fn negotiate_beside(&mut self, spi: IkeSpi, now: Instant) {
        let Some(state) = self.ike_sas.established(&spi) else { return };
        let (name, is_silent) = (state.sa().connection().name.clone(), state.sa().liveness().is_silent());
        let association = state.sa().association();
        let own = state.children().current().filter(|pair| Arc::ptr_eq(&pair.association, association));
        let served: Vec<Arc<str>> = own.map(|pair| pair.child.clone()).collect();
        let Some(runtime) = self.by_name.get(&name) else { return };
        let mut others = runtime.ike_sas.of(association.id()).iter().filter(|other| **other != spi);
        let beside = others.any(|other| self.ike_sas.active(other).is_some());
        let negotiating = beside || !runtime.ike_sas.attempts().is_empty();
        let initiates = runtime.wanted || runtime.connection.start == Start::OnTraffic;
        let refused = is_silent && runtime.next_attempt.is_some_and(|at| at > now);
        if !initiates || self.closed || negotiating || refused {
            return;
        }
        let configured = runtime.connection.children.iter().map(|child| child.name.clone());
        let children: Vec<Arc<str>> = if runtime.wanted { configured.collect() } else { served };
        let wanted = children.into_iter().map(WantedChild::new).collect();
        let attempt = self.initiate(&name, wanted, now).filter(|_| is_silent);
        if let Some(runtime) = self.by_name.get_mut(&name) {
            runtime.beside = attempt.map(|attempt| Beside { attempt, silent: spi });
        }
    }

    /// The deadline of an IKE SA has come. What went unanswered on a silent one goes before the attempt beside it: if both
    /// arrive, no other IKE SA is needed.
    pub(super) fn ike_sa_due(&mut self, spi: IkeSpi, now: Instant) {
        let connection = match self.ike_sas.get(&spi) {
            Some(IkeSa::InitSent(state)) => Some(state.connection()),
            _ => None,
        };
        let beside = connection.and_then(|connection| self.by_name.get(&connection.name)?.beside);
        if let Some(Beside { silent, .. }) = beside.filter(|beside| beside.attempt == spi)
            && self.ike_sas.active(&silent).is_some()
        {
            self.with_ike_sa(silent, now, |mut sa, cx| {
                sa.prompt(cx.now);
                sa.handle_timeout(cx)
            });
        }
        self.with_ike_sa(spi, now, |sa, cx| sa.handle_timeout(cx));
    }

    /// The path of an IKE SA answers that was silent. What was attempted beside it is given up as long as the peer has seen no
    /// more of it than IKE_SA_INIT, and what was wanted of it is wanted of this one.
    pub(super) fn silent_one_answers(&mut self, spi: IkeSpi, now: Instant) {
        let Some(state) = self.ike_sas.established(&spi) else { return };
        let name = state.sa().connection().name.clone();
        let Some(runtime) = self.by_name.get_mut(&name) else { return };
        runtime.next_attempt = None;
        let Some(Beside { attempt, .. }) = runtime.beside.take_if(|beside| beside.silent == spi) else { return };
        if matches!(self.ike_sas.get(&attempt), Some(IkeSa::InitSent(_)))
            && let Some(IkeSa::InitSent(attempt)) = self.forget(attempt)
        {
            self.negotiate(&name, attempt.into_wanted(), now);
        }
    }

    /// An IKE SA or an attempt has ended while others of its connection go on. After an attempt beside a silent one in vain
    /// comes the next: at once if nobody answered, which has taken a while, and later if the peer has refused it. A peer that
    /// has proven to have restarted is there.
    pub(super) fn one_beside_ended(&mut self, spi: IkeSpi, name: &Arc<str>, cause: &Cause, now: Instant) {
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        if *cause == Cause::Restarted {
            return self.prompt_attempts(name, now);
        }
        let Some(Beside { silent, .. }) = runtime.beside.take_if(|beside| beside.attempt == spi) else { return };
        if *cause == Cause::Refused {
            let wait = runtime.retry_wait(false, cause, now);
            runtime.next_attempt = Some(now + wait);
            return;
        }
        let goes_on =
            runtime.wanted || self.ike_sas.active(&silent).is_some_and(|state| state.sa().liveness().packets_wait(now));
        if goes_on && self.ike_sas.active(&silent).is_some_and(|state| state.sa().liveness().is_silent()) {
            self.negotiate_beside(silent, now);
        }
    }

    /// Something about this machine's links, addresses or routes has changed: whoever waits for an answer asks again at once. Who
    /// was refused does not, for that is no matter of paths.
    pub(super) fn paths_changed(&mut self, now: Instant) {
        self.prompt(|_| true, now);
    }

    /// The peer at this address seems to be there: whoever waits for its answer asks again at once.
    pub(super) fn prompt_peer(&mut self, peer: IpAddr, now: Instant) {
        self.prompt(|awaited| awaited == peer, now);
    }

    /// Something that anybody can say hints that the peer of an IKE SA is there. What is negotiated beside a silent one asks
    /// again at once.
    pub(super) fn prompt_beside(&mut self, spi: IkeSpi, now: Instant) {
        let silent = self.ike_sas.active(&spi).filter(|state| state.sa().liveness().is_silent());
        if let Some(name) = silent.map(|state| state.sa().connection().name.clone()) {
            self.prompt_attempts(&name, now);
        }
    }

    /// What is being negotiated of a connection asks again at once.
    fn prompt_attempts(&mut self, name: &Arc<str>, now: Instant) {
        let attempts = self.by_name.get(name).map_or_else(Vec::new, |runtime| runtime.ike_sas.attempts().to_vec());
        attempts.into_iter().for_each(|spi| self.prompt_one(spi, now));
    }

    fn prompt(&mut self, is_meant: impl Fn(IpAddr) -> bool, now: Instant) {
        let waits = self.ike_sas.iter().filter(|(_, sa)| sa.awaited().is_some_and(&is_meant));
        let mut waiting: Vec<IkeSpi> = waits.map(|(spi, _)| *spi).collect();
        waiting.sort_unstable();
        waiting.into_iter().for_each(|spi| self.prompt_one(spi, now));
    }

    fn prompt_one(&mut self, spi: IkeSpi, now: Instant) {
        self.with_ike_sa(spi, now, |mut sa, cx| {
            sa.prompt(cx.now);
            Ok(sa)
        });
    }

    /// Somebody at this address got ESP on an SPI that it does not know, and may be the peer, restarted: the IKE SA that sends
    /// on it asks its peer.
    pub(super) fn esp_disowned(&mut self, outbound_spi: u32, peer: IpAddr, now: Instant) {
        let sends = |state: &Established| {
            let is_peers = state.sa().is_active() && state.sa().channel().path().peer.ip() == peer;
            is_peers && state.children().current().any(|pair| pair.outbound_spi == outbound_spi)
        };
        let found = self.ike_sas.iter().find_map(|(spi, sa)| match sa {
            IkeSa::Established(state) if sends(state) => Some(*spi),
            _ => None,
        });
        let Some(spi) = found else { return };
        self.act(spi, now, |sa, _, agenda, cx| liveness::is_reported_unknown(sa, agenda, cx.now));
        self.prompt_beside(spi, now);
    }
}
