//! Floods of what nobody has authenticated, a thousand datagrams a second from one address or fifty thousand with forged
//! ones: they keep no peer out, whether configured or not, and cost what a stranger may cost (RFC 7296 2.6).

mod newcomers;
mod strangers;
mod unknown_spis;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipsec_gateway::crypto::KeyExchangeAlgorithm;
use ipsec_gateway::crypto::fake::{self, SeededEntropy};
use ipsec_gateway::ike::{
    Command, Config, Connection, ConnectionState, Discard, Endpoint, Event, Output, Peer, Start, Transmit,
};
use ipsec_gateway::wire::ike::{ExchangeType, Flags, Header, encode_message};

use self::strangers::{Kind, Strangers, path, sent};
use crate::setup::{LEFT, LEFT_ADDRESS, RIGHT, RIGHT_ADDRESS, Setup, address, config, identity};

const STRANGER: &str = "203.0.113.66";
/// A road warrior, of the connection that takes any peer.
const WARRIOR: &str = "203.0.113.7";
const MILLISECOND: Duration = Duration::from_millis(1);
/// From an end to the other.
const DELAY: Duration = Duration::from_millis(5);
/// How long the flood has run when the peers begin, unless a scene says otherwise.
const LEAD: Duration = Duration::from_millis(200);

/// A warrior has to be up this long after it has begun.
const WARRIOR_WITHIN: Duration = Duration::from_secs(3);

/// Bytes of a line about a failure: what a stranger can put into it, and our own words.
const LONGEST_LINE: usize = 256 + 256;

/// Where the datagrams of a flood come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    OneAddress,
    /// One of so many addresses for each initiator, at which it receives; another of them joins after each span.
    Some(u32, Duration),
    /// A new address for each initiator, at which it receives.
    Everywhere,
    /// Nowhere that answers go to.
    Forged,
}

/// The gateway, two peers of it that want to connect, and a flood.
struct Scene {
    now: Instant,
    began: Instant,
    /// How long the flood has run when the peers begin.
    lead: Duration,
    gateway: Endpoint,
    /// The configured one, which needs INVALID_KE_PAYLOAD, and the warrior, with when each was established.
    peers: [(IpAddr, Endpoint, Option<Duration>); 2],
    /// On the way, with the place of the peer that it is from or to.
    wire: VecDeque<(Instant, usize, bool, Vec<u8>)>,
    strangers: Strangers,
    /// What the flood has had the gateway do.
    key_exchange: Duration,
    failures: Vec<Duration>,
}

/// The connection of one end as the simulation sets it up, changed.
fn connection(side: usize, change: impl FnOnce(&mut Connection)) -> Connection {
    let local = if side == RIGHT { RIGHT_ADDRESS } else { LEFT_ADDRESS };
    let config = config(&Setup::plain(), side, address(local));
    let mut connection = Connection::clone(&config.connections[0]);
    change(&mut connection);
    connection
}

impl Scene {
    fn new(kind: Kind) -> Self {
        Self::with_warrior(kind, &fake::SLOW_KEY_EXCHANGE)
    }

    /// The same with a warrior that proposes this method.
    fn with_warrior(kind: Kind, method: &'static KeyExchangeAlgorithm) -> Self {
        let now = Instant::now();
        let configured = connection(RIGHT, |_| ());
        let any = connection(RIGHT, |any| {
            any.name = "any".into();
            any.peer = Peer::Any;
            any.peer_id = None;
            any.ike_proposals[0].groups = vec![&fake::SLOW_KEY_EXCHANGE, &fake::KEY_EXCHANGE];
        });
        let end = |connections: Vec<Connection>, seed| {
            let config = Config::new(connections.into_iter().map(Arc::new).collect());
            Endpoint::new(Arc::new(config), Box::new(SeededEntropy::new(seed)), now)
        };
        // It begins with another group than the gateway wants of it.
        let left = connection(LEFT, |left| {
            left.ike_proposals[0].groups = vec![&fake::SLOW_KEY_EXCHANGE, &fake::KEY_EXCHANGE];
            left.start = Start::Wait;
        });
        let warrior = connection(LEFT, |warrior| {
            warrior.local_address = Some(address(WARRIOR));
            warrior.local_id = identity(2);
            warrior.ike_proposals[0].groups = vec![method];
            warrior.start = Start::Wait;
        });
        let strangers = Strangers::new(kind, warrior.clone(), now);
        let peers = [(LEFT_ADDRESS, left, 2), (WARRIOR, warrior, 3)]
            .map(|(at, it, seed)| (address(at), end(vec![it], seed), None));
        Self {
            now,
            began: now,
            lead: LEAD,
            gateway: end(vec![configured, any], 1),
            peers,
            wire: VecDeque::new(),
            strangers,
            key_exchange: Duration::ZERO,
            failures: Vec::new(),
        }
    }

