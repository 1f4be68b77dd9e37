//! How the ends are set up: addresses, identities, traffic selectors, and what both sides of a tunnel agree on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::crypto::{self, Secret};
use ipsec_gateway::ike::{Child, Childless, Config, Connection, EspProposal, Extensions, IkeProposal, Peer, Start};
use ipsec_gateway::wire::ike::{Identification, TrafficSelector};

pub const LEFT: usize = 0;
/// The end that every other one has its tunnel with: the peer of two ends, the hub of more.
pub const RIGHT: usize = 1;

const NAMES: [&str; 3] = ["left", "right", "third"];
const ADDRESSES: [&str; 3] = [LEFT_ADDRESS, RIGHT_ADDRESS, "192.0.2.3"];
/// Where a road warrior may be; there are more of these than warriors.
pub const ROADS: [&str; 3] = [LEFT_ADDRESS, "192.0.2.2", "192.0.2.3"];
pub const LEFT_ADDRESS: &str = "192.0.2.1";
pub const RIGHT_ADDRESS: &str = "198.51.100.1";
pub const NAT_ADDRESS: &str = "203.0.113.9";

/// How the ends are set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Two, or three: then the right end takes any peer, and the others are its road warriors.
    pub ends: usize,
    /// Of the ends that initiate a tunnel, and of the right one.
    pub start: [Start; 2],
    pub children: usize,
    pub perfect_forward_secrecy: bool,
    pub ike_lifetime: Duration,
    pub child_lifetime: Duration,
    pub liveness: Duration,
    /// One NAT stands before every end but the right one.
    pub nat: bool,
    /// By end: whether it takes part in NAT detection, and its other extensions.
    pub nat_detection: [bool; 3],
    pub extensions: [Extensions; 3],
    /// Networks on each side of a child.
    pub subnets: u8,
    /// Somebody on the way sends forged copies of fragments, and tokens that are none.
    pub forger: bool,
}

impl Setup {
    pub fn plain() -> Self {
        Self {
            ends: 2,
            start: [Start::Now, Start::Wait],
            children: 1,
            perfect_forward_secrecy: true,
            ike_lifetime: Duration::from_secs(14_400),
            child_lifetime: Duration::from_secs(3_600),
            liveness: Duration::from_secs(20),
            nat: false,
            nat_detection: [true; 3],
            extensions: std::array::from_fn(|_| Extensions::default()),
            subnets: 1,
            forger: false,
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
        let right_initiates = start[RIGHT] == Start::Now;
        let lifetimes = [(14_400, 3_600), (900, 300), (3_600, 200)][one_of(3) as usize];
        Self {
            ends: 2,
            start,
            children: 1 + one_of(2) as usize,
            perfect_forward_secrecy: one_of(2) == 0,
            ike_lifetime: Duration::from_secs(lifetimes.0),
            child_lifetime: Duration::from_secs(lifetimes.1),
            liveness: Duration::from_secs(10 + one_of(20)),
            nat,
            nat_detection: std::array::from_fn(|_| nat || one_of(3) != 0),
            extensions: random_extensions(&mut one_of, right_initiates),
            subnets: 1,
            forger: one_of(2) == 0,
        }
    }

    /// Two road warriors and their hub, which can only wait for them, but may keep their children up.
    pub fn random_warriors(random: &mut SeededEntropy) -> Self {
        let nat = random.next_u64().is_multiple_of(2);
        let hub = if random.next_u64().is_multiple_of(3) { Start::Now } else { Start::Wait };
        let setup = Self::random(random);
        let nat_detection = setup.nat_detection.map(|on| nat || on);
        Self { ends: 3, start: [Start::Now, hub], nat, nat_detection, ..setup }
    }

    /// The tunnels, each by the end that has it with the right one.
    pub fn outer_ends(&self) -> impl Iterator<Item = usize> {
        (0..self.ends).filter(|side| *side != RIGHT)
    }

    /// Whether the right end cannot know where its peers are.
    fn takes_any_peer(&self) -> bool {
        self.nat || self.ends > 2
    }
}

/// Each extension on or off at each end, as far as they can come together with it.
fn random_extensions(one_of: &mut impl FnMut(u64) -> u64, right_initiates: bool) -> [Extensions; 3] {
    let mut extensions = std::array::from_fn(|_| Extensions {
        fragment_size: [None, Some(Extensions::FRAGMENT_SIZE), Some(200), Some(140)][one_of(4) as usize],
        childless: if one_of(3) == 0 { Childless::Never } else { Childless::Allow },
        quick_crash_detection: one_of(4) != 0,
    });
    match one_of(3) {
        // Who insists on it takes nothing else.
        0 => extensions.iter_mut().for_each(|end| end.childless = Childless::Force),
        1 if !right_initiates => {
            extensions.iter_mut().for_each(|end| end.childless = Childless::Force);
            extensions[RIGHT].childless = Childless::Allow;
        }
        _ => {}
    }
    extensions
}

/// What an end makes its tokens of quick crash detection with.
pub fn token_secret(side: usize) -> Secret {
    Secret::new(vec![side as u8 + 1; 32])
}

pub fn name(side: usize) -> &'static str {
    NAMES[side]
}

pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn address_of(side: usize) -> IpAddr {
    address(ADDRESSES[side])
}

pub fn identity(side: usize) -> Identification {
    Identification::Fqdn(format!("{}.example", name(side)))
}

/// The network of an end that its child of this number protects.
fn net(side: usize, child: usize) -> TrafficSelector {
    TrafficSelector::from_net(format!("10.{}.{child}.0/24", side + 1).parse().expect("a network"))
}

/// All networks of an end that its child of this number protects.
fn nets(setup: &Setup, side: usize, child: usize) -> impl Iterator<Item = TrafficSelector> {
    let further = (1..setup.subnets).map(move |number| {
        let net = format!("10.{}.{}.0/24", side + 1, 2 * usize::from(number) + child);
        TrafficSelector::from_net(net.parse().expect("a network"))
    });
    std::iter::once(net(side, child)).chain(further)
}

/// An address within the first one.
pub fn inner_address(side: usize, child: usize) -> IpAddr {
    address(&format!("10.{}.{child}.7", side + 1))
}

/// The one end whose networks these selectors lie in.
pub fn end_of(selectors: &[TrafficSelector]) -> Option<usize> {
    let of = |side: usize| TrafficSelector::from_net(format!("10.{}.0.0/16", side + 1).parse().expect("a network"));
    let end = |selector: &TrafficSelector| (0..NAMES.len()).find(|side| selector.is_subset(&of(*side)));
    let first = end(selectors.first()?)?;
    selectors.iter().all(|selector| end(selector) == Some(first)).then_some(first)
}

/// The configuration of one end at this address.
pub fn config(setup: &Setup, side: usize, local: IpAddr) -> Arc<Config> {
    let others: Vec<usize> = if side == RIGHT { setup.outer_ends().collect() } else { vec![RIGHT] };
    let only = match others[..] {
        [other] => Some(other),
        _ => None,
    };
    let peer = match only {
        Some(other) if side != RIGHT || !setup.takes_any_peer() => Peer::Address(address_of(other)),
        _ => Peer::Any,
    };
    let groups = if setup.perfect_forward_secrecy { vec![&crypto::fake::KEY_EXCHANGE] } else { Vec::new() };
    let children = (0..setup.children).map(|child| Child {
        name: format!("net-{child}").into(),
        local_selectors: nets(setup, side, child).collect(),
        peer_selectors: others.iter().flat_map(|other| nets(setup, *other, child)).collect(),
        esp_proposals: vec![EspProposal {
            encryption: vec![&crypto::fake::ENCRYPTION],
            integrity: Vec::new(),
            groups: groups.clone(),
            esn: vec![true, false],
        }],
    });
    let connection = Connection {
        name: "tunnel".into(),
        local_address: Some(local),
        peer,
        local_id: identity(side),
        peer_id: only.map(identity),
        pre_shared_key: Arc::new(Secret::new(b"shared by all".to_vec())),
        ike_proposals: vec![IkeProposal {
            encryption: vec![&crypto::fake::ENCRYPTION],
            integrity: Vec::new(),
            prf: vec![crypto::prf::by_name("prfsha256").expect("HMAC-SHA2-256")],
            groups: vec![&crypto::fake::KEY_EXCHANGE],
        }],
        children: children.collect(),
        start: setup.start[usize::from(side == RIGHT)],
        ike_lifetime: setup.ike_lifetime,
        child_lifetime: setup.child_lifetime,
        liveness_interval: Some(setup.liveness),
        nat_traversal: setup.nat_detection[side],
        force_encapsulation: false,
        nat_keepalive: Duration::from_secs(20),
        extensions: setup.extensions[side].clone(),
    };
    Arc::new(Config::new(vec![Arc::new(connection)]))
}
