//! What every handler of an IKE SA gets besides its input: the time, the configuration, randomness, and where its
//! consequences go.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::association::{Association, Associations};
use super::budget::Budget;
use super::config::{Config, Connection};
use super::directory::Directory;
use super::event::{Event, Output, Path, Transmit};
use super::failure::Failure;
use super::key_log::KeyLog;
use super::own_spi;
use super::source::{Asker, Source};
use crate::crypto::{Entropy, Secret};
use crate::wire::ike::IkeSpi;

/// The surroundings of a call.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) config: &'a Config,
    pub(super) directory: &'a Directory,
    pub(super) associations: &'a mut Associations,
    pub(super) entropy: &'a mut dyn Entropy,
    pub(super) outbox: &'a mut Outbox,
    pub(super) inbound_spis: &'a mut InboundSpis,
    /// What those may cost who have not authenticated themselves.
    pub(super) budget: &'a mut Budget,
    pub(super) key_log: Option<&'a dyn KeyLog>,
    /// What the tokens of quick crash detection are made with.
    pub(super) token_secret: Option<&'a Secret>,
}

impl Context<'_> {
    pub(super) fn event(&mut self, event: Event) {
        self.outbox.push(Output::Event(event));
    }

    /// Something failed that a person should see, and that no peer can cause again and again.
    pub(super) fn failed(&mut self, connection: Option<Arc<str>>, peer: SocketAddr, failure: Failure) {
        self.event(Event::Failure { connection, peer, failure });
    }

    /// The same with a peer that did not authenticate itself: told as far as such may be, else counted.
    pub(super) fn failed_unproven(
        &mut self,
        asker: Asker,
        connection: Option<Arc<str>>,
        peer: SocketAddr,
        failure: Failure,
    ) {
        if self.budget.failure(asker, self.now) {
            self.failed(connection, peer, failure);
        }
    }

    /// The same with a peer that did, and can cause it with each of its messages.
    pub(super) fn failed_of(&mut self, association: &Association, peer: SocketAddr, failure: Failure) {
        let told = self.budget.failure_of(association.name(), association.peer_id(), self.now);
        self.failed_if(told, association.name(), peer, failure);
    }

    /// The same with a responder that has not proven who it is: as many connections as there are may have one, each as often as it
    /// is tried.
    pub(super) fn failed_at_responder(&mut self, connection: &Connection, peer: SocketAddr, failure: Failure) {
        let asker = Asker { source: Source::of(peer.ip()), proven: true, configured: true };
        let told = self.budget.failure(asker, self.now);
        self.failed_if(told, &connection.name, peer, failure);
    }

    /// Tells a failure, or keeps it for the connection's status alone.
    fn failed_if(&mut self, told: bool, connection: &Arc<str>, peer: SocketAddr, failure: Failure) {
        if told {
            self.failed(Some(connection.clone()), peer, failure);
        } else {
            self.outbox.untold.push((connection.clone(), failure));
        }
    }

    /// Sends datagrams that may be fragmented.
    pub(super) fn transmit<Datagram: AsRef<[u8]>>(
        &mut self,
        path: Path,
        datagrams: impl IntoIterator<Item = Datagram>,
    ) {
        for datagram in datagrams {
            self.outbox.push(Output::Transmit(Transmit::new(path, datagram.as_ref().to_vec())));
        }
    }

    /// A random number below `bound`.
    pub(super) fn random_below(&mut self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes) % bound.max(1)
    }

    /// `span` times a random factor from `from` to `to` per cent.
    pub(super) fn jitter(&mut self, span: Duration, from: u32, to: u32) -> Duration {
        let thousandths = u64::from(from) * 10 + self.random_below(u64::from(to.saturating_sub(from)) * 10 + 1);
        span.mul_f64(thousandths as f64 / 1000.0)
    }

    /// A nonce of 32 bytes: at least half the key size of every PRF (RFC 7296 2.10).
    pub(super) fn nonce(&mut self) -> Vec<u8> {
        let mut nonce = vec![0; 32];
        self.entropy.fill(&mut nonce);
        nonce
    }

    /// An IKE SPI for an IKE SA with the peer at this address.
    pub(super) fn ike_spi(&mut self, peer: IpAddr) -> IkeSpi {
        own_spi::make(peer, self.token_secret, self.entropy)
    }
}

/// Consequences, in the order in which they must be carried out.
#[derive(Default)]
pub(super) struct Outbox {
    queue: VecDeque<Output>,
    /// Failures of connections that are told by their status alone, until the next output is taken.
    pub(super) untold: Vec<(Arc<str>, Failure)>,
    /// The peer may not know the IKE SA being handled any more, does not rekey it, or is never ready for what is asked on it: the
    /// endpoint is to negotiate another one beside it.
    pub(super) renegotiate: bool,
    /// The path of the IKE SA being handled answers that was silent: an attempt beside it has no use any more.
    pub(super) answers: bool,
}

impl Outbox {
    pub(super) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// The SPIs on which we receive, each with the IKE SA (by our SPI) that its Child SA belongs to.
#[derive(Default)]
pub(super) struct InboundSpis {
    owners: HashMap<u32, IkeSpi>,
    /// The SPIs of installed pairs: the one that we send on, which peers choose and several may choose alike, and the one that we
    /// receive on.
    by_outbound: BTreeSet<(u32, u32)>,
}

impl InboundSpis {
    /// SPIs up to 255 are reserved (RFC 4303 2.1).
    const FIRST: u32 = 256;

    /// A random SPI that none of our SAs has.
    pub(super) fn allocate(&mut self, owner: IkeSpi, entropy: &mut dyn Entropy) -> u32 {
        loop {
            let mut bytes = [0; 4];
            entropy.fill(&mut bytes);
            let spi = u32::from_be_bytes(bytes);
            if spi >= Self::FIRST && !self.owners.contains_key(&spi) {
                self.owners.insert(spi, owner);
                return spi;
            }
        }
    }

    /// The SA has moved to another IKE SA.
    pub(super) fn moved(&mut self, spi: u32, owner: IkeSpi) {
        self.owners.insert(spi, owner);
    }

    pub(super) fn release(&mut self, spi: u32) {
        self.owners.remove(&spi);
    }

    /// A pair was installed.
    pub(super) fn installed(&mut self, inbound: u32, outbound: u32) {
        self.by_outbound.insert((outbound, inbound));
    }

    /// A pair was removed.
    pub(super) fn removed(&mut self, inbound: u32, outbound: u32) {
        self.release(inbound);
        self.by_outbound.remove(&(outbound, inbound));
    }

    pub(super) fn owner(&self, spi: u32) -> Option<IkeSpi> {
        self.owners.get(&spi).copied()
    }

    /// The IKE SAs whose pairs send on this SPI, each as often as it has such pairs.
    pub(super) fn senders(&self, outbound: u32) -> impl Iterator<Item = IkeSpi> {
        let pairs = self.by_outbound.range((outbound, 0)..=(outbound, u32::MAX));
        pairs.filter_map(|(_, inbound)| self.owner(*inbound))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.by_outbound.is_empty()
    }
}
