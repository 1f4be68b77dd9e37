//! The initiator after its IKE_AUTH request (RFC 7296 1.2, 2.15).

use std::sync::Arc;
use std::time::Instant;

use super::established::Established;
use crate::ike::association::Association;
use crate::ike::channel::{Channel, Opened, OpenedMessage};
use crate::ike::child::{Agreed, ChildPair, PairKeys, Transport};
use crate::ike::config::{Child, Connection};
use crate::ike::context::{Context, InboundSpis};
use crate::ike::ended::Ended;
use crate::ike::error::Discard;
use crate::ike::event::Path;
use crate::ike::ext::table::{self, Point};
use crate::ike::failure::{AuthError, AuthenticationError, ChildError, Failure};
use crate::ike::identity;
use crate::ike::keys::{AuthenticationKeys, Signer};
use crate::ike::message::Payloads;
use crate::ike::negotiate::{self, ChildGroups};
use crate::ike::sa::{Cause, Establishing, Secured};
use crate::ike::transcript::Transcript;
use crate::ike::upkeep;
use crate::ike::wanted::{WantedChild, want};
use crate::wire::ike::{
    AuthMethod, Authentication, ExchangeType, Identification, Notify, NotifyType, ParsedMessage, Payload,
    TrafficSelector,
};

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
    transcript: Transcript,
    offered: Option<Offered>,
    wanted: Vec<WantedChild>,
    /// The error of a response that nobody protected.
    unprotected: Option<NotifyType>,
}

impl AuthSent {
    /// Sends IKE_AUTH, which asks for the first wanted child.
    pub(in crate::ike) fn start(
        connection: Arc<Connection>,
        mut secured: Secured,
        authentication: AuthenticationKeys,
        transcript: Transcript,
        mut wanted: Vec<WantedChild>,
        initial_contact: bool,
        cx: &mut Context<'_>,
    ) -> Result<Self, Ended> {
        let first = match table::asks_for_no_child(&connection, &secured.negotiated, !wanted.is_empty()) {
            Ok(true) => None,
            // Who has nothing to ask for has to ask for something.
            Ok(false) if wanted.is_empty() => {
                connection.children.first().map(|child| WantedChild::new(child.name.clone()))
            }
            Ok(false) => Some(wanted.remove(0)),
            Err(table::Unsupported) => {
                let failure = Failure::Auth(AuthError::ChildlessUnsupported);
                cx.failed_at_responder(&connection, secured.channel.path().peer, failure.clone());
                return Err(Ended::new(Cause::Refused, failure));
            }
        };
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
        if let Some(id) = identity::expected_id(&connection) {
            payloads.push(Payload::IdentificationResponder(id));
        }
        let octets = transcript.signed_by(Signer::Initiator, &id_body);
        payloads.push(octets.sign(&authentication, &connection.pre_shared_key));
        if let Some(Offered { child, inbound_spi, local_selectors, peer_selectors, .. }) = &offered {
            let proposals = negotiate::offer_esp(&child.esp_proposals, *inbound_spi, false);
            payloads.push(Payload::SecurityAssociation(proposals));
            payloads.push(Payload::TrafficSelectorsInitiator(local_selectors.clone()));
            payloads.push(Payload::TrafficSelectorsResponder(peer_selectors.clone()));
        }
        payloads.extend(secured.say(&connection, Point::AuthRequest, cx));
        let policy = cx.config.retransmission.of_attempt();
        let sent = secured.channel.request_with(ExchangeType::IKE_AUTH, &payloads, policy, cx);
        let state = Self { connection, secured, authentication, transcript, offered, wanted, unprotected: None };
        match sent {
            Ok(()) => Ok(state),
            Err(unsendable) => Err(state.give_up(Failure::from(unsendable), cx)),
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
            want(&mut self.wanted, wanted);
        }
    }

