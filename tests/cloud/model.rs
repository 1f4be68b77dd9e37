//! Random sequences of attach, detach, publish, withdraw, create and delete, against a naive reference that knows only
//! the customer's sentences:
//! - a network attached to CEN publishes to it and learns from it;
//! - what is published by default is published when the network is attached, everything else when it is asked for;
//! - every published entry can be withdrawn, and then no longer exists in CEN;
//! - an entry that is deleted from its network is deleted from CEN too;
//! - what stands in a custom route table concerns nobody else;
//! - what collides at a network is not learned there, and of two identical routes the later is not learned.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use ipsec_gateway::cen::apply::apply;
use ipsec_gateway::cen::change::Change;
use ipsec_gateway::cen::command::{
    ChildInstance, Command, CreateCen, CreateRouteEntry, CreateRouteTable, CreateVSwitch, CreateVpc, DeleteRouteEntry,
    ModifyRouteEntry, PublishVpcRoutes, PublishedRoute, Submission,
};
use ipsec_gateway::cen::conflict;
use ipsec_gateway::cen::learn::{LearnedStatus, learned_routes};
use ipsec_gateway::cen::network::{Declarations, DeclaredVbr, Host, NetworkId, UnixMillis, VpcName};
use ipsec_gateway::cen::plan::plan;
use ipsec_gateway::cen::resource::{ModifyAttributes, ResourceId};
use ipsec_gateway::cen::state::State;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SEQUENCES: u64 = 300;
const STEPS: usize = 120;

const CENS: [&str; 2] = ["cen-a", "cen-b"];
const REGION: &str = "cn-hangzhou";

/// Networks 0 to 2 are VPCs, 3 and 4 are VBRs.
const NETWORKS: usize = 5;
const VPCS: usize = 3;

/// Destinations of custom entries: some collide with each other, some with vSwitches (192.168.N.0/24 of VPC N).
const DESTINATIONS: [&str; 6] =
    ["10.0.0.0/24", "10.0.0.0/16", "10.0.1.0/24", "192.168.1.0/24", "192.168.1.128/25", "192.168.0.0/16"];

#[derive(Clone, Debug)]
enum Step {
    Attach(usize, usize),
    Detach(usize, usize),
    Publish(usize, Ipv4Net),
    Withdraw(usize, Ipv4Net),
    Create(usize, Ipv4Net),
    Delete(usize, Ipv4Net),
    /// In the VPC's custom route table.
    CreateCustom(usize, Ipv4Net),
    DeleteCustom(usize, Ipv4Net),
    /// Another next hop of the same kind, and a description.
    Modify(usize, Ipv4Net),
    /// Another name of the VPC's system table, or of its custom one.
    RenameTable(usize, bool),
}

fn random_step(random: &mut ChaCha8Rng) -> Step {
    let network = random.random_range(0..NETWORKS);
    let destination: Ipv4Net = if network < VPCS && random.random_bool(0.2) {
        vswitch(network)
    } else {
        DESTINATIONS.choose(random).unwrap().parse().unwrap()
    };
    match random.random_range(0..14) {
        12 => Step::Modify(network, destination),
        13 if network < VPCS => Step::RenameTable(network, random.random_bool(0.5)),
        10 if network < VPCS => Step::CreateCustom(network, destination),
        11 if network < VPCS => Step::DeleteCustom(network, destination),
        0 | 1 => Step::Attach(network, random.random_range(0..CENS.len())),
        2 => Step::Detach(network, random.random_range(0..CENS.len())),
        3 | 4 => Step::Publish(network, destination),
        5 => Step::Withdraw(network, destination),
        6..=8 => Step::Create(network, destination),
        _ => Step::Delete(network, destination),
    }
}

fn vswitch(vpc: usize) -> Ipv4Net {
    format!("192.168.{vpc}.0/24").parse().unwrap()
}

/// The customer's sentences and nothing else.
#[derive(Clone, Default)]
struct Reference {
    networks: Vec<ReferenceNetwork>,
    clock: u64,
}

#[derive(Clone, Default)]
struct ReferenceNetwork {
    is_vpc: bool,
    cen: Option<usize>,
    entries: Vec<Ipv4Net>,
    /// Entries of the custom route table.
    custom: Vec<Ipv4Net>,
    /// When each published entry was published.
    published: BTreeMap<Ipv4Net, u64>,
    vswitch: Option<Ipv4Net>,
}

