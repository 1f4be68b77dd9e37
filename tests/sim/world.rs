//! The ends, the clock, and what must hold after every step.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::ike::{Command, Path, RekeyWhat, Retransmission};
use ipsec_gateway::wire::ike::{ExchangeType, Header, IkeSpi, NotifyType, Payload, PayloadType, parse_message};

use crate::end::{Bug, End, Said, Sound};
use crate::forger::{Forger, fragment};
use crate::network::{Datagram, Flow, Nat, Network, Packet};
use crate::setup::{NAT_ADDRESS, RIGHT, ROADS, Setup, address, name};
use crate::tunnel::Tunnel;

/// Time in which a good network must have the ends agree again, whatever happened before: a liveness check, all
/// retransmissions of a request, and the wait before the next attempt.
pub const RECOVERY: Duration = Duration::from_secs(240);

/// What an attempt to set up an IKE SA waits at most before it is repeated.
const LONGEST_WAIT_OF_ATTEMPT: Duration = Duration::from_secs(2);

/// How often a request is sent at most when its IKE SA is closed.
const LAST_TRANSMISSIONS: u32 = 6;

/// How often a request is repeated out of turn at most because of one thing that happened.
const REPETITIONS_OF_PROMPT: u32 = 6;

/// Steps without the clock moving: more are a loop.
const MOST_STEPS_AT_ONCE: u32 = 5_000;

/// Which request or response a message is, or which fragment of it: IKE SA, sender, message id, response, number.
type MessageKey = (IkeSpi, IkeSpi, usize, u32, bool, u16);

/// A request that has been sent.
#[derive(Clone, Copy)]
struct Sent {
    times: u32,
    first: Instant,
    last: Option<Instant>,
    /// The prompts of its sender until then.
    prompts: u32,
    ike_sa: IkeSpi,
}

