//! Random calls, most of them such as the cloud may agree to.

use ipnet::Ipv4Net;
use ipsec_gateway::cen::command::*;
use ipsec_gateway::cen::network::{
    Declarations, DeclaredRoute, DeclaredVbr, Host, NetworkId, NetworkKind, Tag, VpcName,
};
use ipsec_gateway::cen::resource::{ModifyAttributes, ResourceId, TagResources, UntagResources};
use ipsec_gateway::cen::route::NextHop;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::reference::{Entry, Reference, VSwitch};
use super::walk_vpn::{create_connection, create_customer, create_gateway};

pub const REGIONS: [&str; 3] = ["cn-hangzhou", "cn-shanghai", "ap-southeast-1"];
pub const CENS: [&str; 2] = ["cen-a", "cen-b"];
/// VPCs and VBRs with their regions.
pub const VPCS: [(&str, &str); 3] = [("vpc-0", REGIONS[0]), ("vpc-1", REGIONS[1]), ("vpc-2", REGIONS[2])];
pub const VBRS: [(&str, &str); 3] = [("vbr-0", REGIONS[1]), ("vbr-1", REGIONS[0]), ("vbr-2", REGIONS[0])];
/// VPCs whose routes fill the others' quota.
pub const CROWD: [(&str, &str); 2] = [("vpc-8", REGIONS[0]), ("vpc-9", REGIONS[1])];
/// Destinations: some collide with each other, some with vSwitches.
pub const DESTINATIONS: [&str; 9] = [
    "10.0.0.0/24",
    "10.0.0.0/16",
    "10.0.1.0/24",
    "10.0.1.128/25",
    "192.168.1.0/24",
    "192.168.1.128/25",
    "192.168.0.0/16",
    "0.0.0.0/0",
    "100.64.1.0/24",
];
const SUBNETS: [&str; 6] =
    ["192.168.0.0/24", "192.168.1.0/24", "192.168.1.128/25", "192.168.2.0/23", "10.0.1.0/24", "10.1.0.0/16"];
const BLOCKS: [&str; 5] = ["10.0.0.0/16", "10.1.0.0/16", "10.0.1.0/24", "192.168.9.0/24", "172.16.0.0/12"];

pub fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

