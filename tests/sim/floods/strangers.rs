//! Who sends what nobody asked for, and goes on as far as it gets.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ipsec_gateway::crypto::fake::{self, SeededEntropy};
use ipsec_gateway::crypto::{KeyExchangeAlgorithm, Secret};
use ipsec_gateway::ike::{Config, Connection, Endpoint, Output, Path, Start};
use ipsec_gateway::wire::ike::{
    EncryptedShape, ExchangeType, Flags, Header, Identification, IkeSpi, KeyExchange, KeyExchangeId, Notify,
    NotifyType, Payload, PayloadType, Proposal, ProtocolId, Transform, TransformType, encode_encrypted, encode_message,
    parse_message,
};

/// What a flood is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Headers alone, and what is none.
    Junk,
    /// IKE_SA_INIT requests that nothing follows.
    Init,
    /// IKE_SA_INIT with the slowest group, and IKE_AUTH requests that are none, several for each.
    RubbishAuth,
    /// The same in fragments.
    Fragments,
    /// IKE_SA_INIT requests of 50 kB, and IKE_AUTH requests of as much.
    Large,
    /// Requests on IKE SAs that there are not.
    UnknownSpi,
    /// Another major version.
    Version,
    /// A critical payload that nobody knows.
    Critical,
    /// Proposals that nobody accepts.
    NoProposal,
    /// A public value of a group that is not the one to be chosen.
    WrongGroup,
    /// Whole handshakes with a wrong key, and an identity of 12 kB.
    WrongKey,
}

/// Cookies are followed, and whatever else an attacker can do to cost more.
pub struct Strangers {
    kind: Kind,
    number: u32,
    /// What is sent on account of answers, before anything new.
    next: VecDeque<(Path, Vec<u8>)>,
    /// The IKE SAs that were answered with.
    pub half_open: Vec<(IkeSpi, IkeSpi)>,
    impostors: HashMap<IkeSpi, Endpoint>,
    template: Connection,
    now: Instant,
}

impl Strangers {
    /// Those of whom `template` would be a good configuration.
    pub fn new(kind: Kind, template: Connection, now: Instant) -> Self {
        let (next, half_open, impostors) = (VecDeque::new(), Vec::new(), HashMap::new());
        Self { kind, number: 0, next, half_open, impostors, template, now }
    }

    /// The next message, on this path unless it goes on with one on another.
    pub fn message(&mut self, path: Path, now: Instant) -> (Path, Vec<u8>) {
        self.now = now;
        if let Some(next) = self.next.pop_front() {
            return next;
        }
        self.number += 1;
        let message = match self.kind {
            Kind::Junk => junk(self.number),
            Kind::UnknownSpi => rubbish(spi(self.number), spi(self.number ^ 0x5555), 100),
            Kind::Version => {
                let mut message = init(self.kind, self.number, None);
                message[17] = 0x30;
                message
            }
            Kind::WrongKey => self.impostor(path),
            kind => init(kind, self.number, None),
        };
        (path, message)
    }

    /// Takes an answer to one of its messages.
    pub fn answered(&mut self, answer: &[u8], path: Path) {
        let message = parse_message(answer).expect("a message");
        let header = message.header;
        if self.kind == Kind::WrongKey {
            return self.impostor_answered(header.initiator_spi, answer, path);
        }
        let number = u32::from_be_bytes(*header.initiator_spi.0.first_chunk().expect("four bytes"));
        for payload in &message.payloads {
            match payload {
                Payload::Notify(notify) if notify.kind == NotifyType::COOKIE => {
                    self.next.push_back((path, init(self.kind, number, Some(notify.data.clone()))));
                }
                Payload::SecurityAssociation(_) => self.go_on(header.initiator_spi, header.responder_spi, path),
                _ => {}
            }
        }
    }

    /// A half-open IKE SA has come of it.
    fn go_on(&mut self, ours: IkeSpi, theirs: IkeSpi, path: Path) {
        self.half_open.push((ours, theirs));
        match self.kind {
            Kind::RubbishAuth => self.next.extend((0..5).map(|_| (path, rubbish(ours, theirs, 200)))),
            Kind::Large => self.next.push_back((path, rubbish(ours, theirs, 50_000))),
            Kind::Fragments => self.next.extend((1..=5).map(|number| (path, fragment(ours, theirs, number)))),
            _ => {}
        }
    }

    fn impostor(&mut self, path: Path) -> Vec<u8> {
        let connection = Connection {
            local_address: Some(path.peer.ip()),
            local_id: Identification::KeyId(b"\x1b]0;\n".repeat(2_400)),
            pre_shared_key: Arc::new(Secret::new(b"guessed".to_vec())),
            start: Start::Now,
            ..self.template.clone()
        };
        let config = Config::new(vec![Arc::new(connection)]);
        let mut endpoint =
            Endpoint::new(Arc::new(config), Box::new(SeededEntropy::new(u64::from(self.number))), self.now);
        endpoint.handle_timeout(self.now);
        let request = sent(&mut endpoint).pop().expect("a request");
        let header = Header::parse(&request).expect("a message");
        self.impostors.insert(header.initiator_spi, endpoint);
        request
    }

