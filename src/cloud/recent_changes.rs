//! What the last commits have touched, for those who follow the state: fabric and gateways. Keys only; what is there now of a
//! key stands in the state.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cen::change::Change;
use crate::cen::identifier::{VpnConnectionId, VpnGatewayId};
use crate::cen::state::State;
use crate::cen::vpn::{VpnConnection, VpnRoute, VpnRouteKey};
use crate::io::store::Revision;

/// Commits that are remembered at most. Who is further behind looks at the whole state.
const COMMITS: usize = 1024;
/// Keys that are remembered at most, of all commits together.
const KEYS: usize = 65_536;

/// What changes have touched. A key may be named although nothing of it is there, before or after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Something else than connections, customer gateways and VPN routes: networks, CEN, VPN gateways, declarations.
    pub networks: bool,
    /// IPsec-VPN connections, with the VPN gateway that each is at.
    pub connections: BTreeSet<(VpnGatewayId, VpnConnectionId)>,
    /// Routes of VPN gateways through connections of the cloud.
    pub routes: BTreeSet<VpnRouteKey>,
    /// Routes that a gateway's own file names.
    pub file_routes: BTreeSet<VpnRouteKey>,
}

impl Touched {
    /// What the changes of one commit touch; `before` is the state that they are applied to.
    pub fn of(before: &State, changes: &[Change]) -> Self {
        let mut touched = Self::default();
        for change in changes {
            match change {
                Change::VpnConnectionSet(connection) => {
                    touched.connection_at(before, &connection.id);
                    touched.connection(connection);
                }
                Change::VpnConnectionRemoved(id) => touched.connection_at(before, id),
                Change::CustomerGatewaySet(gateway) => {
                    let present = before.customer_gateways.get(&gateway.id);
                    if present.is_some_and(|present| present.address != gateway.address) {
                        touched.connections_to(before, |connection| connection.customer_gateway == gateway.id);
                    }
                }
                Change::CustomerGatewayRemoved(id) => {
                    touched.connections_to(before, |connection| connection.customer_gateway == *id);
                }
                Change::VpnRouteSet(route) => {
                    touched.route_at(before, &route.key);
                    touched.route(route);
                }
                Change::VpnRouteRemoved(key) => touched.route_at(before, key),
                Change::ClientTokenUsed { .. }
                | Change::ResourceGroupSet { .. }
                | Change::Granted(_)
                | Change::Revoked { .. }
                | Change::BandwidthPackageSet(_)
                | Change::BandwidthPackageRemoved(_)
                | Change::BandwidthLimitSet(_) => {}
                Change::CenSet(_)
                | Change::CenRemoved(_)
                | Change::Attached { .. }
                | Change::Detached { .. }
                | Change::Published { .. }
                | Change::Withdrawn { .. }
                | Change::RouteMapSet(_)
                | Change::RouteMapRemoved(_)
                | Change::VpcSet(_)
                | Change::VpcRemoved(_)
                | Change::VSwitchSet(_)
                | Change::VSwitchRemoved(_)
                | Change::VbrSet(_)
                | Change::VbrRemoved(_)
                | Change::RouteTableSet(_)
                | Change::RouteTableRemoved(_)
                | Change::RouteEntrySet { .. }
                | Change::RouteEntryRemoved { .. }
                | Change::VpnGatewaySet(_)
                | Change::VpnGatewayRemoved(_)
                | Change::Declared(_) => touched.networks = true,
            }
        }
        touched
    }

    /// A connection and the routes that it has by being in policy mode.
    fn connection(&mut self, connection: &VpnConnection) {
        let VpnConnection { id, gateway, remote_subnets, .. } = connection;
        self.connections.insert((gateway.clone(), id.clone()));
        self.routes.extend(remote_subnets.iter().map(|destination| VpnRouteKey {
            gateway: gateway.clone(),
            destination: *destination,
            next_hop: id.to_string(),
            source: None,
        }));
    }

    fn connection_at(&mut self, before: &State, id: &VpnConnectionId) {
        if let Some(connection) = before.vpn_connections.get(id) {
            self.connection(connection);
        }
    }

    fn connections_to(&mut self, before: &State, which: impl Fn(&VpnConnection) -> bool) {
        before.vpn_connections.values().filter(|one| which(one)).for_each(|one| self.connection(one));
    }

    fn route(&mut self, route: &VpnRoute) {
        let routes = if route.owned_by_file { &mut self.file_routes } else { &mut self.routes };
        routes.insert(route.key.clone());
    }

