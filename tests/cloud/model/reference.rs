//! The cloud as its documents tell of it: lists, and a look at all of them for each question. Nothing is kept beside them.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use ipsec_gateway::cen::command::{Command, Submission};
use ipsec_gateway::cen::network::Declarations;
use ipsec_gateway::cen::resource::ResourceId;
use ipsec_gateway::cen::route_map::RouteMap;

/// How long a `ClientToken` is known, in milliseconds.
pub const DAY: u64 = 24 * 60 * 60 * 1000;

#[derive(Clone, Debug, Default)]
pub struct Reference {
    pub now: u64,
    pub cens: Vec<String>,
    pub networks: Vec<Network>,
    pub tables: Vec<Table>,
    pub entries: Vec<Entry>,
    pub vswitches: Vec<VSwitch>,
    /// Networks, each with its CEN instance.
    pub attached: Vec<(String, String)>,
    /// Networks with destinations of their system tables, the earliest published first.
    pub published: Vec<(String, Ipv4Net)>,
    pub gateways: Vec<Gateway>,
    /// Customer gateways with their regions and addresses.
    pub customers: Vec<(String, String, String)>,
    pub connections: Vec<Connection>,
    pub vpn_routes: Vec<VpnRoute>,
    pub maps: Vec<RouteMap>,
    pub packages: Vec<Package>,
    /// CEN instance, pair of regions, Mbit/s.
    pub limits: Vec<(String, [String; 2], u32)>,
    /// Network, CEN instance, account.
    pub grants: Vec<(String, String, u64)>,
    /// Resources with their names and descriptions.
    pub labels: Vec<(String, String, String)>,
    pub tags: Vec<(String, String, String)>,
    pub groups: Vec<(String, String)>,
    /// Key, fingerprint, when.
    pub tokens: Vec<(String, String, u64)>,
    pub declared: Declarations,
}

/// A VPC or VBR.
#[derive(Clone, Debug)]
pub struct Network {
    pub id: String,
    pub is_vpc: bool,
    pub region: String,
    pub system_table: String,
    /// Its `CidrBlock` first; a VBR has none.
    pub blocks: Vec<Ipv4Net>,
    pub created_as: String,
}

#[derive(Clone, Debug)]
pub struct Table {
    pub id: String,
    pub network: String,
    pub propagates: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeBy {
    System,
    Api,
    VpnRoute,
    Declared,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub id: String,
    pub table: String,
    pub to: Ipv4Net,
    /// `NextHopType`.
    pub kind: String,
    /// Next hops with their weights; a single one has 100.
    pub hops: Vec<(String, u8)>,
    pub made_by: MadeBy,
    /// Of a BGP route.
    pub as_path: Option<Vec<u32>>,
}

#[derive(Clone, Debug)]
pub struct VSwitch {
    pub id: String,
    pub vpc: String,
    pub cidr: Ipv4Net,
    pub table: Option<String>,
    pub created: u64,
}

#[derive(Clone, Debug)]
pub struct Gateway {
    pub id: String,
    pub vpc: String,
    pub vswitches: Vec<String>,
    pub auto_propagate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    pub id: String,
    pub gateway: String,
    pub customer: String,
    pub local: Vec<Ipv4Net>,
    pub remote: Vec<Ipv4Net>,
    pub auto: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpnRoute {
    pub gateway: String,
    pub to: Ipv4Net,
    pub through: String,
    pub from: Option<Ipv4Net>,
    pub weight: u8,
    pub priority: u8,
    pub published: bool,
    pub automatic: bool,
    pub of_file: bool,
}

#[derive(Clone, Debug)]
pub struct Package {
    pub id: String,
    pub bandwidth: u32,
    pub areas: [String; 2],
    pub serves: Option<String>,
}

/// A rule of the cloud: what does not hold refuses the call.
pub fn must(holds: bool) -> Option<()> {
    holds.then_some(())
}

pub fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// Whether the second block is the first one or a part of it.
pub fn holds(outer: Ipv4Net, inner: Ipv4Net) -> bool {
    outer.prefix_len() <= inner.prefix_len() && outer.contains(&inner.network())
}

pub fn service() -> Ipv4Net {
    "100.64.0.0/10".parse().unwrap()
}

impl Reference {
    /// Whether the cloud should agree to the call; if so, it is done, as a whole.
    pub fn takes(&mut self, submission: &Submission) -> bool {
        self.now = submission.now.0;
        if let Some(token) = &submission.client_token
            && let Some(fingerprint) = self.known(&token.key, self.now)
        {
            return fingerprint == token.fingerprint;
        }
        let mut after = self.clone();
        if after.does(&submission.command).is_none() || submission.dry_run {
            return false;
        }
        *self = after;
        if let Some(token) = &submission.client_token {
            self.tokens.push((token.key.clone(), token.fingerprint.clone(), self.now));
        }
        true
    }

