//! The initiator after its IKE_SA_INIT request (RFC 7296 1.2, 2.6, 2.7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::auth_sent::AuthSent;
use crate::crypto::{KeyExchange, KeyExchangeAlgorithm, KeyExchangeError, Secret};
use crate::ike::channel::{Channel, IkeSaKeys};
use crate::ike::config::{Config, Connection};
use crate::ike::context::Context;
use crate::ike::ended::Ended;
use crate::ike::error::{Discard, Unsendable};
use crate::ike::event::Path;
use crate::ike::ext::negotiated::Negotiated;
use crate::ike::ext::table::{self, At, Point, Voice};
use crate::ike::failure::{Failure, InitError};
use crate::ike::keys::{Nonces, Skeyseed, Spis};
use crate::ike::message::{self, Payloads};
use crate::ike::negotiate::{self, IkeAlgorithms};
use crate::ike::sa::{Cause, Secured};
use crate::ike::transcript::Transcript;
use crate::ike::wanted::{WantedChild, want};
use crate::ike::window::{Due, Window};
use crate::wire::ike::{
    ExchangeType, Flags, Header, IkeSpi, KeyExchangeId, Malformed, Notify, NotifyType, ParsedMessage, Payload,
    PayloadType, encode_message,
};

/// Cookies and other groups that are followed at most, together.
const MAX_RETRIES: u32 = 5;

/// Waits for the IKE_SA_INIT response.
pub(in crate::ike) struct InitSent {
    connection: Arc<Connection>,
    spi: IkeSpi,
    path: Path,
    nonce: Vec<u8>,
    key_exchange: KeyExchange,
    cookie: Option<Vec<u8>>,
    /// What extensions have said, so that they say the same again.
    said: Negotiated,
    request: Vec<u8>,
    window: Window,
    retries: u32,
    wanted: Vec<WantedChild>,
    /// To say that no other IKE SA stands between the identities.
    initial_contact: bool,
    /// What was wrong with the last response that was not taken.
    error: Option<InitError>,
}

/// A response to our request, as far as one that nobody has authenticated can be judged.
pub(in crate::ike) enum InitReply {
    /// Ask again with this cookie.
    Cookie(Vec<u8>),
    /// Ask again with this key exchange method.
    Group(&'static KeyExchangeAlgorithm),
    /// An error, or an answer that is not acceptable. Anybody could have sent it: it is noted, while the request is
    /// repeated (RFC 7296 2.21.1).
    Error(InitError),
    /// The exchange is complete.
    Complete(Answer),
}

/// What the response has chosen.
pub(in crate::ike) struct Answer {
    spis: Spis,
    algorithms: IkeAlgorithms,
    public: Vec<u8>,
    nonce: Vec<u8>,
    negotiated: Negotiated,
    /// The whole message, which the responder signs.
    message: Vec<u8>,
}

/// What comes after a response.
pub(in crate::ike) enum Next {
    /// The request is repeated, or another one was sent.
    InitSent(Box<InitSent>),
    /// IKE_AUTH was sent.
    AuthSent(Box<AuthSent>),
}

impl InitSent {
    /// What its key pair has cost.
    pub(in crate::ike) fn cost(&self) -> Duration {
        self.key_exchange.algorithm().cost
    }

    /// Sends the first request of a connection whose peer's address is `peer`.
    ///
    /// # Errors
    /// There is nothing to send.
    pub(in crate::ike) fn start(
        connection: Arc<Connection>,
        peer: IpAddr,
        wanted: Vec<WantedChild>,
        cx: &mut Context<'_>,
    ) -> Result<Self, Failure> {
        let group = connection.ike_proposals.iter().flat_map(|proposal| &proposal.groups).next();
        let group = group.ok_or(Failure::NoKeyExchangeMethod)?;
        let key_exchange = group.generate(cx.entropy);
        let path = first_path(&connection, peer, cx.config);
        let mut state = Self {
            connection,
            spi: cx.ike_spi(peer),
            path,
            nonce: cx.nonce(),
            key_exchange,
            cookie: None,
            said: Negotiated::default(),
            request: Vec::new(),
            window: Window::fresh(),
            retries: 0,
            wanted,
            initial_contact: false,
            error: None,
        };
        state.send(cx)?;
        Ok(state)
    }

    pub(in crate::ike) fn spi(&self) -> IkeSpi {
        self.spi
    }

    pub(in crate::ike) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(in crate::ike) fn path(&self) -> Path {
        self.path
    }

    pub(in crate::ike) fn deadline(&self) -> Option<Instant> {
        self.window.deadline()
    }

    /// A further child that is to be negotiated.
    pub(in crate::ike) fn want(&mut self, wanted: WantedChild) {
        want(&mut self.wanted, wanted);
    }

    /// What was wanted of it, which is given up.
    pub(in crate::ike) fn into_wanted(self) -> Vec<WantedChild> {
        self.wanted
    }

    /// The request is due at once, if it was not sent a moment ago.
    pub(in crate::ike) fn prompt(&mut self, now: Instant) {
        self.window.prompt(now);
    }

