//! The initiator after its IKE_AUTH request (RFC 7296 1.2, 2.15).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::established::Established;
use super::{Ended, IkeSa, WantedChild};
use crate::ike::authentication::{self, SignedOctets};
use crate::ike::channel::{Opened, OpenedMessage};
use crate::ike::child::{Agreed, ChildPair, PairKeys, Transport};
use crate::ike::config::{Child, Connection};
use crate::ike::context::{Context, InboundSpis};
use crate::ike::error::Discard;
use crate::ike::event::{Event, Path};
use crate::ike::keys::{AuthenticationKeys, Nonces, Signer};
use crate::ike::message::Payloads;
use crate::ike::negotiate::{self, ChildGroups};
use crate::ike::sa::{Cause, Establishing, Secured};
use crate::wire::ike::{
    ExchangeType, Identification, Malformed, Notify, NotifyType, ParsedMessage, Payload, TrafficSelector,
};

/// A responder forgets a half-open IKE SA sooner than the late steps of the back-off come.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What IKE_SA_INIT exchanged, as AUTH covers it.
pub(in crate::ike) struct Exchanged {
    pub(in crate::ike) request: Vec<u8>,
    pub(in crate::ike) response: Vec<u8>,
    pub(in crate::ike) initiator_nonce: Vec<u8>,
    pub(in crate::ike) responder_nonce: Vec<u8>,
}

impl Exchanged {
    pub(in crate::ike) fn nonces(&self) -> Nonces<'_> {
        Nonces { initiator: &self.initiator_nonce, responder: &self.responder_nonce }
    }

    /// What one end signs with this identification payload.
    pub(in crate::ike) fn signed_by<'a>(&'a self, signer: Signer, id_body: &'a [u8]) -> SignedOctets<'a> {
        let (message, nonce) = match signer {
            Signer::Initiator => (&self.request, &self.responder_nonce),
            Signer::Responder => (&self.response, &self.initiator_nonce),
        };
        SignedOctets { signer, message, nonce, id_body }
    }
}

/// The Child SA that the IKE_AUTH request asked for.
struct Offered {
    child: Child,
    wanted: WantedChild,
    inbound_spi: u32,
    local_selectors: Vec<TrafficSelector>,
    peer_selectors: Vec<TrafficSelector>,
}

/// Waits for the IKE_AUTH response.
pub(in crate::ike) struct AuthSent {
    connection: Arc<Connection>,
    secured: Secured,
    authentication: AuthenticationKeys,
    exchanged: Exchanged,
    offered: Option<Offered>,
    wanted: Vec<WantedChild>,
}

