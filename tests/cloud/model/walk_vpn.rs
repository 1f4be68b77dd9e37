//! Random calls on VPN gateways, on bandwidth and on route maps.

use ipnet::Ipv4Net;
use ipsec_gateway::cen::bandwidth::{BandwidthPackage, pair};
use ipsec_gateway::cen::command::*;
use ipsec_gateway::cen::identifier::{CustomerGatewayId, VSwitchId, VpnConnectionId};
use ipsec_gateway::cen::network::UnixMillis;
use ipsec_gateway::cen::route_map::{Actions, Conditions, Direction, EndConditions, Instances, MatchMode, RouteMap};
use ipsec_gateway::cen::vpn::{PreSharedKey, VpnRouteKey};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::walk::{CENS, DESTINATIONS, REGIONS, VBRS, VPCS, Walk, net, table};

impl Walk<'_> {
    fn subnets(&mut self) -> Vec<Ipv4Net> {
        let count = self.random.random_range(1..3);
        if self.often(20) { vec![net("0.0.0.0/0")] } else { (0..count).map(|_| self.to()).collect() }
    }

    pub fn vpn(&mut self) -> Option<Command> {
        Some(match self.random.random_range(0..26) {
            0..2 => {
                let number = self.random.random_range(0..2);
                let id = format!("vpn-{number}");
                (!self.reference.gateways.iter().any(|gateway| gateway.id == id)).then_some(())?;
                let vswitch = self.often(30).then(|| format!("vsw-{}-0", VPCS[number].0).into());
                let region = if self.often(90) { VPCS[number].1 } else { REGIONS[2] };
                create_gateway(number, region, vswitch)
            }
            2 => Command::DeleteVpnGateway { gateway: self.id("vpn-", 2) },
            3..5 => {
                let id: String = self.id("cgw-", 3);
                (!self.reference.customers.iter().any(|(known, ..)| *known == id)).then_some(())?;
                create_customer(id, self.random.random_range(1..4))
            }
            5 => Command::DeleteCustomerGateway { customer_gateway: self.id("cgw-", 3) },
            6..9 => {
                let id: String = self.id("vco-", 4);
                (!self.reference.connections.iter().any(|known| known.id == id)).then_some(())?;
                let number = self.random.random_range(0..2);
                let (customer, subnets) = (self.id("cgw-", 3), (self.subnets(), self.subnets()));
                create_connection(id, number, customer, subnets, self.often(70))
            }
            9..12 => Command::ModifyVpnConnection(Box::new(ModifyVpnConnection {
                connection: self.present_connection(),
                name: None,
                local_subnets: self.often(40).then(|| self.subnets()),
                remote_subnets: self.often(40).then(|| self.subnets()),
                effect_immediately: None,
                dead_peer_detection: None,
                nat_traversal: None,
                auto_config_route: self.often(40).then(|| self.often(70)),
                ike: IkeParameters::default(),
                ipsec: IpsecParameters::default(),
            })),
            12 => Command::DeleteVpnConnection { connection: self.present_connection() },
            13..18 => {
                let (mut key, _) = self.vpn_route(10);
                if self.often(50) {
                    key.source = Some(self.to());
                }
                Command::CreateVpnRoute(CreateVpnRoute {
                    key,
                    weight: self.one(&[100, 100, 0, 50]),
                    priority: self.one(&[None, Some(1), Some(20), Some(101)]),
                    publish: self.often(50),
                    entry_id: format!("rte-{}", self.number * 100).into(),
                    description: String::new(),
                })
            }
            18..22 => {
                let (mut key, _) = self.vpn_route(70);
                let policy_based = key.source.take().is_some();
                let of_file = !policy_based && self.often(15);
                if of_file {
                    key.next_hop = "of-the-file".to_owned();
                }
                Command::PublishVpnRoute(PublishVpnRoute {
                    owned_by_file: of_file.then_some(100),
                    key,
                    policy_based,
                    publish: self.often(60),
                    entry_id: format!("rte-{}", self.number * 100).into(),
                })
            }
            22..24 => Command::DeleteVpnRoute(self.vpn_route(90).1),
            _ => Command::ModifyVpnRoute(ModifyVpnRoute {
                route: self.vpn_route(90).1,
                new_weight: self.one(&[None, Some(100), Some(0), Some(1)]),
                new_priority: self.one(&[None, Some(5), Some(50), Some(0)]),
            }),
        })
    }

    /// One that is there, if there is any, and now and then another one.
    fn present_connection(&mut self) -> VpnConnectionId {
        let present = self.reference.connections.choose(self.random).cloned().filter(|_| self.often(95));
        present.map_or("vco-3".into(), |connection| connection.id.as_str().into())
    }

    /// A route of a gateway that is there, so often, or any.
    fn vpn_route(&mut self, percent: u32) -> (VpnRouteKey, KnownVpnRoute) {
        let present = self.reference.vpn_routes.choose(self.random).cloned();
        let (key, weight, priority) = match present.filter(|_| self.often(percent)) {
            Some(route) => {
                let (gateway, next_hop) = (route.gateway.into(), route.through);
                let key = VpnRouteKey { gateway, destination: route.to, next_hop, source: route.from };
                (key, route.weight, route.priority)
            }
            None => {
                let through = self.reference.connections.choose(self.random).cloned();
                let gateway = through.as_ref().map_or("vpn-0".to_owned(), |through| through.gateway.clone()).into();
                let next_hop = through.map_or("vco-0".to_owned(), |through| through.id);
                (VpnRouteKey { gateway, destination: self.to(), next_hop, source: None }, 100, 10)
            }
        };
        let weight = if self.often(95) { weight } else { 100 - weight };
        (key.clone(), KnownVpnRoute { key, weight, priority: self.often(50).then_some(priority) })
    }

    pub fn bandwidth(&mut self) -> Option<Command> {
        let (id, cen) = (self.id::<String>("cenbwp-", 3), self.cen().into());
        Some(Command::Bandwidth(match self.random.random_range(0..12) {
            0..3 => {
                (!self.reference.packages.iter().any(|package| package.id == id)).then_some(())?;
                let areas = if self.often(50) { ("China", "China") } else { ("Asia-Pacific", "China") };
                BandwidthCommand::Create(Box::new(BandwidthPackage {
                    id: id.into(),
                    name: String::new(),
                    description: String::new(),
                    bandwidth: self.random.random_range(2..20),
                    areas: (areas.0.into(), areas.1.into()),
                    serves: None,
                    months: 1,
                    created: UnixMillis(1),
                    tags: Vec::new(),
                }))
            }
            3 => {
                let bandwidth = self.often(80).then(|| self.random.random_range(2..20));
                BandwidthCommand::Modify { id: id.into(), name: None, description: None, bandwidth }
            }
            4 => BandwidthCommand::Delete { id: id.into() },
            5..8 => BandwidthCommand::Associate { cen, id: id.into() },
            8 => BandwidthCommand::Unassociate { cen, id: id.into() },
            _ => {
                let (local, opposite) = (self.one(&REGIONS).to_owned(), self.one(&REGIONS).to_owned());
                let regions = if self.often(50) { (local, opposite) } else { pair(local, opposite) };
                BandwidthCommand::SetLimit { cen, regions, limit: self.random.random_range(0..12) }
            }
        }))
    }

    /// Each with so much of a chance that most maps have few conditions.
    fn some<T: Clone>(&mut self, percent: u32, of: &[T]) -> Vec<T> {
        let mut some = Vec::new();
        while self.often(percent) && some.len() < 2 {
            some.push(self.one(of));
        }
        some
    }

    fn end(&mut self) -> EndConditions {
        let ids: Vec<&str> = VPCS.iter().chain(&VBRS).map(|(id, _)| *id).collect();
        let texts = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
        EndConditions {
            regions: texts(self.some(10, &REGIONS)),
            instances: Instances { ids: texts(self.some(20, &ids)), reversed: self.often(30) },
            route_tables: self.some(5, &ids).into_iter().map(table).collect(),
            types: texts(self.some(10, &["VPC", "VBR", "CCN"])),
        }
    }

    fn mode(&mut self) -> MatchMode {
        if self.often(70) { MatchMode::Include } else { MatchMode::Complete }
    }

    pub fn route_map(&mut self) -> Option<Command> {
        let id: String = self.id("cenrmap-", 5);
        let old = self.reference.maps.iter().find(|map| map.id.as_str() == id).cloned();
        let region = old.as_ref().map_or_else(|| self.one(&REGIONS).to_owned(), |map| map.region.clone());
        let cen = if old.is_some() || self.often(80) { CENS[0] } else { CENS[1] };
        if old.is_some() && self.often(60) {
            return Some(Command::RouteMap(RouteMapCommand::Delete { cen: cen.into(), region, id: id.into() }));
        }
        let blocks: Vec<Ipv4Net> = DESTINATIONS.iter().map(|to| net(to)).collect();
        let texts = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
        let mut source = self.end();
        let prepend = self.some(10, &[65001, 65009]);
        if !prepend.is_empty() && self.often(60) {
            source.regions = vec![region.clone()];
        }
        let conditions = Conditions {
            source,
            destination: self.end(),
            blocks: self.some(20, &blocks),
            block_mode: self.mode(),
            route_types: texts(self.some(10, &["System", "Custom", "BGP"])),
            as_path: self.some(5, &[65001, 65002]),
            as_path_mode: self.mode(),
            communities: texts(self.some(5, &["1:1", "1:2"])),
            community_mode: self.mode(),
            address_type: self.one(&["", "", "IPv4", "IPv6"]).to_owned(),
        };
        let map = Box::new(RouteMap {
            id: id.into(),
            cen: cen.into(),
            region: if self.often(97) { region } else { self.one(&REGIONS).to_owned() },
            direction: if self.often(50) { Direction::RegionIn } else { Direction::RegionOut },
            priority: self.random.random_range(1..6),
            permits: self.often(60),
            next_priority: self.one(&[None, None, Some(1), Some(3)]),
            description: String::new(),
            conditions,
            actions: Actions {
                preference: self.one(&[None, Some(10), Some(90)]),
                prepend,
                communities: texts(self.some(20, &["1:1", "1:2"])),
                replaces_communities: self.often(30),
            },
        });
        Some(Command::RouteMap(match old {
            Some(_) => RouteMapCommand::Modify(map),
            None => RouteMapCommand::Create(map),
        }))
    }
}

