//! One pair of Child SAs as its IKE SA keeps it. The keys are with the data path.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::association::Association;
use super::context::Context;
use super::coverage::Pair;
use super::event::{ChildSa, Encapsulation, Event, Path, Removal, SaKeys};
use super::negotiate::EspAlgorithms;
use super::status::{ChildState, ChildStatus};
use crate::crypto::KeyExchangeAlgorithm;
use crate::wire::ike::TrafficSelector;

/// How long an inbound SA outlives its pair after a rekey, for packets in flight.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// What both ends agreed on for a pair.
#[derive(Debug)]
pub(super) struct Agreed {
    /// Whose it is.
    pub(super) association: Arc<Association>,
    pub(super) child: Arc<str>,
    pub(super) algorithms: EspAlgorithms,
    pub(super) inbound_spi: u32,
    pub(super) outbound_spi: u32,
    pub(super) local_selectors: Vec<TrafficSelector>,
    pub(super) peer_selectors: Vec<TrafficSelector>,
}

/// The keys of a pair, from our point of view.
pub(super) struct PairKeys {
    pub(super) inbound: SaKeys,
    pub(super) outbound: SaKeys,
}

impl PairKeys {
    /// Keys as derived: of the SA from the exchange's initiator first (RFC 7296 2.17).
    pub(super) fn of((from_initiator, from_responder): (SaKeys, SaKeys), initiated: bool) -> Self {
        if initiated {
            Self { inbound: from_responder, outbound: from_initiator }
        } else {
            Self { inbound: from_initiator, outbound: from_responder }
        }
    }
}

/// How a pair is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transport {
    pub(super) path: Path,
    pub(super) encapsulation: Encapsulation,
}

impl Transport {
    /// The transport of Child SAs under an IKE SA on `path`: ESP in UDP runs between the ports of NAT traversal, also
    /// when IKE has not moved there.
    pub(super) fn new(mut path: Path, encapsulate: bool, nat_port: u16) -> Self {
        if !encapsulate {
            return Self { path, encapsulation: Encapsulation::None };
        }
        if !path.non_esp_marker {
            path.local.set_port(nat_port);
            path.peer.set_port(nat_port);
            path.non_esp_marker = true;
        }
        Self { path, encapsulation: Encapsulation::Udp }
    }
}

/// A pair of Child SAs.
#[derive(Debug)]
pub(super) struct ChildPair {
    /// Whose it is; not always that of the IKE SA.
    pub(super) association: Arc<Association>,
    pub(super) child: Arc<str>,
    pub(super) inbound_spi: u32,
    pub(super) outbound_spi: u32,
    outbound: Outbound,
    /// Made at the peer's request, and our answer may not have arrived until then.
    pub(super) unconfirmed_until: Option<Instant>,
    /// The inbound SPI of the pair that this one is to replace, until it does.
    pub(super) replaces: Option<u32>,
    pub(super) stage: Stage,
    /// It has come to a hard limit and carries nothing any more.
    pub(super) exhausted: bool,
    algorithms: EspAlgorithms,
    encapsulation: Encapsulation,
    /// Ours, and the peer's.
    selectors: (Vec<TrafficSelector>, Vec<TrafficSelector>),
    life: Life,
}

/// How long a pair lives, and when it is to be rekeyed.
#[derive(Debug)]
struct Life {
    established: Instant,
    rekey_at: Instant,
    expires_at: Instant,
    /// The peer has refused to rekey it.
    rekey_refused: bool,
}

/// What the data path was told of the outbound SA of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outbound {
    /// Nothing yet.
    Waits,
    /// To use it.
    Sends,
    /// Not to use it any more.
    Retired,
}

/// How far a pair is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// To be kept up.
    Installed,
    /// A rekey of ours is queued or under way.
    Rekeying,
    /// Another pair takes its place, or it is redundant: to be deleted by us or the peer.
    Replaced,
    /// We are deleting it.
    Deleting,
    /// Deleted at both ends; the inbound SA remains until then.
    Retired(Instant),
}

impl Stage {
    /// Whether a pair in this stage is, or is about to be, what its child's traffic uses.
    pub(super) fn is_current(self) -> bool {
        matches!(self, Self::Installed | Self::Rekeying)
    }
}

impl ChildPair {
    /// Tells the data path to install the pair, which takes the place of `replaces`.
    pub(super) fn install(
        agreed: Agreed,
        keys: PairKeys,
        transport: Transport,
        replaces: Option<u32>,
        cx: &mut Context<'_>,
    ) -> Self {
        let Agreed { association, child, algorithms, inbound_spi, outbound_spi, local_selectors, peer_selectors } =
            agreed;
        let EspAlgorithms { suite, group: _, esn } = algorithms;
        let pair = ChildSa {
            connection: association.name().clone(),
            association: association.id(),
            peer_id: association.peer_id().clone(),
            child: child.clone(),
            inbound_spi,
            outbound_spi,
            suite,
            esn,
            inbound_keys: keys.inbound,
            outbound_keys: keys.outbound,
            local_selectors: local_selectors.clone(),
            peer_selectors: peer_selectors.clone(),
            encapsulation: transport.encapsulation,
            path: transport.path,
        };
        if let Some(log) = cx.key_log {
            log.child_sa(&pair);
        }
        cx.inbound_spis.installed(inbound_spi, outbound_spi);
        cx.event(Event::ChildInstalled(Box::new(pair)));
        let lifetime = association.connection().child_lifetime;
        let rekey_at = cx.now + cx.jitter(lifetime, 80, 90);
        Self {
            association,
            child,
            inbound_spi,
            outbound_spi,
            unconfirmed_until: None,
            outbound: Outbound::Waits,
            replaces,
            stage: Stage::Installed,
            exhausted: false,
            algorithms,
            encapsulation: transport.encapsulation,
            selectors: (local_selectors, peer_selectors),
            life: Life { established: cx.now, rekey_at, expires_at: cx.now + lifetime, rekey_refused: false },
        }
    }