    pub(in crate::ike) fn open(&self, message: &ParsedMessage<'_>, path: Path) -> Result<Opened, Discard> {
        let header = message.header;
        if !header.flags.response || header.exchange_type != ExchangeType::IKE_AUTH {
            return Err(Discard::UnexpectedExchange);
        }
        self.secured.channel.open(message, path)
    }

    pub(in crate::ike) fn channel_mut(&mut self) -> &mut Channel {
        &mut self.secured.channel
    }

    /// Notes an error in the clear that stands in place of the response: anybody could have sent it.
    pub(in crate::ike) fn note_unprotected(&mut self, message: &ParsedMessage<'_>) {
        let ParsedMessage { header, payloads, encrypted, .. } = message;
        let error = payloads.iter().find_map(|payload| match payload {
            Payload::Notify(notify) if notify.kind.is_error() => Some(notify.kind),
            _ => None,
        });
        if header.flags.response && header.exchange_type == ExchangeType::IKE_AUTH && encrypted.is_none() {
            self.unprotected = error.or(self.unprotected);
        }
    }

    pub(in crate::ike) fn handle(mut self, message: OpenedMessage, cx: &mut Context<'_>) -> Result<Established, Ended> {
        self.secured.channel.answered();
        let verdict = match message.payloads() {
            Ok(payloads) => self.authenticate_peer(payloads, &message),
            Err(malformed) => Err(AuthError::Malformed(malformed)),
        };
        let peer_id = match verdict {
            Ok(peer_id) => peer_id,
            Err(error) => return Err(self.fail(error, cx)),
        };
        let payloads = message.payloads().unwrap_or(const { &Payloads::empty() });
        self.secured.hear(&self.connection, Point::AuthResponse, payloads);
        let association = cx.associations.of(&self.connection, &peer_id, cx.now);
        let mut pairs = Vec::new();
        let mut failed_child = None;
        if let Some(offered) = self.offered.take() {
            let wanted = offered.wanted.clone();
            match self.install(offered, &association, payloads, cx) {
                Ok(pair) => pairs.push(pair),
                Err((inbound_spi, error)) => {
                    cx.inbound_spis.release(inbound_spi);
                    let one_pair = payloads.error().is_some_and(|error| error.kind == NotifyType::SINGLE_PAIR_REQUIRED);
                    let unusable = error.leaves_child_sa().then_some(inbound_spi);
                    let failure = Failure::Child { child: wanted.child.clone(), error };
                    cx.failed_of(&association, self.path().peer, failure);
                    failed_child = Some((wanted, unusable, one_pair));
                }
            }
        }
        let establishing = Establishing { association, secured: self.secured };
        let mut established = Established::new(establishing, pairs, cx);
        established.act(cx, |sa, children, agenda, cx| {
            for wanted in self.wanted {
                upkeep::want(wanted, sa.connection(), children, agenda, cx.now);
            }
            match failed_child {
                // Without a packet, the ones to come ask.
                Some((wanted, _, true)) => drop(agenda.tasks.ask_for_one_pair(&wanted)),
                Some((wanted, unusable, false)) => agenda.tasks.child_failed(wanted, unusable, cx),
                None => {}
            }
        });
        Ok(established)
    }

    fn authenticate_peer(&self, payloads: &Payloads, message: &OpenedMessage) -> Result<Identification, AuthError> {
        let (Some(id), Some(auth), Some(id_body)) =
            (payloads.id_responder(), payloads.authentication(), message.id_body())
        else {
            let refused = |notify: &Notify| AuthError::refused(notify.kind, &self.connection);
            return Err(payloads.error().map_or(AuthError::Incomplete, refused));
        };
        self.check_proof(id, auth, id_body).map_err(AuthError::NotProven)?;
        Ok(id.clone())
    }