    /// Whether IKE_AUTH, which comes next, says that no other IKE SA stands between the identities (RFC 7296 2.4).
    pub(in crate::ike) fn set_initial_contact(&mut self, only: bool) {
        self.initial_contact = only;
    }

    /// What was wrong with the last response that was not taken.
    pub(in crate::ike) fn error(&self) -> Option<&InitError> {
        self.error.as_ref()
    }

    /// Judges a response.
    pub(in crate::ike) fn check(&self, message: &ParsedMessage<'_>, path: Path) -> Result<InitReply, Discard> {
        self.check_header(&message.header)?;
        if message.encrypted.is_some() {
            return Err(Discard::UnexpectedResponse);
        }
        let payloads = Payloads::new(message.payloads.clone());
        let judged = match payloads.security_association() {
            None => self.check_notify(&payloads),
            Some(_) => self.check_answer(message, &payloads, path),
        };
        Ok(judged.unwrap_or_else(InitReply::Error))
    }

    /// Whether a message can be the response to our request.
    fn check_header(&self, header: &Header) -> Result<(), Discard> {
        if !header.flags.response || header.flags.initiator || header.initiator_spi != self.spi {
            return Err(Discard::WrongDirection);
        }
        if header.exchange_type != ExchangeType::IKE_SA_INIT {
            return Err(Discard::UnexpectedResponse);
        }
        self.window.check_response(header.message_id)
    }

    /// Notes why a message cannot be read, if it would be the response to our request.
    pub(in crate::ike) fn unreadable(&mut self, header: &Header, malformed: Malformed) {
        if self.check_header(header).is_ok() {
            self.error = Some(InitError::Malformed(malformed));
        }
    }

    fn check_notify(&self, payloads: &Payloads) -> Result<InitReply, InitError> {
        if let Some(cookie) = payloads.notify(NotifyType::COOKIE) {
            // RFC 7296 2.6.
            return match cookie.data.len() {
                1..=64 => self.once_more(InitReply::Cookie(cookie.data.clone())),
                length => Err(InitError::Cookie(length)),
            };
        }
        let error = payloads.error().ok_or(InitError::Missing(PayloadType::SECURITY_ASSOCIATION))?;
        if error.kind != NotifyType::INVALID_KE_PAYLOAD {
            return Err(InitError::refused(error, &self.connection));
        }
        let wanted = message::wanted_group(error).ok_or(InitError::NoGroup)?;
        let ours = self.connection.ike_proposals.iter().flat_map(|proposal| &proposal.groups).copied();
        match ours.clone().find(|group| group.transform_id == wanted) {
            Some(group) if group == self.key_exchange.algorithm() => Err(InitError::SameGroup(KeyExchangeId(wanted))),
            Some(group) => self.once_more(InitReply::Group(group)),
            None => Err(InitError::GroupNotOffered { wanted: KeyExchangeId(wanted), offered: distinct(ours) }),
        }
    }

    /// Follows a demand to begin again, but not for ever.
    fn once_more(&self, reply: InitReply) -> Result<InitReply, InitError> {
        if self.retries < MAX_RETRIES { Ok(reply) } else { Err(InitError::Retries(self.retries)) }
    }

    fn check_answer(
        &self,
        message: &ParsedMessage<'_>,
        payloads: &Payloads,
        path: Path,
    ) -> Result<InitReply, InitError> {
        let missing = |kind| move || InitError::Missing(kind);
        let answer = payloads.security_association().ok_or_else(missing(PayloadType::SECURITY_ASSOCIATION))?;
        let key_exchange = payloads.key_exchange().ok_or_else(missing(PayloadType::KEY_EXCHANGE))?;
        let nonce = payloads.nonce().ok_or_else(missing(PayloadType::NONCE))?;
        let group = self.key_exchange.algorithm();
        let chosen = negotiate::check_ike(&self.connection.ike_proposals, answer, group.transform_id)
            .map_err(InitError::Choice)?;
        let spis = Spis { initiator: self.spi, responder: message.header.responder_spi };
        if spis.responder.is_zero() {
            return Err(InitError::NoSpi);
        }
        if key_exchange.group.0 != group.transform_id {
            let sent = KeyExchangeId(group.transform_id);
            return Err(InitError::OtherGroup { answered: key_exchange.group, sent });
        }
        let (expected, actual) = (group.public_len, key_exchange.data.len());
        if actual != expected {
            return Err(InitError::KeyExchange(KeyExchangeError::WrongLength { expected, actual }));
        }
        let mut negotiated = Negotiated::default();
        // The peer's hash is held against the address that we have announced. Where the system chose another one, the peer
        // sees a NAT, and so must we: ESP goes in UDP both ways or neither (RFC 7296 2.23).
        let path = Path { local: self.path.local, ..path };
        let at = At { point: Point::InitResponse, spis, path, initiator: true };
        table::hear(&table::rows_of(&self.connection), at, payloads, &mut negotiated);
        table::settle(&self.connection, &mut negotiated);
        Ok(InitReply::Complete(Answer {
            spis,
            algorithms: chosen.algorithms,
            public: key_exchange.data.clone(),
            nonce: nonce.clone(),
            negotiated,
            message: message.bytes.to_vec(),
        }))
    }

