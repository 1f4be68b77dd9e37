//! IPsec-VPN connections.

use ipnet::Ipv4Net;

use super::vpn_gateway::quota_full;
use super::{Planner, cidr};
use crate::cen::change::Change;
use crate::cen::command::{CreateVpnConnection, IkeParameters, IpsecParameters, ModifyVpnConnection};
use crate::cen::error::ApiError;
use crate::cen::gateway_routes::ACTIVE_WEIGHT;
use crate::cen::identifier::VpnConnectionId;
use crate::cen::vpn::{DEFAULT_PRIORITY, IkeConfig, IpsecConfig, PreSharedKey, VpnConnection, VpnRoute, VpnRouteKey};
use crate::crypto::{CloudName, CloudPfs};

/// Connections of one VPN gateway at most.
pub(in crate::cen) const CONNECTIONS: usize = 10;

/// CIDR blocks on each side of a connection at most.
const SUBNETS: usize = 10;

/// Seconds that an SA may live.
const LIFETIME: u32 = 86400;

impl<'a> Planner<'a> {
    pub(super) fn create_vpn_connection(&mut self, create: &CreateVpnConnection) -> Result<(), ApiError> {
        let gateway = self.vpn_gateway(&create.gateway)?;
        if gateway.region != create.region {
            let message = "The specified vpn gateway instance id does not exist in the region.";
            return Err(ApiError::not_found("InvalidVpnGatewayInstanceId.NotFound", message));
        }
        let customer_gateway = self.customer_gateway(&create.customer_gateway)?;
        let existing: Vec<_> = self.state.connections_of(&gateway.id).collect();
        if existing.len() >= CONNECTIONS {
            return Err(quota_full("connections of the VPN gateway"));
        }
        let ike = IkeConfig {
            psk: create.generated_psk.clone(),
            version: "ikev2".to_owned(),
            mode: "main".to_owned(),
            encryption: CloudName::default(),
            authentication: CloudName::default(),
            group: CloudName::default(),
            lifetime: LIFETIME,
            local_id: gateway.internet_ip.to_string(),
            remote_id: customer_gateway.address.to_string(),
        };
        let ipsec = IpsecConfig {
            encryption: CloudName::default(),
            authentication: CloudName::default(),
            pfs: CloudPfs::default(),
            lifetime: LIFETIME,
        };
        let connection = VpnConnection {
            id: create.id.clone(),
            gateway: create.gateway.clone(),
            customer_gateway: create.customer_gateway.clone(),
            name: create.name.clone(),
            local_subnets: checked_subnets("LocalSubnet", &create.local_subnets)?,
            remote_subnets: checked_subnets("RemoteSubnet", &create.remote_subnets)?,
            effect_immediately: create.effect_immediately,
            dead_peer_detection: create.dead_peer_detection,
            nat_traversal: create.nat_traversal,
            auto_config_route: create.auto_config_route,
            ike: ike_config(ike, &create.ike)?,
            ipsec: ipsec_config(ipsec, &create.ipsec)?,
            created: self.now,
            tags: create.tags.clone(),
        };
        if existing.iter().any(|other| same_traffic(other, &connection)) {
            return Err(ApiError::bad_request("InvalidVpnConnection.AlreadyExists", "Vpn connection already exists."));
        }
        self.configure_routes(&connection);
        self.push(Change::VpnConnectionSet(Box::new(connection)));
        Ok(())
    }

    pub(super) fn modify_vpn_connection(&mut self, modify: &ModifyVpnConnection) -> Result<(), ApiError> {
        let old = self.vpn_connection(&modify.connection)?;
        let mut new = old.clone();
        if let Some(subnets) = &modify.local_subnets {
            new.local_subnets = checked_subnets("LocalSubnet", subnets)?;
        }
        if let Some(subnets) = &modify.remote_subnets {
            new.remote_subnets = checked_subnets("RemoteSubnet", subnets)?;
        }
        if let Some(name) = &modify.name {
            new.name.clone_from(name);
        }
        new.effect_immediately = modify.effect_immediately.unwrap_or(old.effect_immediately);
        new.dead_peer_detection = modify.dead_peer_detection.unwrap_or(old.dead_peer_detection);
        new.nat_traversal = modify.nat_traversal.unwrap_or(old.nat_traversal);
        new.auto_config_route = modify.auto_config_route.unwrap_or(old.auto_config_route);
        new.ike = ike_config(new.ike, &modify.ike)?;
        new.ipsec = ipsec_config(new.ipsec, &modify.ipsec)?;
        let mut others = self.state.connections_of(&old.gateway).filter(|other| other.id != old.id);
        if others.any(|other| same_traffic(other, &new)) {
            return Err(ApiError::bad_request("InvalidVpnConnection.AlreadyExists", "Vpn connection already exists."));
        }
        self.configure_routes(&new);
        self.push(Change::VpnConnectionSet(Box::new(new)));
        Ok(())
    }