/// The simulated world.
pub struct World {
    pub now: Instant,
    began: Instant,
    pub ends: Vec<End>,
    pub tunnels: Vec<Tunnel>,
    pub network: Network,
    pub random: SeededEntropy,
    /// The first thing that went wrong.
    pub violation: Option<String>,
    pub events: u64,
    pub delivered_esp: u64,
    forger: Option<Forger>,
    trace: Option<Vec<String>>,
    /// What each end has sent since it last heard of its peer.
    requests: Vec<HashMap<Vec<u8>, Sent>>,
    /// By end: how often anything has happened that may have it repeat a request out of turn.
    prompts: Vec<u32>,
    messages: HashMap<MessageKey, Vec<u8>>,
    keys: HashSet<Vec<u8>>,
    ike_sas: HashSet<IkeSpi>,
    /// IKE SAs by their initiator's SPI, each with the outer end that has it.
    outer_end_of: HashMap<IkeSpi, usize>,
    /// By end: the IKE SAs that it has sent on.
    pub ike_sas_of: Vec<BTreeSet<(IkeSpi, IkeSpi)>>,
    inits: HashSet<IkeSpi>,
    received_requests: Vec<u64>,
    sent_responses: Vec<u64>,
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
        let mut bug = Some(bug);
        let ends = (0..setup.ends).map(|side| {
            let bug = bug.take_if(|_| side == RIGHT).unwrap_or_else(|| Box::new(Sound));
            End::new(setup, side, random.next_u64(), bug, now)
        });
        let ends = ends.collect();
        let nat = setup.nat.then(|| Nat::new(ROADS.map(address).to_vec(), address(NAT_ADDRESS)));
        Self {
            now,
            began: now,
            ends,
            tunnels: setup.outer_ends().map(Tunnel::new).collect(),
            network: Network::new(nat),
            random,
            violation: None,
            events: 0,
            delivered_esp: 0,
            forger: setup.forger.then(Forger::default),
            trace: None,
            requests: vec![HashMap::new(); setup.ends],
            prompts: vec![0; setup.ends],
            messages: HashMap::new(),
            keys: HashSet::new(),
            ike_sas: HashSet::new(),
            outer_end_of: HashMap::new(),
            ike_sas_of: vec![BTreeSet::new(); setup.ends],
            inits: HashSet::new(),
            received_requests: vec![0; setup.ends],
            sent_responses: vec![0; setup.ends],
            steps_at_once: 0,
        }
    }

    /// Says of every tunnel that is wanted whether it must stay up from now on.
    pub fn must_stay_up(&mut self, must: bool) {
        self.tunnels.iter_mut().for_each(|tunnel| tunnel.must_stay_up = must && tunnel.is_wanted);
    }

    /// Says of every tunnel that is wanted whether it must carry traffic from now on.
    pub fn must_carry_traffic(&mut self, must: bool) {
        self.tunnels.iter_mut().for_each(|tunnel| tunnel.must_carry_traffic = must && tunnel.is_wanted);
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
        if !self.ends[side].runs {
            return;
        }
        self.events += 1;
        self.note(|| match &command {
            Command::Reload(_) => format!("{} is told to reload", name(side)),
            command => format!("{} is told {command:?}", name(side)),
        });
        // Packets go unanswered, or a path may be back.
        let prompts = matches!(command, Command::CheckLiveness { .. } | Command::PathsChanged);
        self.prompts[side] += u32::from(prompts);
        let said = self.ends[side].command(command, self.now);
        self.hear(side, said, None);
    }

    pub fn rekey(&mut self, side: usize, what: RekeyWhat) {
        self.command(side, Command::Rekey { connection: "tunnel".into(), what });
    }

    /// Gives an end a datagram that nobody sent.
    pub fn forge(&mut self, side: usize, message: Vec<u8>, source: SocketAddr) {
        self.note(|| format!("{} gets a forged {}", name(side), describe(&message)));
        let local = SocketAddr::new(self.ends[side].address, source.port());
        let path = Path { local, peer: source, non_esp_marker: false };
        self.prompts[side] += u32::from(is_hint(&message));
        let said = self.ends[side].receive(message, path, self.now);
        self.hear(side, said, None);
    }

    pub fn restart(&mut self, side: usize) {
        self.events += 1;
        self.note(|| format!("{} restarts", name(side)));
        let seed = self.random.next_u64();
        self.ends[side].restart(seed, self.now);
        self.ike_sas_of[side].clear();
        self.set_wanted(side, true);
    }

    /// An end loses its power until it restarts.
    pub fn crash(&mut self, side: usize) {
        self.events += 1;
        self.note(|| format!("{} crashes", name(side)));
        self.ends[side].crash();
        self.ike_sas_of[side].clear();
        self.set_wanted(side, false);
    }

    fn set_wanted(&mut self, outer: usize, is_wanted: bool) {
        let tunnels = self.tunnels.iter_mut().filter(|tunnel| tunnel.outer == outer);
        tunnels.for_each(|tunnel| tunnel.is_wanted = is_wanted);
    }

    /// Sends a packet of every child from one end to each that it has a tunnel with.
    pub fn send_traffic(&mut self, side: usize) {
        for tunnel in 0..self.tunnels.len() {
            if self.tunnels[tunnel].is_of(side) && self.ends[side].runs {
                self.send_through(tunnel, side);
            }
        }
    }

    /// Sends a packet of every child through a tunnel, from one of its ends.
    pub fn send_through(&mut self, tunnel: usize, side: usize) {
        let Tunnel { outer, must_carry_traffic, .. } = self.tunnels[tunnel];
        let far = if side == RIGHT { outer } else { RIGHT };
        for child in 0..self.ends[side].children() {
            match self.ends[side].send_esp(Flow { from: side, to: far, child }) {
                Some(datagram) => {
                    self.network.send(datagram, self.now, &mut self.random);
                }
                None if must_carry_traffic => {
                    let (side, far) = (name(side), name(far));
                    self.violate(format!("{side} has no SA to send a packet of child {child} to {far} on"));
                }
                None => {}
            }
        }
    }

    /// Lets time pass: the next arrivals and deadlines up to `until`.
    pub fn run_until(&mut self, until: Instant) {
        while !self.is_violated() {
            let deadlines =
                self.ends.iter().filter_map(|end| end.next_deadline().map(|at| (at.max(self.now), end.side)));
            let deadline = deadlines.min();
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
                self.hear(side, said, None);
            }
        }
        self.now = self.now.max(until);
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// IKE SAs that carried messages but were not set up by an IKE_SA_INIT: those that a rekey made.
    pub fn rekeyed_ike_sas(&self) -> u64 {
        self.ike_sas.difference(&self.inits).count() as u64
    }

    fn deliver(&mut self) {
        let Some(datagram) = self.network.arrive() else { return };
        let arrives = |end: &End| end.address == datagram.destination.ip() && end.runs;
        let Some(side) = self.ends.iter().position(arrives) else { return };
        self.events += 1;
        let (sender, is_esp) = (datagram.sender, matches!(datagram.packet, Packet::Esp { .. }));
        // What comes of ESP shows in the events alone, and there is much of it.
        let before = if is_esp { Vec::new() } else { self.standings(side, sender) };
        let Some(said) = self.take(side, datagram) else { return };
        self.check_isolation(side, sender, &before, &said);
        self.hear(side, said, Some(sender));
        // The worst moment for a packet is right after a message changed something.
        for tunnel in 0..self.tunnels.len() {
            for side in self.tunnels[tunnel].ends() {
                if self.tunnels[tunnel].must_carry_traffic && !is_esp {
                    self.send_through(tunnel, side);
                }
            }
        }
    }

    /// Lets an end take what has arrived; `None` if nothing comes of it.
    fn take(&mut self, side: usize, datagram: Datagram) -> Option<Said> {
        let Datagram { sender: _, source, destination, marker, packet } = datagram;
        match packet {
            Packet::Esp { spi, key, flow } => {
                let result = self.ends[side].receive_esp(spi, &key, flow, source, self.now);
                self.note(|| format!("{} gets ESP {spi:08x}: {:?}", name(side), result.as_ref().err()));
                let mut tunnels = self.tunnels.iter().filter(|tunnel| tunnel.is_of(flow.from) && tunnel.is_of(flow.to));
                let must_carry = tunnels.any(|tunnel| tunnel.must_carry_traffic);
                match result {
                    Ok(_) if flow.to != side => {
                        let [from, to, side] = [flow.from, flow.to, side].map(name);
                        self.violate(format!("a packet of {from} to {to} reaches {side}"));
                        None
                    }
                    Ok(said) => {
                        self.delivered_esp += 1;
                        Some(said)
                    }
                    Err(why) if must_carry || why.contains("another key") || why.contains("other addresses") => {
                        self.violate(format!("a packet to {} on {spi:08x} {why}", name(side)));
                        None
                    }
                    Err(_) => None,
                }
            }
            Packet::Ike(message) if message == [0xff] => None,
            Packet::Ike(message) => {
                self.note(|| format!("{} gets {} from {source}", name(side), describe(&message)));
                if Header::parse(&message).is_ok_and(|header| !header.flags.response) && fragment(&message) == 1 {
                    self.received_requests[side] += 1;
                }
                let path = Path { local: destination, peer: source, non_esp_marker: marker };
                self.prompts[side] += u32::from(is_hint(&message));
                Some(self.ends[side].receive(message, path, self.now))
            }
        }
    }

    /// Notes that an end has heard authentically of a peer, whose patience with its requests starts over.
    fn heard(&mut self, side: usize, sender: Option<usize>) {
        let outer_end_of = &self.outer_end_of;
        let of_another =
            |ike_sa: &IkeSpi| outer_end_of.get(ike_sa).is_some_and(|outer| side == RIGHT && Some(*outer) != sender);
        self.requests[side].retain(|_, sent| of_another(&sent.ike_sa));
    }

    /// Takes what an end said, to the datagram of an end if that was the cause: sends its datagrams and checks them.
    fn hear(&mut self, side: usize, said: Said, sender: Option<usize>) {
        if said.accepted {
            // Whoever waits for another answer of this peer asks again.
            self.prompts[side] += 1;
            self.heard(side, sender);
        }
        for event in said.events {
            self.note(|| format!("{} {event}", name(side)));
        }
        for key in said.new_keys {
            if !self.keys.insert(key) {
                self.violate(format!("{} sends under a key that was used before", name(side)));
            }
        }
        if said.went_down && self.tunnels.iter().any(|tunnel| tunnel.must_stay_up && tunnel.is_of(side)) {
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
                self.forge_beside(&datagram);
                let copies = self.network.send(datagram, self.now, &mut self.random);
                self.note(|| format!("{} sends {text}: {copies} copies", name(side)));
            } else {
                self.network.send(datagram, self.now, &mut self.random);
            }
        }
    }

    /// Somebody on the way sees this datagram.
    fn forge_beside(&mut self, datagram: &Datagram) {
        let Some(forger) = &mut self.forger else { return };
        let forged = forger.beside(datagram, self.network.nat.is_some(), &mut self.random);
        for (far, datagram) in forged {
            let sender = self.ends.iter().position(|end| Some(end.address) == far).unwrap_or(datagram.sender);
            self.network.send(Datagram { sender, ..datagram }, self.now, &mut self.random);
        }
    }

    /// A request is repeated no sooner than there is a reason to.
    fn check_repetitions(&mut self, side: usize, header: &Header, message: &[u8]) {
        let (now, prompts, ike_sa) = (self.now, self.prompts[side], header.initiator_spi);
        let sent = self.requests[side].entry(message.to_vec());
        let sent = sent.or_insert(Sent { times: 0, first: now, last: None, prompts, ike_sa });
        sent.times += 1;
        let before_last = sent.last.replace(now);
        let Sent { times, first, prompts: before, .. } = *sent;
        let is_attempt = matches!(header.exchange_type, ExchangeType::IKE_SA_INIT | ExchangeType::IKE_AUTH);
        let policy = self.ends[side].config.retransmission;
        let apart = before_last.map_or(Duration::MAX, |last| now - last);
        if apart < policy.initial || times > most_transmissions(policy, is_attempt, now - first, prompts - before) {
            let after = (now - first).as_secs_f64();
            self.violate(format!("{} sends one request {times} times in {after:.3} s", name(side)));
        }
        // Each transmission of an attempt has what waits beside it asked again.
        self.prompts[side] += u32::from(is_attempt);
    }

    /// Requests are repeated a bounded number of times without a sign of life, responses never unasked, and no message id is used twice.
    fn check_sent(&mut self, side: usize, message: &[u8]) {
        let Ok(header) = Header::parse(message) else {
            return self.violate(format!("{} sends {} bytes that are no message", name(side), message.len()));
        };
        let number = fragment(message);
        if header.flags.response {
            self.sent_responses[side] += u64::from(number == 1);
            if self.sent_responses[side] > self.received_requests[side] {
                self.violate(format!("{} answers more often than it is asked", name(side)));
            }
        } else {
            self.check_repetitions(side, &header, message);
        }
        if header.exchange_type == ExchangeType::IKE_SA_INIT {
            self.inits.insert(header.initiator_spi);
        }
        // Without keys an id says nothing: IKE_SA_INIT is asked again with a cookie or another group (RFC 7296 2.6),
        // and INVALID_IKE_SPI answers for an IKE SA that is not known (2.21).
        if !matches!(header.next_payload, PayloadType::ENCRYPTED | PayloadType::ENCRYPTED_FRAGMENT) {
            return;
        }
        self.ike_sas.insert(header.initiator_spi);
        self.ike_sas_of[side].insert((header.initiator_spi, header.responder_spi));
        if side != RIGHT {
            self.outer_end_of.insert(header.initiator_spi, side);
        }
        let key = (header.initiator_spi, header.responder_spi, side, header.message_id, header.flags.response, number);
        let first = self.messages.entry(key).or_insert_with(|| message.to_vec());
        if first != message {
            self.violate(format!("{} uses message id {} twice", name(side), header.message_id));
        }
    }
}

