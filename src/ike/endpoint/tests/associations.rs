//! A hub that takes any peer, and as many road warriors as there may be.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::crypto::fake;
use crate::ike::association::looks;
use crate::ike::{AssociationId, ConnectionStatus};

/// So many warriors share an address of a NAT.
const BEHIND_ONE: usize = 10;
const HUB: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The connection as the hub has it, or as a warrior has it.
fn connection_of(warrior: Option<usize>) -> Connection {
    let fast = IkeProposal {
        encryption: vec![&fake::ENCRYPTION],
        integrity: Vec::new(),
        prf: vec![&prf::HMAC_SHA2_256],
        groups: vec![&fake::KEY_EXCHANGE],
    };
    let (local, peer) = match warrior {
        None => (net("10.1.0.0/16"), net("10.64.0.0/10")),
        Some(n) => (net(&subnet(n)), net("10.1.0.0/16")),
    };
    let mut connection = connection(0);
    connection.local_address = None;
    connection.peer = if warrior.is_none() { Peer::Any } else { Peer::Address(HUB.into()) };
    connection.local_id = identity(warrior).parse().expect("an identity");
    connection.peer_id = warrior.map(|_| identity(None).parse().expect("an identity"));
    connection.ike_proposals = vec![fast];
    connection.children[0].esp_proposals = vec![EspProposal { encryption: vec![&fake::ENCRYPTION], ..esp_proposal() }];
    (connection.children[0].local_selectors, connection.children[0].peer_selectors) = (local, peer);
    connection.start = if warrior.is_none() { Start::Wait } else { Start::Now };
    connection
}

fn identity(warrior: Option<usize>) -> String {
    warrior.map_or_else(|| "hub.example".to_owned(), |n| format!("warrior-{n}.example"))
}

fn subnet(warrior: usize) -> String {
    format!("10.{}.{}.0/28", 64 + warrior / 256, warrior % 256)
}

/// Where the hub sees a warrior.
fn outside(warrior: usize) -> SocketAddr {
    let nat = warrior / BEHIND_ONE;
    address([203, 0, 113 + (nat / 250) as u8, (nat % 250) as u8], 20_000 + (warrior % BEHIND_ONE) as u16)
}

/// The hub and its warriors, each behind a NAT.
struct Roads {
    hub: Endpoint,
    warriors: Vec<Endpoint>,
    now: Instant,
    /// What the hub told.
    events: Vec<Event>,
    /// The hub's pairs that send, by inbound SPI: whose, and the peer's side.
    sending: BTreeMap<u32, (AssociationId, Vec<TrafficSelector>)>,
    installed: BTreeMap<u32, (AssociationId, Vec<TrafficSelector>)>,
}

impl Roads {
    fn new(count: usize) -> Self {
        let now = Instant::now();
        let end = |warrior, seed| {
            let config = Arc::new(config(connection_of(warrior)));
            Endpoint::new(config, Box::new(SeededEntropy::new(seed)), now)
        };
        let warriors = (0..count).map(|n| end(Some(n), 2 + n as u64)).collect();
        let (events, sending, installed) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { hub: end(None, 1), warriors, now, events, sending, installed }
    }

    /// All of them set up.
    fn up(count: usize) -> Self {
        let mut roads = Self::new(count);
        for n in 0..count {
            roads.warriors[n].handle_timeout(roads.now);
            roads.talk(n);
        }
        roads
    }

    /// One warrior and the hub say to each other what they have to say.
    fn talk(&mut self, n: usize) {
        loop {
            let said = drain(&mut self.warriors[n]).0;
            for transmit in said {
                let path = Path {
                    local: SocketAddr::new(HUB.into(), transmit.path.peer.port()),
                    peer: outside(n),
                    ..transmit.path
                };
                let handled = self.hub.handle_datagram(&transmit.payload, path, self.now);
                assert!(matches!(handled, Ok(()) | Err(Discard::CookieRequired)), "{handled:?}");
            }
            let answers = self.collect();
            if answers.is_empty() {
                return;
            }
            for transmit in answers {
                assert_eq!(transmit.path.peer, outside(n), "only the one that spoke is answered");
                let inside = address([10, 0, 0, 2], transmit.path.local.port());
                let path = Path { local: inside, peer: transmit.path.local, ..transmit.path };
                self.warriors[n].handle_datagram(&transmit.payload, path, self.now).expect("a message for a warrior");
            }
        }
    }

