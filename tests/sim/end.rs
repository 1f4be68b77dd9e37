//! One end: an endpoint with a model of the data path beside it, and the place where bugs are planted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::ike::{
    ChildSa, ChildState, Command, Config, ConnectionState, Discard, Endpoint, Event, Output, Path, SaActivity, Start,
    Transmit,
};
use ipsec_gateway::wire::ike::{ExchangeType, Flags, Header, IkeSpi, encode_message};

use crate::network::{Datagram, Flow, Packet};
use crate::pair::Pair;
use crate::setup::{Setup, address_of, config, end_of, identity, token_secret};

/// A fault between the endpoint and the world. Every method passes on what it is given unless a bug says otherwise.
pub trait Bug {
    /// What is sent instead.
    fn transmit(&mut self, transmit: Transmit) -> Vec<Transmit> {
        vec![transmit]
    }

    /// What arrives instead.
    fn receive(&mut self, message: Vec<u8>) -> Option<Vec<u8>> {
        Some(message)
    }

    /// What the data path is told instead.
    fn event(&mut self, event: Event) -> Vec<Event> {
        vec![event]
    }

    /// Whether the data path may send this packet on a pair.
    fn carries(&self, pair: &Pair, flow: Flow) -> bool {
        pair.covers(flow)
    }

    /// Whether the endpoint is called at its deadline.
    fn wakes_up(&self) -> bool {
        true
    }
}

/// No fault.
pub struct Sound;

impl Bug for Sound {}

/// One end.
pub struct End {
    pub endpoint: Endpoint,
    pub config: Arc<Config>,
    pub side: usize,
    pub address: IpAddr,
    setup: Setup,
    /// Whether it runs: it neither hears nor sees its deadlines while it does not.
    pub runs: bool,
    pub deadline: Option<Instant>,
    /// By inbound SPI.
    pub pairs: BTreeMap<u32, Pair>,
    pub bug: Box<dyn Bug>,
    pub downs: u64,
    pub rekeyed_children: u64,
    pub shut_down: bool,
    /// When ESP last came.
    pub heard_esp: Option<Instant>,
    decisions: u64,
    /// The last thing that happened was that a pair was activated: what is retired now is replaced by it.
    activated: bool,
}

/// What an end has to say after it was called.
#[derive(Default)]
pub struct Said {
    pub datagrams: Vec<Datagram>,
    pub events: Vec<String>,
    /// Keys under which this end will send, freshly installed.
    pub new_keys: Vec<Vec<u8>>,
    pub went_up: bool,
    pub went_down: bool,
    /// The ends whose pairs it changed in the data path.
    pub moved: BTreeSet<usize>,
    /// It took what it received.
    pub accepted: bool,
    pub violation: Option<String>,
}

/// More outputs than this from one call are a storm.
const MOST_OUTPUTS: usize = 200;

impl End {
    pub fn new(setup: &Setup, side: usize, seed: u64, bug: Box<dyn Bug>, now: Instant) -> Self {
        let address = address_of(side);
        let config = config(setup, side, address);
        Self {
            endpoint: endpoint(side, &config, seed, now),
            config,
            side,
            address,
            setup: setup.clone(),
            runs: true,
            deadline: Some(now),
            pairs: BTreeMap::new(),
            bug,
            downs: 0,
            rekeyed_children: 0,
            shut_down: false,
            heard_esp: None,
            decisions: 0,
            activated: false,
        }
    }

    /// Forgets everything, as a machine that loses power does, and starts again.
    pub fn restart(&mut self, seed: u64, now: Instant) {
        self.endpoint = endpoint(self.side, &self.config, seed, now);
        self.deadline = Some(now);
        self.pairs.clear();
        self.shut_down = false;
        self.runs = true;
    }

    /// Loses its power. What it knew is forgotten when it starts again.
    pub fn crash(&mut self) {
        self.pairs.clear();
        self.runs = false;
    }

    /// Is somewhere else from its next start on.
    pub fn move_to(&mut self, address: IpAddr) {
        self.address = address;
        self.config = self.fresh_config();
    }

    /// Its configuration as if it were read anew.
    pub fn fresh_config(&self) -> Arc<Config> {
        config(&self.setup, self.side, self.address)
    }