impl ReferenceNetwork {
    fn own(&self) -> Vec<Ipv4Net> {
        self.entries.iter().copied().chain(self.vswitch).collect()
    }

    /// A VPC publishes its system route by default, a VBR everything.
    fn by_default(&self, destination: Ipv4Net) -> bool {
        !self.is_vpc || self.vswitch == Some(destination)
    }
}

impl Reference {
    fn new() -> Self {
        let network = |number| ReferenceNetwork {
            is_vpc: number < VPCS,
            vswitch: (number < VPCS).then(|| vswitch(number)),
            ..ReferenceNetwork::default()
        };
        Self { networks: (0..NETWORKS).map(network).collect(), clock: 0 }
    }

    /// Whether the cloud should agree to the step; if so, it is done.
    fn takes(&mut self, step: &Step) -> bool {
        self.clock += 1;
        let now = self.clock;
        match *step {
            Step::Attach(n, cen) => {
                let network = &mut self.networks[n];
                if network.cen.is_some() {
                    return false;
                }
                network.cen = Some(cen);
                for destination in network.own() {
                    if network.by_default(destination) {
                        network.published.insert(destination, now);
                    }
                }
            }
            Step::Detach(n, cen) => {
                if self.networks[n].cen != Some(cen) {
                    return false;
                }
                self.networks[n].cen = None;
                self.networks[n].published.clear();
            }
            Step::Publish(n, destination) | Step::Withdraw(n, destination) => {
                let network = &mut self.networks[n];
                if network.cen.is_none() || !network.own().contains(&destination) {
                    return false;
                }
                if matches!(step, Step::Publish(..)) {
                    network.published.entry(destination).or_insert(now);
                } else {
                    network.published.remove(&destination);
                }
            }
            Step::Create(n, destination) => {
                let network = &mut self.networks[n];
                if network.entries.contains(&destination)
                    || network.vswitch.is_some_and(|own| own.contains(&destination))
                {
                    return false;
                }
                network.entries.push(destination);
                if network.cen.is_some() && network.by_default(destination) {
                    network.published.insert(destination, now);
                }
            }
            Step::Delete(n, destination) => {
                let network = &mut self.networks[n];
                if !network.entries.contains(&destination) {
                    return false;
                }
                network.entries.retain(|entry| *entry != destination);
                network.published.remove(&destination);
            }
            Step::CreateCustom(n, destination) => {
                let network = &mut self.networks[n];
                let inside = network.vswitch.is_some_and(|own| own.contains(&destination));
                if network.custom.contains(&destination) || inside {
                    return false;
                }
                network.custom.push(destination);
            }
            Step::DeleteCustom(n, destination) => {
                let network = &mut self.networks[n];
                if !network.custom.contains(&destination) {
                    return false;
                }
                network.custom.retain(|entry| *entry != destination);
            }
            Step::Modify(n, destination) => return self.networks[n].entries.contains(&destination),
            Step::RenameTable(..) => {}
        }
        true
    }

    /// What the learner is offered: destination, publisher, and whether it is in use.
    fn learned(&self, learner: usize) -> Vec<(Ipv4Net, usize, bool)> {
        let own = &self.networks[learner];
        let Some(cen) = own.cen else { return Vec::new() };
        let mut offers = Vec::new();
        for (publisher, network) in self.networks.iter().enumerate() {
            let connected = publisher != learner && network.cen == Some(cen) && (own.is_vpc || network.is_vpc);
            if connected {
                offers.extend(network.published.iter().map(|(destination, at)| (*destination, publisher, *at)));
            }
        }
        let collides = |destination: Ipv4Net| {
            own.entries.contains(&destination) || own.vswitch.is_some_and(|block| block.contains(&destination))
        };
        let mut learned = Vec::new();
        for (destination, publisher, _) in &offers {
            let rivals = offers.iter().filter(|(other, ..)| other == destination);
            let winner = rivals.min_by_key(|(_, rival, at)| (*at, *rival)).unwrap().1;
            // Static routes of VBRs share the load.
            let shares = !self.networks[winner].is_vpc && !self.networks[*publisher].is_vpc;
            let active = !collides(*destination) && (winner == *publisher || shares);
            learned.push((*destination, *publisher, active));
        }
        learned.sort();
        learned
    }
}

