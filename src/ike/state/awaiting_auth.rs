//! The responder after its IKE_SA_INIT response (RFC 7296 1.2, 2.15).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::established::Established;
use crate::crypto::KeyExchange;
use crate::ike::association::Association;
use crate::ike::authentication;
use crate::ike::channel::{Channel, IkeSaKeys, Opened, OpenedMessage, malformed_notify, reassembled_bytes};
use crate::ike::child::{Agreed, ChildPair, PairKeys, Transport};
use crate::ike::child_offer::{asked, choose, meant, report};
use crate::ike::config::Connection;
use crate::ike::context::Context;
use crate::ike::directory::{Candidates, with_traffic};
use crate::ike::echo;
use crate::ike::ended::Ended;
use crate::ike::error::Discard;
use crate::ike::event::{Path, Removal, Transmit};
use crate::ike::ext::negotiated::Negotiated;
use crate::ike::ext::table::{self, Point};
use crate::ike::failure::{AuthenticationError, Failure, Refusal};
use crate::ike::key_log::KeyLog;
use crate::ike::keys::{AuthenticationKeys, ChildKeySource, Signer, Skeyseed, Spis};
use crate::ike::message::Payloads;
use crate::ike::negotiate::{ChildGroups, IkeAlgorithms};
use crate::ike::sa::{Cause, Establishing, Secured};
use crate::ike::source::{Asker, Source};
use crate::ike::transcript::Transcript;
use crate::ike::window::Window;
use crate::wire::ike::{ExchangeType, IkeSpi, Notify, NotifyType, ParsedMessage, Payload};

/// Waits for the IKE_AUTH request.
pub(in crate::ike) struct AwaitingAuth {
    candidates: Arc<Candidates>,
    source: SocketAddr,
    initiator_spi: IkeSpi,
    transcript: Transcript,
    algorithms: IkeAlgorithms,
    negotiated: Negotiated,
    deadline: Instant,
    keys: Keys,
}

/// The keys are derived when the first IKE_AUTH request comes: an initiator that never sends one costs us no more
/// than the generation of a key pair.
enum Keys {
    Pending(Box<Pending>),
    Derived(Box<(Channel, ChildKeySource, AuthenticationKeys)>),
    Impossible,
}

struct Pending {
    spis: Spis,
    key_exchange: KeyExchange,
    public: Vec<u8>,
    path: Path,
    window: Window,
}

/// What the endpoint negotiated in IKE_SA_INIT.
pub(in crate::ike) struct Initiated {
    pub(in crate::ike) candidates: Arc<Candidates>,
    pub(in crate::ike) spis: Spis,
    pub(in crate::ike) path: Path,
    pub(in crate::ike) transcript: Transcript,
    pub(in crate::ike) algorithms: IkeAlgorithms,
    pub(in crate::ike) negotiated: Negotiated,
    pub(in crate::ike) key_exchange: KeyExchange,
    pub(in crate::ike) public: Vec<u8>,
    /// With the request and the answer that it got.
    pub(in crate::ike) window: Window,
}

impl AwaitingAuth {
    pub(in crate::ike) fn new(initiated: Initiated, deadline: Instant) -> Self {
        let Initiated { candidates, spis, path, transcript, algorithms, negotiated, key_exchange, public, window } =
            initiated;
        let keys = Keys::Pending(Box::new(Pending { spis, key_exchange, public, path, window }));
        Self {
            candidates,
            source: path.peer,
            initiator_spi: spis.initiator,
            transcript,
            algorithms,
            negotiated,
            deadline,
            keys,
        }
    }

    pub(in crate::ike) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(in crate::ike) fn initiator_spi(&self) -> IkeSpi {
        self.initiator_spi
    }

    /// Where the IKE_SA_INIT request came from.
    pub(in crate::ike) fn source(&self) -> SocketAddr {
        self.source
    }

    /// Who sent that request, and has sent on its keys since.
    pub(in crate::ike) fn asker(&self) -> Asker {
        let source = Source::of(self.source.ip());
        Asker { source, proven: true, configured: self.candidates.are_configured() }
    }

    /// Bytes of messages that it keeps.
    pub(in crate::ike) fn kept_bytes(&self) -> usize {
        let reassembled = match &self.keys {
            Keys::Derived(keys) => reassembled_bytes(&keys.0),
            Keys::Pending(_) | Keys::Impossible => 0,
        };
        // The window has the answer, too.
        self.transcript.request.len() + 2 * self.transcript.response.len() + reassembled
    }

