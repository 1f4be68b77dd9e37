//! Two endpoints in memory, and a network between them that tests can hold up.

mod associations;
mod data_path;
mod duplicates;
mod extensions;
mod failures;
mod fragments;
mod handshake;
mod lifecycle;
mod many;
mod narrowing;
mod path_probe;
mod phases;
mod refusals;
mod rekey;
mod responder;
mod siblings;
mod silence;
mod size;
mod standing;
mod thousands;
mod turns;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::crypto::fake::SeededEntropy;
use crate::crypto::{Secret, encryption, integ, ke, prf};
use crate::ike::message::Payloads;
use crate::ike::state::IkeSa;
use crate::ike::{
    Change, Child, ChildSa, Command, Config, Connection, ConnectionState, Discard, Endpoint, EspProposal, Event,
    Extensions, IkeProposal, Output, Path, Peer, Start, Transmit,
};
use crate::wire::ike::{Header, IkeSpi, TrafficSelector};

const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
const SECOND: Duration = Duration::from_secs(1);

fn net(text: &str) -> Vec<TrafficSelector> {
    text.split(' ').map(|net| TrafficSelector::from_net(net.parse().expect("a network"))).collect()
}

fn ike_proposal() -> IkeProposal {
    IkeProposal {
        encryption: vec![&encryption::AES128_GCM_16],
        integrity: Vec::new(),
        prf: vec![&prf::HMAC_SHA2_256],
        groups: vec![&ke::X25519],
    }
}

fn esp_proposal() -> EspProposal {
    EspProposal {
        encryption: vec![&encryption::AES128_GCM_16],
        integrity: Vec::new(),
        groups: Vec::new(),
        esn: vec![false],
    }
}

/// The connection as end `side` has it.
fn connection(side: usize) -> Connection {
    let nets = ["10.1.0.0/16", "10.2.0.0/16"];
    Connection {
        name: Arc::from("site"),
        local_address: Some(ADDRESSES[side].into()),
        peer: Peer::Address(ADDRESSES[1 - side].into()),
        local_id: ADDRESSES[side].to_string().parse().expect("an identity"),
        peer_id: None,
        pre_shared_key: Arc::new(Secret::new(b"correct horse".to_vec())),
        ike_proposals: vec![ike_proposal()],
        children: vec![Child {
            name: Arc::from("net"),
            local_selectors: net(nets[side]),
            peer_selectors: net(nets[1 - side]),
            esp_proposals: vec![esp_proposal()],
        }],
        start: if side == 0 { Start::Now } else { Start::Wait },
        ike_lifetime: Duration::from_secs(4 * 3600),
        child_lifetime: Duration::from_secs(3600),
        liveness_interval: None,
        nat_traversal: true,
        force_encapsulation: false,
        nat_keepalive: 20 * SECOND,
        extensions: Extensions::default(),
    }
}

fn config(connection: Connection) -> Config {
    Config::new(vec![Arc::new(connection)])
}

impl Endpoint {
    /// IKE SAs that wait for their IKE_AUTH request, or whose request was refused a moment ago.
    fn half_open(&self) -> usize {
        self.connections.ike_sas.half_open.len()
    }

    /// As if this were the response to the request of ours that is under way.
    fn answer_with(&mut self, spi: IkeSpi, reply: &Payloads, now: Instant) {
        self.connections.with_ike_sa(spi, now, |sa, cx| match sa {
            IkeSa::Established(state) => state.answered(reply, false, cx).map(IkeSa::established),
            _ => panic!("not established"),
        });
    }
}

/// A pair as the data path of one end has it.
#[derive(Debug)]
struct Pair {
    sa: Box<ChildSa>,
    sending: bool,
    outbound_gone: bool,
}

struct Lab {
    ends: [Endpoint; 2],
    now: Instant,
    wire: VecDeque<(usize, Transmit)>,
    events: [Vec<Event>; 2],
    pairs: [BTreeMap<u32, Pair>; 2],
    /// The address that end 0 appears under, when it is behind a NAT.
    nat: Option<SocketAddr>,
    discards: Vec<Discard>,
    sent: [usize; 2],
}

impl Lab {
    fn new(configs: [Config; 2]) -> Self {
        Self::seeded(configs, 1)
    }

    fn seeded([left, right]: [Config; 2], seed: u64) -> Self {
        let now = Instant::now();
        let end = |config, seed| Endpoint::new(Arc::new(config), Box::new(SeededEntropy::new(seed)), now);
        Self {
            ends: [end(left, 2 * seed), end(right, 2 * seed + 1)],
            now,
            wire: VecDeque::new(),
            events: Default::default(),
            pairs: Default::default(),
            nat: None,
            discards: Vec::new(),
            sent: [0; 2],
        }
    }

    fn plain() -> Self {
        Self::new([config(connection(0)), config(connection(1))])
    }

    /// Established, with one pair of Child SAs.
    fn up() -> Self {
        let mut lab = Self::plain();
        lab.settle();
        lab.assert_paired(1);
        lab
    }

    fn command(&mut self, side: usize, command: Command) {
        self.ends[side].handle_command(command, self.now);
        self.collect(side);
    }

    fn tick(&mut self, side: usize) {
        self.ends[side].handle_timeout(self.now);
        self.collect(side);
    }