    /// Lets a millisecond pass with so many datagrams of the flood.
    fn pass(&mut self, datagrams: u32, origin: Origin) {
        self.now += MILLISECOND;
        for number in 0..datagrams {
            self.flood(number, origin);
        }
        if self.now == self.began + self.lead {
            for place in 0..self.peers.len() {
                self.peers[place].1.handle_command(Command::Up { connection: "tunnel".into() }, self.now);
                self.drain_peer(place);
            }
        }
        self.deliver(origin);
        let before = fake::spent();
        self.gateway.handle_timeout(self.now);
        // What had to wait for its turn is, but for the peers', the flood's.
        self.key_exchange += fake::spent() - before;
        self.pass_on(origin);
        for place in 0..self.peers.len() {
            self.peers[place].1.handle_timeout(self.now);
            self.drain_peer(place);
        }
    }

    /// Any address: one that is forged is now and then that of the configured peer.
    fn anywhere(&self, number: u32, origin: Origin) -> SocketAddr {
        if origin == Origin::Forged && number.is_multiple_of(25) {
            return SocketAddr::new(address(LEFT_ADDRESS), 500);
        }
        let since = self.now - self.began;
        let mixed = (since.as_millis() as u32 * 64 + number).wrapping_mul(0x9e37_79b1) >> 8;
        let host = match origin {
            Origin::Some(most, joins) => {
                let joined = since.as_nanos().checked_div(joins.as_nanos()).map_or(most, |joined| joined as u32 + 1);
                mixed % most.min(joined)
            }
            _ => mixed,
        };
        SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 | host)), 500)
    }

    fn flood(&mut self, number: u32, origin: Origin) {
        let peer = match origin {
            Origin::OneAddress => SocketAddr::new(address(STRANGER), 500),
            Origin::Some(..) | Origin::Everywhere | Origin::Forged => self.anywhere(number, origin),
        };
        let path = path(SocketAddr::new(address(RIGHT_ADDRESS), 500), peer);
        let (path, message) = self.strangers.message(path, self.now);
        let before = fake::spent();
        let _ = self.gateway.handle_datagram(&message, path, self.now);
        self.key_exchange += fake::spent() - before;
        let answers = self.drain_gateway();
        let bytes: usize = answers.iter().map(|answer| answer.payload.len()).sum();
        assert!(answers.len() <= 1 && bytes <= 3 * message.len(), "{bytes} bytes to {} bytes", message.len());
        if origin != Origin::Forged {
            answers.iter().for_each(|answer| self.strangers.answered(&answer.payload, path));
        }
    }

    /// What has arrived.
    fn deliver(&mut self, origin: Origin) {
        while let Some((_, place, to_gateway, message)) = self.wire.pop_front_if(|(at, ..)| *at <= self.now) {
            let gateway = SocketAddr::new(address(RIGHT_ADDRESS), 500);
            let peer = SocketAddr::new(self.peers[place].0, 500);
            if to_gateway {
                let _ = self.gateway.handle_datagram(&message, path(gateway, peer), self.now);
                self.pass_on(origin);
            } else {
                let _ = self.peers[place].1.handle_datagram(&message, path(peer, gateway), self.now);
                self.drain_peer(place);
            }
        }
    }

    /// What the gateway sends to the peers goes on its way, the flood gets the rest if it comes from where it says.
    fn pass_on(&mut self, origin: Origin) {
        for Transmit { payload, path, .. } in self.drain_gateway() {
            match self.peers.iter().position(|(peer, ..)| *peer == path.peer.ip()) {
                Some(place) => self.wire.push_back((self.now + DELAY, place, false, payload)),
                None if origin == Origin::Forged => {}
                None => self.strangers.answered(&payload, path),
            }
        }
    }

    /// What the gateway sends.
    fn drain_gateway(&mut self) -> Vec<Transmit> {
        let mut answers = Vec::new();
        loop {
            match self.gateway.poll_output() {
                Output::Transmit(transmit) => answers.push(transmit),
                Output::Event(Event::Failure { failure, .. }) => {
                    let line = failure.to_string();
                    assert!(line.len() <= LONGEST_LINE, "{} bytes: {line}", line.len());
                    assert!(!line.chars().any(char::is_control), "{line:?}");
                    self.failures.push(self.now - self.began);
                }
                Output::Event(_) => {}
                Output::Timeout(_) => return answers,
            }
        }
    }

    fn drain_peer(&mut self, place: usize) {
        for message in sent(&mut self.peers[place].1) {
            self.wire.push_back((self.now + DELAY, place, true, message));
        }
        let (_, peer, up) = &mut self.peers[place];
        if up.is_none() && peer.status()[0].state == ConnectionState::Established {
            *up = Some(self.now - self.began - self.lead);
        }
    }

    fn all_are_up(&self) -> bool {
        self.peers.iter().all(|(.., up)| up.is_some())
    }

    /// How many of the flood's IKE SAs the gateway still knows.
    fn half_open(&mut self) -> usize {
        let stranger = path(SocketAddr::new(address(RIGHT_ADDRESS), 500), SocketAddr::new(address(STRANGER), 500));
        let mut known = 0;
        for (initiator, responder) in self.strangers.half_open.clone() {
            // A response that nobody has asked for changes nothing.
            let flags = Flags { initiator: true, response: true, ..Flags::default() };
            let header = Header::new(initiator, responder, ExchangeType::INFORMATIONAL, flags, 7);
            let question = encode_message(&header, &[]).expect("a header alone");
            known +=
                usize::from(self.gateway.handle_datagram(&question, stranger, self.now) != Err(Discard::UnknownSpi));
            self.drain_gateway();
        }
        known
    }

    /// Failures that were told within a second of each other, at most.
    fn failures_in_a_second(&self) -> usize {
        let within = |from: &Duration| {
            let until = *from + Duration::from_secs(1);
            self.failures.iter().filter(|at| (*from..until).contains(*at)).count()
        };
        self.failures.iter().map(within).max().unwrap_or(0)
    }

    /// The configured peer was up in a second, the warrior after so many, and the flood got at most so much of the time for
    /// key exchanges.
    #[track_caller]
    fn check(&self, warrior_within: Duration, most: f64) {
        let [configured, warrior] = [0, 1].map(|place| self.peers[place].2);
        assert!(configured.is_some_and(|after| after <= Duration::from_secs(1)), "configured peer: {configured:?}");
        assert!(warrior.is_none_or(|after| after <= warrior_within), "warrior: {warrior:?}");
        assert!(warrior.is_some() || warrior_within == Duration::MAX, "the warrior is not up");
        let failures = self.failures_in_a_second();
        assert!(failures <= 10, "{failures} failures told in a second");
        let share = self.key_exchange.as_secs_f64() / (self.now - self.began).as_secs_f64();
        assert!(share <= most, "{share:.3} of the time goes to key exchanges for the flood");
    }
}

