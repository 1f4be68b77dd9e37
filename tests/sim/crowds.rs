//! Thousands of tunnels of one gateway whose path goes and comes back: what asks meanwhile takes turns, whoever has packets comes
//! first, and all are back in the time that the places allow (`ike/endpoint/start_limit.rs`).

mod hints;

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::ike::{
    Command, Config, Connection, Endpoint, Event, Output, Path, Peer, SaActivity, Start, Transmit,
};
use ipsec_gateway::wire::ike::{ExchangeType, Header, IkeSpi, TrafficSelector};

use crate::setup::{LEFT, LEFT_ADDRESS, RIGHT, Setup, address, config};

const SECOND: Duration = Duration::from_secs(1);
/// Between two looks of the data path.
const TICK: Duration = Duration::from_millis(100);
/// From one end to the other.
const DELAY: Duration = Duration::from_millis(25);
/// As in gatewayd: packets have gone unanswered for so long when IKE hears of it, and again and again.
const UNANSWERED: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_secs(2);

/// One tunnel, as the left data path sees it.
#[derive(Default, Clone)]
struct Tunnel {
    has_packets: bool,
    /// The pairs that are sent on, by inbound SPI, with the outbound one, the newest last.
    pairs: Vec<(u32, u32)>,
    silent: HashSet<u32>,
    unanswered: Option<Instant>,
    asked: Option<Instant>,
    told: Option<Instant>,
    /// When a packet last came back.
    heard: Option<Instant>,
}

/// What the left end did in a second.
#[derive(Default, Clone, Copy, Debug)]
struct Second {
    datagrams: usize,
    /// Negotiations begun, with a key pair each.
    begun: usize,
}

/// A gateway, at the left, and all its peers in one endpoint with many addresses, at the right.
struct Crowd {
    now: Instant,
    next_tick: Instant,
    ends: [Endpoint; 2],
    deadlines: [Option<Instant>; 2],
    wire: BTreeMap<(Instant, u64), (usize, Transmit)>,
    sent: u64,
    /// Nothing passes,
    cut: bool,
    /// but what is from or to this peer.
    alive: Option<usize>,
    addresses: usize,
    tunnels: Vec<Tunnel>,
    /// What the right end receives on.
    right: HashSet<u32>,
    peers: Config,
    seen: HashSet<IkeSpi>,
    seconds: Vec<Second>,
    began: Instant,
}

fn peer_address(number: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a80_0001 + number as u32))
}

/// `count` connections of an end to so many peer addresses; the left ones start.
fn connections(side: usize, count: usize, addresses: usize) -> Vec<Arc<Connection>> {
    let template = config(&Setup::plain(), side, address(LEFT_ADDRESS)).connections[0].clone();
    let connection = |number: usize| {
        let mut connection = Connection::clone(&template);
        let (near, far) = (address(LEFT_ADDRESS), peer_address(number % addresses));
        let names = [format!("left-{number}.example"), format!("right-{number}.example")];
        let nets = [Ipv4Addr::from(0x2000_0000 + number as u32), Ipv4Addr::from(0x3000_0000 + number as u32)];
        let net =
            |side: usize| vec![TrafficSelector::from_net(format!("{}/32", nets[side]).parse().expect("a network"))];
        connection.name = number.to_string().into();
        connection.local_address = Some(if side == LEFT { near } else { far });
        connection.peer = Peer::Address(if side == LEFT { far } else { near });
        connection.local_id = names[side].parse().expect("an identity");
        connection.peer_id = Some(names[1 - side].parse().expect("an identity"));
        connection.start = if side == LEFT { Start::Now } else { Start::Wait };
        connection.children[0].local_selectors = net(side);
        connection.children[0].peer_selectors = net(1 - side);
        Arc::new(connection)
    };
    (0..count).map(connection).collect()
}

fn endpoint(config: &Config, seed: u64, now: Instant) -> Endpoint {
    Endpoint::new(Arc::new(config.clone()), Box::new(SeededEntropy::new(seed)), now)
}