    fn collect(&mut self, side: usize) {
        loop {
            match self.ends[side].poll_output() {
                Output::Timeout(_) => return,
                Output::Event(event) => self.event(side, event),
                Output::Transmit(transmit) => {
                    self.sent[side] += 1;
                    self.wire.push_back((side, transmit));
                }
            }
        }
    }

    fn event(&mut self, side: usize, event: Event) {
        let pairs = &mut self.pairs[side];
        match event {
            Event::ChildInstalled(sa) => {
                pairs.insert(sa.inbound_spi, Pair { sa, sending: false, outbound_gone: false });
                return;
            }
            Event::ChildOutboundActivated { inbound_spi, .. } => {
                let pair = pairs.get_mut(&inbound_spi).expect("an installed pair");
                assert!(!pair.sending && !pair.outbound_gone, "activated twice, or when it was retired");
                pair.sending = true;
            }
            Event::ChildOutboundRetired { inbound_spi, .. } => {
                let pair = pairs.get_mut(&inbound_spi).expect("an installed pair");
                assert!(!std::mem::replace(&mut pair.outbound_gone, true), "retired twice");
            }
            Event::ChildRemoved { inbound_spi, .. } => {
                pairs.remove(&inbound_spi).expect("an installed pair");
            }
            _ => {}
        }
        self.events[side].push(event);
    }

    /// Takes the oldest datagram from the wire to its destination.
    fn deliver(&mut self) -> bool {
        let Some((from, transmit)) = self.wire.pop_front() else { return false };
        self.arrive(1 - from, &transmit);
        true
    }

    fn arrive(&mut self, to: usize, transmit: &Transmit) {
        let Path { local, peer, non_esp_marker } = transmit.path;
        let mut path = Path { local: peer, peer: local, non_esp_marker };
        if local.ip().is_unspecified() {
            // The system has chosen.
            path.peer.set_ip(ADDRESSES[1 - to].into());
        }
        if let Some(outside) = self.nat {
            if to == 1 {
                path.peer = SocketAddr::new(outside.ip(), outside.port() + local.port() % 7);
            } else {
                path.local = SocketAddr::new(ADDRESSES[0].into(), if non_esp_marker { 4500 } else { 500 });
            }
        }
        if let Err(reason) = self.ends[to].handle_datagram(&transmit.payload, path, self.now) {
            self.discards.push(reason);
        }
        self.collect(to);
    }

    /// Lets both ends do what is due now, and the network deliver all.
    fn settle(&mut self) {
        self.tick(0);
        self.tick(1);
        for _ in 0..10_000 {
            if !self.deliver() {
                return;
            }
        }
        panic!("the two ends never stop talking");
    }

    /// Lets time pass, stopping at every deadline.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let deadline = |endpoint: &mut Endpoint| match endpoint.poll_output() {
                Output::Timeout(deadline) => deadline.map(|deadline| deadline.at),
                other => panic!("not drained: {other:?}"),
            };
            let next = self.ends.iter_mut().filter_map(deadline).min();
            match next.filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// Throws away what is on the wire.
    fn lose(&mut self) -> usize {
        self.wire.drain(..).count()
    }

    fn state(&self, side: usize) -> ConnectionState {
        self.ends[side].status()[0].state
    }

    fn failures(&self, side: usize) -> Vec<String> {
        let reason = |event: &'_ Event| match event {
            Event::Failure { failure, .. } => Some(failure.to_string()),
            _ => None,
        };
        self.events[side].iter().filter_map(reason).collect()
    }

    /// Each end has `count` pairs that it sends on, and the other end receives on them with the same keys.
    #[track_caller]
    fn assert_paired(&self, count: usize) {
        for (side, pairs) in self.pairs.iter().enumerate() {
            let sending: Vec<_> = pairs.values().filter(|pair| pair.sending && !pair.outbound_gone).collect();
            assert_eq!(sending.len(), count, "end {side}: {pairs:?}");
            for pair in sending {
                let other = self.pairs[1 - side].get(&pair.sa.outbound_spi).expect("the peer's inbound SA");
                assert_eq!(other.sa.outbound_spi, pair.sa.inbound_spi);
                assert_eq!(other.sa.inbound_keys.encryption_key, pair.sa.outbound_keys.encryption_key);
                assert_eq!(other.sa.inbound_keys.integrity_key, pair.sa.outbound_keys.integrity_key);
                assert_eq!(other.sa.local_selectors, pair.sa.peer_selectors);
                assert_eq!(other.sa.peer_selectors, pair.sa.local_selectors);
                assert_eq!((other.sa.suite, other.sa.esn), (pair.sa.suite, pair.sa.esn));
                assert_eq!(other.sa.encapsulation, pair.sa.encapsulation);
            }
        }
    }

    /// SPIs of the inbound SAs of an end.
    fn inbound(&self, side: usize) -> Vec<u32> {
        self.pairs[side].keys().copied().collect()
    }

    fn ike_spis(&self, side: usize) -> Option<(String, String)> {
        let status = self.ends[side].status().remove(0);
        status.ike_sa.map(|sa| (sa.initiator_spi.to_string(), sa.responder_spi.to_string()))
    }
}

fn header(transmit: &Transmit) -> Header {
    Header::parse(&transmit.payload).expect("an IKE message")
}

fn address(host: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from(host), port)
}