/// The real thing.
struct Cloud {
    state: State,
    ids: u64,
}

impl Cloud {
    fn new() -> Self {
        let mut cloud = Self { state: State::default(), ids: 0 };
        let instance = |vpc: usize| {
            let vpc_name = VpcName { region: REGION.into(), name: format!("vpc-{vpc}") };
            (format!("i-{vpc}").into(), Host { vpc: vpc_name, address: "192.168.0.9".parse().unwrap() })
        };
        let vbr = |number: usize| DeclaredVbr {
            id: format!("vbr-{number}").as_str().into(),
            region: REGION.into(),
            name: String::new(),
            route_table: format!("vtb-{number}").into(),
            router_interface: format!("i-{number}"),
            routes: Vec::new(),
        };
        cloud.does(Command::Declare(Box::new(Declarations {
            instances: (0..VPCS).map(instance).collect(),
            vbrs: (VPCS..NETWORKS).map(vbr).collect(),
            ..Declarations::default()
        })));
        for vpc in 0..VPCS {
            cloud.does(Command::CreateVpc(CreateVpc {
                id: format!("vpc-{vpc}").into(),
                router: format!("vrt-{vpc}").into(),
                route_table: format!("vtb-{vpc}").into(),
                service_entry: format!("rte-service-{vpc}").into(),
                region: REGION.into(),
                cidr: vswitch(vpc),
                name: format!("vpc-{vpc}"),
                description: String::new(),
                tags: Vec::new(),
                user_cidrs: Vec::new(),
                resource_group: String::new(),
            }));
            cloud.does(Command::CreateVSwitch(CreateVSwitch {
                tags: Vec::new(),
                id: format!("vsw-{vpc}").into(),
                system_entry: format!("rte-vsw-{vpc}").into(),
                vpc: format!("vpc-{vpc}").into(),
                zone: String::new(),
                cidr: vswitch(vpc),
                name: String::new(),
                description: String::new(),
            }));
        }
        for vpc in 0..VPCS {
            cloud.does(Command::CreateRouteTable(CreateRouteTable {
                id: custom_table(vpc).into(),
                vpc: format!("vpc-{vpc}").into(),
                name: String::new(),
                description: String::new(),
                tags: Vec::new(),
            }));
        }
        for cen in CENS {
            cloud.does(Command::CreateCen(CreateCen {
                id: cen.into(),
                name: String::new(),
                description: String::new(),
                protection_level: None,
                tags: Vec::new(),
            }));
        }
        cloud
    }

    fn does(&mut self, command: Command) {
        assert!(self.takes(command));
    }

    /// Through the form that the store keeps, as after a restart.
    fn takes(&mut self, command: Command) -> bool {
        let submission = Submission { command, client_token: None, dry_run: false, now: UnixMillis(1) };
        let Ok(changes) = plan(&self.state, &submission) else { return false };
        let stored: Vec<Change> = serde_json::from_str(&serde_json::to_string(&changes).unwrap()).unwrap();
        assert_eq!(stored, changes);
        stored.iter().for_each(|change| apply(&mut self.state, change));
        true
    }

