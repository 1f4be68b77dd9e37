//! What the cloud and the reference say, as lines that can be compared and read.

use std::collections::BTreeSet;
use std::fmt::Write;

use ipsec_gateway::cen::conflict::{self, Conflicts};
use ipsec_gateway::cen::gateway_routes::{file_route_publications, gateway_routes};
use ipsec_gateway::cen::learn::{LearnedRoute, LearnedStatus, Rejection, View, learned_routes, taken_routes};
use ipsec_gateway::cen::network::NetworkId;
use ipsec_gateway::cen::propagation::receives;
use ipsec_gateway::cen::resource::ResourceId;
use ipsec_gateway::cen::route::EntryOrigin;
use ipsec_gateway::cen::state::State;

use super::learned::{Seen, Status};
use super::reference::{Connection, Gateway, MadeBy, Reference, VpnRoute};
use super::reference_vpn::by_policy;

pub type Facts = BTreeSet<String>;

/// What the first has and the second has not, and the other way round.
pub fn difference(cloud: &Facts, reference: &Facts) -> String {
    let mut text = String::new();
    cloud.difference(reference).for_each(|fact| writeln!(text, "only the cloud says: {fact}").unwrap());
    reference.difference(cloud).for_each(|fact| writeln!(text, "only the reference says: {fact}").unwrap());
    text
}

/// What was made, and how it is.
pub fn of_state(state: &State) -> Facts {
    let mut facts = Facts::new();
    let mut label =
        |id: &str, name: &str, description: &str| facts.insert(format!("label {id} {name:?} {description:?}"));
    state.cens.values().for_each(|cen| _ = label(cen.id.as_str(), &cen.name, &cen.description));
    state.vpcs.values().for_each(|vpc| _ = label(vpc.id.as_str(), &vpc.name, &vpc.description));
    state.vswitches.values().for_each(|one| _ = label(one.id.as_str(), &one.name, &one.description));
    state.route_tables.values().for_each(|one| _ = label(one.id.as_str(), &one.name, &one.description));
    state.vpn_gateways.values().for_each(|one| _ = label(one.id.as_str(), &one.name, &one.description));
    state.customer_gateways.values().for_each(|one| _ = label(one.id.as_str(), &one.name, &one.description));
    state.vpn_connections.values().for_each(|one| _ = label(one.id.as_str(), &one.name, ""));
    for resource in resources(state) {
        for tag in resource.tags(state) {
            facts.insert(format!("tag {} {}={}", resource.as_str(), tag.key, tag.value));
        }
    }
    for (resource, group) in &state.resource_groups {
        facts.insert(format!("group {resource} {group}"));
    }
    for vpc in state.vpcs.values() {
        facts.insert(format!("network {} {} {:?}", vpc.id, vpc.region, vpc.blocks().collect::<Vec<_>>()));
    }
    for vbr in state.vbrs.values() {
        facts.insert(format!("network {} {} []", vbr.id, vbr.region));
    }
    for vswitch in state.vswitches.values() {
        let table = &state.table_of_vswitch(vswitch).unwrap().id;
        facts.insert(format!("vswitch {} {} {} by {table}", vswitch.id, vswitch.vpc, vswitch.cidr));
    }
    for table in state.route_tables.values() {
        let custom = state.is_custom(table);
        facts.insert(format!("table {} {} {custom} {}", table.id, table.network, table.route_propagation));
        for entry in table.entries.values() {
            let weight = |hop: &str| entry.next_hops.iter().find(|one| one.id == hop).map_or(100, |one| one.weight);
            let hops: Vec<_> = entry.hops().map(|hop| (hop, weight(hop))).collect();
            let made_by = match entry.origin {
                EntryOrigin::System => MadeBy::System,
                EntryOrigin::Api => MadeBy::Api,
                EntryOrigin::VpnRoute => MadeBy::VpnRoute,
                EntryOrigin::Declared => MadeBy::Declared,
            };
            let id = if custom && made_by == MadeBy::System { "" } else { entry.id.as_str() };
            let (kind, path) = (entry.kind.row().next_hop_type, &entry.as_path);
            facts.insert(format!("entry {id} {} {} {kind} {hops:?} {made_by:?} {path:?}", table.id, entry.destination));
        }
    }
    let mut published = Vec::new();
    for (network, attachment) in &state.attachments {
        facts.insert(format!("attached {network} {}", attachment.cen));
        published.extend(attachment.publications.iter().map(|(to, order)| (*order, network, *to)));
    }
    published.sort();
    for (place, (_, network, to)) in published.iter().enumerate() {
        facts.insert(format!("published {place} {network} {to}"));
    }
    for map in state.route_maps.values() {
        facts.insert(format!("{map:?}"));
    }
    for package in state.bandwidth_packages.values() {
        let serves = package.serves.as_ref().map(|(cen, _)| cen.as_str());
        facts.insert(format!("package {} {} {:?} {serves:?}", package.id, package.bandwidth, package.areas));
    }
    for limit in state.bandwidth_limits.iter() {
        facts.insert(format!("limit {} {:?} {}", limit.cen, limit.regions, limit.limit));
    }
    for grant in &state.grants {
        facts.insert(format!("grant {} {} {}", grant.network, grant.cen, grant.cen_owner));
    }
    for gateway in state.vpn_gateways.values() {
        let vswitches: Vec<String> = [&gateway.vswitch, &gateway.disaster_recovery_vswitch]
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        facts.insert(format!("gateway {} {} {vswitches:?} {}", gateway.id, gateway.vpc, gateway.auto_propagate));
        for route in gateway_routes(state, &gateway.id) {
            facts.insert(format!(
                "gateway route {} {} {:?} {} {} {}",
                gateway.id, route.destination, route.policy, route.connection, route.weight, route.published
            ));
        }
        for route in file_route_publications(state, &gateway.id) {
            facts.insert(format!("published of the file {} {} {}", gateway.id, route.destination, route.connection));
        }
    }
    for connection in state.vpn_connections.values() {
        let (local, remote) = (&connection.local_subnets, &connection.remote_subnets);
        let auto = connection.auto_config_route;
        facts.insert(format!("connection {} {} {local:?} {remote:?} {auto}", connection.id, connection.gateway));
    }
    for route in state.vpn_routes.values() {
        let key = &route.key;
        facts.insert(format!(
            "vpn route {} {} {} {:?} {} {} {} {}",
            key.gateway,
            key.destination,
            key.next_hop,
            key.source,
            route.weight,
            route.priority,
            route.published,
            route.automatic
        ));
    }
    facts
}