    /// The fingerprint of the call that has used a token within a day.
    pub fn known(&self, key: &str, now: u64) -> Option<&str> {
        let used = self.tokens.iter().rev().find(|(used, ..)| used == key);
        used.filter(|(.., at)| at + DAY >= now).map(|(_, fingerprint, _)| fingerprint.as_str())
    }

    fn does(&mut self, command: &Command) -> Option<()> {
        match command {
            Command::CreateCen(new) => {
                self.cens.push(new.id.to_string());
                self.label(new.id.as_str(), &new.name, &new.description);
            }
            Command::DeleteCen { cen } => {
                let cen = cen.as_str();
                must(self.has_cen(cen) && !self.attached.iter().any(|(_, of)| of == cen))?;
                must(!self.packages.iter().any(|package| package.serves.as_deref() == Some(cen)))?;
                self.cens.retain(|other| other != cen);
                self.maps.retain(|map| map.cen.as_str() != cen);
                self.grants.retain(|(_, of, _)| of != cen);
                self.forget(cen);
            }
            Command::AttachNetwork(child) => self.attach(child)?,
            Command::DetachNetwork(child) => {
                self.attached_child(child)?;
                self.leave_cen(child.network.as_str());
            }
            Command::PublishRoute(route) | Command::WithdrawRoute(route) => {
                let network = self.attached_child(&route.child)?;
                must(network.system_table == route.route_table.as_str())?;
                must(self.entry(&network.system_table, route.destination)?.kind != "service")?;
                match command {
                    Command::PublishRoute(_) => self.publish(&network.id, route.destination),
                    _ => self.withdraw(&network.id, route.destination),
                }
            }
            Command::PublishVpcRoutes(publish) => {
                for (table, to) in &publish.entries {
                    let network = self.networks.iter().find(|network| network.system_table == table.as_str())?.clone();
                    must(network.is_vpc && self.cen_of(&network.id) == Some(publish.cen.as_str()))?;
                    must(self.entry(table.as_str(), *to)?.kind != "service")?;
                    match publish.publish {
                        true => self.publish(&network.id, *to),
                        false => self.withdraw(&network.id, *to),
                    }
                }
            }
            Command::RouteMap(command) => self.route_map(command)?,
            Command::Bandwidth(command) => self.bandwidth(command)?,
            Command::GrantInstance(grant) => {
                let (network, cen) = (grant.network.as_str(), grant.cen.as_str());
                self.network(network)?;
                must(!grant.own_account || self.has_cen(cen))?;
                self.grants.retain(|(of, to, _)| (of.as_str(), to.as_str()) != (network, cen));
                self.grants.push((network.to_owned(), cen.to_owned(), grant.cen_owner));
            }
            Command::RevokeInstance(revoke) => {
                let (network, cen) = (revoke.network.as_str(), revoke.cen.as_str());
                self.network(network)?;
                must(self.cen_of(network) != Some(cen))?;
                self.grants.retain(|(of, to, _)| (of.as_str(), to.as_str()) != (network, cen));
            }
            Command::ModifyAttributes(modify) => {
                let id = modify.resource.as_str();
                let label = self.labels.iter_mut().find(|(of, ..)| of == id)?;
                label.1 = modify.name.clone().unwrap_or_else(|| label.1.clone());
                label.2 = modify.description.clone().unwrap_or_else(|| label.2.clone());
                if let Some(table) = self.tables.iter_mut().find(|table| table.id == id) {
                    table.propagates = modify.route_propagation.unwrap_or(table.propagates);
                }
                if let Some(gateway) = self.gateways.iter_mut().find(|gateway| gateway.id == id) {
                    gateway.auto_propagate = modify.auto_propagate.unwrap_or(gateway.auto_propagate);
                }
            }
            Command::TagResources(tag) => {
                for id in tag.resources.iter().map(ResourceId::as_str) {
                    must(self.is_labelled(id))?;
                    for tag in &tag.tags {
                        self.tags.retain(|(of, key, _)| (of.as_str(), key) != (id, &tag.key));
                        self.tags.push((id.to_owned(), tag.key.clone(), tag.value.clone()));
                    }
                    must(self.tags.iter().filter(|(of, ..)| of == id).count() <= 20)?;
                }
            }
            Command::UntagResources(untag) => {
                for id in untag.resources.iter().map(ResourceId::as_str) {
                    must(self.is_labelled(id))?;
                    let named = |key: &String| untag.keys.as_ref().is_none_or(|keys| keys.contains(key));
                    self.tags.retain(|(of, key, _)| of != id || !named(key));
                }
            }
            Command::MoveToResourceGroup(to) => {
                let id = to.resource.as_str();
                must(self.is_labelled(id))?;
                self.groups.retain(|(of, _)| of != id);
                self.groups.push((id.to_owned(), to.group.clone()));
            }
            Command::Declare(declarations) => self.declare(declarations),
            other => self.does_in_vpc(other)?,
        }
        Some(())
    }

