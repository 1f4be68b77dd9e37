//! CREATE_CHILD_SA for an IKE SA that the peer asks for in place of another one (RFC 7296 1.3.2, 2.8, 2.18).

use super::collision::{IkeRival, lowest};
use crate::ike::context::Context;
use crate::ike::failure::Refusal;
use crate::ike::keys::{Nonces, Spis};
use crate::ike::message::{self, Payloads};
use crate::ike::negotiate::{self, Chosen};
use crate::ike::sa::Sa;
use crate::wire::ike::{Payload, Proposal, ProtocolId};

/// What the peer is answered.
pub(in crate::ike) struct Answer {
    pub(in crate::ike) payloads: Vec<Payload>,
    /// The new IKE SA. A rekey of ours may be under way.
    pub(in crate::ike) rival: IkeRival,
}

/// Whether a CREATE_CHILD_SA request rekeys the IKE SA.
pub(in crate::ike) fn is_meant(request: &Payloads) -> bool {
    let first = request.security_association().and_then(|offer| offer.first());
    first.is_some_and(|first| first.protocol == ProtocolId::IKE)
}

/// The peer asks for an IKE SA in place of this one. `busy` says that this one goes or is being replaced, or that an
/// exchange about its Child SAs is under way (RFC 7296 2.25.2).
///
/// # Errors
/// Why it gets none.
pub(in crate::ike) fn requested(
    request: &Payloads,
    busy: bool,
    sa: &Sa,
    cx: &mut Context<'_>,
) -> Result<Answer, Refusal> {
    if busy {
        return Err(Refusal::Temporary);
    }
    let offer = request.security_association().ok_or(Refusal::Syntax)?;
    let initiator_nonce = request.nonce().ok_or(Refusal::Syntax)?;
    let theirs = request.key_exchange().ok_or(Refusal::Syntax)?;
    let ours = &sa.connection().ike_proposals;
    let Chosen { algorithms, spi, answer } = negotiate::choose_ike(ours, offer, Some(theirs.group.0))
        .ok_or_else(|| Refusal::IkeProposal { offered: offer.clone(), accepted: negotiate::offer_ike(ours, &[]) })?;
    if algorithms.group.transform_id != theirs.group.0 {
        return Err(Refusal::WrongGroup(algorithms.group.transform_id));
    }
    let initiator = Spis::of_proposal(&spi).ok_or(Refusal::Syntax)?;
    let spis = Spis { initiator, responder: cx.ike_spi(sa.channel().path().peer.ip()) };
    let key_exchange = algorithms.group.generate(cx.entropy);
    let responder_nonce = cx.nonce();
    let payloads = vec![
        Payload::SecurityAssociation(vec![Proposal { spi: spis.responder.0.to_vec(), ..answer }]),
        Payload::Nonce(responder_nonce.clone()),
        message::key_exchange(algorithms.group, key_exchange.public()),
    ];
    let shared = key_exchange.agree(&theirs.data).map_err(|_| Refusal::Syntax)?;
    let nonces = Nonces { initiator: initiator_nonce, responder: &responder_nonce };
    let sa = sa.rekeyed(algorithms, nonces, spis, &shared, false, cx).map_err(|_| Refusal::Syntax)?;
    let rival = IkeRival { sa, lowest_nonce: lowest(initiator_nonce, &responder_nonce) };
    Ok(Answer { payloads, rival })
}