    fn step(&mut self, step: &Step) -> bool {
        self.ids += 1;
        let table = |n: usize| format!("vtb-{n}");
        let custom = matches!(step, Step::CreateCustom(..) | Step::DeleteCustom(..));
        let named = |n: usize| if custom { custom_table(n) } else { table(n) };
        let command = match step {
            Step::Attach(n, cen) => Command::AttachNetwork(child(*n, CENS[*cen])),
            Step::Detach(n, cen) => Command::DetachNetwork(child(*n, CENS[*cen])),
            Step::Publish(n, destination) | Step::Withdraw(n, destination) => {
                let cen = self.state.attachments.get(&network(*n)).map_or("cen-a", |at| at.cen.as_str()).to_owned();
                let publish = matches!(step, Step::Publish(..));
                if *n < VPCS && self.ids.is_multiple_of(2) {
                    // The same from the VPC's side.
                    let entries = vec![(table(*n).into(), *destination)];
                    let publish = PublishVpcRoutes { cen: cen.as_str().into(), entries, publish };
                    return self.takes(Command::PublishVpcRoutes(publish));
                }
                let route =
                    PublishedRoute { child: child(*n, &cen), route_table: table(*n).into(), destination: *destination };
                if publish { Command::PublishRoute(route) } else { Command::WithdrawRoute(route) }
            }
            Step::Create(n, destination) | Step::CreateCustom(n, destination) => {
                Command::CreateRouteEntry(CreateRouteEntry {
                    id: format!("rte-{}", self.ids).into(),
                    route_table: named(*n).into(),
                    destination: *destination,
                    next_hop_type: if *n < VPCS { "Instance" } else { "RouterInterface" }.into(),
                    next_hop: format!("i-{n}"),
                    next_hops: Vec::new(),
                    name: String::new(),
                    description: String::new(),
                })
            }
            Step::Delete(n, destination) | Step::DeleteCustom(n, destination) => {
                Command::DeleteRouteEntry(DeleteRouteEntry::ByDestination {
                    route_table: named(*n).into(),
                    destination: *destination,
                    next_hops: vec![format!("i-{n}")],
                })
            }
            Step::Modify(n, destination) => {
                let entry = self.state.table_of(&network(*n)).and_then(|table| table.entry_to(*destination));
                let entry = entry.map_or_else(|| "rte-none".into(), |entry| entry.id.clone());
                let next_hop_type = if *n < VPCS { "Instance" } else { "RouterInterface" };
                Command::ModifyRouteEntry(ModifyRouteEntry {
                    entry,
                    name: None,
                    description: Some(format!("step {}", self.ids)),
                    next_hop: Some((next_hop_type.into(), format!("i-{n}"))),
                })
            }
            Step::RenameTable(n, custom) => Command::ModifyAttributes(ModifyAttributes {
                resource: ResourceId::RouteTable(if *custom { custom_table(*n) } else { table(*n) }.into()),
                name: Some(format!("step {}", self.ids)),
                description: None,
                auto_propagate: None,
                route_propagation: None,
            }),
        };
        self.takes(command)
    }

    fn learned(&self, learner: usize) -> Vec<(Ipv4Net, usize, bool)> {
        let routes = learned_routes(&self.state, &network(learner));
        let number = |id: &NetworkId| (0..NETWORKS).find(|n| network(*n) == *id).unwrap();
        let mut learned: Vec<_> = routes
            .iter()
            .map(|route| (route.destination, number(&route.publisher), route.status == LearnedStatus::Active))
            .collect();
        learned.sort();
        learned
    }
}

fn custom_table(vpc: usize) -> String {
    format!("vtb-custom-{vpc}")
}

fn network(number: usize) -> NetworkId {
    match number < VPCS {
        true => NetworkId::Vpc(format!("vpc-{number}").into()),
        false => NetworkId::Vbr(format!("vbr-{number}").into()),
    }
}

fn child(number: usize, cen: &str) -> ChildInstance {
    ChildInstance { cen: cen.into(), network: network(number), region: REGION.into() }
}

#[test]
fn random_lives_of_the_cloud_agree_with_the_customers_sentences() {
    let (mut agreed, mut rejected) = (0, 0);
    for seed in 0..SEQUENCES {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (mut reference, mut cloud) = (Reference::new(), Cloud::new());
        let mut history = Vec::new();
        for _ in 0..STEPS {
            let step = random_step(&mut random);
            history.push(step.clone());
            let taken = cloud.step(&step);
            assert_eq!(taken, reference.takes(&step), "seed {seed}: {history:?}");
            agreed += usize::from(taken);
            // What is kept beside the state says what the state says.
            let mut derived = cloud.state.clone();
            derived.reindex();
            assert!(derived == cloud.state, "seed {seed}: the index is another: {history:?}");
            for learner in 0..NETWORKS {
                let learned = cloud.learned(learner);
                assert_eq!(learned, reference.learned(learner), "seed {seed}, network {learner}: {history:?}");
                // Whatever is published and not learned is a conflict that its publisher can see.
                for (destination, publisher, _) in learned.iter().filter(|(.., active)| !active) {
                    rejected += 1;
                    let at = network(*publisher);
                    let seen = conflict::at_publisher(&cloud.state, &at, *destination);
                    assert!(!seen.is_empty(), "seed {seed}: {destination} of network {publisher}: {history:?}");
                }
            }
        }
    }
    // A walk on which everything is refused, or nothing collides, would prove nothing.
    assert!(agreed > 10_000 && rejected > 1_000, "{agreed} steps taken, {rejected} rejections");
}