    pub fn has_cen(&self, cen: &str) -> bool {
        self.cens.iter().any(|other| other == cen)
    }

    pub fn network(&self, id: &str) -> Option<Network> {
        self.networks.iter().find(|network| network.id == id).cloned()
    }

    pub fn cen_of(&self, network: &str) -> Option<&str> {
        self.attached.iter().find(|(id, _)| id == network).map(|(_, cen)| cen.as_str())
    }

    pub fn table(&self, id: &str) -> Option<Table> {
        self.tables.iter().find(|table| table.id == id).cloned()
    }

    pub fn is_custom(&self, table: &str) -> bool {
        !self.networks.iter().any(|network| network.system_table == table)
    }

    pub fn entry(&self, table: &str, to: Ipv4Net) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.table == table && entry.to == to).cloned()
    }

    fn is_labelled(&self, id: &str) -> bool {
        self.labels.iter().any(|(of, ..)| of == id)
    }

    pub fn label(&mut self, id: &str, name: &str, description: &str) {
        self.labels.push((id.to_owned(), name.to_owned(), description.to_owned()));
    }

    /// A resource is gone, with what was said of it.
    pub fn forget(&mut self, id: &str) {
        self.labels.retain(|(of, ..)| of != id);
        self.tags.retain(|(of, ..)| of != id);
        self.groups.retain(|(of, _)| of != id);
    }

    pub fn publish(&mut self, network: &str, to: Ipv4Net) {
        if !self.published.iter().any(|(of, published)| of == network && *published == to) {
            self.published.push((network.to_owned(), to));
        }
    }

    pub fn withdraw(&mut self, network: &str, to: Ipv4Net) {
        self.published.retain(|(of, published)| of != network || *published != to);
    }

    fn leave_cen(&mut self, network: &str) {
        self.attached.retain(|(id, _)| id != network);
        self.published.retain(|(id, _)| id != network);
    }

    /// An entry comes. Routes to vSwitches, and all routes of a VBR, are published by default.
    pub fn add_entry(&mut self, entry: Entry) {
        let (table, to) = (entry.table.clone(), entry.to);
        let by_default = matches!(entry.kind.as_str(), "local" | "RouterInterface");
        self.entries.push(entry);
        let network = self.networks.iter().find(|network| network.system_table == table);
        if let Some(id) = network.map(|network| network.id.clone()).filter(|id| by_default && self.cen_of(id).is_some())
        {
            self.publish(&id, to);
        }
    }

