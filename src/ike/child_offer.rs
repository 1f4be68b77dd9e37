//! What we choose of a peer's offer of a Child SA, in IKE_AUTH as in CREATE_CHILD_SA (RFC 7296 1.2, 1.3.1, 2.9).

use std::net::SocketAddr;
use std::sync::Arc;

use super::association::Association;
use super::config::{Child, Connection};
use super::context::Context;
use super::directory::Asked;
use super::failure::{ChildError, Failure, Refusal};
use super::message::Payloads;
use super::negotiate::{self, ChildGroups, EspAlgorithms};
use crate::wire::ike::{MAX_SELECTORS, Payload, Proposal, TrafficSelector};

/// What a responder chose of a request.
pub(super) struct Choice {
    pub(super) connection: Arc<Connection>,
    pub(super) child: Arc<str>,
    pub(super) algorithms: EspAlgorithms,
    pub(super) outbound_spi: u32,
    pub(super) local_selectors: Vec<TrafficSelector>,
    pub(super) peer_selectors: Vec<TrafficSelector>,
    answer: Proposal,
}

impl Choice {
    /// The SA and TS payloads of the response.
    pub(super) fn answer(&self, inbound_spi: u32) -> Vec<Payload> {
        let proposal = Proposal { spi: inbound_spi.to_be_bytes().to_vec(), ..self.answer.clone() };
        vec![
            Payload::SecurityAssociation(vec![proposal]),
            Payload::TrafficSelectorsInitiator(self.peer_selectors.clone()),
            Payload::TrafficSelectorsResponder(self.local_selectors.clone()),
        ]
    }
}

/// The selectors that a request for a Child SA asks for; none of either side if it asks for none.
pub(super) fn asked<'a>(payloads: &'a Payloads) -> Asked<'a> {
    let selectors = payloads.ts_responder().zip(payloads.ts_initiator());
    selectors.map_or([&[], &[]], |(local, peer)| [local, peer])
}

/// The one of these connections that a request for a Child SA means: the first that holds the first selectors of both
/// lists (RFC 7296 2.9), else the first that has any traffic in common with it, else the first.
pub(super) fn meant<'a>(
    connections: impl IntoIterator<Item = &'a Arc<Connection>>,
    payloads: &Payloads,
) -> Option<&'a Arc<Connection>> {
    let selectors = payloads.ts_responder().zip(payloads.ts_initiator());
    connections.into_iter().min_by_key(|connection| {
        let (local, peer) = selectors?;
        let common = negotiate::choose_child(&connection.children, local, peer);
        Some(common.map_or(2, |(_, ours, theirs)| {
            let holds_first = negotiate::covers_first(&ours, local) && negotiate::covers_first(&theirs, peer);
            u8::from(!holds_first)
        }))
    })
}

/// Chooses child, proposal and traffic selectors for a request, of the one of these connections that it means. The first
/// one is told of when none has traffic in common with it.
///
/// # Errors
/// Why there is nothing to choose.
pub(super) fn choose(
    connections: &[&Arc<Connection>],
    payloads: &Payloads,
    groups: ChildGroups,
) -> Result<Choice, Refusal> {
    let connection = meant(connections.iter().copied(), payloads).ok_or(Refusal::Syntax)?;
    choose_of(connection, &connection.children, payloads, groups)
}

/// Chooses proposal and traffic selectors for a request, of some children of a connection only.
///
/// # Errors
/// Why there is nothing to choose.
pub(super) fn choose_of(
    connection: &Arc<Connection>,
    children: &[Child],
    payloads: &Payloads,
    groups: ChildGroups,
) -> Result<Choice, Refusal> {
    let (Some(offer), Some(theirs), Some(ours)) =
        (payloads.security_association(), payloads.ts_initiator(), payloads.ts_responder())
    else {
        return Err(Refusal::Syntax);
    };
    let Some((child, local_selectors, peer_selectors)) = negotiate::choose_child(children, ours, theirs) else {
        let configured = children.iter();
        return Err(Refusal::Selectors {
            connection: connection.name.clone(),
            asked: (ours.clone(), theirs.clone()),
            configured: configured.map(|child| (child.local_selectors.clone(), child.peer_selectors.clone())).collect(),
        });
    };
    if local_selectors.len().max(peer_selectors.len()) > MAX_SELECTORS {
        return Err(Refusal::TooManySelectors { child: child.name.clone() });
    }
    let chosen = negotiate::choose_esp(&child.esp_proposals, offer, groups).ok_or_else(|| Refusal::EspProposal {
        child: child.name.clone(),
        offered: offer.clone(),
        accepted: negotiate::offer_esp(&child.esp_proposals, 0, groups != ChildGroups::Ignored),
    })?;
    let outbound_spi = ChildError::check_spi(&chosen.spi).map_err(|_| Refusal::Syntax)?;
    Ok(Choice {
        connection: connection.clone(),
        child: child.name.clone(),
        algorithms: chosen.algorithms,
        outbound_spi,
        local_selectors,
        peer_selectors,
        answer: chosen.answer,
    })
}

/// Tells a person of a refusal that only a person can do something about, as far as such are told of one association.
pub(super) fn report(refusal: Refusal, association: &Association, peer: SocketAddr, cx: &mut Context<'_>) {
    if refusal.concerns_a_person() {
        cx.failed_of(association, peer, Failure::Refused(refusal));
    }
}
