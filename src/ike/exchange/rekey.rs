//! CREATE_CHILD_SA for an IKE SA that we ask for in place of another one (RFC 7296 1.3.2, 2.8, 2.18).

use std::time::{Duration, Instant};

use super::collision::{IkeRival, lowest};
use super::next::{Next, Succession};
use super::task::Task;
use crate::crypto::{KeyExchange, KeyExchangeAlgorithm};
use crate::ike::children::Children;
use crate::ike::context::Context;
use crate::ike::error::Unsendable;
use crate::ike::event::RekeyWhat;
use crate::ike::failure::{Asked, Failure, RekeyError};
use crate::ike::keys::{Nonces, Spis};
use crate::ike::message::{self, Payloads};
use crate::ike::negotiate;
use crate::ike::sa::{Cause, Phase, Sa};
use crate::ike::tasks::Tasks;
use crate::wire::ike::{ExchangeType, IkeSpi, KeyExchangeId, Notify, NotifyType, Payload};

/// Other key exchange methods that are tried at the peer's wish.
const MAX_GROUPS: u32 = 3;

/// How long an IKE SA that was replaced waits for its deletion by the peer.
const REPLACED_WAIT: Duration = Duration::from_secs(60);

/// Wait before a refused rekey of an IKE SA is tried again, before jitter.
const RETRY_WAIT: Duration = Duration::from_secs(10);

/// A CREATE_CHILD_SA request of ours for an IKE SA in place of this one.
pub(in crate::ike) struct RekeyIke {
    spi: IkeSpi,
    nonce: Vec<u8>,
    key_exchange: KeyExchange,
    groups_tried: u32,
    /// An IKE SA that the peer has made meanwhile.
    rival: Option<IkeRival>,
}

impl RekeyIke {
    /// Asks for an IKE SA in place of this one.
    pub(in crate::ike) fn start(sa: &Sa, cx: &mut Context<'_>) -> Next<Self> {
        if !sa.is_active() {
            return Next::Done;
        }
        // The method in use is the one that the peer surely accepts.
        let key_exchange = sa.algorithms().group.generate(cx.entropy);
        let spi = cx.ike_spi(sa.channel().path().peer.ip());
        Self { spi, nonce: cx.nonce(), key_exchange, groups_tried: 0, rival: None }.request(sa)
    }

    fn request(self, sa: &Sa) -> Next<Self> {
        let payloads = vec![
            Payload::SecurityAssociation(negotiate::offer_ike(&sa.connection().ike_proposals, &self.spi.0)),
            Payload::Nonce(self.nonce.clone()),
            message::key_exchange(self.key_exchange.algorithm(), self.key_exchange.public()),
        ];
        Next::send(ExchangeType::CREATE_CHILD_SA, payloads, self)
    }

    /// The peer's IKE SA that waits for our exchange to end.
    pub(in crate::ike) fn rival(&self) -> Option<&IkeRival> {
        self.rival.as_ref()
    }

    /// Our SPIs of the IKE SAs that it makes, at our request and at the peer's.
    pub(in crate::ike) fn makes(&self) -> impl Iterator<Item = IkeSpi> {
        let rival = self.rival().map(|rival| rival.sa.channel().local_spi());
        [Some(self.spi), rival].into_iter().flatten()
    }

    /// The peer's IKE SA with this SPI of ours that waits for our exchange to end.
    pub(in crate::ike) fn rival_with(&self, local_spi: IkeSpi) -> Option<&IkeRival> {
        self.rival().filter(|rival| rival.sa.channel().local_spi() == local_spi)
    }

    /// The peer has made an IKE SA in place of the same one.
    pub(in crate::ike) fn meet(&mut self, rival: IkeRival) {
        self.rival = Some(rival);
    }

    /// Our request does not fit a message.
    pub(in crate::ike) fn not_sent(self, unsendable: Unsendable, sa: &mut Sa, cx: &mut Context<'_>) -> Next<Self> {
        Self::failed(RekeyError::Unsendable(unsendable), self.rival, sa, cx)
    }

