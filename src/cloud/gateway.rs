//! cend's links to the gatewayds of the bound VPN gateways, and what each of these last said.
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::fabric_binding::GatewayBinding;
use super::fabric_routes::bound_gateway;
use super::gateway_session::{Follower, Snapshot};
use super::writer::Commits;
use crate::cen::identifier::VpnGatewayId;
use crate::cen::network::UnixMillis;
use crate::cen::openapi::live::{FileRoute, LiveGateways, TunnelStatus};
use crate::cen::state::State;
use crate::control::Owner;
use crate::control::status::{ChildState, Connection, IkeState};

struct Link {
    binding: GatewayBinding,
    snapshot: watch::Receiver<Snapshot>,
}

/// All links. Dropping it ends them; what the gatewayds have stays there.
pub struct GatewayLinks {
    links: Vec<Link>,
    /// Place in `links` by VPN gateway id.
    by_id: RwLock<BTreeMap<VpnGatewayId, usize>>,
    /// Keeps the tasks alive, and ends them.
    _tasks: JoinSet<()>,
}

impl GatewayLinks {
    /// Starts a link for each binding, which brings its gatewayd to what is committed.
    pub fn start(bindings: &[GatewayBinding], commits: Commits) -> Self {
        // Whoever holds a revision of another run is told the whole set.
        let session: Arc<str> = uuid::Uuid::new_v4().to_string().into();
        let mut tasks = JoinSet::new();
        let mut links = Vec::new();
        for binding in bindings {
            let (sender, snapshot) = watch::channel(None);
            let follower = Follower::new(binding.clone(), commits.clone(), Arc::clone(&session), sender);
            tasks.spawn(follower.run());
            links.push(Link { binding: binding.clone(), snapshot });
        }
        let links = GatewayLinks { links, by_id: RwLock::default(), _tasks: tasks };
        links.bind(&commits.newest.borrow().state);
        links
    }

    /// Finds out which gateway each link is for; to be called after a change of the VPN gateways.
    pub fn bind(&self, state: &State) {
        let bound = |(place, link): (usize, &Link)| Some((bound_gateway(state, &link.binding)?.id.clone(), place));
        let by_id = self.links.iter().enumerate().filter_map(bound).collect();
        *self.by_id.write().unwrap_or_else(PoisonError::into_inner) = by_id;
    }

    fn snapshot(&self, gateway: &VpnGatewayId) -> Snapshot {
        let place = *self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(gateway)?;
        self.links.get(place)?.snapshot.borrow().clone()
    }
}

impl LiveGateways for GatewayLinks {
    fn tunnel_status(&self, gateway: &VpnGatewayId, connection: &str) -> Option<TunnelStatus> {
        let status = self.snapshot(gateway)?;
        status.connections.iter().find(|one| one.owner == Owner::Cend && one.name == connection).map(tunnel_status)
    }

    fn file_routes(&self, gateway: &VpnGatewayId) -> Vec<FileRoute> {
        let Some(status) = self.snapshot(gateway) else { return Vec::new() };
        // The cloud shows and publishes those that are told by destination.
        let of_file = status.routes.iter().filter(|route| route.owner == Owner::File && route.source.is_none());
        let row = |route: &crate::control::route::Route| FileRoute {
            destination: route.destination,
            connection: route.connection.clone(),
            weight: route.weight,
            created: UnixMillis(route.created.saturating_mul(1000)),
        };
        of_file.map(row).collect()
    }
}

fn tunnel_status(connection: &Connection) -> TunnelStatus {
    match (connection.ike_state, connection.child_state) {
        (IkeState::IkeSaNotEstablished, _) => TunnelStatus::IkeSaNotEstablished,
        (IkeState::IkeSaEstablished, ChildState::IpsecSaEstablished) => TunnelStatus::IpsecSaEstablished,
        (IkeState::IkeSaEstablished, ChildState::IpsecSaNotEstablished) => match connection.last_error {
            Some(_) => TunnelStatus::IpsecSaNotEstablished,
            None => TunnelStatus::IkeSaEstablished,
        },
    }
}