/// A thousand a second from one address, for ten seconds.
fn from_one_address(kind: Kind) {
    let mut scene = Scene::new(kind);
    for _ in 0..10_000 {
        scene.pass(1, Origin::OneAddress);
    }
    scene.check(WARRIOR_WITHIN, 0.10);
    let held = scene.half_open();
    assert!(held <= 64, "one source holds {held}");
}

/// Fifty thousand a second from everywhere, until all peers are up.
fn forged(kind: Kind) {
    let mut scene = Scene::new(kind);
    let begun = |scene: &Scene| scene.began + 2 * LEAD <= scene.now;
    while !(begun(&scene) && scene.all_are_up()) && scene.now < scene.began + Duration::from_secs(4) {
        scene.pass(50, Origin::Forged);
    }
    // The first ones are served without being asked for anything.
    scene.check(WARRIOR_WITHIN, 0.30);
}

/// A thousand a second from as many addresses as the flood has initiators, all of which receive what they are answered.
/// The strangers among them are as good as the warrior.
fn from_everywhere(kind: Kind) {
    let mut scene = Scene::new(kind);
    for _ in 0..4_000 {
        scene.pass(1, Origin::Everywhere);
    }
    // A quarter, an eighth and a twentieth, and what was saved of each.
    scene.check(Duration::MAX, 0.64);
}

#[test]
fn strangers_from_everywhere_keep_no_configured_peer_out() {
    [Kind::Init, Kind::RubbishAuth, Kind::WrongKey].into_iter().for_each(from_everywhere);
}

/// A test of each kind at either rate.
macro_rules! floods {
    ($($name:ident: $kind:ident;)*) => {
        mod one_address_keeps_nobody_out_with {
            $(#[test] fn $name() { super::from_one_address(super::Kind::$kind) })*
            // With forged addresses nobody gets as far.
            #[test] fn wrong_keys_and_large_identities() { super::from_one_address(super::Kind::WrongKey) }
        }

        mod forged_addresses_keep_nobody_out_with {
            $(#[test] fn $name() { super::forged(super::Kind::$kind) })*
        }
    };
}

floods! {
    junk: Junk;
    first_requests: Init;
    rubbish_after_slow_key_exchanges: RubbishAuth;
    fragments: Fragments;
    large_requests: Large;
    unknown_spis: UnknownSpi;
    other_versions: Version;
    critical_payloads: Critical;
    proposals_that_nobody_accepts: NoProposal;
    public_values_of_a_wrong_group: WrongGroup;
}