    /// Our answer once more, if the message is the IKE_SA_INIT request once more.
    pub(in crate::ike) fn repetition(&self, message: &ParsedMessage<'_>, path: Path) -> Result<Vec<Transmit>, Discard> {
        match &self.keys {
            Keys::Pending(pending) => echo::repetition(&pending.window, message, path),
            Keys::Derived(keys) => keys.0.repetition(message, path),
            Keys::Impossible => Err(Discard::UnexpectedExchange),
        }
    }

    /// Derives the keys, if that has not been done. Changes nothing that an initiator could notice.
    pub(in crate::ike) fn derive(&mut self, log: Option<&dyn KeyLog>) {
        self.keys = match std::mem::replace(&mut self.keys, Keys::Impossible) {
            Keys::Pending(pending) => self.derived(*pending, log).unwrap_or(Keys::Impossible),
            keys => keys,
        };
    }

    fn derived(&self, pending: Pending, log: Option<&dyn KeyLog>) -> Option<Keys> {
        let Pending { spis, key_exchange, public, path, window } = pending;
        let IkeAlgorithms { suite, prf, group: _ } = self.algorithms;
        let shared = key_exchange.agree(&public).ok()?;
        let nonces = self.transcript.nonces();
        let keys = Skeyseed::initial(prf, nonces, &shared).expand(prf, suite, nonces, spis, log).ok()?;
        let (channel_keys, child_key_source, authentication) = IkeSaKeys::of(keys, false);
        let channel = Channel::new(spis, false, channel_keys, window, path, self.negotiated.fragments);
        Some(Keys::Derived(Box::new((channel, child_key_source, authentication))))
    }

    /// The channel, once there are keys.
    pub(in crate::ike) fn channel_mut(&mut self) -> Option<&mut Channel> {
        match &mut self.keys {
            Keys::Derived(keys) => Some(&mut keys.0),
            Keys::Pending(_) | Keys::Impossible => None,
        }
    }

    pub(in crate::ike) fn open(&self, message: &ParsedMessage<'_>, path: Path) -> Result<Opened, Discard> {
        if message.header.flags.response || message.header.exchange_type != ExchangeType::IKE_AUTH {
            return Err(Discard::UnexpectedExchange);
        }
        match &self.keys {
            Keys::Derived(keys) => keys.0.open(message, path),
            Keys::Pending(_) | Keys::Impossible => Err(Discard::BadKeyExchange),
        }
    }

    pub(in crate::ike) fn handle(self, message: OpenedMessage, cx: &mut Context<'_>) -> Result<Established, Ended> {
        let Keys::Derived(keys) = self.keys else { return Err(Ended::new(Cause::Refused, None)) };
        let (mut channel, child_key_source, authentication) = *keys;
        let peer = message.path().peer;
        let asker = Asker::new(message.path(), &self.candidates).proven(true);
        let payloads = match message.payloads() {
            Ok(payloads) => payloads,
            Err(malformed) => {
                let failure = Failure::MalformedRequest { exchange: message.exchange(), malformed };
                cx.failed_unproven(asker, None, peer, failure.clone());
                return Err(refuse(channel, &message, malformed_notify(malformed), failure, cx));
            }
        };
        let proven = prove(&self.candidates, &self.algorithms, &self.transcript, payloads, &message, &authentication);
        let (connection, id) = match proven {
            Ok(proven) => proven,
            Err(error) => {
                let refusal = Notify::new(NotifyType::AUTHENTICATION_FAILED, Vec::new());
                let (connection, failure) = (error.connection(), Failure::NotProven(error));
                cx.failed_unproven(asker, connection, peer, failure.clone());
                return Err(refuse(channel, &message, refusal, failure, cx));
            }
        };
        if let Some(wrong) = table::refuses(&connection, Point::AuthRequest, payloads) {
            let refusal = Notify::new(NotifyType::INVALID_SYNTAX, Vec::new());
            let association = cx.associations.of(&connection, &id, cx.now);
            cx.failed_of(&association, peer, wrong.clone());
            return Err(refuse(channel, &message, refusal, wrong, cx));
        }
        channel.set_path(message.path());
        let mut negotiated = self.negotiated;
        table::settle(&connection, &mut negotiated);
        channel.set_fragments(negotiated.fragments, false);
        let mut secured = Secured { channel, child_key_source, algorithms: self.algorithms, negotiated };

        secured.hear(&connection, Point::AuthRequest, payloads);
        let id_body = connection.local_id.body();
        let octets = self.transcript.signed_by(Signer::Responder, &id_body);
        let mut answer = vec![
            Payload::IdentificationResponder(connection.local_id.clone()),
            octets.sign(&authentication, &connection.pre_shared_key),
        ];
        let association = cx.associations.of(&connection, &id, cx.now);
        let mut pairs = Vec::new();
        if payloads.security_association().is_some() {
            match answer_child(&association, &secured, &self.transcript, payloads, cx) {
                Ok((pair, child_answer)) => {
                    pairs.push(pair);
                    answer.extend(child_answer);
                }
                Err(refusal) => {
                    answer.push(refusal.notify());
                    report(refusal, &association, message.path().peer, cx);
                }
            }
        }
        answer.extend(secured.say(&connection, Point::AuthResponse, cx));
        if let Err(unsendable) = secured.channel.respond(&message, &answer, cx) {
            for pair in pairs {
                pair.remove(Removal::IkeSaLost, cx);
            }
            let refusal = Notify::new(NotifyType::AUTHENTICATION_FAILED, Vec::new());
            let failure = Failure::from(unsendable);
            cx.failed_of(&association, peer, failure.clone());
            return Err(refuse(secured.channel, &message, refusal, failure, cx));
        }
        let initial_contact = payloads.notify(NotifyType::INITIAL_CONTACT).is_some();
        let establishing = Establishing { association, secured };
        let mut established = Established::new(establishing, pairs, cx);
        established.initial_contact = initial_contact;
        Ok(established)
    }
}