    /// The connection's routes go with it, and what was published to the VPC because of them.
    pub(super) fn delete_vpn_connection(&mut self, id: &VpnConnectionId) -> Result<(), ApiError> {
        let connection = self.vpn_connection(id)?;
        let routes = self.state.vpn_routes_of(&connection.gateway);
        let routes: Vec<&VpnRoute> = routes.filter(|route| route.key.next_hop == id.as_str()).collect();
        self.remove_vpn_routes(&routes);
        self.push(Change::VpnConnectionRemoved(id.clone()));
        Ok(())
    }

    pub(super) fn vpn_connection(&self, id: &VpnConnectionId) -> Result<&'a VpnConnection, ApiError> {
        let message = "The specified vpn connection instance id does not exist.";
        let missing = || ApiError::not_found("InvalidVpnConnectionInstanceId.NotFound", message);
        self.state.vpn_connections.get(id).ok_or_else(missing)
    }

    /// `AutoConfigRoute`: policy-based routes in the gateway, from each local to each remote subnet, unpublished. One that
    /// somebody has made is left as it is. Without subnets of its own (0.0.0.0/0 on both sides) a connection gets none.
    fn configure_routes(&mut self, new: &VpnConnection) {
        let wanted = if new.auto_config_route && new.policy_mode() { subnet_pairs(new) } else { Vec::new() };
        let routes = self.state.vpn_routes_of(&new.gateway);
        let outdated = routes
            .filter(|route| route.key.next_hop == new.id.as_str() && route.automatic && !wanted.contains(&route.key));
        self.remove_vpn_routes(&outdated.collect::<Vec<_>>());
        for key in wanted.into_iter().filter(|key| !self.state.vpn_routes.contains_key(key)) {
            let route = self.automatic_route(key);
            self.push(Change::VpnRouteSet(route));
        }
    }

    fn automatic_route(&self, key: VpnRouteKey) -> VpnRoute {
        VpnRoute {
            key,
            weight: ACTIVE_WEIGHT,
            priority: DEFAULT_PRIORITY,
            published: false,
            owned_by_file: false,
            automatic: true,
            description: String::new(),
            created: self.now,
        }
    }

    /// Older versions made destination-based routes with `AutoConfigRoute`, and published them to the VPC. What is published
    /// stays, because traffic relies on it, as if somebody had made it: he may withdraw or delete it. The rest goes, and the
    /// policy-based routes come.
    pub(super) fn replace_automatic_destination_routes(&mut self) {
        let outdated = self.state.vpn_routes.values();
        let outdated = outdated.filter(|route| route.automatic && route.key.source.is_none());
        for route in outdated {
            self.push(match route.published {
                true => Change::VpnRouteSet(VpnRoute { automatic: false, ..route.clone() }),
                false => Change::VpnRouteRemoved(route.key.clone()),
            });
            let connection = self.state.vpn_connections.get(route.key.next_hop.as_str());
            let connection = connection.filter(|connection| connection.auto_config_route && connection.policy_mode());
            let pairs = connection.map(subnet_pairs).unwrap_or_default();
            let missing = pairs
                .into_iter()
                .filter(|key| key.destination == route.key.destination && !self.state.vpn_routes.contains_key(key));
            for key in missing {
                let route = self.automatic_route(key);
                self.push(Change::VpnRouteSet(route));
            }
        }
    }
}

