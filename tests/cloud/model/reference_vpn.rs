//! VPN gateways with their connections and routes, bandwidth and route maps, in the reference.

use ipnet::Ipv4Net;
use ipsec_gateway::cen::command::{BandwidthCommand, Command, KnownVpnRoute, PublishVpnRoute, RouteMapCommand};
use ipsec_gateway::cen::route_map::{Direction, RouteMap};
use ipsec_gateway::cen::vpn::VpnRouteKey;

use super::reference::{Connection, Entry, Gateway, MadeBy, Package, Reference, VpnRoute, must, overlap, service};

impl Reference {
    pub fn does_with_vpn(&mut self, command: &Command) -> Option<()> {
        match command {
            Command::CreateVpnGateway(new) => {
                let vpc = self.network(new.vpc.as_str())?;
                must(vpc.region == new.region && self.gateways.len() < 30)?;
                let own = || self.vswitches.iter().filter(|vswitch| vswitch.vpc == vpc.id);
                let given = [&new.vswitch, &new.disaster_recovery_vswitch];
                let mut vswitches: Vec<String> = given.into_iter().flatten().map(ToString::to_string).collect();
                must(vswitches.iter().all(|id| own().any(|vswitch| vswitch.id == *id)))?;
                if new.vswitch.is_none() {
                    let oldest = own().min_by_key(|vswitch| (vswitch.created, vswitch.id.clone()));
                    vswitches.extend(oldest.map(|vswitch| vswitch.id.clone()));
                }
                let id = new.id.to_string();
                self.label(&id, &new.name, &new.description);
                self.gateways.push(Gateway { id, vpc: vpc.id, vswitches, auto_propagate: false });
            }
            Command::DeleteVpnGateway { gateway } => {
                let id = self.gateway(gateway.as_str())?.id;
                must(!self.connections.iter().any(|connection| connection.gateway == id))?;
                must(!self.entries.iter().any(|entry| entry.hops.iter().any(|(hop, _)| *hop == id)))?;
                self.gateways.retain(|gateway| gateway.id != id);
                self.vpn_routes.retain(|route| route.gateway != id);
                self.forget(&id);
            }
            Command::CreateCustomerGateway(new) => {
                let (region, address) = (new.region.clone(), new.address.to_string());
                must(!self.customers.iter().any(|(_, at, known)| (at, known) == (&region, &address)))?;
                self.label(new.id.as_str(), &new.name, &new.description);
                self.customers.push((new.id.to_string(), region, address));
            }
            Command::DeleteCustomerGateway { customer_gateway } => {
                let id = customer_gateway.as_str();
                must(self.customers.iter().any(|(known, ..)| known == id))?;
                must(!self.connections.iter().any(|connection| connection.customer == id))?;
                self.customers.retain(|(known, ..)| known != id);
                self.forget(id);
            }
            Command::CreateVpnConnection(new) => {
                let connection = Connection {
                    id: new.id.to_string(),
                    gateway: new.gateway.to_string(),
                    customer: new.customer_gateway.to_string(),
                    local: new.local_subnets.clone(),
                    remote: new.remote_subnets.clone(),
                    auto: new.auto_config_route,
                };
                let vpc = self.gateway(&connection.gateway)?.vpc;
                must(self.network(&vpc)?.region == new.region)?;
                must(self.customers.iter().any(|(known, ..)| *known == connection.customer))?;
                self.check_connection(&connection)?;
                self.label(&connection.id, &new.name, "");
                self.make_automatic(&connection, &[]);
                self.connections.push(connection);
            }
            Command::ModifyVpnConnection(modify) => {
                let old = self.connections.iter().find(|one| one.id == modify.connection.as_str())?.clone();
                let mut new = old.clone();
                new.local = modify.local_subnets.clone().unwrap_or(new.local);
                new.remote = modify.remote_subnets.clone().unwrap_or(new.remote);
                new.auto = modify.auto_config_route.unwrap_or(new.auto);
                self.check_connection(&new)?;
                let wanted = automatic(&new);
                let own = self.vpn_routes.iter().filter(|route| route.through == new.id && route.automatic);
                let own = own.filter(|route| !wanted.contains(&(route.from, route.to)));
                own.cloned().collect::<Vec<_>>().iter().for_each(|route| self.remove_vpn_route(route));
                self.make_automatic(&new, &automatic(&old));
                *self.connections.iter_mut().find(|one| **one == old)? = new;
            }
            Command::DeleteVpnConnection { connection } => {
                let id = connection.as_str();
                must(self.connections.iter().any(|connection| connection.id == id))?;
                let own = self.vpn_routes.iter().filter(|route| route.through == id).cloned();
                own.collect::<Vec<_>>().iter().for_each(|route| self.remove_vpn_route(route));
                self.connections.retain(|connection| connection.id != id);
                self.forget(id);
            }
            Command::CreateVpnRoute(new) => {
                let VpnRouteKey { gateway, destination, next_hop, source } = &new.key;
                let (gateway, priority) = (self.gateway(gateway.as_str())?, new.priority.unwrap_or(10));
                must(self.connections.iter().any(|one| one.id == *next_hop && one.gateway == gateway.id))?;
                must(usable(*destination) && source.is_none_or(usable))?;
                must(matches!(new.weight, 0 | 100) && (1..=100).contains(&priority))?;
                must(self.vpn_route(&new.key).is_none())?;
                let of_kind = self.vpn_routes.iter().filter(|route| route.from.is_some() == source.is_some());
                let counted = of_kind.filter(|route| route.gateway == gateway.id && !route.automatic && !route.of_file);
                must(counted.count() < 20)?;
                if new.publish {
                    self.publish_to_vpc(&gateway, *destination, new.entry_id.as_str())?;
                }
                self.vpn_routes.push(VpnRoute {
                    gateway: gateway.id,
                    to: *destination,
                    through: next_hop.clone(),
                    from: *source,
                    weight: new.weight,
                    priority,
                    published: new.publish,
                    automatic: false,
                    of_file: false,
                });
            }
            Command::DeleteVpnRoute(known) => {
                let route = self.known_vpn_route(known)?;
                self.remove_vpn_route(&route);
            }
            Command::ModifyVpnRoute(modify) => {
                let old = self.known_vpn_route(&modify.route)?;
                let weight = modify.new_weight.unwrap_or(old.weight);
                let priority = modify.new_priority.unwrap_or(old.priority);
                must(matches!(weight, 0 | 100) && (1..=100).contains(&priority))?;
                let new = VpnRoute { weight, priority, ..old.clone() };
                *self.vpn_routes.iter_mut().find(|route| **route == old)? = new;
            }
            Command::PublishVpnRoute(publish) => self.publish_vpn_route(publish)?,
            other => panic!("the walk does not know {other:?}"),
        }
        Some(())
    }

