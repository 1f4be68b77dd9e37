//! What IKE agreed on, as the data path takes it.

use std::sync::Arc;

use crate::crypto::{Entropy, IvSource};
use crate::daemon::config::{Df, EspOptions};
use crate::dataplane::facts::SaFacts;
use crate::dataplane::fib::ConnectionId;
use crate::dataplane::outer_header::{DfPolicy, Encapsulation};
use crate::dataplane::parameters::{EspKeys, InboundSaParameters, OutboundSaParameters, Tunnel};
use crate::dataplane::policy::{Selector, SelectorPair};
use crate::esp::Limits;
use crate::ike::{self, ChildSa, SaKeys};
use crate::wire::ike::{ANY_PROTOCOL, TrafficSelector};

/// What both SAs of a pair have in common.
pub(super) struct Installation {
    pub(super) id: ConnectionId,
    pub(super) place: usize,
    pub(super) options: EspOptions,
    pub(super) tunnel: Tunnel,
    pub(super) selectors: Arc<SelectorPair>,
}

impl Installation {
    /// The inbound SA and the outbound one; the keys move into them.
    pub(super) fn parameters(
        self,
        sa: ChildSa,
        inbound: Arc<SaFacts>,
        outbound: Arc<SaFacts>,
        entropy: &mut dyn Entropy,
    ) -> (InboundSaParameters, OutboundSaParameters) {
        let Self { id, place, options, tunnel, selectors } = self;
        let EspOptions { replay_window, df, lifetime_packets, lifetime_bytes } = options;
        let mut limits = || Limits::of_lifetimes(lifetime_packets, lifetime_bytes, &mut *entropy);
        let (inbound_limits, outbound_limits) = (limits(), limits());
        let receiving = InboundSaParameters {
            spi: sa.inbound_spi,
            connection: id,
            suite: sa.suite,
            keys: keys(sa.inbound_keys),
            extended_sequence: sa.esn,
            replay_window,
            selectors: Arc::clone(&selectors),
            tunnel,
            limits: inbound_limits,
            facts: inbound,
        };
        let sending = OutboundSaParameters {
            inbound_spi: sa.inbound_spi,
            spi: sa.outbound_spi,
            connection: id,
            child: u32::try_from(place).unwrap_or(u32::MAX),
            suite: sa.suite,
            keys: keys(sa.outbound_keys),
            iv_source: IvSource::new(sa.suite, entropy),
            extended_sequence: sa.esn,
            selectors,
            tunnel,
            df: match df {
                Df::Copy => DfPolicy::Copy,
                Df::Set => DfPolicy::Set,
                Df::Clear => DfPolicy::Clear,
            },
            limits: outbound_limits,
            facts: outbound,
        };
        (receiving, sending)
    }
}

fn keys(keys: SaKeys) -> EspKeys {
    EspKeys { encryption: keys.encryption_key, integrity: keys.integrity_key }
}

pub(super) fn encapsulation(of: ike::Encapsulation) -> Encapsulation {
    match of {
        ike::Encapsulation::Udp => Encapsulation::Udp,
        ike::Encapsulation::None => Encapsulation::Raw,
    }
}

pub(super) fn selector_pair(local: &[TrafficSelector], peer: &[TrafficSelector]) -> Option<SelectorPair> {
    let side = |list: &[TrafficSelector]| list.iter().map(selector).collect::<Option<Vec<Selector>>>();
    Some(SelectorPair { local: side(local)?, peer: side(peer)? })
}

fn selector(of: &TrafficSelector) -> Option<Selector> {
    let protocol = (of.protocol != ANY_PROTOCOL).then_some(of.protocol);
    Selector::new(of.start..=of.end, protocol, of.start_port..=of.end_port)
}
