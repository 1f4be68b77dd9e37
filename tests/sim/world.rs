//! Both ends, the clock, and what must hold after every step.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::crypto::{self, Secret};
use ipsec_gateway::ike::{Child, Command, Config, Connection, EspProposal, IkeProposal, Path, Peer, RekeyWhat, Start};
use ipsec_gateway::wire::ike::{ExchangeType, Header, Identification, IkeSpi, PayloadType, TrafficSelector};

use crate::end::{Bug, End, Said, Sound};
use crate::network::{Datagram, Nat, Network, Packet};

pub const LEFT: usize = 0;
pub const RIGHT: usize = 1;
pub const LEFT_ADDRESS: &str = "192.0.2.1";
pub const RIGHT_ADDRESS: &str = "198.51.100.1";
pub const NAT_ADDRESS: &str = "203.0.113.9";

/// Time in which a good network must have the ends agree again, whatever happened before: a liveness check, all
/// retransmissions of a request, and the wait before the next attempt.
pub const RECOVERY: Duration = Duration::from_secs(200);

/// Steps without the clock moving: more are a loop.
const MOST_STEPS_AT_ONCE: u32 = 5_000;

/// How the two ends are set up.
#[derive(Debug, Clone)]
pub struct Setup {
    pub start: [Start; 2],
    pub children: usize,
    pub perfect_forward_secrecy: bool,
    pub ike_lifetime: Duration,
    pub child_lifetime: Duration,
    pub liveness: Duration,
    /// A NAT stands before the left end.
    pub nat: bool,
}

impl Setup {
    pub fn plain() -> Self {
        Self {
            start: [Start::Now, Start::Wait],
            children: 1,
            perfect_forward_secrecy: true,
            ike_lifetime: Duration::from_secs(14_400),
            child_lifetime: Duration::from_secs(3_600),
            liveness: Duration::from_secs(20),
            nat: false,
        }
    }

    pub fn random(random: &mut SeededEntropy) -> Self {
        let mut one_of = |count: u64| random.next_u64() % count;
        let nat = one_of(4) == 0;
        // The end that can be found must not wait for the end that it cannot find.
        let start = match one_of(3) {
            0 if !nat => [Start::Wait, Start::Now],
            1 if !nat => [Start::Now, Start::Now],
            _ => [Start::Now, Start::Wait],
        };
        let lifetimes = [(14_400, 3_600), (900, 300), (3_600, 200)][one_of(3) as usize];
        Self {
            start,
            children: 1 + one_of(2) as usize,
            perfect_forward_secrecy: one_of(2) == 0,
            ike_lifetime: Duration::from_secs(lifetimes.0),
            child_lifetime: Duration::from_secs(lifetimes.1),
            liveness: Duration::from_secs(10 + one_of(20)),
            nat,
        }
    }
}

pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn net(side: usize, child: usize) -> TrafficSelector {
    TrafficSelector::from_net(format!("10.{}.{child}.0/24", side + 1).parse().expect("a network"))
}

/// The configuration of one end.
pub fn config(setup: &Setup, side: usize) -> Arc<Config> {
    let other = 1 - side;
    let identities = ["left.example", "right.example"];
    let peer = match (setup.nat, side) {
        (true, RIGHT) => Peer::Any,
        (_, LEFT) => Peer::Address(address(RIGHT_ADDRESS)),
        _ => Peer::Address(address(LEFT_ADDRESS)),
    };
    let groups = if setup.perfect_forward_secrecy { vec![&crypto::fake::KEY_EXCHANGE] } else { Vec::new() };
    let children = (0..setup.children).map(|child| Child {
        name: format!("net-{child}").into(),
        local_selectors: vec![net(side, child)],
        peer_selectors: vec![net(other, child)],
        esp_proposals: vec![EspProposal {
            encryption: vec![&crypto::fake::ENCRYPTION],
            integrity: Vec::new(),
            groups: groups.clone(),
            esn: vec![true, false],
        }],
    });
    let connection = Connection {
        name: "tunnel".into(),
        local_address: Some(address([LEFT_ADDRESS, RIGHT_ADDRESS][side])),
        peer,
        local_id: Identification::Fqdn(identities[side].into()),
        peer_id: Some(Identification::Fqdn(identities[other].into())),
        pre_shared_key: Arc::new(Secret::new(b"shared by both".to_vec())),
        ike_proposals: vec![IkeProposal {
            encryption: vec![&crypto::fake::ENCRYPTION],
            integrity: Vec::new(),
            prf: vec![crypto::prf::by_name("prfsha256").expect("HMAC-SHA2-256")],
            groups: vec![&crypto::fake::KEY_EXCHANGE],
        }],
        children: children.collect(),
        start: setup.start[side],
        ike_lifetime: setup.ike_lifetime,
        child_lifetime: setup.child_lifetime,
        liveness_interval: Some(setup.liveness),
        nat_traversal: true,
        force_encapsulation: false,
        nat_keepalive: Duration::from_secs(20),
    };
    Arc::new(Config::new(vec![Arc::new(connection)]))
}

