//! CREATE_CHILD_SA for a Child SA that the peer asks for, a new one or a replacing one (RFC 7296 1.3.1, 1.3.3, 2.17).

use std::sync::Arc;
use std::time::Duration;

use super::collision::{ChildRival, lowest};
use crate::ike::association::Association;
use crate::ike::child::{Agreed, PairKeys, Stage};
use crate::ike::child_offer::{Choice, asked, choose, choose_of};
use crate::ike::children::Children;
use crate::ike::config::Connection;
use crate::ike::context::Context;
use crate::ike::failure::Refusal;
use crate::ike::keys::Nonces;
use crate::ike::message::{self, Payloads};
use crate::ike::negotiate::ChildGroups;
use crate::ike::sa::Sa;
use crate::ike::tasks::Tasks;
use crate::wire::ike::{NotifyType, Payload};

/// How long our answer may be under way: longer than a peer repeats its request.
const UNCONFIRMED: Duration = Duration::from_secs(180);

/// Pairs that one IKE SA holds before the peer gets no more.
const MAX_CHILDREN: usize = 256;

/// What the peer is answered.
pub(in crate::ike) struct Answer {
    pub(in crate::ike) payloads: Vec<Payload>,
    /// The new pair, if it replaces another one: an exchange of ours may be about the same.
    pub(in crate::ike) rival: Option<ChildRival>,
}

/// The peer asks for a Child SA, to replace one when it says so. `busy` says that the IKE SA goes or is being replaced
/// (RFC 7296 2.25.2).
///
/// # Errors
/// Why it gets none.
pub(in crate::ike) fn requested(
    request: &Payloads,
    busy: bool,
    sa: &Sa,
    children: &mut Children,
    tasks: &mut Tasks,
    cx: &mut Context<'_>,
) -> Result<Answer, Refusal> {
    // Before the pair is looked for: it may live on in the IKE SA that takes this one's place.
    if busy {
        return Err(Refusal::Temporary);
    }
    let replaces = match request.notify(NotifyType::REKEY_SA) {
        Some(notify) => Some(child_to_rekey(notify.esp_spi().ok_or(Refusal::Syntax)?, children)?),
        None => None,
    };
    // A rekey is refused later, so that one is possible at the limit.
    if children.iter().count() >= if replaces.is_some() { 2 * MAX_CHILDREN } else { MAX_CHILDREN } {
        return Err(Refusal::NoAdditionalSas(MAX_CHILDREN));
    }
    let initiator_nonce = request.nonce().ok_or(Refusal::Syntax)?;
    let their_key = request.key_exchange();
    let guess = their_key.map(|key| key.group.0);
    let choice = choice(replaces, request, ChildGroups::AsConfigured(guess), sa, children, cx)?;
    let association = association_of(&choice.connection, sa, cx);
    let is_own = Arc::ptr_eq(&association, sa.association());
    let (shared, public) = match (choice.algorithms.group, their_key) {
        (None, _) => (None, None),
        (Some(group), Some(theirs)) if theirs.group.0 == group.transform_id => {
            let ours = group.generate(cx.entropy);
            let public = message::key_exchange(group, ours.public());
            (Some(ours.agree(&theirs.data).map_err(|_| Refusal::Syntax)?), Some(public))
        }
        (Some(group), _) => return Err(Refusal::WrongGroup(group.transform_id)),
    };
    let responder_nonce = cx.nonce();
    let inbound_spi = cx.inbound_spis.allocate(sa.channel().local_spi(), cx.entropy);
    let mut payloads = choice.answer(inbound_spi);
    payloads.insert(1, Payload::Nonce(responder_nonce.clone()));
    if let Some(public) = public {
        payloads.insert(2, public);
    }
    let nonces = Nonces { initiator: initiator_nonce, responder: &responder_nonce };
    let keys = sa.child_key_source().child_keys(choice.algorithms.suite, nonces, shared.as_ref());
    let Choice { child, algorithms, outbound_spi, local_selectors, peer_selectors, .. } = choice;
    let agreed = Agreed { association, child, algorithms, inbound_spi, outbound_spi, local_selectors, peer_selectors };
    if is_own {
        tasks.child_set_up(&agreed.child, replaces.is_some(), cx.now);
        tasks.leave_the_rest_to_peer(cx.now);
    }
    children.install(agreed, PairKeys::of(keys, false), replaces, sa, cx);
    // Who answers a rekey goes on with the old SA until the peer shows that it has the new one (RFC 7296 2.8).
    if replaces.is_none() {
        children.activate(inbound_spi, cx);
    }
    if let Some(pair) = children.get_mut(inbound_spi) {
        pair.unconfirmed_until = Some(cx.now + UNCONFIRMED);
    }
    let rival = replaces.map(|replaced| {
        children.replaced(replaced);
        ChildRival { replaced, inbound_spi, lowest_nonce: lowest(initiator_nonce, &responder_nonce) }
    });
    Ok(Answer { payloads, rival })
}

/// Chooses for a request on an IKE SA: a pair is replaced by one of its own child, so that no other traffic ends in it
/// (RFC 7296 2.9.2); a new one may be of the IKE SA's connection, or else of one that the peer cannot tell from it.
fn choice(
    replaces: Option<u32>,
    request: &Payloads,
    groups: ChildGroups,
    sa: &Sa,
    children: &Children,
    cx: &Context<'_>,
) -> Result<Choice, Refusal> {
    if let Some(pair) = replaces.and_then(|spi| children.get(spi)) {
        let connection = pair.association.connection();
        let child = connection.child(&pair.child).map_or(&[][..], std::slice::from_ref);
        return choose_of(connection, child, request, groups);
    }
    let (own, algorithms) = (sa.connection(), sa.algorithms());
    let siblings = cx.directory.siblings(own, &algorithms, asked(request));
    let connections: Vec<&Arc<Connection>> = std::iter::once(own).chain(siblings).collect();
    choose(&connections, request, groups)
}

/// The association of one of these connections with the peer.
fn association_of(connection: &Arc<Connection>, sa: &Sa, cx: &mut Context<'_>) -> Arc<Association> {
    let own = sa.association();
    if Arc::ptr_eq(connection, own.connection()) {
        return own.clone();
    }
    cx.associations.of(connection, own.peer_id(), cx.now)
}

/// The pair that the peer wants to replace, by the SPI that it receives on (RFC 7296 1.3.3, 2.25.1).
fn child_to_rekey(outbound_spi: u32, children: &Children) -> Result<u32, Refusal> {
    // One that was deleted at both ends is none any more.
    let pair = children.iter().find(|pair| pair.outbound_spi == outbound_spi && !pair.is_retired());
    let pair = pair.ok_or(Refusal::ChildNotFound(outbound_spi))?;
    match pair.stage {
        Stage::Installed | Stage::Rekeying => Ok(pair.inbound_spi),
        Stage::Replaced | Stage::Deleting => Err(Refusal::Temporary),
        Stage::Retired(_) => Err(Refusal::ChildNotFound(outbound_spi)),
    }
}