pub fn create_gateway(number: usize, region: &str, vswitch: Option<VSwitchId>) -> Command {
    Command::CreateVpnGateway(CreateVpnGateway {
        id: format!("vpn-{number}").into(),
        region: region.into(),
        vpc: VPCS[number].0.into(),
        vswitch,
        disaster_recovery_vswitch: None,
        name: String::new(),
        description: String::new(),
        bandwidth: 10,
        charge_type: "POSTPAY".into(),
        tags: Vec::new(),
        resource_group: String::new(),
    })
}

pub fn create_customer(id: String, last: usize) -> Command {
    Command::CreateCustomerGateway(CreateCustomerGateway {
        id: id.into(),
        region: REGIONS[0].into(),
        address: format!("203.0.113.{last}").parse().unwrap(),
        asn: None,
        name: String::new(),
        description: String::new(),
        tags: Vec::new(),
        resource_group: String::new(),
    })
}

/// With local and remote subnets, and routes of its own or none.
pub fn create_connection(
    id: String,
    gateway: usize,
    customer_gateway: CustomerGatewayId,
    (local_subnets, remote_subnets): (Vec<Ipv4Net>, Vec<Ipv4Net>),
    auto_config_route: bool,
) -> Command {
    Command::CreateVpnConnection(Box::new(CreateVpnConnection {
        id: id.into(),
        region: VPCS[gateway].1.into(),
        gateway: format!("vpn-{gateway}").into(),
        customer_gateway,
        name: String::new(),
        local_subnets,
        remote_subnets,
        effect_immediately: false,
        dead_peer_detection: true,
        nat_traversal: true,
        auto_config_route,
        ike: IkeParameters::default(),
        ipsec: IpsecParameters::default(),
        generated_psk: PreSharedKey::new("secret".into()),
        tags: Vec::new(),
    }))
}