/// What a connection carries, as the keys of policy-based routes.
fn subnet_pairs(connection: &VpnConnection) -> Vec<VpnRouteKey> {
    let VpnConnection { id, gateway, local_subnets, remote_subnets, .. } = connection;
    let key = |source: &Ipv4Net, destination: &Ipv4Net| VpnRouteKey {
        gateway: gateway.clone(),
        destination: *destination,
        next_hop: id.to_string(),
        source: Some(*source),
    };
    local_subnets.iter().flat_map(|source| remote_subnets.iter().map(move |to| key(source, to))).collect()
}

/// Two connections to one customer gateway must differ in what they carry.
fn same_traffic(a: &VpnConnection, b: &VpnConnection) -> bool {
    a.customer_gateway == b.customer_gateway
        && a.local_subnets == b.local_subnets
        && a.remote_subnets == b.remote_subnets
}

fn checked_subnets(parameter: &str, subnets: &[Ipv4Net]) -> Result<Vec<Ipv4Net>, ApiError> {
    if subnets.is_empty() || subnets.len() > SUBNETS {
        return Err(ApiError::invalid(parameter));
    }
    subnets.iter().try_for_each(|subnet| cidr::check_vpn_destination(*subnet))?;
    let mut sorted = subnets.to_vec();
    sorted.sort();
    sorted.dedup();
    if sorted.len() == subnets.len() { Ok(subnets.to_vec()) } else { Err(ApiError::invalid(parameter)) }
}

fn ike_config(base: IkeConfig, given: &IkeParameters) -> Result<IkeConfig, ApiError> {
    if given.psk.as_ref().is_some_and(|psk| !is_key(psk)) {
        return Err(ApiError::invalid("IkeConfig.Psk"));
    }
    Ok(IkeConfig {
        psk: given.psk.clone().unwrap_or(base.psk),
        version: word("IkeConfig.IkeVersion", &given.version, &["ikev1", "ikev2"], base.version)?,
        mode: word("IkeConfig.IkeMode", &given.mode, &["main", "aggressive"], base.mode)?,
        encryption: given.encryption.unwrap_or(base.encryption),
        authentication: given.authentication.unwrap_or(base.authentication),
        group: given.group.unwrap_or(base.group),
        lifetime: lifetime("IkeConfig.IkeLifetime", given.lifetime, base.lifetime)?,
        local_id: identity("IkeConfig.LocalId", &given.local_id, base.local_id)?,
        remote_id: identity("IkeConfig.RemoteId", &given.remote_id, base.remote_id)?,
    })
}

fn ipsec_config(base: IpsecConfig, given: &IpsecParameters) -> Result<IpsecConfig, ApiError> {
    Ok(IpsecConfig {
        encryption: given.encryption.unwrap_or(base.encryption),
        authentication: given.authentication.unwrap_or(base.authentication),
        pfs: given.pfs.unwrap_or(base.pfs),
        lifetime: lifetime("IpsecConfig.IpsecLifetime", given.lifetime, base.lifetime)?,
    })
}

/// A key is 1 to 100 visible ASCII characters.
fn is_key(psk: &PreSharedKey) -> bool {
    (1..=100).contains(&psk.expose().len()) && psk.expose().bytes().all(|byte| byte.is_ascii_graphic())
}

fn word(parameter: &str, given: &Option<String>, allowed: &[&str], base: String) -> Result<String, ApiError> {
    match given {
        None => Ok(base),
        Some(word) if allowed.contains(&word.as_str()) => Ok(word.clone()),
        Some(_) => {
            let refusal = ApiError::invalid(parameter);
            let message = format!("{} It may be {}.", refusal.message, allowed.join(", "));
            Err(ApiError { message: message.into(), ..refusal })
        }
    }
}

fn lifetime(parameter: &str, given: Option<u32>, base: u32) -> Result<u32, ApiError> {
    match given {
        Some(seconds) if seconds > LIFETIME => Err(ApiError::invalid(parameter)),
        other => Ok(other.unwrap_or(base)),
    }
}

/// An address or a name of at most 100 characters without spaces.
fn identity(parameter: &str, given: &Option<String>, base: String) -> Result<String, ApiError> {
    match given {
        None => Ok(base),
        Some(id) if id.is_empty() || id.len() > 100 || id.contains(char::is_whitespace) => {
            Err(ApiError::invalid(parameter))
        }
        Some(id) => Ok(id.clone()),
    }
}