/// Answers with an error. The IKE SA lingers for repetitions of the request.
fn refuse(
    mut channel: Channel,
    request: &OpenedMessage,
    notify: Notify,
    failure: Failure,
    cx: &mut Context<'_>,
) -> Ended {
    let answered = channel.respond(request, &[Payload::Notify(notify)], cx);
    debug_assert!(answered.is_ok(), "an error of a few bytes fits a message");
    Ended::new(Cause::Refused, failure).lingering(channel)
}

/// Checks the peer's proof, and picks the connection: of several that it proves, the one that its traffic selectors mean.
fn prove(
    candidates: &Candidates,
    algorithms: &IkeAlgorithms,
    transcript: &Transcript,
    payloads: &Payloads,
    message: &OpenedMessage,
    keys: &AuthenticationKeys,
) -> Result<(Arc<Connection>, crate::wire::ike::Identification), AuthenticationError> {
    let (Some(id), Some(id_body)) = (payloads.id_initiator(), message.id_body()) else {
        return Err(AuthenticationError::NoAuth);
    };
    let octets = transcript.signed_by(Signer::Initiator, id_body);
    let auth = payloads.authentication();
    let proven =
        authentication::authenticate(candidates, algorithms, &octets, keys, id, payloads.id_responder(), auth)?;
    // Without any that has traffic in common with the request, it is the first one.
    let first = proven.first().map(|alike| alike.first());
    let chosen = meant(with_traffic(&proven, asked(payloads)).into_iter().chain(first), payloads);
    let chosen = chosen.ok_or(AuthenticationError::NoAuth)?;
    Ok((chosen.clone(), id.clone()))
}

/// Sets up the Child SA that the request asks for; its keys come from the IKE SA's own key exchange.
fn answer_child(
    association: &Arc<Association>,
    secured: &Secured,
    transcript: &Transcript,
    payloads: &Payloads,
    cx: &mut Context<'_>,
) -> Result<(ChildPair, Vec<Payload>), Refusal> {
    let choice = choose(&[association.connection()], payloads, ChildGroups::Ignored)?;
    let inbound_spi = cx.inbound_spis.allocate(secured.channel.local_spi(), cx.entropy);
    let answer = choice.answer(inbound_spi);
    let keys = secured.child_key_source.child_keys(choice.algorithms.suite, transcript.nonces(), None);
    let agreed = Agreed {
        association: association.clone(),
        child: choice.child.clone(),
        algorithms: choice.algorithms,
        inbound_spi,
        outbound_spi: choice.outbound_spi,
        local_selectors: choice.local_selectors,
        peer_selectors: choice.peer_selectors,
    };
    let transport = Transport::new(secured.channel.path(), secured.negotiated.nat.encapsulate, cx.config.nat_port);
    let pair = ChildPair::install_first(agreed, PairKeys::of(keys, false), transport, cx);
    Ok((pair, answer))
}