    /// The peer's answer to our request.
    pub(in crate::ike) fn reply(
        mut self,
        reply: &Payloads,
        sa: &mut Sa,
        tasks: &mut Tasks,
        cx: &mut Context<'_>,
    ) -> Next<Self> {
        match reply.error() {
            Some(error) if sa.is_active() => return self.refused(error, sa, tasks, cx),
            // It goes anyway.
            Some(_) => return self.give_way(sa, cx.now),
            None => {}
        }
        let rival = self.rival.take();
        match self.accept(reply, sa, cx) {
            Ok((ours, lowest_nonce)) => Next::Succeeded(Box::new(settle(ours, &lowest_nonce, rival, sa, cx.now))),
            Err(error) => Self::failed(error, rival, sa, cx),
        }
    }

    /// Checks an answer against what was offered. Gives the new IKE SA, and the lower one of the nonces that it was made of.
    fn accept(self, reply: &Payloads, sa: &Sa, cx: &mut Context<'_>) -> Result<(Sa, Vec<u8>), RekeyError> {
        let (Some(answer), Some(theirs), Some(responder_nonce)) =
            (reply.security_association(), reply.key_exchange(), reply.nonce())
        else {
            return Err(RekeyError::Incomplete);
        };
        let sent = self.key_exchange.algorithm().transform_id;
        let chosen = negotiate::check_ike(&sa.connection().ike_proposals, answer, sent).map_err(RekeyError::Choice)?;
        let responder = Spis::of_proposal(&chosen.spi).ok_or(RekeyError::NoSpi)?;
        if theirs.group.0 != sent {
            return Err(RekeyError::OtherGroup { answered: theirs.group, sent: KeyExchangeId(sent) });
        }
        let shared = self.key_exchange.agree(&theirs.data).map_err(RekeyError::KeyExchange)?;
        let spis = Spis { initiator: self.spi, responder };
        let nonces = Nonces { initiator: &self.nonce, responder: responder_nonce };
        let ours = sa.rekeyed(chosen.algorithms, nonces, spis, &shared, true, cx).map_err(RekeyError::Keys)?;
        Ok((ours, lowest(&self.nonce, responder_nonce)))
    }

    fn refused(mut self, error: &Notify, sa: &mut Sa, tasks: &mut Tasks, cx: &mut Context<'_>) -> Next<Self> {
        if error.kind == NotifyType::INVALID_KE_PAYLOAD
            && self.groups_tried < MAX_GROUPS
            && let Some(group) = group_wanted(sa, error)
        {
            self.groups_tried += 1;
            self.key_exchange = group.generate(cx.entropy);
            // No nonce is used for two exchanges (RFC 7296 3.9).
            self.nonce = cx.nonce();
            return self.request(sa);
        }
        if error.kind == NotifyType::TEMPORARY_FAILURE {
            if self.rival.is_none() {
                let wait = tasks.temporary_wait(Asked::RekeyIke, sa, cx);
                sa.lifetime_mut().set_rekey_at(cx.now + wait);
            }
            return self.give_way(sa, cx.now);
        }
        // A peer that means it has dropped the IKE SA (RFC 7296 2.21.3); some mean no more than that they refuse.
        if error.kind == NotifyType::INVALID_SYNTAX && self.rival.is_none() {
            tasks.queue(Task::Liveness);
        }
        Self::failed(RekeyError::Refused(error.kind), self.rival, sa, cx)
    }

    fn failed(error: RekeyError, rival: Option<IkeRival>, sa: &mut Sa, cx: &mut Context<'_>) -> Next<Self> {
        if let Some(rival) = rival {
            return Next::Succeeded(Box::new(succeeded_by(rival.sa, sa, cx.now)));
        }
        if !sa.is_active() {
            return Next::Done;
        }
        sa.tell(Failure::Rekey(error), cx);
        // A new IKE SA takes its place before it ends (RFC 7296 2.8).
        cx.outbox.renegotiate = true;
        let wait = cx.jitter(RETRY_WAIT, 80, 200);
        sa.lifetime_mut().set_rekey_at(cx.now + wait);
        Next::Done
    }