impl Crowd {
    /// All of them, up. Every second tunnel has packets from now on.
    fn new(count: usize, addresses: usize) -> Self {
        let now = Instant::now();
        let ours = Config::new(connections(LEFT, count, addresses));
        let mut peers = Config::new(connections(RIGHT, count, addresses));
        if addresses > 1 {
            // Each is a gateway by itself.
            (peers.cookie_threshold, peers.cookie_threshold_per_source) = (count, count);
            (peers.half_open_limit, peers.half_open_limit_per_source) = (count, count);
        }
        let mut crowd = Self {
            now,
            next_tick: now,
            ends: [endpoint(&ours, 1, now), endpoint(&peers, 2, now)],
            deadlines: [Some(now); 2],
            wire: BTreeMap::new(),
            sent: 0,
            cut: false,
            alive: None,
            addresses,
            tunnels: vec![Tunnel::default(); count],
            right: HashSet::new(),
            peers,
            seen: HashSet::new(),
            seconds: Vec::new(),
            began: now,
        };
        let took = crowd.run_until(120 * SECOND, |crowd| crowd.tunnels.iter().all(|tunnel| !tunnel.pairs.is_empty()));
        println!("{count} tunnels to {addresses} addresses, up after {took:?}");
        crowd.tunnels.iter_mut().step_by(2).for_each(|tunnel| tunnel.has_packets = true);
        crowd.run_for(5 * SECOND);
        crowd
    }

    /// The peers start anew.
    fn forget(&mut self) {
        self.ends[RIGHT] = endpoint(&self.peers, 77, self.now);
        self.deadlines[RIGHT] = Some(self.now);
        self.right.clear();
    }

    fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.step();
        }
    }

    /// How long it took.
    fn run_until(&mut self, limit: Duration, is_so: impl Fn(&Self) -> bool) -> Duration {
        let from = self.now;
        loop {
            let tick = self.next_tick;
            while self.next_tick == tick {
                self.step();
            }
            if is_so(self) {
                return self.now - from;
            }
            assert!(self.now < from + limit, "not within {limit:?}");
        }
    }

    /// Whether packets would pass, both ways.
    fn passes(&self, tunnel: &Tunnel) -> bool {
        let alive = self.alive.and_then(|number| self.tunnels.get(number));
        let is_alive = alive.is_some_and(|alive| std::ptr::eq(alive, tunnel));
        (is_alive || !self.cut) && tunnel.pairs.last().is_some_and(|(_, outbound)| self.right.contains(outbound))
    }

    /// Tunnels that do not work, or whose path is believed to be silent.
    fn away(&self, has_packets: bool) -> usize {
        let away = |tunnel: &&Tunnel| {
            let silent = tunnel.pairs.last().is_some_and(|(inbound, _)| tunnel.silent.contains(inbound));
            tunnel.has_packets == has_packets && (silent || !self.passes(tunnel))
        };
        self.tunnels.iter().filter(away).count()
    }

    /// The most of what the left end did in a second since then.
    fn busiest(&self, since: Instant) -> Second {
        let from = (since - self.began).as_secs() as usize + 1;
        let all = self.seconds.get(from..).unwrap_or_default();
        Second {
            datagrams: all.iter().map(|second| second.datagrams).max().unwrap_or(0),
            begun: all.iter().map(|second| second.begun).max().unwrap_or(0),
        }
    }

    fn step(&mut self) {
        let arrival = self.wire.keys().next().map(|(at, _)| *at);
        let next = self.deadlines.iter().copied().flatten().chain(arrival).chain([self.next_tick]).min();
        self.now = self.now.max(next.unwrap_or(self.next_tick));
        if arrival.is_some_and(|at| at <= self.now) {
            let Some((_, (to, transmit))) = self.wire.pop_first() else { return };
            let Path { local, peer, non_esp_marker } = transmit.path;
            let path = Path { local: peer, peer: local, non_esp_marker };
            let _ = self.ends[to].handle_datagram(&transmit.payload, path, self.now);
            return self.collect(to);
        }
        for side in [LEFT, RIGHT] {
            if self.deadlines[side].is_some_and(|at| at <= self.now) {
                self.ends[side].handle_timeout(self.now);
                self.collect(side);
            }
        }
        if self.next_tick <= self.now {
            self.next_tick += TICK;
            self.look();
        }
    }

    fn collect(&mut self, side: usize) {
        loop {
            match self.ends[side].poll_output() {
                Output::Timeout(deadline) => {
                    self.deadlines[side] = deadline.map(|deadline| deadline.at);
                    return;
                }
                Output::Event(event) => self.event(side, event),
                Output::Transmit(transmit) => self.transmit(side, transmit),
            }
        }
    }

    fn transmit(&mut self, side: usize, transmit: Transmit) {
        if side == LEFT {
            let second = (self.now - self.began).as_secs() as usize;
            self.seconds.resize(self.seconds.len().max(second + 1), Second::default());
            self.seconds[second].datagrams += 1;
            let header = Header::parse(&transmit.payload).ok();
            let init = header.filter(|header| header.exchange_type == ExchangeType::IKE_SA_INIT);
            if init.is_some_and(|header| self.seen.insert(header.initiator_spi)) {
                self.seconds[second].begun += 1;
            }
        }
        let peer = if side == LEFT { transmit.path.peer } else { transmit.path.local }.ip();
        let is_alive = self.alive.is_some_and(|number| peer_address(number) == peer);
        if (is_alive || !self.cut) && !transmit.is_nat_keepalive() {
            self.sent += 1;
            self.wire.insert((self.now + DELAY, self.sent), (1 - side, transmit));
        }
    }

    fn event(&mut self, side: usize, event: Event) {
        if side == RIGHT {
            match event {
                Event::ChildInstalled(sa) => {
                    self.right.insert(sa.inbound_spi);
                }
                Event::ChildRemoved { inbound_spi, .. } => {
                    self.right.remove(&inbound_spi);
                }
                _ => {}
            }
            return;
        }
        let tunnels = &mut self.tunnels;
        let number = |name: &str| name.parse::<usize>().expect("a number");
        match event {
            Event::ChildOutboundActivated { connection, inbound_spi, outbound_spi, .. } => {
                tunnels[number(&connection)].pairs.push((inbound_spi, outbound_spi));
            }
            Event::ChildOutboundRetired { connection, inbound_spi, .. }
            | Event::ChildRemoved { connection, inbound_spi, .. } => {
                tunnels[number(&connection)].pairs.retain(|(known, _)| *known != inbound_spi);
            }
            Event::PathSilent { connection, inbound_spis, .. } => {
                tunnels[number(&connection)].silent.extend(inbound_spis)
            }
            Event::PathAnswers { connection, inbound_spis } => {
                tunnels[number(&connection)].silent.retain(|spi| !inbound_spis.contains(spi));
            }
            _ => {}
        }
    }

    /// The data path of the left end looks at its packets.
    fn look(&mut self) {
        let (mut commands, mut heard) = (Vec::new(), [Vec::new(), Vec::new()]);
        for number in 0..self.tunnels.len() {
            let passes = self.passes(&self.tunnels[number]);
            let (now, tunnel) = (self.now, &mut self.tunnels[number]);
            if !tunnel.has_packets {
                continue;
            }
            let Some((inbound, outbound)) = tunnel.pairs.last().copied() else {
                if tunnel.asked.is_none_or(|asked| now >= asked + SECOND) {
                    tunnel.asked = Some(now);
                    let (connection, child) = (number.to_string().into(), "net-0".into());
                    commands.push(Command::Acquire { connection, child, packet: None });
                }
                continue;
            };
            if passes {
                (tunnel.unanswered, tunnel.asked, tunnel.heard) = (None, None, Some(now));
                if tunnel.told.is_none_or(|told| now >= told + SECOND) {
                    tunnel.told = Some(now);
                    for (side, inbound_spi) in [(LEFT, inbound), (RIGHT, outbound)] {
                        let activity = SaActivity { inbound_spi, last_inbound: now, first_seen: false, source: None };
                        heard[side].push(activity);
                    }
                }
                continue;
            }
            let since = *tunnel.unanswered.get_or_insert(now);
            if tunnel.asked.map_or(now >= since + UNANSWERED, |asked| now >= asked + AGAIN) {
                (tunnel.asked, tunnel.told) = (Some(now), None);
                commands.push(Command::CheckLiveness { inbound_spi: inbound });
            }
        }
        for (side, activities) in heard.into_iter().enumerate() {
            self.command(side, Command::SaActivity(activities));
        }
        commands.into_iter().for_each(|command| self.command(LEFT, command));
    }

    fn command(&mut self, side: usize, command: Command) {
        self.ends[side].handle_command(command, self.now);
        self.collect(side);
    }
}

/// What the places allow.
struct Bounds {
    /// Datagrams and negotiations of a second, once all paths are known to be silent;
    silent: Second,
    /// until those with packets work, and all.
    back: [Duration; 2],
}