    fn gateway(&self, id: &str) -> Option<Gateway> {
        self.gateways.iter().find(|gateway| gateway.id == id).cloned()
    }

    fn vpn_route(&self, key: &VpnRouteKey) -> Option<VpnRoute> {
        let is_it = |route: &&VpnRoute| {
            (route.gateway.as_str(), route.to) == (key.gateway.as_str(), key.destination)
                && (&route.through, route.from) == (&key.next_hop, key.source)
        };
        self.vpn_routes.iter().find(is_it).cloned()
    }

    fn known_vpn_route(&self, known: &KnownVpnRoute) -> Option<VpnRoute> {
        let route = self.vpn_route(&known.key)?;
        must(!route.of_file && route.weight == known.weight)?;
        must(known.priority.is_none_or(|priority| priority == route.priority))?;
        Some(route)
    }

    /// Different subnets, ten at most, and no two connections to one customer that carry the same.
    fn check_connection(&self, connection: &Connection) -> Option<()> {
        for subnets in [&connection.local, &connection.remote] {
            must((1..=10).contains(&subnets.len()) && subnets.iter().all(|subnet| usable(*subnet)))?;
            must((1..subnets.len()).all(|at| !subnets[..at].contains(&subnets[at])))?;
        }
        let others = self.connections.iter().filter(|other| other.gateway == connection.gateway);
        let others: Vec<&Connection> = others.filter(|other| other.id != connection.id).collect();
        let carried = |one: &Connection| (one.customer.clone(), one.local.clone(), one.remote.clone());
        must(others.len() < 10 && others.iter().all(|other| carried(other) != carried(connection)))
    }

    /// `AutoConfigRoute`: a policy-based route for each pair of subnets that the connection did not carry before.
    fn make_automatic(&mut self, connection: &Connection, before: &[(Option<Ipv4Net>, Ipv4Net)]) {
        for (from, to) in automatic(connection) {
            let own = self.vpn_routes.iter().filter(|route| route.through == connection.id);
            if !before.contains(&(from, to)) && !own.into_iter().any(|route| (route.from, route.to) == (from, to)) {
                self.vpn_routes.push(VpnRoute {
                    gateway: connection.gateway.clone(),
                    to,
                    through: connection.id.clone(),
                    from,
                    weight: 100,
                    priority: 10,
                    published: false,
                    automatic: true,
                    of_file: false,
                });
            }
        }
    }