    /// What the hub has to send; its events are noted.
    fn collect(&mut self) -> Vec<Transmit> {
        let (said, events) = drain(&mut self.hub);
        for event in events {
            match &event {
                Event::ChildInstalled(sa) => {
                    self.installed.insert(sa.inbound_spi, (sa.association, sa.peer_selectors.clone()));
                }
                Event::ChildOutboundActivated { inbound_spi, association, .. } => {
                    let pair = self.installed[inbound_spi].clone();
                    assert_eq!(pair.0, *association);
                    self.sending.insert(*inbound_spi, pair);
                }
                Event::ChildOutboundRetired { inbound_spi, .. } | Event::ChildRemoved { inbound_spi, .. } => {
                    self.sending.remove(inbound_spi);
                }
                _ => {}
            }
            self.events.push(event);
        }
        said
    }

    fn leave(&mut self, n: usize) {
        self.warriors[n].handle_command(Command::Down { connection: "site".into() }, self.now);
        self.talk(n);
    }

    fn status(&self) -> ConnectionStatus {
        self.hub.status().remove(0)
    }
}

/// What an endpoint has to send, and what it tells.
fn drain(end: &mut Endpoint) -> (Vec<Transmit>, Vec<Event>) {
    let (mut said, mut told) = (Vec::new(), Vec::new());
    loop {
        match end.poll_output() {
            Output::Transmit(transmit) => said.push(transmit),
            Output::Event(event) => told.push(event),
            Output::Timeout(_) => return (said, told),
        }
    }
}

/// The association that an event about Child SAs names.
fn association_of(event: &Event) -> Option<AssociationId> {
    match event {
        Event::ChildInstalled(sa) => Some(sa.association),
        Event::ChildOutboundActivated { association, .. }
        | Event::ChildOutboundRetired { association, .. }
        | Event::ChildRemoved { association, .. } => Some(*association),
        _ => None,
    }
}

/// Warriors, by what the status says of their associations: number, identity, address, IKE SAs and peers' sides.
fn shown(status: &ConnectionStatus) -> BTreeMap<AssociationId, (String, SocketAddr, usize, Vec<String>)> {
    let mut shown: BTreeMap<_, _> = BTreeMap::new();
    for of in &status.associations {
        shown.insert(of.id, (of.peer_id.to_string(), of.peer, of.ike_sas.len(), Vec::new()));
    }
    for child in &status.children {
        let of = shown.get_mut(&child.association).expect("a child of an association");
        of.3.extend(child.peer_selectors.iter().map(ToString::to_string));
    }
    shown
}

fn expected(warriors: impl Iterator<Item = usize>) -> BTreeSet<(String, SocketAddr, usize, Vec<String>)> {
    warriors.map(|n| (identity(Some(n)), outside(n), 1, vec![subnet(n)])).collect()
}

#[test]
fn of_a_thousand_warriors_three_hundred_leave_and_the_others_do_not_notice() {
    let mut roads = Roads::up(1000);
    let ups = |roads: &Roads| roads.events.iter().filter(|event| matches!(event, Event::ConnectionUp { .. })).count();
    assert_eq!((roads.sending.len(), ups(&roads)), (1000, 1));
    let before = shown(&roads.status());
    assert_eq!(before.values().cloned().collect::<BTreeSet<_>>(), expected(0..1000));
    let sending = roads.sending.clone();
    roads.events.clear();
    let leaves = |n: &usize| n % 10 < 3;
    for n in (0..1000).filter(leaves) {
        roads.leave(n);
    }
    let after = shown(&roads.status());
    assert_eq!(after.values().cloned().collect::<BTreeSet<_>>(), expected((0..1000).filter(|n| !leaves(n))));
    assert!(after.iter().all(|(id, of)| before[id] == *of), "the others are the same associations as before");
    assert_eq!(roads.sending.len(), 700);
    assert!(roads.sending.iter().all(|(spi, pair)| sending[spi] == *pair), "and have the same pairs");
    assert!(
        roads.events.iter().filter_map(association_of).all(|of| !after.contains_key(&of)),
        "nothing is told of them"
    );
    let downs = roads.events.iter().filter(|event| matches!(event, Event::ConnectionDown { .. })).count();
    assert_eq!((downs, roads.status().state), (0, ConnectionState::Established));
    // One of them comes back, and is another association.
    roads.warriors[0].handle_command(Command::Up { connection: "site".into() }, roads.now);
    roads.warriors[0].handle_timeout(roads.now);
    roads.talk(0);
    let back = shown(&roads.status());
    assert!(back.iter().any(|(id, of)| of.0 == identity(Some(0)) && !before.contains_key(id)));
    // The last one takes the connection down.
    for n in 0..1000 {
        roads.leave(n);
    }
    assert!(roads.sending.is_empty() && roads.status().associations.is_empty());
    let downs = roads.events.iter().filter(|event| matches!(event, Event::ConnectionDown { .. })).count();
    assert_eq!((downs, roads.status().state), (1, ConnectionState::Down));
}

