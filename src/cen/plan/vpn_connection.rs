//! IPsec-VPN connections.

use ipnet::Ipv4Net;

use super::vpn_gateway::quota_full;
use super::vpn_route::VPN_ROUTES;
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
        self.configure_routes(&connection, None)?;
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
        self.configure_routes(&new, Some(old))?;
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
    /// somebody has made is left as it is, and so is the lack of one for what the connection has carried before: it may have
    /// been deleted, or not made because it would have won over another route. Without subnets of its own (0.0.0.0/0 on both
    /// sides) a connection gets none.
    ///
    /// # Errors
    /// The gateway would have more policy-based routes than it may.
    fn configure_routes(&mut self, new: &VpnConnection, former: Option<&VpnConnection>) -> Result<(), ApiError> {
        let wanted = automatic_keys(new);
        let routes = self.state.vpn_routes_of(&new.gateway);
        let outdated = routes
            .filter(|route| route.key.next_hop == new.id.as_str() && route.automatic && !wanted.contains(&route.key));
        let outdated: Vec<&VpnRoute> = outdated.collect();
        let had = former.map(automatic_keys).unwrap_or_default();
        let missing = |key: &VpnRouteKey| !had.contains(key) && !self.state.vpn_routes.contains_key(key);
        let missing: Vec<VpnRouteKey> = wanted.into_iter().filter(missing).collect();
        // Of an older version there may be more.
        if !missing.is_empty() {
            let others = self.vpn_route_count(&new.gateway, true).saturating_sub(outdated.len());
            if others + missing.len() > VPN_ROUTES {
                return Err(no_room(missing.len(), others));
            }
        }
        self.remove_vpn_routes(&outdated);
        for key in missing {
            let route = self.automatic_route(key, ACTIVE_WEIGHT);
            self.push(Change::VpnRouteSet(route));
        }
        Ok(())
    }

    fn automatic_route(&self, key: VpnRouteKey, weight: u8) -> VpnRoute {
        VpnRoute {
            key,
            weight,
            priority: DEFAULT_PRIORITY,
            published: false,
            owned_by_file: false,
            automatic: true,
            description: String::new(),
            created: self.now,
        }
    }

    /// Older versions made destination-based routes with `AutoConfigRoute`, and published them to the VPC. Policy-based ones of
    /// the same weight come in their place, but not where they would take packets from another connection. What traffic relies
    /// on stays, as if somebody had made it: he may withdraw or delete it. That is what is published, what leads where there
    /// are no policy-based routes now, and a standby, which the connection's subnets alone would make active.
    pub(super) fn replace_automatic_destination_routes(&mut self) {
        let outdated = self.state.vpn_routes.values();
        let outdated = outdated.filter(|route| route.automatic && route.key.source.is_none());
        for route in outdated {
            let contested = self.is_contested(route);
            self.push(match route.published || contested || route.weight != ACTIVE_WEIGHT {
                true => Change::VpnRouteSet(VpnRoute { automatic: false, ..route.clone() }),
                false => Change::VpnRouteRemoved(route.key.clone()),
            });
            let connection = self.state.vpn_connections.get(route.key.next_hop.as_str());
            let keys = connection.filter(|_| !contested).map(automatic_keys).unwrap_or_default();
            let missing = keys
                .into_iter()
                .filter(|key| key.destination == route.key.destination && !self.state.vpn_routes.contains_key(key));
            for key in missing {
                let route = self.automatic_route(key, route.weight);
                self.push(Change::VpnRouteSet(route));
            }
        }
    }

    /// Whether the gateway leads packets for this destination, or for a part of it, through another connection too, by a
    /// destination-based route or by that connection's subnets. Any policy-based route would be asked before those. Of the
    /// routes of the gateway's own file those are known that are published.
    fn is_contested(&self, route: &VpnRoute) -> bool {
        let VpnRouteKey { gateway, destination, next_hop, source: _ } = &route.key;
        let routes = self.state.vpn_routes_of(gateway).filter(|other| other.key.source.is_none());
        let mut routes = routes.map(|other| (other.key.destination, other.key.next_hop.as_str()));
        let connections = self.state.connections_of(gateway).filter(|other| other.policy_mode());
        let mut subnets = connections.flat_map(|other| other.remote_subnets.iter().map(|to| (*to, other.id.as_str())));
        let elsewhere = |(to, through): (Ipv4Net, &str)| through != next_hop && destination.contains(&to);
        routes.any(elsewhere) || subnets.any(elsewhere)
    }
}

/// 400 `Resource.QuotaFull`: there is no room for this many automatic routes beside the others.
fn no_room(automatic: usize, others: usize) -> ApiError {
    let full = quota_full("policy-based routes of the VPN gateway");
    let message = format!(
        "{} AutoConfigRoute would make {automatic}, one for each pair of subnets, beside {others}; allowed: {VPN_ROUTES}. \
         Without AutoConfigRoute none are made.",
        full.message
    );
    ApiError { message: message.into(), ..full }
}

/// The keys of the routes that `AutoConfigRoute` makes for a connection: what it carries.
fn automatic_keys(connection: &VpnConnection) -> Vec<VpnRouteKey> {
    let VpnConnection { id, gateway, local_subnets, remote_subnets, .. } = connection;
    if !connection.auto_config_route || !connection.policy_mode() {
        return Vec::new();
    }
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