fn resources(state: &State) -> Vec<ResourceId> {
    let mut all: Vec<ResourceId> = state.cens.keys().cloned().map(ResourceId::Cen).collect();
    all.extend(state.vpcs.keys().cloned().map(ResourceId::Vpc));
    all.extend(state.vswitches.keys().cloned().map(ResourceId::VSwitch));
    all.extend(state.route_tables.keys().cloned().map(ResourceId::RouteTable));
    all.extend(state.vpn_gateways.keys().cloned().map(ResourceId::VpnGateway));
    all.extend(state.customer_gateways.keys().cloned().map(ResourceId::CustomerGateway));
    all.extend(state.vpn_connections.keys().cloned().map(ResourceId::VpnConnection));
    all
}

/// The same of the reference.
pub fn of_reference(reference: &Reference) -> Facts {
    let mut facts = Facts::new();
    for (id, name, description) in &reference.labels {
        facts.insert(format!("label {id} {name:?} {description:?}"));
    }
    for (id, key, value) in &reference.tags {
        facts.insert(format!("tag {id} {key}={value}"));
    }
    for (id, group) in reference.groups.iter().filter(|(_, group)| !group.is_empty()) {
        facts.insert(format!("group {id} {group}"));
    }
    for network in &reference.networks {
        facts.insert(format!("network {} {} {:?}", network.id, network.region, network.blocks));
    }
    for vswitch in &reference.vswitches {
        let system = || reference.network(&vswitch.vpc).unwrap().system_table;
        let table = vswitch.table.clone().unwrap_or_else(system);
        facts.insert(format!("vswitch {} {} {} by {table}", vswitch.id, vswitch.vpc, vswitch.cidr));
    }
    for table in &reference.tables {
        let custom = reference.is_custom(&table.id);
        facts.insert(format!("table {} {} {custom} {}", table.id, table.network, table.propagates));
    }
    for entry in &reference.entries {
        let derived = reference.is_custom(&entry.table) && entry.made_by == MadeBy::System;
        let id = if derived { "" } else { &entry.id };
        let kind = &entry.kind;
        let (hops, made_by, path) = (&entry.hops, entry.made_by, entry.as_path.clone().unwrap_or_default());
        facts.insert(format!("entry {id} {} {} {kind} {hops:?} {made_by:?} {path:?}", entry.table, entry.to));
    }
    for (network, cen) in &reference.attached {
        facts.insert(format!("attached {network} {cen}"));
    }
    for (place, (network, to)) in reference.published.iter().enumerate() {
        facts.insert(format!("published {place} {network} {to}"));
    }
    for map in &reference.maps {
        facts.insert(format!("{map:?}"));
    }
    for package in &reference.packages {
        let areas = (&package.areas[0], &package.areas[1]);
        facts.insert(format!("package {} {} {areas:?} {:?}", package.id, package.bandwidth, package.serves));
    }
    for (cen, pair, limit) in &reference.limits {
        facts.insert(format!("limit {cen} {:?} {limit}", (&pair[0], &pair[1])));
    }
    for (network, cen, owner) in &reference.grants {
        facts.insert(format!("grant {network} {cen} {owner}"));
    }
    for gateway in &reference.gateways {
        let Gateway { id, vpc, vswitches, auto_propagate } = gateway;
        facts.insert(format!("gateway {id} {vpc} {vswitches:?} {auto_propagate}"));
    }
    for connection in &reference.connections {
        let Connection { id, gateway, local, remote, auto, .. } = connection;
        facts.insert(format!("connection {id} {gateway} {local:?} {remote:?} {auto}"));
        for to in remote.iter().filter(|_| by_policy(connection)) {
            let mut routes = reference.vpn_routes.iter().filter(|route| route.through == *id && route.from.is_none());
            if !routes.any(|route| route.to == *to) {
                facts.insert(format!("gateway route {gateway} {to} None {id} 100 false"));
            }
        }
    }
    for route in &reference.vpn_routes {
        let VpnRoute { gateway, to, through, from, weight, priority, published, automatic, of_file } = route;
        facts
            .insert(format!("vpn route {gateway} {to} {through} {from:?} {weight} {priority} {published} {automatic}"));
        let policy = from.map(|from| (from, *priority));
        facts.insert(match of_file {
            true => format!("published of the file {gateway} {to} {through}"),
            false => format!("gateway route {gateway} {to} {policy:?} {through} {weight} {published}"),
        });
    }
    facts
}