    fn route_at(&mut self, before: &State, key: &VpnRouteKey) {
        if let Some(route) = before.vpn_routes.get(key) {
            self.route(route);
        }
    }

    /// Takes what another has touched to what this one has.
    fn join(&mut self, other: &Self) {
        let Self { networks, connections, routes, file_routes } = other;
        self.networks |= networks;
        self.connections.extend(connections.iter().cloned());
        self.routes.extend(routes.iter().cloned());
        self.file_routes.extend(file_routes.iter().cloned());
    }

    fn keys(&self) -> usize {
        self.connections.len() + self.routes.len() + self.file_routes.len()
    }
}

/// The last commits, each with what it has touched. The writer adds, everybody else asks.
#[derive(Debug, Default)]
pub struct RecentChanges(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    /// What came after this revision is known.
    floor: Revision,
    /// By revision; one follows the other.
    commits: VecDeque<(Revision, Touched)>,
    /// Of all commits together.
    keys: usize,
}

impl RecentChanges {
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is known of what led to this revision.
    pub fn begin(&self, revision: Revision) {
        *self.recent() = Recent { floor: revision, ..Recent::default() };
    }

    /// One more commit led to this revision.
    pub fn add(&self, revision: Revision, touched: Touched) {
        let mut recent = self.recent();
        recent.keys += touched.keys();
        recent.commits.push_back((revision, touched));
        while recent.commits.len() > COMMITS || recent.keys > KEYS {
            let Some((revision, touched)) = recent.commits.pop_front() else { return };
            recent.keys -= touched.keys();
            recent.floor = revision;
        }
    }

    /// What was touched after `from`, up to `to`. `None` if that is not known any more.
    pub fn between(&self, from: Revision, to: Revision) -> Option<Touched> {
        let recent = self.recent();
        if from < recent.floor || from > to {
            return None;
        }
        let mut touched = Touched::default();
        let newer = recent.commits.iter().rev().take_while(|(revision, _)| *revision > from);
        newer.filter(|(revision, _)| *revision <= to).for_each(|(_, one)| touched.join(one));
        Some(touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(number: u8) -> VpnRouteKey {
        VpnRouteKey {
            gateway: "vpn-a".into(),
            destination: ipnet::Ipv4Net::new([10, number, 0, 0].into(), 16).unwrap(),
            next_hop: "vco-a".to_owned(),
            source: None,
        }
    }

    fn touches(keys: impl IntoIterator<Item = VpnRouteKey>) -> Touched {
        Touched { routes: keys.into_iter().collect(), ..Touched::default() }
    }

    #[test]
    fn what_lies_between_two_revisions_is_joined() {
        let recent = RecentChanges::default();
        recent.begin(Revision(7));
        for number in 8..12_u8 {
            recent.add(Revision(u64::from(number)), touches([route(number)]));
        }
        let between = |from, to| recent.between(Revision(from), Revision(to));
        assert_eq!(between(7, 11), Some(touches([8, 9, 10, 11].map(route))));
        assert_eq!(between(8, 10), Some(touches([9, 10].map(route))));
        assert_eq!(between(11, 11), Some(Touched::default()));
        assert_eq!(between(6, 11), None, "before what is known");
        assert_eq!(between(12, 11), None, "the store is older than who asks");
        recent.begin(Revision(11));
        assert_eq!((between(10, 11), between(11, 11)), (None, Some(Touched::default())));
    }

    #[test]
    fn neither_commits_nor_keys_are_remembered_without_end() {
        let recent = RecentChanges::default();
        let all = COMMITS as u64 + 10;
        (1..=all).for_each(|revision| recent.add(Revision(revision), touches([route(1)])));
        assert_eq!(recent.between(Revision(9), Revision(all)), None);
        assert_eq!(recent.between(Revision(10), Revision(all)), Some(touches([route(1)])));
        let many = (0..u16::MAX).map(|number| VpnRouteKey { next_hop: number.to_string(), ..route(1) });
        recent.add(Revision(all + 1), touches(many));
        recent.add(Revision(all + 2), touches([route(2), route(3)]));
        assert_eq!(recent.between(Revision(all), Revision(all + 2)), None, "a huge commit does not stay for long");
        assert_eq!(recent.between(Revision(all + 1), Revision(all + 2)), Some(touches([route(2), route(3)])));
    }
}