    pub(in crate::ike) fn handle(mut self, reply: InitReply, cx: &mut Context<'_>) -> Result<Next, Ended> {
        match reply {
            InitReply::Cookie(cookie) => {
                self.cookie = Some(cookie);
                self.again(cx)?;
            }
            InitReply::Group(group) => {
                self.key_exchange = group.generate(cx.entropy);
                self.again(cx)?;
            }
            InitReply::Error(error) => self.error = Some(error),
            // A forged answer must not keep the true one out.
            InitReply::Complete(answer) => match self.key_exchange.try_agree(&answer.public) {
                Ok(shared) => {
                    return self.complete(answer, &shared, cx).map(|state| Next::AuthSent(Box::new(state)));
                }
                Err(error) => self.error = Some(InitError::KeyExchange(error)),
            },
        }
        Ok(Next::InitSent(Box::new(self)))
    }

    fn again(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        self.retries += 1;
        self.send(cx).map_err(|unsendable| Ended::new(Cause::Refused, Failure::from(unsendable)))
    }

    /// Derives the keys and goes on with IKE_AUTH.
    fn complete(mut self, answer: Answer, shared: &Secret, cx: &mut Context<'_>) -> Result<AuthSent, Ended> {
        let Answer { spis, algorithms, public: _, nonce: responder_nonce, negotiated, message: response } = answer;
        let nonces = Nonces { initiator: &self.nonce, responder: &responder_nonce };
        let keys = Skeyseed::initial(algorithms.prf, nonces, shared)
            .expand(algorithms.prf, algorithms.suite, nonces, spis, cx.key_log)
            .map_err(|error| Ended::new(Cause::NoAnswer, Failure::Keys(error)))?;
        let (channel_keys, child_key_source, authentication) = IkeSaKeys::of(keys, true);
        let path = table::path(self.path, cx.config.nat_port, &negotiated);
        self.window.answered();
        let channel = Channel::new(spis, true, channel_keys, self.window, path, negotiated.fragments);
        let secured = Secured { channel, child_key_source, algorithms, negotiated };
        let transcript = Transcript { request: self.request, response, initiator_nonce: self.nonce, responder_nonce };
        let (connection, wanted) = (self.connection, self.wanted);
        AuthSent::start(connection, secured, authentication, transcript, wanted, self.initial_contact, cx)
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Unsendable> {
        let spis = Spis { initiator: self.spi, responder: IkeSpi::ZERO };
        let mut payloads = Vec::new();
        if let Some(cookie) = &self.cookie {
            // The cookie goes first (RFC 7296 2.6).
            payloads.push(Payload::Notify(Notify::new(NotifyType::COOKIE, cookie.clone())));
        }
        payloads.push(Payload::SecurityAssociation(negotiate::offer_ike(&self.connection.ike_proposals, &[])));
        payloads.push(message::key_exchange(self.key_exchange.algorithm(), self.key_exchange.public()));
        payloads.push(Payload::Nonce(self.nonce.clone()));
        let at = At { point: Point::InitRequest, spis, path: self.path, initiator: true };
        let voice = Voice { connection: &self.connection, entropy: cx.entropy, token_secret: cx.token_secret };
        payloads.extend(table::say(&table::rows_of(&self.connection), at, voice, &mut self.said));
        let flags = Flags { initiator: true, ..Flags::default() };
        let exchange = ExchangeType::IKE_SA_INIT;
        // Asked again with a cookie or another group, it is still the first message (RFC 7296 2.6).
        self.window = Window::fresh();
        let header = Header::new(spis.initiator, spis.responder, exchange, flags, self.window.next_request());
        self.request = encode_message(&header, &payloads).map_err(|too_long| Unsendable {
            exchange,
            response: false,
            too_long,
        })?;
        self.window.sent(vec![self.request.clone()], cx.config.retransmission.of_attempt(), cx.now);
        cx.transmit(self.path, [&self.request]);
        Ok(())
    }

    pub(in crate::ike) fn handle_timeout(mut self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        match self.window.due(cx.now) {
            Due::Nothing => Ok(self),
            Due::Retransmit(datagrams, _) => {
                cx.transmit(self.path, datagrams);
                Ok(self)
            }
            Due::Dead => {
                let failure = self.error.map_or(Failure::NoAnswer(self.path.peer), Failure::Init);
                Err(Ended::new(Cause::NoAnswer, failure))
            }
        }
    }
}

/// The methods of all proposals, each once.
fn distinct(groups: impl Iterator<Item = &'static KeyExchangeAlgorithm>) -> Vec<KeyExchangeId> {
    let mut ids: Vec<KeyExchangeId> = Vec::new();
    for id in groups.map(|group| KeyExchangeId(group.transform_id)) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn first_path(connection: &Connection, peer: IpAddr, config: &Config) -> Path {
    let unspecified = match peer {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Path {
        local: SocketAddr::new(connection.local_address.unwrap_or(unspecified), config.ike_port),
        peer: SocketAddr::new(peer, config.ike_port),
        non_esp_marker: false,
    }
}