    /// Tells the data path to install the first pair of an IKE SA, and to use it.
    pub(super) fn install_first(agreed: Agreed, keys: PairKeys, transport: Transport, cx: &mut Context<'_>) -> Self {
        let mut pair = Self::install(agreed, keys, transport, None, cx);
        pair.activate(cx);
        pair
    }

    /// Starts to send on the pair, if that has not been done. Only [`super::children`] knows when.
    pub(super) fn activate(&mut self, cx: &mut Context<'_>) {
        self.unconfirmed_until = None;
        if self.outbound == Outbound::Waits {
            self.outbound = Outbound::Sends;
            cx.event(Event::ChildOutboundActivated {
                connection: self.association.name().clone(),
                association: self.association.id(),
                inbound_spi: self.inbound_spi,
                outbound_spi: self.outbound_spi,
            });
        }
    }

    /// Stops sending on the pair, if that has not been done.
    pub(super) fn retire_outbound(&mut self, cx: &mut Context<'_>) {
        if self.outbound != Outbound::Retired {
            self.outbound = Outbound::Retired;
            cx.event(Event::ChildOutboundRetired {
                connection: self.association.name().clone(),
                association: self.association.id(),
                inbound_spi: self.inbound_spi,
            });
        }
    }

    /// Removes the pair from the data path.
    pub(super) fn remove(self, reason: Removal, cx: &mut Context<'_>) {
        cx.inbound_spis.removed(self.inbound_spi, self.outbound_spi);
        cx.event(Event::ChildRemoved {
            connection: self.association.name().clone(),
            association: self.association.id(),
            child: self.child,
            inbound_spi: self.inbound_spi,
            outbound_spi: self.outbound_spi,
            reason,
        });
    }

    /// Whether it is, or is about to be, what the child's traffic uses.
    pub(super) fn is_current(&self) -> bool {
        self.stage.is_current()
    }

    pub(super) fn is_retired(&self) -> bool {
        matches!(self.stage, Stage::Retired(_))
    }

    /// When to rekey it, if it is to be.
    pub(super) fn rekey_due(&self) -> Option<Instant> {
        (self.stage == Stage::Installed).then_some(self.life.rekey_at)
    }

    /// When its inbound SA ends: after its grace, or at the end of its life.
    pub(super) fn end_due(&self) -> Instant {
        match self.stage {
            Stage::Retired(until) => until,
            _ => self.life.expires_at,
        }
    }

    /// Asks for the rekey later.
    pub(super) fn postpone_rekey(&mut self, until: Instant) {
        self.stage = Stage::Installed;
        self.life.rekey_at = until;
    }

    /// The peer has refused to rekey it, not only for the moment.
    pub(super) fn rekey_was_refused(&mut self) {
        self.life.rekey_refused = true;
    }

    /// Whether its life is over although it still serves, because the peer does not rekey it.
    pub(super) fn outlives_its_rekey(&self, now: Instant) -> bool {
        self.is_current() && self.life.rekey_refused && self.life.expires_at <= now
    }

    /// What it carries: our selectors and the peer's.
    pub(super) fn selectors(&self) -> Pair<'_> {
        (&self.selectors.0, &self.selectors.1)
    }

    /// The key exchange method that its keys came of, if it had one of its own.
    pub(super) fn group(&self) -> Option<&'static KeyExchangeAlgorithm> {
        self.algorithms.group
    }

    pub(super) fn is_encapsulated(&self) -> bool {
        self.encapsulation == Encapsulation::Udp
    }

    pub(super) fn status(&self) -> ChildStatus {
        ChildStatus {
            association: self.association.id(),
            name: self.child.clone(),
            state: match self.stage {
                Stage::Installed => ChildState::Installed,
                Stage::Rekeying => ChildState::Rekeying,
                Stage::Replaced | Stage::Deleting | Stage::Retired(_) => ChildState::Retired,
            },
            inbound_spi: self.inbound_spi,
            outbound_spi: self.outbound_spi,
            algorithms: self.algorithms.name(),
            esn: self.algorithms.esn,
            encapsulation: self.encapsulation,
            local_selectors: self.selectors.0.clone(),
            peer_selectors: self.selectors.1.clone(),
            established: self.life.established,
            rekey_at: self.life.rekey_at,
            expires_at: self.life.expires_at,
        }
    }
}