/// Which request or response a message is: IKE SA, sender, message id, response.
type MessageKey = (IkeSpi, IkeSpi, usize, u32, bool);

/// The simulated world.
pub struct World {
    pub now: Instant,
    began: Instant,
    pub ends: [End; 2],
    pub network: Network,
    pub random: SeededEntropy,
    /// The first thing that went wrong.
    pub violation: Option<String>,
    /// Whether losing the connection is a violation: while nobody restarts and every message arrives at last.
    pub must_stay_up: bool,
    /// Whether an ESP packet without an SA, at either end, is a violation: while the network is good.
    pub must_carry_traffic: bool,
    pub events: u64,
    pub delivered_esp: u64,
    trace: Option<Vec<String>>,
    /// How often each end has sent a request since it last heard of its peer.
    requests: [HashMap<Vec<u8>, u32>; 2],
    messages: HashMap<MessageKey, Vec<u8>>,
    keys: HashSet<Vec<u8>>,
    ike_sas: HashSet<IkeSpi>,
    inits: HashSet<IkeSpi>,
    received_requests: [u64; 2],
    sent_responses: [u64; 2],
    steps_at_once: u32,
}

impl World {
    pub fn new(setup: &Setup, seed: u64) -> Self {
        Self::with_bug(setup, seed, Box::new(Sound))
    }

    /// With a bug planted in the right end.
    pub fn with_bug(setup: &Setup, seed: u64, bug: Box<dyn Bug>) -> Self {
        let now = Instant::now();
        let mut random = SeededEntropy::new(seed);
        let left = End::new(config(setup, LEFT), address(LEFT_ADDRESS), random.next_u64(), Box::new(Sound), now);
        let right = End::new(config(setup, RIGHT), address(RIGHT_ADDRESS), random.next_u64(), bug, now);
        let nat = setup.nat.then(|| Nat::new(address(LEFT_ADDRESS), address(NAT_ADDRESS)));
        Self {
            now,
            began: now,
            ends: [left, right],
            network: Network::new(nat),
            random,
            violation: None,
            must_stay_up: false,
            must_carry_traffic: false,
            events: 0,
            delivered_esp: 0,
            trace: None,
            requests: Default::default(),
            messages: HashMap::new(),
            keys: HashSet::new(),
            ike_sas: HashSet::new(),
            inits: HashSet::new(),
            received_requests: [0; 2],
            sent_responses: [0; 2],
            steps_at_once: 0,
        }
    }