/// What somebody sees of a route, by the name of the one who sees.
fn seen_by(who: &str, route: &LearnedRoute) -> String {
    let status = match &route.status {
        LearnedStatus::Active => Status::Active,
        LearnedStatus::Candidate => Status::Candidate,
        LearnedStatus::Prohibited => Status::Prohibited,
        LearnedStatus::Rejected(Rejection::OwnEntry(own)) => Status::Own(*own),
        LearnedStatus::Rejected(Rejection::EarlierPublisher(winner)) => Status::Behind(winner.to_string()),
        LearnedStatus::Rejected(Rejection::Overflow) => Status::Overflow,
    };
    let on_its_way = &route.attributes;
    let met: Vec<String> = on_its_way.met.iter().map(|(.., map)| map.to_string()).collect();
    let (path, communities) = (&on_its_way.as_path, &on_its_way.communities);
    let preference = on_its_way.preference;
    format!("{who} {} {} {status:?} {preference} {path:?} {communities:?} {met:?}", route.destination, route.publisher)
}

fn seen_line(who: &str, route: &Seen) -> String {
    let Seen { to, publisher, status, preference, as_path, communities, met, .. } = route;
    format!("{who} {to} {publisher} {status:?} {preference} {as_path:?} {communities:?} {met:?}")
}