    fn impostor_answered(&mut self, spi: IkeSpi, answer: &[u8], path: Path) {
        let Some(mut endpoint) = self.impostors.remove(&spi) else { return };
        let back = Path { local: path.peer, peer: path.local, ..path };
        let header = Header::parse(answer).expect("a message");
        if !header.responder_spi.is_zero() && header.exchange_type == ExchangeType::IKE_SA_INIT {
            self.half_open.push((header.initiator_spi, header.responder_spi));
        }
        let _ = endpoint.handle_datagram(answer, back, self.now);
        self.next.extend(sent(&mut endpoint).into_iter().map(|message| (path, message)));
        self.impostors.insert(spi, endpoint);
    }
}

/// What an endpoint wants to send.
pub fn sent(endpoint: &mut Endpoint) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    loop {
        match endpoint.poll_output() {
            Output::Transmit(transmit) => datagrams.push(transmit.payload),
            Output::Event(_) => {}
            Output::Timeout(_) => return datagrams,
        }
    }
}

pub fn spi(number: u32) -> IkeSpi {
    let mut spi = [7; 8];
    spi[..4].copy_from_slice(&number.to_be_bytes());
    IkeSpi(spi)
}

fn junk(number: u32) -> Vec<u8> {
    let flags = Flags { initiator: true, ..Flags::default() };
    let exchange = ExchangeType((number % 256) as u8);
    let mut message = encode_message(&Header::new(spi(number), IkeSpi::ZERO, exchange, flags, 0), &[]).expect("short");
    if number.is_multiple_of(2) {
        SeededBytes(u64::from(number)).fill(&mut message);
    }
    message
}

struct SeededBytes(u64);

impl SeededBytes {
    fn fill(self, bytes: &mut [u8]) {
        ipsec_gateway::crypto::Entropy::fill(&mut SeededEntropy::new(self.0), bytes);
    }
}

/// The group that is proposed, and that of the public value.
fn groups(kind: Kind) -> (&'static KeyExchangeAlgorithm, u16) {
    let slow = &fake::SLOW_KEY_EXCHANGE;
    match kind {
        Kind::WrongGroup => (slow, 65_002),
        Kind::Init => (&fake::KEY_EXCHANGE, fake::KEY_EXCHANGE.transform_id),
        _ => (slow, slow.transform_id),
    }
}

fn init(kind: Kind, number: u32, cookie: Option<Vec<u8>>) -> Vec<u8> {
    let flags = Flags { initiator: true, ..Flags::default() };
    let header = Header::new(spi(number), IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, flags, 0);
    let (proposed, sent) = groups(kind);
    let encryption = if kind == Kind::NoProposal { 65_099 } else { fake::ENCRYPTION.transform_id };
    let transforms = [
        (TransformType::ENCRYPTION, encryption),
        (TransformType::PSEUDORANDOM_FUNCTION, 5),
        (TransformType::KEY_EXCHANGE, proposed.transform_id),
    ];
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: transforms.map(|(kind, id)| Transform::new(kind, id, None)).to_vec(),
    };
    let cookie = cookie.map(|cookie| Payload::Notify(Notify::new(NotifyType::COOKIE, cookie)));
    let mut payloads: Vec<Payload> = cookie.into_iter().collect();
    payloads.extend([
        Payload::SecurityAssociation(vec![proposal]),
        Payload::KeyExchange(KeyExchange { group: KeyExchangeId(sent), data: vec![9; 16] }),
        Payload::Nonce(vec![5; 32]),
        Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Vec::new())),
    ]);
    match kind {
        Kind::Critical => {
            payloads.push(Payload::Unknown { payload_type: PayloadType(200), critical: true, body: vec![1; 4] });
        }
        // Half of them: the others are to get as far as IKE_AUTH.
        Kind::Large if number.is_multiple_of(2) => payloads.push(Payload::VendorId(vec![b'\n'; 50_000])),
        _ => {}
    }
    encode_message(&header, &payloads).expect("a message")
}

/// An IKE_AUTH request whose contents are no ciphertext.
pub fn rubbish(initiator: IkeSpi, responder: IkeSpi, length: usize) -> Vec<u8> {
    let flags = Flags { initiator: true, ..Flags::default() };
    let header = Header::new(initiator, responder, ExchangeType::IKE_AUTH, flags, 1);
    let shape = EncryptedShape { iv_len: 8, block_len: 1, icv_len: 16 };
    encode_encrypted(&header, &[], &[Payload::VendorId(vec![1; length])], shape).expect("a message").message
}

/// A fragment of one.
fn fragment(initiator: IkeSpi, responder: IkeSpi, number: u8) -> Vec<u8> {
    let mut message = rubbish(initiator, responder, 1_000);
    message[16] = PayloadType::ENCRYPTED_FRAGMENT.0;
    message[32..36].copy_from_slice(&[0, number, 0, 9]);
    message
}

/// The other end of a path as the gateway sees it.
pub fn path(local: SocketAddr, peer: SocketAddr) -> Path {
    Path { local, peer, non_esp_marker: false }
}