#[test]
fn an_association_is_there_as_long_as_its_ike_sa_also_without_a_pair() {
    let mut roads = Roads::up(2);
    let [one, two] = roads.status().associations.iter().map(|of| of.id).collect::<Vec<_>>()[..] else {
        panic!("two associations")
    };
    // The hub cannot install what the first one has, so that pair goes and the IKE SA stays.
    let inbound_spi = roads.sending.iter().find_map(|(spi, pair)| (pair.0 == one).then_some(*spi)).expect("a pair");
    let reason = "no room".to_owned();
    roads.hub.handle_command(Command::InstallFailed { inbound_spi, reason }, roads.now);
    roads.collect();
    assert!(!roads.sending.contains_key(&inbound_spi));
    assert!(roads.hub.has_association(one) && roads.status().associations.iter().any(|of| of.id == one));
    roads.leave(1);
    assert!(roads.hub.has_association(one) && !roads.hub.has_association(two));
    assert!(!roads.hub.has_association(AssociationId(u64::MAX)));
}

#[test]
fn what_one_warrior_costs_does_not_grow_with_their_number() {
    let costs = |count: usize| {
        let mut roads = Roads::up(count);
        roads.events.clear();
        looks::take();
        roads.leave(count / 2);
        let leaving = (looks::take(), roads.events.len());
        roads.events.clear();
        roads.warriors[count / 2].handle_command(Command::Up { connection: "site".into() }, roads.now);
        roads.talk(count / 2);
        (leaving, (looks::take(), roads.events.len()))
    };
    assert_eq!(costs(10), costs(400), "IKE SAs looked at, and events: of one that leaves, and of one that comes");
}

#[test]
fn of_two_behind_one_address_one_leaves_and_the_other_goes_on() {
    let mut roads = Roads::up(2);
    assert_eq!(outside(0).ip(), outside(1).ip());
    let pair_of = |roads: &Roads, n| {
        let of = |(spi, (_, peer)): (&u32, &(_, Vec<TrafficSelector>))| (*peer == net(&subnet(n))).then_some(*spi);
        roads.sending.iter().find_map(of)
    };
    let stays = pair_of(&roads, 1);
    assert!(stays.is_some() && pair_of(&roads, 0).is_some());
    roads.leave(0);
    assert_eq!((pair_of(&roads, 0), pair_of(&roads, 1)), (None, stays));
    // Its Child SA is rekeyed as if nobody had left.
    roads.warriors[1]
        .handle_command(Command::Rekey { connection: "site".into(), what: crate::ike::RekeyWhat::Child }, roads.now);
    roads.talk(1);
    roads.now += 10 * SECOND;
    let status = roads.status();
    assert_eq!(
        shown(&status).into_values().map(|of| (of.0, of.1)).collect::<Vec<_>>(),
        [(identity(Some(1)), outside(1))]
    );
    assert_eq!(status.state, ConnectionState::Established);
}

#[test]
fn an_association_outlives_its_ike_sas() {
    let mut roads = Roads::up(1);
    let of = |roads: &Roads| roads.status().associations.iter().map(|of| (of.id, of.since)).collect::<Vec<_>>();
    let spi = |roads: &Roads| roads.status().ike_sa.expect("an IKE SA").initiator_spi;
    let (first, first_spi) = (of(&roads), spi(&roads));
    roads.now += 10 * SECOND;
    roads.warriors[0]
        .handle_command(Command::Rekey { connection: "site".into(), what: crate::ike::RekeyWhat::Ike }, roads.now);
    roads.talk(0);
    assert_ne!(spi(&roads), first_spi);
    assert_eq!(of(&roads), first);
    roads.leave(0);
    roads.warriors[0].handle_command(Command::Up { connection: "site".into() }, roads.now);
    roads.warriors[0].handle_timeout(roads.now);
    roads.talk(0);
    assert_ne!(of(&roads)[0].0, first[0].0, "one that had gone is another one");
    assert_eq!(of(&roads)[0].1, roads.now);
}