/// The VPCs that host something, and the routes of the VBRs.
pub fn declarations(routes: impl Fn(usize) -> Vec<(&'static str, Option<Vec<u32>>)>, vbrs: usize) -> Declarations {
    let host = |(id, region): (&str, &str)| Host {
        vpc: VpcName { region: region.into(), name: id.into() },
        address: "192.168.0.9".parse().unwrap(),
    };
    let all = || VPCS.into_iter().chain(CROWD);
    let declared = |(number, (id, region)): (usize, &(&str, &str))| DeclaredVbr {
        id: (*id).into(),
        region: (*region).into(),
        name: String::new(),
        route_table: table(id).as_str().into(),
        router_interface: format!("ri-{id}"),
        routes: routes(number)
            .into_iter()
            .map(|(to, as_path)| DeclaredRoute { destination: net(to), as_path })
            .collect(),
    };
    Declarations {
        instances: all().flat_map(|of| (0..3).map(move |n| (format!("i-{}-{n}", of.0).into(), host(of)))).collect(),
        ha_vips: all().map(|of| (format!("havip-{}", of.0).into(), host(of))).collect(),
        vbrs: VBRS.iter().enumerate().take(vbrs).map(declared).collect(),
        ..Declarations::default()
    }
}

pub fn table(network: &str) -> String {
    format!("vtb-{network}")
}

pub fn network(id: &str) -> NetworkId {
    if id.starts_with("vpc") { NetworkKind::Vpc.network(id) } else { NetworkKind::Vbr.network(id) }
}

pub fn create_vpc(id: &str, region: &str, number: usize) -> Command {
    Command::CreateVpc(CreateVpc {
        id: id.into(),
        router: format!("vrt-{number}").into(),
        route_table: table(id).into(),
        service_entry: format!("rte-{number}").into(),
        region: region.into(),
        cidr: net("192.168.0.0/18"),
        name: id.into(),
        description: String::new(),
        tags: Vec::new(),
        user_cidrs: Vec::new(),
        resource_group: String::new(),
    })
}

pub fn create_cen(id: &str) -> Command {
    Command::CreateCen(CreateCen {
        id: id.into(),
        name: String::new(),
        description: String::new(),
        protection_level: None,
        tags: Vec::new(),
    })
}

pub fn create_entry(table: &str, to: Ipv4Net, kind: &str, hop: &str, number: usize) -> CreateRouteEntry {
    CreateRouteEntry {
        id: format!("rte-{number}").into(),
        route_table: table.into(),
        destination: to,
        next_hop_type: kind.into(),
        next_hop: hop.into(),
        next_hops: Vec::new(),
        name: String::new(),
        description: String::new(),
    }
}

/// What is there at first, so that calls have something to be about: in two VPCs a vSwitch, a custom table and a VPN gateway
/// with connections, and a CEN instance that they and VBRs are attached to.
pub fn furnish() -> Vec<Command> {
    let mut commands = Vec::new();
    for (number, (id, region)) in VPCS.into_iter().enumerate().take(2) {
        let cidr = net(&format!("192.168.{number}.0/24"));
        commands.push(create_vswitch(id, &format!("vsw-{id}-0"), cidr, 200 + number));
        commands.push(Command::CreateRouteTable(CreateRouteTable {
            id: format!("vtb-custom-{id}-0").into(),
            vpc: id.into(),
            name: String::new(),
            description: String::new(),
            tags: Vec::new(),
        }));
        let child = ChildInstance { cen: CENS[0].into(), network: network(id), region: region.into() };
        commands.push(Command::AttachNetwork(child));
    }
    for (id, region) in &VBRS[..2] {
        let child = ChildInstance { cen: CENS[0].into(), network: network(id), region: (*region).into() };
        commands.push(Command::AttachNetwork(child));
    }
    commands.extend((0..2).map(|number| create_gateway(number, VPCS[number].1, None)));
    commands.extend((0..2).map(|number| create_customer(format!("cgw-{number}"), number + 1)));
    for (number, remote) in ["10.1.0.0/16", "10.0.0.0/16", "0.0.0.0/0"].into_iter().enumerate() {
        let local = if number == 2 { "0.0.0.0/0" } else { "192.168.0.0/16" };
        let (local, remote) = (vec![net(local)], vec![net(remote)]);
        commands.push(create_connection(format!("vco-{number}"), number / 2, "cgw-0".into(), (local, remote), true));
    }
    commands
}

fn create_vswitch(vpc: &str, id: &str, cidr: Ipv4Net, number: usize) -> Command {
    Command::CreateVSwitch(CreateVSwitch {
        tags: Vec::new(),
        id: id.into(),
        system_entry: format!("rte-{number}").into(),
        vpc: vpc.into(),
        zone: String::new(),
        cidr,
        name: String::new(),
        description: String::new(),
    })
}

/// Who makes the calls up.
pub struct Walk<'a> {
    pub random: &'a mut ChaCha8Rng,
    pub reference: &'a Reference,
    /// How many calls there were: new things are called by it.
    pub number: usize,
    /// The crowd is there.
    pub crowded: bool,
}