    /// When it wants to be called, if it can be.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.runs && self.bug.wakes_up())
    }

    pub fn command(&mut self, command: Command, now: Instant) -> Said {
        self.endpoint.handle_command(command, now);
        self.drain()
    }

    pub fn timeout(&mut self, now: Instant) -> Said {
        self.endpoint.handle_timeout(now);
        self.drain()
    }

    /// Takes an IKE message. Whether it was dropped, and why, is only told in the trace.
    pub fn receive(&mut self, message: Vec<u8>, path: Path, now: Instant) -> Said {
        let Some(message) = self.bug.receive(message) else { return Said::default() };
        let result = self.endpoint.handle_datagram(&message, path, now);
        let mut said = self.drain();
        match result {
            Ok(()) => said.accepted = true,
            Err(discard) => said.events.push(format!("discards: {discard:?}")),
        }
        said
    }

    /// Takes an ESP packet: `Err` when there is no SA for it, or one with another key.
    pub fn receive_esp(
        &mut self,
        spi: u32,
        key: &[u8],
        flow: Flow,
        source: SocketAddr,
        now: Instant,
    ) -> Result<Said, &'static str> {
        let pair = self.pairs.get_mut(&spi).ok_or("finds no inbound SA")?;
        if pair.inbound_key != key {
            return Err("finds an inbound SA with another key");
        }
        if !pair.admits(flow) {
            return Err("finds an inbound SA for other addresses");
        }
        self.heard_esp = Some(now);
        let activity = SaActivity {
            inbound_spi: spi,
            last_inbound: now,
            first_seen: !std::mem::replace(&mut pair.seen, true),
            source: (source != pair.path.peer).then_some(source),
        };
        Ok(Said { accepted: true, ..self.command(Command::SaActivity(vec![activity]), now) })
    }

    /// An ESP packet on the newest SA that may be used for what is in it, one whose path answers before others.
    pub fn send_esp(&self, flow: Flow) -> Option<Datagram> {
        let usable = self.pairs.values().filter(|pair| !pair.retired && pair.active.is_some());
        let pair = usable.filter(|pair| self.bug.carries(pair, flow)).max_by_key(|pair| (!pair.silent, pair.active))?;
        Some(Datagram {
            sender: self.side,
            source: SocketAddr::new(self.address, pair.path.local.port()),
            destination: pair.path.peer,
            marker: false,
            packet: Packet::Esp { spi: pair.outbound_spi, key: pair.outbound_key.clone(), flow },
        })
    }

    /// The number of its children.
    pub fn children(&self) -> usize {
        self.config.connections.iter().map(|connection| connection.children.len()).sum()
    }

    /// Whether it negotiates its children without being asked.
    pub fn asks_at_once(&self) -> bool {
        self.config.connections.iter().any(|connection| connection.start == Start::Now)
    }

    /// The pairs in use that lead to another end.
    pub fn pairs_in_use(&self, far: usize) -> impl Iterator<Item = &Pair> {
        self.pairs.values().filter(move |pair| pair.far == far && !pair.retired)
    }

    /// The SPIs of the established IKE SA.
    pub fn ike_sa(&self) -> Option<(IkeSpi, IkeSpi)> {
        let status = self.endpoint.status();
        let connection = status.first().filter(|connection| connection.state == ConnectionState::Established)?;
        connection.ike_sa.as_ref().map(|ike_sa| (ike_sa.initiator_spi, ike_sa.responder_spi))
    }

    /// The SPIs of the established IKE SA with another end, if it is the one that the status shows.
    pub fn ike_sa_with(&self, far: usize) -> Option<(IkeSpi, IkeSpi)> {
        let status = self.endpoint.status();
        status.first().filter(|connection| connection.peer_id == Some(identity(far)))?;
        self.ike_sa()
    }

    /// Whether it keeps anything of an IKE SA. A response that it has not asked for changes nothing there.
    pub fn holds(&mut self, (initiator, responder): (IkeSpi, IkeSpi), now: Instant) -> bool {
        // Which of the two SPIs is its own shows in a flag of the sender's.
        [true, false].into_iter().any(|from_initiator| {
            let flags = Flags { initiator: from_initiator, response: true, ..Flags::default() };
            let header = Header::new(initiator, responder, ExchangeType::INFORMATIONAL, flags, u32::MAX);
            let question = encode_message(&header, &[]).expect("a header alone");
            let anywhere = SocketAddr::new(self.address, 500);
            let path = Path { local: anywhere, peer: anywhere, non_esp_marker: false };
            self.endpoint.handle_datagram(&question, path, now) != Err(Discard::UnknownSpi)
        })
    }

    /// Inbound and outbound SPIs of the pairs in use, as the endpoint tells them.
    pub fn told_pairs(&self) -> Vec<(u32, u32)> {
        let status = self.endpoint.status();
        let children = status.iter().flat_map(|connection| &connection.children);
        let in_use = children.filter(|child| child.state != ChildState::Retired);
        let mut pairs: Vec<_> = in_use.map(|child| (child.inbound_spi, child.outbound_spi)).collect();
        pairs.sort_unstable();
        pairs
    }

    /// The same pairs, as the data path has them.
    pub fn installed_pairs(&self) -> Vec<(u32, u32)> {
        let in_use = self.pairs.values().filter(|pair| !pair.retired);
        in_use.map(|pair| (pair.inbound_spi, pair.outbound_spi)).collect()
    }

    fn drain(&mut self) -> Said {
        let mut said = Said::default();
        for _ in 0..MOST_OUTPUTS {
            match self.endpoint.poll_output() {
                Output::Transmit(transmit) => {
                    for transmit in self.bug.transmit(transmit) {
                        let path = transmit.path;
                        said.datagrams.push(Datagram {
                            sender: self.side,
                            source: SocketAddr::new(self.address, path.local.port()),
                            destination: path.peer,
                            marker: path.non_esp_marker && !transmit.is_nat_keepalive(),
                            packet: Packet::Ike(transmit.payload),
                        });
                    }
                }
                Output::Event(event) => {
                    for event in self.bug.event(event) {
                        said.events.push(describe(&event));
                        self.apply(event, &mut said);
                    }
                }
                Output::Timeout(deadline) => {
                    self.deadline = deadline.map(|deadline| deadline.at);
                    return said;
                }
            }
        }
        said.violation = Some("one call has endless consequences".to_owned());
        said
    }

    /// What the data path does about an event.
    fn apply(&mut self, event: Event, said: &mut Said) {
        let activated = std::mem::take(&mut self.activated);
        match event {
            Event::ChildInstalled(child) => self.install(*child, said),
            Event::ChildOutboundActivated { inbound_spi, .. } => {
                self.decisions += 1;
                self.activated = true;
                match self.pairs.get_mut(&inbound_spi) {
                    Some(pair) => {
                        pair.active = Some(self.decisions);
                        said.moved.insert(pair.far);
                    }
                    None => said.violation = Some(format!("activates the unknown pair {inbound_spi:08x}")),
                }
            }
            Event::ChildOutboundRetired { inbound_spi, .. } => {
                self.rekeyed_children += u64::from(activated);
                match self.pairs.get_mut(&inbound_spi) {
                    Some(pair) => {
                        pair.retired = true;
                        said.moved.insert(pair.far);
                    }
                    None => said.violation = Some(format!("retires the unknown pair {inbound_spi:08x}")),
                }
            }
            Event::ChildRemoved { inbound_spi, .. } => match self.pairs.remove(&inbound_spi) {
                Some(pair) => drop(said.moved.insert(pair.far)),
                None => said.violation = Some(format!("removes the unknown pair {inbound_spi:08x}")),
            },
            Event::PathChanged { inbound_spis, path, .. } => {
                for pair in self.pairs.values_mut().filter(|pair| inbound_spis.contains(&pair.inbound_spi)) {
                    pair.path = path;
                    said.moved.insert(pair.far);
                }
            }
            Event::PathSilent { inbound_spis, .. } => self.set_silent(&inbound_spis, true),
            Event::PathAnswers { inbound_spis, .. } => self.set_silent(&inbound_spis, false),
            Event::ConnectionUp { .. } => said.went_up = true,
            Event::ConnectionDown { .. } => {
                self.downs += 1;
                said.went_down = true;
            }
            Event::ShutdownComplete => self.shut_down = true,
            _ => {}
        }
    }

    fn set_silent(&mut self, inbound_spis: &[u32], silent: bool) {
        let told = self.pairs.values_mut().filter(|pair| inbound_spis.contains(&pair.inbound_spi));
        told.for_each(|pair| pair.silent = silent);
    }

    fn install(&mut self, child: ChildSa, said: &mut Said) {
        if child.inbound_spi < 256 {
            said.violation = Some(format!("chose the reserved SPI {}", child.inbound_spi));
        }
        let Some(far) = end_of(&child.peer_selectors) else {
            said.violation = Some(format!("agrees on traffic with no one end: {:?}", child.peer_selectors));
            return;
        };
        said.moved.insert(far);
        let key_of = |keys: &ipsec_gateway::ike::SaKeys| keys.encryption_key.as_bytes().to_vec();
        let pair = Pair {
            child: child.child,
            far,
            local_selectors: child.local_selectors,
            peer_selectors: child.peer_selectors,
            inbound_spi: child.inbound_spi,
            inbound_key: key_of(&child.inbound_keys),
            outbound_spi: child.outbound_spi,
            outbound_key: key_of(&child.outbound_keys),
            active: None,
            retired: false,
            path: child.path,
            silent: false,
            seen: false,
        };
        said.new_keys.push(pair.outbound_key.clone());
        if self.pairs.insert(child.inbound_spi, pair).is_some() {
            said.violation = Some(format!("chose the SPI {:08x} twice", child.inbound_spi));
        }
    }
}

fn endpoint(side: usize, config: &Arc<Config>, seed: u64, now: Instant) -> Endpoint {
    let endpoint = Endpoint::new(config.clone(), Box::new(SeededEntropy::new(seed)), now);
    endpoint.with_token_secret(Some(token_secret(side)))
}

/// An event for the trace: without keys.
fn describe(event: &Event) -> String {
    match event {
        Event::ChildInstalled(child) => {
            format!("installs {} in {:08x} out {:08x}", child.child, child.inbound_spi, child.outbound_spi)
        }
        Event::ChildOutboundActivated { inbound_spi, outbound_spi, .. } => {
            format!("activates in {inbound_spi:08x} out {outbound_spi:08x}")
        }
        Event::ChildOutboundRetired { inbound_spi, .. } => format!("retires in {inbound_spi:08x}"),
        Event::ChildRemoved { inbound_spi, outbound_spi, reason, .. } => {
            format!("removes in {inbound_spi:08x} out {outbound_spi:08x}: {reason}")
        }
        other => format!("{other:?}"),
    }
}
