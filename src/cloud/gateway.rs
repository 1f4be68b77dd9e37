//! cend's links to the gatewayds of the bound VPN gateways.
//!
//! Each link puts the complete set on every change, on every connection and every minute, follows gatewayd's events,
//! and keeps what gatewayd last said about itself, for as long as it can be reached.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tracing::{info, warn};

use super::fabric_binding::GatewayBinding;
use super::fabric_routes::bound_gateway;
use super::gateway_set::owner_set;
use crate::cen::identifier::VpnGatewayId;
use crate::cen::network::UnixMillis;
use crate::cen::openapi::live::{FileRoute, LiveGateways, TunnelStatus};
use crate::cen::state::State;
use crate::control::Owner;
use crate::control::owner::{OwnerReply, OwnerSet, Refusal};
use crate::control::request::Request;
use crate::control::status::{ChildState, Connection, IkeState, Status};
use crate::io::unix::{CallError, ControlClient};

/// How often the set is put although nothing changed.
const REPEAT: Duration = Duration::from_secs(60);
/// First and longest pause before the next attempt to reach a gatewayd.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How many gatewayd events may be answered by one look at its status.
const EVENTS_AT_ONCE: usize = 64;

/// What a gatewayd last said; `None` while it cannot be reached.
type Snapshot = Option<Arc<Status>>;

struct Link {
    binding: GatewayBinding,
    wanted: watch::Sender<OwnerSet>,
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
    /// Starts a link for each binding, with what `state` wants there.
    pub fn start(bindings: &[GatewayBinding], state: &State, revision: u64) -> Self {
        let mut tasks = JoinSet::new();
        let mut links = Vec::new();
        for binding in bindings {
            let (wanted, wanted_receiver) = watch::channel(owner_set(state, bound_gateway(state, binding), revision));
            let (snapshot_sender, snapshot) = watch::channel(None);
            tasks.spawn(follow(binding.socket.clone(), wanted_receiver, snapshot_sender));
            links.push(Link { binding: binding.clone(), wanted, snapshot });
        }
        let links = GatewayLinks { links, by_id: RwLock::default(), _tasks: tasks };
        links.update(state, revision);
        links
    }

    /// Puts what `state` wants wherever that is news; to be called after every change.
    pub fn update(&self, state: &State, revision: u64) {
        let mut by_id = BTreeMap::new();
        for (place, link) in self.links.iter().enumerate() {
            let gateway = bound_gateway(state, &link.binding);
            by_id.extend(gateway.map(|gateway| (gateway.id.clone(), place)));
            let set = owner_set(state, gateway, revision);
            link.wanted.send_if_modified(|current| {
                let news = OwnerSet { revision, ..current.clone() } != set;
                *current = set;
                news
            });
        }
        *self.by_id.write().unwrap_or_else(std::sync::PoisonError::into_inner) = by_id;
    }

    fn snapshot(&self, gateway: &VpnGatewayId) -> Snapshot {
        let place = *self.by_id.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(gateway)?;
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
        let of_file = status.routes.iter().filter(|route| route.owner == Owner::File);
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

/// Keeps one link, for ever: connects, works until the connection breaks, waits, connects again.
async fn follow(socket: PathBuf, mut wanted: watch::Receiver<OwnerSet>, snapshot: watch::Sender<Snapshot>) {
    let shown = socket.display().to_string();
    let mut pause = BACK_OFF.0;
    // What was complained of last: the same is told once.
    let mut complaint = String::new();
    loop {
        let mut session = Session { wanted: &mut wanted, snapshot: &snapshot, refused: Vec::new(), gateway: &shown };
        let ended = session.run(&socket).await;
        if snapshot.send_replace(None).is_some() {
            (pause, complaint) = (BACK_OFF.0, String::new());
        }
        match ended {
            Ok(()) => return,
            Err(error) if error.to_string() != complaint => {
                warn!(gateway = shown, %error, "gatewayd cannot be kept in step");
                complaint = error.to_string();
            }
            Err(_) => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

/// One connection to a gatewayd.
struct Session<'l> {
    wanted: &'l mut watch::Receiver<OwnerSet>,
    snapshot: &'l watch::Sender<Snapshot>,
    refused: Vec<Refusal>,
    gateway: &'l str,
}

impl Session<'_> {
    /// Works until the connection breaks; `Ok` when cend wants nothing more.
    async fn run(&mut self, socket: &std::path::Path) -> Result<(), CallError> {
        let client = ControlClient::new(socket)?;
        // Events first: what happens between the set and the first look at the status is then not missed.
        let mut events = std::pin::pin!(client.events().await?.ready_chunks(EVENTS_AT_ONCE));
        self.put(&client).await?;
        self.look(&client).await?;
        info!(gateway = self.gateway, "gatewayd has the cloud's set");
        let mut repeat = interval_at(Instant::now() + REPEAT, REPEAT);
        repeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.put(&client).await?;
                }
                heard = events.next() => if heard.is_none() {
                    return Err(CallError::Unreachable {
                        path: self.gateway.to_owned(),
                        reason: "it ended the stream of events".to_owned(),
                    });
                },
                _ = repeat.tick() => self.put(&client).await?,
            }
            self.look(&client).await?;
        }
    }

    async fn put(&mut self, client: &ControlClient) -> Result<(), CallError> {
        let set = self.wanted.borrow_and_update().clone();
        let reply: OwnerReply = client.call_with(&Request::PutOwner, &set).await?;
        for refusal in reply.refused.iter().filter(|refusal| !self.refused.contains(refusal)) {
            let Refusal { kind, name, reason } = refusal;
            warn!(gateway = self.gateway, ?kind, name, reason, "gatewayd refuses a part of the cloud's set");
        }
        self.refused = reply.refused;
        Ok(())
    }

    async fn look(&self, client: &ControlClient) -> Result<(), CallError> {
        let status: Status = client.call(&Request::Status).await?;
        self.snapshot.send_replace(Some(Arc::new(status)));
        Ok(())
    }
}