/// How often a request may have been sent so long after the first time: in its back-off, a few times more when its IKE SA is
/// closed, and once a second where so many things have prompted it.
fn most_transmissions(policy: Retransmission, is_attempt: bool, after: Duration, prompts: u32) -> u32 {
    let longest = if is_attempt { LONGEST_WAIT_OF_ATTEMPT } else { Duration::MAX };
    let mut at = Duration::ZERO;
    let in_turn = (0..).map(|number| policy.wait(number).min(longest)).take_while(|wait| {
        at += *wait;
        at <= after
    });
    1 + in_turn.count() as u32
        + LAST_TRANSMISSIONS
        + prompts.saturating_mul(REPETITIONS_OF_PROMPT).min(after.as_secs() as u32)
}

/// Whether a message says, though nobody has authenticated it, that the peer is there, or what it does not know.
fn is_hint(message: &[u8]) -> bool {
    let disowns = |payload: &Payload| {
        let kinds = [NotifyType::INVALID_IKE_SPI, NotifyType::INVALID_SPI];
        matches!(payload, Payload::Notify(notify) if kinds.contains(&notify.kind))
    };
    parse_message(message).is_ok_and(|message| {
        message.header.exchange_type == ExchangeType::IKE_SA_INIT || message.payloads.iter().any(disowns)
    })
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