    /// Keeps a trace from now on.
    pub fn keep_trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    pub fn trace(&self) -> String {
        self.trace.as_deref().unwrap_or_default().join("\n")
    }

    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = self.trace.as_mut().filter(|_| self.violation.is_none()) {
            let at = self.now.duration_since(self.began).as_secs_f64();
            trace.push(format!("{at:10.3} {}", text()));
        }
    }

    /// Notes that an invariant does not hold; the trace ends here.
    pub fn violate(&mut self, text: String) {
        self.note(|| format!("VIOLATION: {text}"));
        self.violation.get_or_insert(text);
    }

    pub fn is_violated(&self) -> bool {
        self.violation.is_some()
    }

    /// Lets an end do as it is told.
    pub fn command(&mut self, side: usize, command: Command) {
        self.events += 1;
        self.note(|| format!("{} is told {command:?}", name(side)));
        let said = self.ends[side].command(command, self.now);
        self.hear(side, said);
    }

    pub fn rekey(&mut self, side: usize, what: RekeyWhat) {
        self.command(side, Command::Rekey { connection: "tunnel".into(), what });
    }

    /// Gives an end a datagram that nobody sent.
    pub fn forge(&mut self, side: usize, message: Vec<u8>, source: SocketAddr) {
        self.note(|| format!("{} gets a forged {}", name(side), describe(&message)));
        let local = SocketAddr::new(self.ends[side].address, source.port());
        let path = Path { local, peer: source, non_esp_marker: false };
        let said = self.ends[side].receive(message, path, self.now);
        self.hear(side, said);
    }

    pub fn restart(&mut self, side: usize) {
        self.events += 1;
        self.note(|| format!("{} restarts", name(side)));
        let seed = self.random.next_u64();
        self.ends[side].restart(seed, self.now);
    }

    /// Sends a packet of every child from one end.
    pub fn send_traffic(&mut self, side: usize) {
        for child in self.ends[side].children() {
            match self.ends[side].send_esp(&child) {
                Some(datagram) => {
                    self.network.send(datagram, self.now, &mut self.random);
                }
                None if self.must_carry_traffic => {
                    self.violate(format!("{} has no SA to send a packet of {child} on", name(side)));
                }
                None => {}
            }
        }
    }

    /// Lets time pass: the next arrivals and deadlines up to `until`.
    pub fn run_until(&mut self, until: Instant) {
        while !self.is_violated() {
            let deadlines = (0..2).filter(|side| self.ends[*side].bug.wakes_up());
            let deadline =
                deadlines.filter_map(|side| self.ends[side].deadline.map(|at| (at.max(self.now), side))).min();
            let arrival = self.network.next_arrival().map(|at| at.max(self.now));
            let next = [arrival, deadline.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.steps_at_once = if next > self.now { 0 } else { self.steps_at_once + 1 };
            self.now = next;
            if self.steps_at_once > MOST_STEPS_AT_ONCE {
                self.violate("the clock stands still".to_owned());
            } else if arrival == Some(next) {
                self.deliver();
            } else if let Some((_, side)) = deadline {
                let said = self.ends[side].timeout(self.now);
                self.hear(side, said);
            }
        }
        self.now = self.now.max(until);
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Lets time pass until both ends agree; a violation when they do not within `bound`.
    pub fn agree_within(&mut self, bound: Duration) {
        let limit = self.now + bound;
        let mut disagreement = Some(String::new());
        while self.now < limit && disagreement.is_some() && !self.is_violated() {
            self.run_for(Duration::from_secs(1));
            disagreement = self.disagreement();
        }
        if let Some(disagreement) = disagreement.filter(|_| !self.is_violated()) {
            self.violate(format!("no agreement after {} s: {disagreement}", bound.as_secs()));
        }
    }

    /// What the ends do not agree on, if anything.
    pub fn disagreement(&self) -> Option<String> {
        let [left, right] = &self.ends;
        let (ours, theirs) = (left.ike_sa(), right.ike_sa());
        if ours.is_none() || ours != theirs {
            return Some(format!("IKE SAs {ours:?} and {theirs:?}"));
        }
        for end in &self.ends {
            if end.told_pairs() != end.installed_pairs() {
                return Some(format!("told {:x?}, installed {:x?}", end.told_pairs(), end.installed_pairs()));
            }
        }
        let mut in_use = self.ends.iter().flat_map(|end| end.pairs.values()).filter(|pair| !pair.retired);
        if let Some(astray) = in_use.find(|pair| !self.network.leads_somewhere(pair.path.peer)) {
            return Some(format!("the path to {}", astray.path.peer));
        }
        for child in left.children() {
            let in_use = |end: &End| {
                let pairs = end.pairs.values().filter(|pair| !pair.retired && pair.child == child);
                pairs.cloned().collect::<Vec<_>>()
            };
            let (left, right) = (in_use(left), in_use(right));
            // Both ends may have asked for the same child at once; nothing says that one of the two pairs must go.
            if left.len() != right.len() || left.is_empty() || left.len() > 2 {
                return Some(format!("{} and {} pairs of {child}", left.len(), right.len()));
            }
            for pair in &left {
                let Some(mirror) = right.iter().find(|mirror| mirror.inbound_spi == pair.outbound_spi) else {
                    return Some(format!("SPIs of {child}"));
                };
                if mirror.outbound_spi != pair.inbound_spi {
                    return Some(format!("SPIs of {child}"));
                }
                if (&pair.inbound_key, &pair.outbound_key) != (&mirror.outbound_key, &mirror.inbound_key) {
                    return Some(format!("keys of {child}"));
                }
            }
            if [&left, &right].iter().any(|pairs| pairs.iter().all(|pair| pair.active.is_none())) {
                return Some(format!("whether to send on {child}"));
            }
        }
        None
    }

    /// IKE SAs that carried messages but were not set up by an IKE_SA_INIT: those that a rekey made.
    pub fn rekeyed_ike_sas(&self) -> u64 {
        self.ike_sas.difference(&self.inits).count() as u64
    }

    fn deliver(&mut self) {
        let Some(Datagram { source, destination, marker, packet }) = self.network.arrive() else { return };
        let Some(side) = self.ends.iter().position(|end| end.address == destination.ip()) else { return };
        self.events += 1;
        let is_esp = matches!(packet, Packet::Esp { .. });
        let said = match packet {
            Packet::Esp { spi, key } => {
                let result = self.ends[side].receive_esp(spi, &key, source, self.now);
                self.note(|| format!("{} gets ESP {spi:08x}: {:?}", name(side), result.as_ref().err()));
                match result {
                    Ok(said) => {
                        self.delivered_esp += 1;
                        said
                    }
                    Err(why) if self.must_carry_traffic || why.contains("another key") => {
                        self.violate(format!("a packet to {} on {spi:08x} {why}", name(side)));
                        return;
                    }
                    Err(_) => return,
                }
            }
            Packet::Ike(message) if message == [0xff] => return,
            Packet::Ike(message) => {
                self.note(|| format!("{} gets {} from {source}", name(side), describe(&message)));
                if Header::parse(&message).is_ok_and(|header| !header.flags.response) {
                    self.received_requests[side] += 1;
                }
                let path = Path { local: destination, peer: source, non_esp_marker: marker };
                self.ends[side].receive(message, path, self.now)
            }
        };
        self.hear(side, said);
        // The worst moment for a packet is right after a message changed something.
        for side in [LEFT, RIGHT] {
            if self.must_carry_traffic && !is_esp {
                self.send_traffic(side);
            }
        }
    }

    /// Takes what an end said: sends its datagrams and checks them.
    fn hear(&mut self, side: usize, said: Said) {
        if said.accepted {
            self.requests[side].clear();
        }
        for event in said.events {
            self.note(|| format!("{} {event}", name(side)));
        }
        for key in said.new_keys {
            if !self.keys.insert(key) {
                self.violate(format!("{} sends under a key that was used before", name(side)));
            }
        }
        if said.went_down && self.must_stay_up {
            self.violate(format!("{} lost its connection for nothing", name(side)));
        }
        if let Some(violation) = said.violation {
            self.violate(format!("{} {violation}", name(side)));
        }
        for datagram in said.datagrams {
            if let Packet::Ike(message) = &datagram.packet
                && *message != [0xff]
            {
                let text = describe(message);
                self.check_sent(side, message);
                self.events += 1;
                let copies = self.network.send(datagram, self.now, &mut self.random);
                self.note(|| format!("{} sends {text}: {copies} copies", name(side)));
            } else {
                self.network.send(datagram, self.now, &mut self.random);
            }
        }
    }

    /// Requests are repeated a bounded number of times without a sign of life, responses never unasked, and no message id is used twice.
    fn check_sent(&mut self, side: usize, message: &[u8]) {
        let Ok(header) = Header::parse(message) else {
            return self.violate(format!("{} sends {} bytes that are no message", name(side), message.len()));
        };
        if header.flags.response {
            self.sent_responses[side] += 1;
            if self.sent_responses[side] > self.received_requests[side] {
                self.violate(format!("{} answers more often than it is asked", name(side)));
            }
        } else {
            let tries = self.ends[side].config.retransmission.tries + 1;
            let sent = self.requests[side].entry(message.to_vec()).or_default();
            *sent += 1;
            if *sent > tries {
                self.violate(format!("{} sends one request {} times", name(side), tries + 1));
            }
        }
        if header.exchange_type == ExchangeType::IKE_SA_INIT {
            self.inits.insert(header.initiator_spi);
        }
        // Without keys an id says nothing: IKE_SA_INIT is asked again with a cookie or another group (RFC 7296 2.6),
        // and INVALID_IKE_SPI answers for an IKE SA that is not known (2.21).
        if header.next_payload != PayloadType::ENCRYPTED {
            return;
        }
        self.ike_sas.insert(header.initiator_spi);
        let key = (header.initiator_spi, header.responder_spi, side, header.message_id, header.flags.response);
        let first = self.messages.entry(key).or_insert_with(|| message.to_vec());
        if first != message {
            self.violate(format!("{} uses message id {} twice", name(side), header.message_id));
        }
    }
}

pub fn name(side: usize) -> &'static str {
    ["left", "right"][side]
}

fn describe(message: &[u8]) -> String {
    match Header::parse(message) {
        Ok(header) => format!(
            "{} {} {} of {} ({} bytes)",
            header.exchange_type,
            if header.flags.response { "response" } else { "request" },
            header.message_id,
            header.initiator_spi,
            message.len()
        ),
        Err(_) => format!("{} bytes", message.len()),
    }
}