impl AuthSent {
    /// Sends IKE_AUTH, which asks for the first wanted child.
    pub(in crate::ike) fn start(
        connection: Arc<Connection>,
        mut secured: Secured,
        authentication: AuthenticationKeys,
        exchanged: Exchanged,
        mut wanted: Vec<WantedChild>,
        initial_contact: bool,
        cx: &mut Context<'_>,
    ) -> Result<Self, Ended> {
        let first = (!wanted.is_empty()).then(|| wanted.remove(0));
        let offered = first.and_then(|first| {
            let child = connection.child(&first.child)?.clone();
            let inbound_spi = cx.inbound_spis.allocate(secured.channel.local_spi(), cx.entropy);
            let (local_selectors, peer_selectors) = first.selectors(&child);
            Some(Offered { child, wanted: first, inbound_spi, local_selectors, peer_selectors })
        });
        let id_body = connection.local_id.body();
        let mut payloads = vec![Payload::IdentificationInitiator(connection.local_id.clone())];
        if initial_contact {
            payloads.push(Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, Vec::new())));
        }
        if let Some(id) = authentication::expected_id(&connection) {
            payloads.push(Payload::IdentificationResponder(id));
        }
        let octets = exchanged.signed_by(Signer::Initiator, &id_body);
        payloads.push(octets.sign(&authentication, &connection.pre_shared_key));
        if let Some(Offered { child, inbound_spi, local_selectors, peer_selectors, .. }) = &offered {
            let proposals = negotiate::offer_esp(&child.esp_proposals, *inbound_spi, false);
            payloads.push(Payload::SecurityAssociation(proposals));
            payloads.push(Payload::TrafficSelectorsInitiator(local_selectors.clone()));
            payloads.push(Payload::TrafficSelectorsResponder(peer_selectors.clone()));
        }
        let policy = cx.config.retransmission;
        let sent = secured.channel.request_with(ExchangeType::IKE_AUTH, &payloads, policy, LONGEST_WAIT, cx);
        let state = Self { connection, secured, authentication, exchanged, offered, wanted };
        match sent {
            Ok(()) => Ok(state),
            Err(unsendable) => Err(state.give_up(unsendable.to_string(), cx)),
        }
    }

    pub(in crate::ike) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(in crate::ike) fn path(&self) -> Path {
        self.secured.channel.path()
    }

    pub(in crate::ike) fn deadline(&self) -> Option<Instant> {
        self.secured.channel.deadline()
    }

    /// A further child that is to be negotiated.
    pub(in crate::ike) fn want(&mut self, wanted: WantedChild) {
        if self.offered.as_ref().is_none_or(|offered| offered.child.name != wanted.child) {
            super::want(&mut self.wanted, wanted);
        }
    }

    pub(in crate::ike) fn open(&self, message: &ParsedMessage<'_>, path: Path) -> Result<Opened, Discard> {
        let header = message.header;
        if !header.flags.response || header.exchange_type != ExchangeType::IKE_AUTH {
            return Err(Discard::UnexpectedExchange);
        }
        self.secured.channel.open(message, path)
    }

    pub(in crate::ike) fn handle(mut self, message: OpenedMessage, cx: &mut Context<'_>) -> Result<IkeSa, Ended> {
        self.secured.channel.answered();
        let verdict = match message.payloads() {
            Ok(payloads) => self.authenticate_peer(payloads, &message),
            Err(malformed) => Err(Failed::Unreadable(malformed)),
        };
        let peer_id = match verdict {
            Ok(peer_id) => peer_id,
            Err(failed) => return Err(self.fail(failed, cx)),
        };
        let payloads = message.payloads().unwrap_or(const { &Payloads::empty() });
        let mut pairs = Vec::new();
        let mut failed_child = None;
        if let Some(offered) = self.offered.take() {
            let wanted = offered.wanted.clone();
            match self.install(offered, payloads, cx) {
                Ok(pair) => pairs.push(pair),
                Err((inbound_spi, reason, unusable)) => {
                    cx.inbound_spis.release(inbound_spi);
                    cx.event(Event::Failure {
                        connection: Some(self.connection.name.clone()),
                        peer: self.path().peer,
                        reason: format!("Child SA {} was not set up: {reason}", wanted.child),
                    });
                    let one_pair = payloads.error().is_some_and(|error| error.kind == NotifyType::SINGLE_PAIR_REQUIRED);
                    failed_child = Some((wanted, unusable.then_some(inbound_spi), one_pair));
                }
            }
        }
        let establishing = Establishing { connection: self.connection, peer_id, secured: self.secured };
        let mut established = Established::new(establishing, pairs, cx);
        for wanted in self.wanted {
            established.want(wanted);
        }
        match failed_child {
            // Without a packet, the ones to come ask.
            Some((wanted, _, true)) => drop(established.ask_for_one_pair(&wanted)),
            Some((wanted, unusable, false)) => {
                established.child_failed(WantedChild { packet: None, ..wanted }, unusable, cx);
            }
            None => {}
        }
        established.advance(cx);
        Ok(IkeSa::Established(Box::new(established)))
    }

    fn authenticate_peer(&self, payloads: &Payloads, message: &OpenedMessage) -> Result<Identification, Failed> {
        let (Some(id), Some(auth), Some(id_body)) =
            (payloads.id_responder(), payloads.authentication(), message.id_body())
        else {
            return Err(payloads.error().map_or(Failed::Incomplete, |notify| Failed::Refused(notify.kind)));
        };
        if !authentication::expects(&self.connection, id) {
            return Err(Failed::OtherIdentity(id.clone()));
        }
        let octets = self.exchanged.signed_by(Signer::Responder, id_body);
        match octets.verify(&self.authentication, &self.connection.pre_shared_key, auth) {
            true => Ok(id.clone()),
            false => Err(Failed::WrongKey(id.clone())),
        }
    }

    /// Installs the Child SA of the response. The error has our SPI, a text, and whether the peer believes in the SA.
    fn install(
        &self,
        offered: Offered,
        payloads: &Payloads,
        cx: &mut Context<'_>,
    ) -> Result<ChildPair, (u32, String, bool)> {
        let Offered { child, wanted: _, inbound_spi, local_selectors, peer_selectors } = offered;
        let (Some(answer), Some(local), Some(peer)) =
            (payloads.security_association(), payloads.ts_initiator(), payloads.ts_responder())
        else {
            let kind = payloads.error().map(|notify| notify.kind);
            return Err((inbound_spi, super::child_refused(kind, &child, &local_selectors, &peer_selectors), false));
        };
        let chosen = negotiate::accept_esp(&child.esp_proposals, answer, ChildGroups::Ignored)
            .ok_or_else(|| (inbound_spi, "the peer chose what was not offered".to_owned(), true))?;
        let outbound_spi = super::esp_spi(&chosen.spi)
            .ok_or_else(|| (inbound_spi, "the peer chose a reserved SPI".to_owned(), true))?;
        if !negotiate::within(local, &local_selectors) || !negotiate::within(peer, &peer_selectors) {
            return Err((inbound_spi, "the peer widened the traffic selectors".to_owned(), true));
        }
        let suite = chosen.algorithms.suite;
        let keys = self.secured.child_key_source.child_keys(suite, self.exchanged.nonces(), None);
        let agreed = Agreed {
            child: child.name,
            algorithms: chosen.algorithms,
            inbound_spi,
            outbound_spi,
            local_selectors: local.clone(),
            peer_selectors: peer.clone(),
        };
        let transport = Transport::new(self.path(), self.secured.encapsulate, cx.config.nat_port);
        Ok(ChildPair::install(agreed, PairKeys::of(keys, true), &self.connection, transport, true, None, cx))
    }

    /// Ends the attempt. A responder that we don't believe has an IKE SA now, and is told to drop it.
    fn fail(mut self, failed: Failed, cx: &mut Context<'_>) -> Ended {
        if !matches!(failed, Failed::Refused(_)) {
            self.secured.channel.delete_once(cx);
        }
        let reason = failed.describe(&self.connection);
        self.give_up(reason, cx)
    }

    fn give_up(self, reason: String, cx: &mut Context<'_>) -> Ended {
        if let Some(offered) = &self.offered {
            cx.inbound_spis.release(offered.inbound_spi);
        }
        cx.event(Event::Failure {
            connection: Some(self.connection.name.clone()),
            peer: self.path().peer,
            reason: reason.clone(),
        });
        Ended::new(Cause::Refused, reason)
    }

    pub(in crate::ike) fn handle_timeout(mut self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        if self.secured.channel.retransmit(cx) {
            return Ok(self);
        }
        if let Some(offered) = &self.offered {
            cx.inbound_spis.release(offered.inbound_spi);
        }
        let peer = self.path().peer;
        Err(Ended::new(Cause::NoAnswer, format!("no answer to IKE_AUTH from {peer}")))
    }

    /// Gives the attempt up.
    pub(in crate::ike) fn abandon(self, inbound_spis: &mut InboundSpis) {
        if let Some(offered) = &self.offered {
            inbound_spis.release(offered.inbound_spi);
        }
    }
}

/// Why the response is not that of the peer that we wanted.
enum Failed {
    Unreadable(Malformed),
    Incomplete,
    Refused(NotifyType),
    OtherIdentity(Identification),
    WrongKey(Identification),
}

impl Failed {
    fn describe(&self, connection: &Connection) -> String {
        match self {
            Self::Unreadable(malformed) => format!("the IKE_AUTH response is malformed: {malformed}"),
            Self::Incomplete => "the IKE_AUTH response lacks IDr or AUTH".to_owned(),
            Self::Refused(NotifyType::AUTHENTICATION_FAILED) => format!(
                "the peer answers AUTHENTICATION_FAILED: the pre-shared key differs, or the peer does not know our \
                 identity {}; compare both with the peer's configuration",
                connection.local_id
            ),
            Self::Refused(kind) => format!("the peer answers {kind} to IKE_AUTH"),
            Self::OtherIdentity(id) => format!(
                "the peer calls itself {id}, but {} is expected; compare its local ID with our peer ID",
                authentication::expected_id(connection).map_or_else(String::new, |id| id.to_string())
            ),
            Self::WrongKey(id) => {
                format!("the pre-shared key of {id} does not match ours; compare them on both sides")
            }
        }
    }
}