    fn check_proof(
        &self,
        id: &Identification,
        auth: &Authentication,
        id_body: &[u8],
    ) -> Result<(), AuthenticationError> {
        let (connection, claimed) = (self.connection.name.clone(), id.clone());
        if auth.method != AuthMethod::SHARED_KEY {
            let (connection, method) = (Some(connection), auth.method);
            return Err(AuthenticationError::OtherMethod { connection, claimed, method });
        }
        if !identity::expects(&self.connection, id) {
            let expected = identity::expected_id(&self.connection).map(|id| id.to_string());
            return Err(AuthenticationError::UnknownIdentity { claimed, expected: expected.into_iter().collect() });
        }
        let octets = self.transcript.signed_by(Signer::Responder, id_body);
        match octets.verify(&self.authentication, &self.connection.pre_shared_key, auth) {
            true => Ok(()),
            false => Err(AuthenticationError::WrongKey { connection, claimed }),
        }
    }

    /// Installs the Child SA of the response. An error comes with our SPI.
    fn install(
        &self,
        offered: Offered,
        association: &Arc<Association>,
        payloads: &Payloads,
        cx: &mut Context<'_>,
    ) -> Result<ChildPair, (u32, ChildError)> {
        let Offered { child, wanted: _, inbound_spi, local_selectors, peer_selectors } = offered;
        let failed = |error: ChildError| (inbound_spi, error);
        let (Some(answer), Some(local), Some(peer)) =
            (payloads.security_association(), payloads.ts_initiator(), payloads.ts_responder())
        else {
            let kind = payloads.error().map(|notify| notify.kind);
            return Err(failed(ChildError::refused(kind, &child, &local_selectors, &peer_selectors)));
        };
        let chosen = negotiate::check_esp(&child.esp_proposals, answer, ChildGroups::Ignored)
            .map_err(|error| failed(ChildError::Choice(error)))?;
        let outbound_spi = ChildError::check_spi(&chosen.spi).map_err(failed)?;
        ChildError::check_selectors(local, &local_selectors).map_err(failed)?;
        ChildError::check_selectors(peer, &peer_selectors).map_err(failed)?;
        let suite = chosen.algorithms.suite;
        let keys = self.secured.child_key_source.child_keys(suite, self.transcript.nonces(), None);
        let agreed = Agreed {
            association: association.clone(),
            child: child.name,
            algorithms: chosen.algorithms,
            inbound_spi,
            outbound_spi,
            local_selectors: local.clone(),
            peer_selectors: peer.clone(),
        };
        let transport = Transport::new(self.path(), self.secured.negotiated.nat.encapsulate, cx.config.nat_port);
        Ok(ChildPair::install_first(agreed, PairKeys::of(keys, true), transport, cx))
    }

    /// Ends the attempt. A responder that we don't believe has an IKE SA now, and is told to drop it.
    fn fail(mut self, error: AuthError, cx: &mut Context<'_>) -> Ended {
        if error.leaves_ike_sa() {
            self.secured.channel.delete_once(cx);
        }
        self.give_up(Failure::Auth(error), cx)
    }

    fn give_up(self, failure: Failure, cx: &mut Context<'_>) -> Ended {
        if let Some(offered) = &self.offered {
            cx.inbound_spis.release(offered.inbound_spi);
        }
        cx.failed_at_responder(&self.connection, self.path().peer, failure.clone());
        Ended::new(Cause::Refused, failure)
    }

    pub(in crate::ike) fn handle_timeout(mut self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        if self.secured.channel.retransmit(cx) {
            return Ok(self);
        }
        if let Some(offered) = &self.offered {
            cx.inbound_spis.release(offered.inbound_spi);
        }
        let silence = AuthError::NoAnswer { peer: self.path().peer, unprotected: self.unprotected };
        Err(Ended::new(Cause::NoAnswer, Failure::Auth(silence)))
    }

    /// The attempt is given up.
    pub(in crate::ike) fn abandon(&self, inbound_spis: &mut InboundSpis) {
        if let Some(offered) = &self.offered {
            inbound_spis.release(offered.inbound_spi);
        }
    }
}