    /// An entry goes, from CEN too.
    pub fn remove_entry(&mut self, entry: &Entry) {
        self.entries.retain(|other| other.id != entry.id);
        let network = self.networks.iter().find(|network| network.system_table == entry.table);
        if let Some(id) = network.map(|network| network.id.clone()) {
            self.withdraw(&id, entry.to);
        }
    }

    fn child(&self, child: &ipsec_gateway::cen::command::ChildInstance) -> Option<Network> {
        let network = self.network(child.network.as_str())?;
        must(self.has_cen(child.cen.as_str()) && network.region == child.region)?;
        Some(network)
    }

    fn attached_child(&self, child: &ipsec_gateway::cen::command::ChildInstance) -> Option<Network> {
        let network = self.child(child)?;
        must(self.cen_of(&network.id) == Some(child.cen.as_str()))?;
        Some(network)
    }

    fn attach(&mut self, child: &ipsec_gateway::cen::command::ChildInstance) -> Option<()> {
        let network = self.child(child)?;
        must(self.cen_of(&network.id).is_none())?;
        self.attached.push((network.id.clone(), child.cen.to_string()));
        // What is published at once is so in the order of ids.
        let own = self.entries.iter().filter(|entry| entry.table == network.system_table);
        let own = own.filter(|entry| matches!(entry.kind.as_str(), "local" | "RouterInterface"));
        let own: BTreeSet<(String, Ipv4Net)> = own.map(|entry| (entry.id.clone(), entry.to)).collect();
        own.into_iter().for_each(|(_, to)| self.publish(&network.id, to));
        Some(())
    }

    /// The configuration at another start: VBRs and their routes are as it says.
    fn declare(&mut self, new: &Declarations) {
        self.declared = new.clone();
        let outdated = self.networks.iter().filter(|network| !network.is_vpc);
        let outdated = outdated.filter(|vbr| !new.vbrs.iter().any(|declared| declared.id.as_str() == vbr.id));
        for vbr in outdated.cloned().collect::<Vec<_>>() {
            self.leave_cen(&vbr.id);
            self.networks.retain(|network| network.id != vbr.id);
            self.tables.retain(|table| table.network != vbr.id);
            self.entries.retain(|entry| entry.table != vbr.system_table);
            self.grants.retain(|(of, ..)| *of != vbr.id);
            self.forget(&vbr.system_table);
        }
        for vbr in &new.vbrs {
            let table = vbr.route_table.to_string();
            if self.network(vbr.id.as_str()).is_none() {
                self.networks.push(Network {
                    id: vbr.id.to_string(),
                    is_vpc: false,
                    region: vbr.region.clone(),
                    system_table: table.clone(),
                    blocks: Vec::new(),
                    created_as: String::new(),
                });
                self.tables.push(Table { id: table.clone(), network: vbr.id.to_string(), propagates: true });
                self.label(&table, "", "");
            }
            let wanted = vbr.routes.iter().map(|route| Entry {
                id: format!(
                    "rte-{}-{}-{}",
                    vbr.id,
                    route.destination.addr().to_string().replace('.', "-"),
                    route.destination.prefix_len()
                ),
                table: table.clone(),
                to: route.destination,
                kind: "RouterInterface".to_owned(),
                hops: vec![(vbr.router_interface.clone(), 100)],
                made_by: MadeBy::Declared,
                as_path: route.as_path.clone(),
            });
            let wanted: Vec<Entry> = wanted.collect();
            let same = |a: &Entry, b: &Entry| (a.to, a.made_by, &a.as_path) == (b.to, b.made_by, &b.as_path);
            for present in self.entries.clone().iter().filter(|entry| entry.table == table) {
                let stays = wanted.iter().any(|wanted| same(wanted, present));
                let in_the_way = wanted.iter().any(|wanted| wanted.to == present.to);
                if !stays && (present.made_by == MadeBy::Declared || in_the_way) {
                    self.remove_entry(present);
                }
            }
            for wanted in wanted {
                if self.entry(&table, wanted.to).is_none() {
                    self.add_entry(wanted);
                }
            }
        }
    }
}