    /// The VPC has one entry for all published routes of a gateway to a destination.
    fn publish_to_vpc(&mut self, gateway: &Gateway, to: Ipv4Net, id: &str) -> Option<()> {
        let table = self.network(&gateway.vpc)?.system_table;
        let hops = vec![(gateway.id.clone(), 100)];
        if self.entry(&table, to).is_some_and(|entry| entry.made_by == MadeBy::VpnRoute && entry.hops == hops) {
            return Some(());
        }
        self.free_for(&table, to)?;
        let (id, kind) = (id.to_owned(), "VpnGateway".to_owned());
        self.add_entry(Entry { id, table, to, kind, hops, made_by: MadeBy::VpnRoute, as_path: None });
        Some(())
    }

    /// The entry of the VPC goes with the last published route.
    fn tidy_vpc(&mut self, gateway: &str, to: Ipv4Net) {
        let published = |route: &VpnRoute| route.gateway == gateway && route.to == to && route.published;
        if !self.vpn_routes.iter().any(published) {
            let hops = vec![(gateway.to_owned(), 100)];
            let ours = |entry: &&Entry| entry.made_by == MadeBy::VpnRoute && entry.to == to && entry.hops == hops;
            if let Some(entry) = self.entries.iter().find(ours).cloned() {
                self.remove_entry(&entry);
            }
        }
    }

    fn remove_vpn_route(&mut self, route: &VpnRoute) {
        self.vpn_routes.retain(|other| other != route);
        self.tidy_vpc(&route.gateway, route.to);
    }

    fn publish_vpn_route(&mut self, publish: &PublishVpnRoute) -> Option<()> {
        let VpnRouteKey { gateway, destination: to, next_hop, .. } = &publish.key;
        let gateway = self.gateway(gateway.as_str())?;
        let of_kind = |route: &VpnRoute| {
            route.gateway == gateway.id
                && (route.to, &route.through) == (*to, next_hop)
                && route.from.is_some() == publish.policy_based
        };
        if !self.vpn_routes.iter().any(of_kind) {
            must(!publish.policy_based)?;
            let carries =
                |one: &&Connection| one.id == *next_hop && one.gateway == gateway.id && one.remote.contains(to);
            let carries = self.connections.iter().find(carries).is_some_and(by_policy);
            must(usable(*to) && (publish.owned_by_file.is_some() || carries))?;
            if !publish.publish {
                return Some(());
            }
            self.vpn_routes.push(VpnRoute {
                gateway: gateway.id.clone(),
                to: *to,
                through: next_hop.clone(),
                from: None,
                weight: publish.owned_by_file.unwrap_or(100),
                priority: 10,
                published: false,
                automatic: false,
                of_file: publish.owned_by_file.is_some(),
            });
        }
        let was_published = self.vpn_routes.iter().any(|route| of_kind(route) && route.published);
        if publish.publish {
            if self.vpn_routes.iter().any(|route| of_kind(route) && !route.published) {
                self.publish_to_vpc(&gateway, *to, publish.entry_id.as_str())?;
            }
        } else if !was_published {
            return Some(());
        }
        for route in &mut self.vpn_routes {
            // A destination-based route is withdrawn with the policy-based ones to the same destination.
            let with_them = !publish.publish && publish.policy_based && route.from.is_none();
            if of_kind(route) || with_them && route.gateway == gateway.id && route.to == *to {
                route.published = publish.publish;
            }
        }
        self.vpn_routes.retain(|route| route.published || !route.of_file);
        self.tidy_vpc(&gateway.id, *to);
        Some(())
    }