/// All are away for 45 seconds. What the peers have forgotten is negotiated anew.
fn outage(count: usize, addresses: usize, forgets: bool, told: bool, bounds: Bounds) {
    let mut crowd = Crowd::new(count, addresses);
    crowd.cut = true;
    // Those without packets are found silent by the regular check.
    crowd.run_for(25 * SECOND);
    let silent = crowd.now;
    crowd.run_for(10 * SECOND);
    if forgets {
        crowd.forget();
    }
    crowd.run_for(10 * SECOND);
    let during = crowd.busiest(silent);
    crowd.cut = false;
    let back = crowd.now;
    if told {
        crowd.command(LEFT, Command::PathsChanged);
    }
    let first = crowd.run_until(120 * SECOND, |crowd| crowd.away(true) == 0);
    let later = crowd.away(false);
    let all = first + crowd.run_until(120 * SECOND, |crowd| crowd.away(false) == 0);
    let after = crowd.busiest(back);
    println!(
        "{count} to {addresses}, forgets {forgets}, told {told}: silent {during:?}; back with packets after {first:?} ({later} \
         of the others not yet), all after {all:?}, at most {after:?}"
    );
    assert!(during.datagrams <= bounds.silent.datagrams && during.begun <= bounds.silent.begun, "silent: {during:?}");
    assert!(first <= bounds.back[0] && all <= bounds.back[1], "back after {first:?} and {all:?}");
    assert!(!forgets || addresses > 1 || later >= count / 8, "who has packets comes first: {later}");
    crowd.run_for(60 * SECOND);
    assert_eq!([crowd.away(true), crowd.away(false)], [0, 0]);
}

/// How many tunnels: fewer than thousands where nobody waits for more.
fn count() -> usize {
    std::env::var("CROWD").ok().and_then(|count| count.parse().ok()).unwrap_or(512)
}

/// What a second may bring while nobody answers: a repetition of each in eight seconds or more; and of each attempt, of which
/// 64 begin in a second, between the same addresses one in two, and go on for 15, one, and one on what it is beside.
fn silent(addresses: usize) -> Second {
    let attempts = (8 * addresses).min(64 * 15);
    Second { datagrams: count() / 6 + attempts * 2 + 64, begun: addresses.min(64) }
}

/// Until so many have asked, of which `at_once` do at a time and each takes so many round trips; who finds out asks every two
/// seconds.
fn back(many: usize, at_once: usize, round_trips: u32) -> Duration {
    3 * SECOND + 2 * DELAY * round_trips * many.div_ceil(at_once) as u32
}

#[test]
fn one_peer_that_still_knows_all() {
    let all = back(count(), 32, 2);
    outage(count(), 1, false, false, Bounds { silent: silent(1), back: [3 * SECOND, all] });
}

#[test]
fn one_peer_that_has_forgotten_all() {
    let limits = [count() * 2 / 3, count()].map(|many| back(many, 32, 4));
    outage(count(), 1, true, false, Bounds { silent: silent(1), back: limits });
}

#[test]
fn some_peers_that_still_know_all() {
    let peers = count().div_ceil(80);
    outage(count(), peers, false, false, Bounds { silent: silent(peers), back: [3 * SECOND, 5 * SECOND] });
}

#[test]
fn some_peers_that_have_forgotten_all() {
    let peers = count().div_ceil(80);
    let limits = [count() * 2 / 3, count()].map(|many| back(many, 256.min(32 * peers), 4) + 2 * SECOND);
    outage(count(), peers, true, false, Bounds { silent: silent(peers), back: limits });
}

#[test]
fn as_many_peers_that_still_know_us() {
    outage(count(), count(), false, false, Bounds { silent: silent(count()), back: [3 * SECOND, 5 * SECOND] });
}

#[test]
fn as_many_peers_that_have_forgotten_us() {
    let limits = [count() * 2 / 3, count()].map(|many| back(many, 256, 4) + 2 * SECOND);
    outage(count(), count(), true, false, Bounds { silent: silent(count()), back: limits });
}

#[test]
fn many_peers_when_the_link_is_said_to_be_back() {
    let limits = [count() * 2 / 3, count()].map(|many| back(many, 256, 4) + SECOND);
    outage(count(), count(), true, true, Bounds { silent: silent(count()), back: limits });
}

#[test]
fn one_peer_that_restarts_among_many_that_are_dead() {
    let mut crowd = Crowd::new(count(), count());
    (crowd.cut, crowd.alive) = (true, Some(0));
    crowd.run_for(90 * SECOND);
    assert!(crowd.passes(&crowd.tunnels[0]));
    crowd.forget();
    let back = crowd.run_until(60 * SECOND, |crowd| crowd.passes(&crowd.tunnels[0]));
    println!("one restarted among {} that are dead: back after {back:?}", count());
    assert!(back <= 3 * SECOND, "{back:?}");
}