impl Walk<'_> {
    /// A call. What would be made anew and is there already is not asked for: ids are never given twice.
    pub fn command(&mut self) -> Command {
        loop {
            let command = match self.random.random_range(0..100) {
                0..8 => self.attach(),
                8..20 => self.publish(),
                20..42 => self.entries(),
                42..49 => self.tables(),
                49..56 => self.networks(),
                56..76 => self.vpn(),
                76..84 => self.bandwidth(),
                84..90 => self.route_map(),
                90..93 => self.declare(),
                _ => self.labels(),
            };
            if let Some(command) = command {
                return command;
            }
        }
    }

    pub fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of.choose(self.random).unwrap().clone()
    }

    pub fn often(&mut self, percent: u32) -> bool {
        self.random.random_ratio(percent, 100)
    }

    pub fn id<T: From<String>>(&mut self, prefix: &str, of: usize) -> T {
        format!("{prefix}{}", self.random.random_range(0..of)).into()
    }

    pub fn cen(&mut self) -> &'static str {
        self.one(&CENS)
    }

    fn vpc(&mut self) -> &'static str {
        let of = if self.crowded && self.often(20) { &CROWD[..] } else { &VPCS[..] };
        self.one(of).0
    }

    fn network(&mut self) -> &'static str {
        if self.often(65) { self.vpc() } else { self.one(&VBRS).0 }
    }

    pub fn to(&mut self) -> Ipv4Net {
        if self.crowded && self.often(30) {
            return net(&format!("10.3.{}.0/24", self.random.random_range(0..104)));
        }
        net(self.one(&DESTINATIONS))
    }

    /// One that stands in the table, or any.
    fn destination_in(&mut self, table: &str) -> Ipv4Net {
        let own: Vec<Ipv4Net> =
            self.reference.entries.iter().filter(|entry| entry.table == table).map(|entry| entry.to).collect();
        if !own.is_empty() && self.often(80) { self.one(&own) } else { self.to() }
    }

    fn child(&mut self, id: &str) -> ChildInstance {
        let right = VPCS.iter().chain(&VBRS).chain(&CROWD).find(|(known, _)| *known == id).unwrap().1;
        let region = if self.often(97) { right } else { self.one(&REGIONS) };
        let at = self.reference.cen_of(id).map(str::to_owned);
        let cen = if self.often(90) { at } else { None }.unwrap_or_else(|| self.cen().to_owned());
        ChildInstance { cen: cen.into(), network: network(id), region: region.into() }
    }

    fn attach(&mut self) -> Option<Command> {
        let id = self.network();
        let child = self.child(id);
        let attached = self.reference.cen_of(id).is_some();
        Some(match attached && self.often(40) || self.often(5) {
            true => Command::DetachNetwork(child),
            false => {
                let cen = if self.often(75) { CENS[0] } else { CENS[1] };
                Command::AttachNetwork(ChildInstance { cen: cen.into(), ..child })
            }
        })
    }

    /// Any table of a VPC or VBR.
    fn table(&mut self) -> String {
        let network = self.network();
        if network.starts_with("vpc") && self.often(25) { self.custom_table(network) } else { table(network) }
    }

    fn custom_table(&mut self, vpc: &str) -> String {
        self.id(&format!("vtb-custom-{vpc}-"), 2)
    }

    /// One that is there, so it can be.
    fn present_vswitch(&mut self) -> Option<VSwitch> {
        self.reference.vswitches.choose(self.random).cloned()
    }

    fn publish(&mut self) -> Option<Command> {
        let network = self.network();
        let named = if self.often(5) { self.table() } else { table(network) };
        if network.starts_with("vpc") && self.often(40) {
            let mut entries = vec![(named.as_str().into(), self.destination_in(&named))];
            while self.often(30) {
                let other = if self.often(80) { named.clone() } else { self.table() };
                entries.push((other.as_str().into(), self.destination_in(&other)));
            }
            let cen = self.child(network).cen;
            return Some(Command::PublishVpcRoutes(PublishVpcRoutes { cen, entries, publish: self.often(65) }));
        }
        let destination = self.destination_in(&named);
        let route = PublishedRoute { child: self.child(network), route_table: named.into(), destination };
        Some(if self.often(65) { Command::PublishRoute(route) } else { Command::WithdrawRoute(route) })
    }

    fn next_hop(&mut self, table: &str) -> (String, String) {
        let networks = VPCS.iter().chain(&VBRS).chain(&CROWD);
        let mut of = networks.map(|(id, _)| *id).find(|id| table.contains(id)).unwrap();
        if self.often(5) {
            of = self.network();
        }
        if table.contains("vbr") {
            return ("RouterInterface".to_owned(), format!("ri-{of}"));
        }
        let kind = self.one(&["Instance", "Instance", "HaVip", "VpnGateway"]);
        let hop = match kind {
            "Instance" => self.id(&format!("i-{of}-"), 3),
            "HaVip" => format!("havip-{of}"),
            _ => self.id("vpn-", 2),
        };
        (kind.to_owned(), hop)
    }

    fn new_entry(&mut self, at: usize) -> CreateRouteEntry {
        let table = self.table();
        let (kind, hop) = self.next_hop(&table);
        let mut new = create_entry(&table, self.to(), &kind, &hop, self.number * 100 + at);
        if kind == "Instance" && self.often(20) {
            let count = self.random.random_range(1..4);
            let weights = self.one(&[[100, 100, 100], [100, 0, 0], [0, 100, 100], [10, 10, 10]]);
            let of = hop.rsplit_once('-').unwrap().0.to_owned();
            new.next_hops = (0..count).map(|at| NextHop { id: format!("{of}-{at}"), weight: weights[at] }).collect();
            new.next_hop = new.next_hops[0].id.clone();
        }
        new
    }

    fn old_entry(&mut self) -> DeleteRouteEntry {
        let any = self.reference.entries.choose(self.random).cloned().unwrap();
        if self.often(50) {
            return DeleteRouteEntry::ById(if self.often(95) { any.id.into() } else { "rte-none".into() });
        }
        let named = if self.often(80) { any.table.clone() } else { self.table() };
        let destination = if self.often(80) { any.to } else { self.destination_in(&named) };
        let mut next_hops: Vec<String> = any.hops.iter().rev().map(|(hop, _)| hop.clone()).collect();
        if self.often(10) {
            next_hops.pop();
        }
        DeleteRouteEntry::ByDestination { route_table: named.into(), destination, next_hops }
    }

    fn entries(&mut self) -> Option<Command> {
        Some(match self.random.random_range(0..20) {
            0..8 => Command::CreateRouteEntry(self.new_entry(0)),
            8..11 => {
                let count = self.random.random_range(1..4);
                Command::CreateRouteEntries((0..count).map(|at| self.new_entry(at)).collect())
            }
            11..14 => Command::DeleteRouteEntry(self.old_entry()),
            14..16 => {
                let count = self.random.random_range(1..3);
                Command::DeleteRouteEntries((0..count).map(|_| self.old_entry()).collect())
            }
            _ => {
                let Entry { id, table, .. } = self.reference.entries.choose(self.random).cloned()?;
                Command::ModifyRouteEntry(ModifyRouteEntry {
                    entry: if self.often(95) { id.into() } else { "rte-none".into() },
                    name: None,
                    description: Some(format!("call {}", self.number)),
                    next_hop: self.often(70).then(|| self.next_hop(&table)),
                })
            }
        })
    }

    fn tables(&mut self) -> Option<Command> {
        let vpc = self.vpc();
        let id = self.custom_table(vpc);
        let vswitch = self.present_vswitch().filter(|_| self.often(90));
        let used = vswitch.as_ref().and_then(|vswitch| vswitch.table.clone()).filter(|_| self.often(50));
        let of = vswitch.as_ref().map_or(vpc.to_owned(), |vswitch| vswitch.vpc.clone());
        let any = if self.often(90) { self.custom_table(&of) } else { self.table() };
        let associate = AssociateRouteTable {
            route_table: used.unwrap_or(any).into(),
            vswitch: vswitch.map_or(format!("vsw-{vpc}-0"), |vswitch| vswitch.id).into(),
        };
        Some(match self.random.random_range(0..8) {
            0..3 => {
                self.reference.table(&id).is_none().then_some(())?;
                let (name, description, tags) = (format!("call {}", self.number), String::new(), Vec::new());
                let vpc = vpc.into();
                Command::CreateRouteTable(CreateRouteTable { id: id.into(), vpc, name, description, tags })
            }
            3 => Command::DeleteRouteTable { route_table: id.into() },
            4..6 => Command::AssociateRouteTable(associate),
            _ => Command::UnassociateRouteTable(associate),
        })
    }

    fn networks(&mut self) -> Option<Command> {
        let vpc = self.vpc();
        Some(match self.random.random_range(0..24) {
            0..6 => {
                let id: String = self.id(&format!("vsw-{vpc}-"), 3);
                self.reference.vswitch(&id).is_none().then_some(())?;
                let cidr = net(self.one(&SUBNETS));
                create_vswitch(vpc, &id, cidr, self.number * 100)
            }
            6..9 => {
                let present = self.present_vswitch().filter(|_| self.often(90));
                let vswitch = present.map_or(format!("vsw-{vpc}-0"), |vswitch| vswitch.id).into();
                Command::DeleteVSwitch { vswitch }
            }
            9..16 => {
                let of = self.reference.networks.iter().filter(|network| network.blocks.len() > 1);
                let of: Vec<(String, Ipv4Net)> = of.map(|vpc| (vpc.id.clone(), vpc.blocks[1])).collect();
                if !of.is_empty() && self.often(40) {
                    let (vpc, cidr) = self.one(&of);
                    return Some(Command::UnassociateCidr(SecondaryCidr { vpc: vpc.into(), cidr }));
                }
                let block = SecondaryCidr { vpc: vpc.into(), cidr: net(self.one(&BLOCKS)) };
                if self.often(80) { Command::AssociateCidr(block) } else { Command::UnassociateCidr(block) }
            }
            16 => Command::DeleteVpc { vpc: vpc.into() },
            17..21 => {
                let (id, region) = *VPCS.iter().find(|(id, _)| self.reference.network(id).is_none())?;
                create_vpc(id, region, self.number * 100)
            }
            21 => Command::DeleteCen { cen: self.cen().into() },
            _ => create_cen(CENS.iter().find(|cen| !self.reference.has_cen(cen))?),
        })
    }

    fn declare(&mut self) -> Option<Command> {
        let mut routes = [const { Vec::new() }; 3];
        for of_vbr in &mut routes {
            for to in ["10.0.0.0/24", "10.0.0.0/16", "192.168.1.0/24"] {
                let paths = [None, Some(vec![65001]), Some(vec![65001, 65002])];
                if self.often(50) {
                    of_vbr.push((to, self.one(&paths)));
                }
            }
        }
        let vbrs = if self.often(70) { 3 } else { 2 };
        Some(Command::Declare(Box::new(declarations(|number| routes[number].clone(), vbrs))))
    }

    fn resource(&mut self) -> ResourceId {
        let vpc = self.vpc();
        match self.random.random_range(0..8) {
            0 => ResourceId::Cen(self.cen().into()),
            1 => ResourceId::Vpc(vpc.into()),
            2 => ResourceId::VSwitch(self.id(&format!("vsw-{vpc}-"), 3)),
            3 => ResourceId::RouteTable(self.custom_table(vpc).into()),
            4 => ResourceId::RouteTable(table(vpc).into()),
            5 => ResourceId::VpnGateway(self.id("vpn-", 2)),
            6 => ResourceId::CustomerGateway(self.id("cgw-", 3)),
            _ => ResourceId::VpnConnection(self.id("vco-", 4)),
        }
    }

    fn labels(&mut self) -> Option<Command> {
        let id = self.network();
        Some(match self.random.random_range(0..14) {
            0..2 => Command::GrantInstance(GrantInstance {
                network: network(id),
                cen: if self.often(80) { self.cen() } else { "cen-of-others" }.into(),
                cen_owner: self.random.random_range(1..3),
                own_account: self.often(50),
            }),
            2 => Command::RevokeInstance(RevokeInstance { network: network(id), cen: self.cen().into() }),
            3..7 => Command::ModifyAttributes(ModifyAttributes {
                resource: self.resource(),
                name: self.often(50).then(|| format!("call {}", self.number)),
                // A connection has none.
                description: None,
                auto_propagate: self.often(40).then(|| self.often(50)),
                route_propagation: self.often(40).then(|| self.often(50)),
            }),
            7..10 => {
                let key = |random: &mut ChaCha8Rng| format!("key {}", random.random_range(0..24));
                let count = self.random.random_range(1..9);
                let tags = (0..count).map(|_| Tag { key: key(self.random), value: self.number.to_string() });
                let tags = tags.collect();
                Command::TagResources(TagResources { resources: self.resources(), tags })
            }
            10..12 => {
                let keys = self.often(70).then(|| (0..6).map(|number| format!("key {number}")).collect());
                Command::UntagResources(UntagResources { resources: self.resources(), keys })
            }
            _ => {
                let resource = self.resource();
                let movable = !matches!(
                    resource,
                    ResourceId::VSwitch(_) | ResourceId::RouteTable(_) | ResourceId::VpnConnection(_)
                );
                movable.then_some(())?;
                let group = self.one(&["", "rg-1", "rg-2"]).to_owned();
                Command::MoveToResourceGroup(MoveToResourceGroup { resource, group })
            }
        })
    }

    fn resources(&mut self) -> Vec<ResourceId> {
        let mut resources = vec![self.resource()];
        if self.often(30) {
            resources.push(self.resource());
        }
        resources
    }
}