/// What the networks learn and the gateways of the regions see, and who rejects what; and that what is found by another way is
/// the same.
pub fn seen_in_state(state: &State, regions: &[&str], with_conflicts: bool) -> Facts {
    let mut facts = Facts::new();
    for network in state.attachments.keys() {
        let learned = learned_routes(state, network);
        facts.extend(learned.iter().map(|route| seen_by(network.as_str(), route)));
        for table in state.tables_of(network) {
            let received = learned.iter().filter(|route| receives(table, route));
            facts.extend(
                received.map(|route| format!("{} receives {} {}", table.id, route.destination, route.publisher)),
            );
        }
        let is_taken = |route: &&LearnedRoute| route.status.is_taken();
        let taken: Vec<LearnedRoute> = learned.iter().filter(is_taken).cloned().collect();
        assert_eq!(taken_routes(state, network), taken, "what {network} takes");
        assert_parts(&View::of_network(state, network).unwrap(), &learned, network.as_str());
        if with_conflicts {
            facts.extend(conflicts_at(state, network));
        }
    }
    for cen in state.cens.keys() {
        for region in regions {
            let Some(view) = View::of_region(state, cen, region) else { continue };
            let offers: Vec<_> = view.offers(None).offers.collect();
            let routes: Vec<LearnedRoute> = offers.into_iter().filter_map(|offer| view.route(offer)).collect();
            assert_parts(&view, &routes, region);
            for route in routes {
                let leaves = view.goes_to_other_regions(&route);
                facts.insert(format!("{} leaves {leaves}", seen_by(&format!("{cen} {region}"), &route)));
            }
        }
    }
    facts
}

fn conflicts_at(state: &State, network: &NetworkId) -> Facts {
    let mut facts = Facts::new();
    let conflicts = Conflicts::of(state, network).unwrap();
    for to in state.attachments[network].publications.keys() {
        let all = conflicts.to(*to, usize::MAX);
        assert_eq!(conflicts.count(*to), all.len(), "conflicts of {network} {to}");
        let some = conflicts.to(*to, 2);
        assert!(some.len() == all.len().min(2) && some.iter().all(|one| all.contains(one)), "{network} {to}: {some:?}");
        facts.extend(all.iter().map(|one| {
            format!(
                "conflict of {network} {to} with {} {} {} {}",
                one.destination, one.region, one.instance, one.status
            )
        }));
    }
    let view = View::of_network(state, network).unwrap();
    for entry in state.table_of(network).unwrap().entries.values() {
        let kept_out = conflict::with_own_entry(state, &view, entry.destination, usize::MAX);
        let line = |one: &conflict::Conflict<'_>| {
            format!("{network} keeps out by {} {} {}", entry.destination, one.destination, one.instance)
        };
        facts.extend(kept_out.iter().map(line));
    }
    facts
}

/// What is shown of one status is that part of the whole.
fn assert_parts(view: &View<'_>, all: &[LearnedRoute], who: &str) {
    assert_eq!(view.offers(None).count, all.len(), "{who}");
    for status in ["Active", "Candidate", "Rejected", "Prohibited"] {
        let some = view.offers(Some(status));
        let count = some.count;
        let some: Vec<LearnedRoute> = some.offers.filter_map(|offer| view.route(offer)).collect();
        let part = all.iter().filter(|route| route.status.api_name() == status);
        assert_eq!(some, part.cloned().collect::<Vec<_>>(), "{who} {status}");
        assert_eq!(count, some.len(), "{who} {status}");
    }
}

/// The same of the reference.
pub fn seen_in_reference(reference: &Reference, regions: &[&str], with_conflicts: bool) -> Facts {
    let mut facts = Facts::new();
    let region_of = |network: &str| reference.network(network).unwrap().region;
    for (learner, _) in &reference.attached {
        for route in reference.learned(learner) {
            facts.insert(seen_line(learner, &route));
            let Seen { to, publisher, status, .. } = &route;
            for table in reference.tables.iter().filter(|table| table.network == *learner && table.propagates) {
                if *status == Status::Active && reference.entry(&table.id, *to).is_none() {
                    facts.insert(format!("{} receives {to} {publisher}", table.id));
                }
            }
            let (with, at, what) = match status {
                Status::Active | Status::Candidate => continue,
                Status::Own(own) => (*own, learner, "conflict"),
                Status::Behind(winner) => (*to, winner, "conflict"),
                Status::Overflow => (*to, learner, "overflow"),
                Status::Prohibited => (*to, learner, "prohibited"),
            };
            if with_conflicts {
                facts.insert(format!("conflict of {publisher} {to} with {with} {} {at} {what}", region_of(at)));
                if let Status::Own(own) = status {
                    facts.insert(format!("{learner} keeps out by {own} {to} {publisher}"));
                }
            }
        }
    }
    for cen in &reference.cens {
        for region in regions {
            for route in reference.at_region(cen, region) {
                let leaves = reference.leaves_its_region(cen, &route.publisher, route.to);
                facts.insert(format!("{} leaves {leaves}", seen_line(&format!("{cen} {region}"), &route)));
            }
        }
    }
    facts
}