    /// Gives our rekey up for the peer's, if it made one.
    pub(in crate::ike) fn give_way(self, sa: &Sa, now: Instant) -> Next<Self> {
        match self.rival {
            Some(rival) => Next::Succeeded(Box::new(succeeded_by(rival.sa, sa, now))),
            None => Next::Done,
        }
    }
}

/// Which of two IKE SAs that both ends made in place of the same one stays (RFC 7296 2.8.2), and what becomes of the rest.
fn settle(mut ours: Sa, lowest_nonce: &[u8], rival: Option<IkeRival>, sa: &Sa, now: Instant) -> Succession {
    let passive = Phase::Passive(now + REPLACED_WAIT);
    match rival {
        // Nobody wants a successor of what is being deleted; the peer is to know.
        rival if matches!(sa.phase(), Phase::Closing(_)) => {
            let mut superfluous: Vec<Sa> = rival.into_iter().map(|rival| rival.sa).chain([ours]).collect();
            superfluous.iter_mut().for_each(|sa| sa.set_phase(Phase::Closing(Cause::Closed)));
            Succession { heir: None, superfluous, replaced: sa.phase().clone() }
        }
        Some(rival) if *lowest_nonce < *rival.lowest_nonce => {
            ours.set_phase(Phase::Closing(Cause::Closed));
            Succession { heir: Some(rival.sa), superfluous: vec![ours], replaced: passive }
        }
        rival => {
            let mut superfluous: Vec<Sa> = rival.into_iter().map(|rival| rival.sa).collect();
            superfluous.iter_mut().for_each(|sa| sa.set_phase(passive.clone()));
            Succession { heir: Some(ours), superfluous, replaced: Phase::Closing(Cause::Closed) }
        }
    }
}

/// The IKE SA that the peer asked for takes over; the peer deletes the old one.
pub(in crate::ike) fn succeeded_by(mut theirs: Sa, sa: &Sa, now: Instant) -> Succession {
    if matches!(sa.phase(), Phase::Closing(_)) {
        // Nobody wants a successor of what is being deleted; the peer is to know.
        theirs.set_phase(Phase::Closing(Cause::Closed));
        return Succession { heir: None, superfluous: vec![theirs], replaced: sa.phase().clone() };
    }
    Succession { heir: Some(theirs), superfluous: Vec::new(), replaced: Phase::Passive(now + REPLACED_WAIT) }
}

/// Asks for new keys now: of the IKE SA, or of every pair of a connection that serves.
pub(in crate::ike) fn now(what: RekeyWhat, connection: &str, children: &Children, tasks: &mut Tasks) {
    match what {
        RekeyWhat::Ike => tasks.queue(Task::RekeyIke),
        RekeyWhat::Child => {
            let current = children.current().filter(|pair| **pair.association.name() == *connection);
            current.for_each(|pair| tasks.queue(Task::RekeyChild(pair.inbound_spi)));
        }
    }
}

/// Queues the rekeying of one child's pairs.
pub(in crate::ike) fn child_now(child: &str, connection: &str, children: &Children, tasks: &mut Tasks) {
    let current = children.current().filter(|pair| **pair.association.name() == *connection);
    let of_child = current.filter(|pair| *pair.child == *child);
    of_child.for_each(|pair| tasks.queue(Task::RekeyChild(pair.inbound_spi)));
}

/// The configured method that an INVALID_KE_PAYLOAD asks for.
fn group_wanted(sa: &Sa, error: &Notify) -> Option<&'static KeyExchangeAlgorithm> {
    let wanted = message::wanted_group(error)?;
    let ours = sa.connection().ike_proposals.iter().flat_map(|proposal| &proposal.groups);
    ours.copied().find(|group| group.transform_id == wanted)
}

#[cfg(test)]
impl RekeyIke {
    /// The SPI that we chose.
    pub(in crate::ike) fn spi(&self) -> IkeSpi {
        self.spi
    }
}