    pub fn bandwidth(&mut self, command: &BandwidthCommand) -> Option<()> {
        match command {
            BandwidthCommand::Create(new) => self.packages.push(Package {
                id: new.id.to_string(),
                bandwidth: new.bandwidth,
                areas: [new.areas.0.clone(), new.areas.1.clone()],
                serves: None,
            }),
            BandwidthCommand::Modify { id, bandwidth, .. } => {
                let package = self.package(id.as_str())?;
                let new = bandwidth.unwrap_or(package.bandwidth);
                must(package.serves.is_none() || bandwidth.is_none() || self.used(&package) <= new)?;
                self.packages.iter_mut().find(|other| other.id == package.id)?.bandwidth = new;
            }
            BandwidthCommand::Delete { id } => {
                let package = self.package(id.as_str())?;
                must(package.serves.is_none())?;
                self.packages.retain(|other| other.id != package.id);
            }
            BandwidthCommand::Associate { cen, id } => {
                must(self.has_cen(cen.as_str()))?;
                let package = self.package(id.as_str())?;
                let (cen, between) = (cen.to_string(), &package.areas);
                must(package.serves.as_ref().is_none_or(|serves| *serves == cen))?;
                let mut others = self.packages.iter().filter(|other| other.id != package.id);
                must(!others.any(|other| other.serves.as_ref() == Some(&cen) && other.areas == *between))?;
                self.packages.iter_mut().find(|other| other.id == package.id)?.serves = Some(cen);
            }
            BandwidthCommand::Unassociate { cen, id } => {
                must(self.has_cen(cen.as_str()))?;
                let package = self.package(id.as_str())?;
                must(package.serves.as_deref() == Some(cen.as_str()) && self.used(&package) == 0)?;
                self.packages.iter_mut().find(|other| other.id == package.id)?.serves = None;
            }
            BandwidthCommand::SetLimit { cen, regions, limit } => {
                let cen = cen.as_str();
                let mut pair = [regions.0.clone(), regions.1.clone()];
                pair.sort();
                must(self.has_cen(cen) && pair[0] != pair[1])?;
                self.limits.retain(|(of, between, _)| of != cen || *between != pair);
                if *limit > 0 {
                    let here = |region: &String| {
                        let mut members = self.attached.iter().filter(|(_, of)| of == cen);
                        members.any(|(network, _)| self.network(network).is_some_and(|at| at.region == *region))
                    };
                    must(pair.iter().all(here))?;
                    let serves =
                        |package: &&Package| package.serves.as_deref() == Some(cen) && package.areas == areas(&pair);
                    let package = self.packages.iter().find(serves)?.clone();
                    must(self.used(&package) + limit <= package.bandwidth)?;
                    self.limits.push((cen.to_owned(), pair, *limit));
                }
            }
        }
        Some(())
    }

    fn package(&self, id: &str) -> Option<Package> {
        self.packages.iter().find(|package| package.id == id).cloned()
    }

    /// Mbit/s of a package that are given to pairs of regions.
    fn used(&self, package: &Package) -> u32 {
        let of_cen = self.limits.iter().filter(|(cen, ..)| package.serves.as_ref() == Some(cen));
        of_cen.filter(|(_, pair, _)| areas(pair) == package.areas).map(|(.., limit)| limit).sum()
    }

    pub fn route_map(&mut self, command: &RouteMapCommand) -> Option<()> {
        let new = match command {
            RouteMapCommand::Create(new) => RouteMap::clone(new),
            RouteMapCommand::Modify(new) => {
                let old = self.map(new.cen.as_str(), &new.region, new.id.as_str())?;
                RouteMap { direction: old.direction, ..RouteMap::clone(new) }
            }
            RouteMapCommand::Delete { cen, region, id } => {
                let old = self.map(cen.as_str(), region, id.as_str())?;
                self.maps.retain(|map| map.id != old.id);
                return Some(());
            }
        };
        must(self.has_cen(new.cen.as_str()))?;
        must(new.next_priority.is_none_or(|next| next == 1 || next > new.priority))?;
        if !new.actions.prepend.is_empty() {
            must(match new.direction {
                Direction::RegionIn => {
                    let source = &new.conditions.source;
                    !source.instances.ids.is_empty() && source.regions == [new.region.clone()]
                }
                Direction::RegionOut => !new.conditions.destination.instances.ids.is_empty(),
            })?;
        }
        let here = |map: &&RouteMap| {
            map.cen == new.cen && map.region == new.region && map.direction == new.direction && map.id != new.id
        };
        must(self.maps.iter().filter(here).count() < 100)?;
        must(!self.maps.iter().filter(here).any(|map| map.priority == new.priority))?;
        self.maps.retain(|map| map.id != new.id);
        self.maps.push(new);
        Some(())
    }

    fn map(&self, cen: &str, region: &str, id: &str) -> Option<RouteMap> {
        let mut here = self.maps.iter().filter(|map| map.cen.as_str() == cen && map.region == region);
        here.find(|map| map.id.as_str() == id).cloned()
    }
}

/// A VPN gateway may have the destination.
fn usable(to: Ipv4Net) -> bool {
    to.prefix_len() == 0 || !overlap(to, service())
}

/// The subnets of a connection decide, not routes alone.
pub fn by_policy(connection: &Connection) -> bool {
    connection.local.iter().chain(&connection.remote).any(|subnet| subnet.prefix_len() > 0)
}

fn automatic(connection: &Connection) -> Vec<(Option<Ipv4Net>, Ipv4Net)> {
    if !connection.auto || !by_policy(connection) {
        return Vec::new();
    }
    let of = |from: &Ipv4Net| connection.remote.iter().map(|to| (Some(*from), *to)).collect::<Vec<_>>();
    connection.local.iter().flat_map(of).collect()
}

/// The areas that two regions stand in, in the order of their words.
fn areas(pair: &[String; 2]) -> [String; 2] {
    let mut areas = pair.clone().map(|region| if region.starts_with("cn-") { "China" } else { "Asia-Pacific" }.into());
    areas.sort();
    areas
}
