//! What follows from a change of the file or of cend's set, for IKE, routes, kernel and view. It costs what the change names:
//! what is shared with what is in force is compared by its pointer.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{info, warn};

use super::load::Loaded;
use super::routes::{difference, keep_creation};
use super::tunnels::{self, Difference, Known};
use super::{Force, Gateway, Refused};
use crate::control::Owner;
use crate::control::event::EventKind;
use crate::control::owner::{OwnerReply, OwnerSet, Refusal, RefusedKind};
use crate::control::reload::Reloaded;
use crate::daemon::config::{Config, Tunnel};
use crate::daemon::connections::{Change, InForce};
use crate::daemon::ike_thread::Request;
use crate::daemon::owner_set::{self, Translation};
use crate::daemon::{owner_file, policy};
use crate::io::clock;
use crate::io::ip_forwarding::Families;
use crate::io::kept_policy::Share;
use crate::routing::{self, Family, Publication, RouteKey, VpnRoute};

/// How long a change waits for the kernel's side to follow.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(1);

/// cend's set beside a file.
struct OfCend {
    translation: Translation,
    share: Share,
}

impl Gateway {
    /// Brings IKE, routes, kernel and status to what is configured, from nothing.
    pub async fn apply(&mut self) {
        let cend = self.translated(Arc::clone(&self.file)).await;
        // Until then nothing is led into the tunnel.
        self.force.protection.stale = true;
        self.bring(Arc::clone(&self.file), Some(cend)).await;
    }

    /// Takes a file that has been read again.
    pub async fn take_file(&mut self, Loaded { file, reloaded, other_names, took }: Loaded) -> Reloaded {
        let began = Instant::now();
        for warning in &reloaded.warnings {
            warn!("{warning}");
        }
        let file = Arc::new(file);
        let cend = match &self.owner {
            Some(_) if other_names => Some(self.translated(Arc::clone(&file)).await),
            _ => None,
        };
        self.bring(file, cend).await;
        let Reloaded { added, changed, removed, warnings: _ } = &reloaded;
        let ms = |time: Duration| time.as_micros() as f64 / 1000.0;
        info!(?added, ?changed, ?removed, read_ms = ms(took), applied_ms = ms(began.elapsed()), "reloaded");
        self.events.happened(EventKind::Reloaded, None, None, None);
        reloaded
    }

    /// Takes cend's complete set: kept on the disk first, then applied.
    pub async fn take_owner_set(&mut self, set: OwnerSet) -> Result<OwnerReply, Refused> {
        let set = Arc::new(set);
        if self.owner.as_ref() != Some(&set) {
            let (state, kept) = (self.state.clone(), Arc::clone(&set));
            let kept = spawn_blocking(move || owner_file::keep(&state, &kept)).await;
            kept.map_err(std::io::Error::other).flatten().map_err(Refused::NotKept)?;
            let known = self.owner.as_ref().map_or(0, |set| set.revision);
            info!(revision = set.revision, previous = known, connections = set.connections.len(), "took cend's set");
            let before = self.owner.replace(set);
            let cend = self.translated(Arc::clone(&self.file)).await;
            self.bring(Arc::clone(&self.file), Some(cend)).await;
            self.events.happened(EventKind::Reloaded, None, None, None);
            // Thousands of keys are erased where nobody waits.
            spawn_blocking(move || drop(before));
        }
        Ok(self.owner_reply())
    }

    /// What becomes of cend's set beside this file. What is as it was in force is shared with it.
    async fn translated(&self, file: Arc<Config>) -> OfCend {
        let Some(set) = self.owner.clone() else {
            return OfCend { translation: Translation::default(), share: self.cend_before.clone() };
        };
        let tunnels = Arc::clone(self.force.tunnels.list(Owner::Cend));
        let routes = Arc::clone(&self.force.routes[1]);
        let translate = move || {
            let mut translation = owner_set::translate(&set, &file, clock::unix_seconds());
            tunnels::share(&mut translation.tunnels, &tunnels);
            keep_creation(&mut translation.routes, &routes);
            OfCend { translation, share: policy::cend_share(&set) }
        };
        // It fails only if it panics, which ends the process.
        spawn_blocking(translate).await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
    }

    /// Brings everything to this file and, unless that is as it was, to this set of cend.
    async fn bring(&mut self, file: Arc<Config>, cend: Option<OfCend>) {
        let (mut of_cend, mut cend_routes) =
            (Arc::clone(self.force.tunnels.list(Owner::Cend)), Arc::clone(&self.force.routes[1]));
        let mut publications = BTreeMap::new();
        if let Some(OfCend { mut translation, share }) = cend {
            of_cend = Arc::new(std::mem::take(&mut translation.tunnels));
            cend_routes = Arc::new(std::mem::take(&mut translation.routes));
            self.force.protection.cend(share);
            let before = std::mem::replace(&mut self.cend, translation);
            warn_of_news(&before, &self.cend);
            publications = before.publications;
        } else {
            publications.clone_from(&self.cend.publications);
        }
        self.force.protection.stale |= self.file.bypass != file.bypass;
        let difference = self.force.tunnels.replace(Arc::clone(&file.connections), of_cend);
        let refused = self.force.table.refused(routing::Owner::File).count();
        let new_routes = self.force.change_routes([Arc::clone(&file.routes), cend_routes]);
        self.file = file;
        self.change_connections(&difference);
        self.publish_routes(&publications, &new_routes);
        for (route, reason) in self.force.table.refused(routing::Owner::File).skip(refused) {
            warn!(destination = %route.destination, connection = %route.connection, %reason, "refused a route of the file");
        }
        self.tell_unresolved();
        self.publish_fib();
        self.shown.configured(&self.file, &self.cend, self.owner.is_some().then(|| self.owner_reply()));
        self.apply_policy().await;
        self.events.happened(EventKind::RoutesChanged, None, None, None);
    }

    /// Tells IKE, the kernel's side and whoever looks up names which connections differ.
    fn change_connections(&mut self, Difference { gone, new, moved }: &Difference) {
        let mut change = Change::default();
        for (_, tunnel) in gone {
            if self.force.tunnels.known(tunnel.name()).is_none() {
                self.seen.forget(tunnel.name());
                // With it go the addresses that its peers were seen at.
                self.force.protection.stale = true;
                change.removed.push(Arc::clone(tunnel.name()));
            }
        }
        let set = new.iter().map(|(_, tunnel)| tunnel).chain(moved);
        change.set.extend(set.filter_map(|tunnel| Some(self.in_force(self.force.tunnels.known(tunnel.name())?))));
        if !change.removed.is_empty() || !change.set.is_empty() {
            self.ike.send(Request::Configure(change));
            self.stale.names = true;
        }
        let addresses = |list: &[(Owner, Arc<Tunnel>)]| -> Vec<IpAddr> {
            list.iter().filter_map(|(_, tunnel)| self.resolved_peer(tunnel)).collect()
        };
        let (left, come) = (addresses(gone), addresses(new));
        self.force.protection.peers(left, come);
        let of_file = |list: &'_ [(Owner, Arc<Tunnel>)]| -> Vec<Arc<Tunnel>> {
            list.iter().filter(|(owner, _)| *owner == Owner::File).map(|(_, tunnel)| Arc::clone(tunnel)).collect()
        };
        self.force.protection.local_subnets(&of_file(gone), &of_file(new));
    }

    fn in_force(&self, Known { place, tunnel }: &Known) -> InForce {
        InForce {
            name: Arc::clone(tunnel.name()),
            place: *place,
            ike: tunnel.ike(self.resolved_peer(tunnel)),
            esp_options: tunnel.esp_options,
        }
    }

    /// The publication states of the file's routes: those that cend has changed, and those of new routes.
    fn publish_routes(&mut self, before: &BTreeMap<RouteKey, Publication>, new: &[RouteKey]) {
        let after = &self.cend.publications;
        let gone = before.keys().filter(|key| !after.contains_key(*key));
        let changed = after.iter().filter(|(key, publication)| before.get(*key) != Some(*publication));
        let of_new = new.iter().filter(|key| after.contains_key(*key));
        for key in gone.chain(changed.map(|(key, _)| key)).chain(of_new) {
            self.force.table.publish(key, after.get(key).copied().unwrap_or_default());
        }
    }

    /// A peer's name leads elsewhere than `before`.
    pub(super) async fn peer_has_moved(&mut self, name: &str, before: Option<IpAddr>, address: IpAddr) {
        let set: Vec<InForce> = self.force.tunnels.of_peer(name).map(|known| self.in_force(known)).collect();
        for _ in &set {
            self.force.protection.peers(before, [address]);
        }
        self.ike.send(Request::Configure(Change { set, ..Change::default() }));
        self.apply_policy().await;
    }

    /// Brings the kernel's side to what is protected, if that has changed.
    async fn apply_policy(&mut self) {
        if self.force.protection.stale {
            self.apply_kernel().await;
        } else {
            self.publish_view();
        }
    }

    pub(super) async fn apply_kernel(&mut self) {
        (self.stale.kernel, self.force.protection.stale) = (false, false);
        let policy = self.policy();
        self.outer_peers.clone_from(&policy.outer_peers);
        let has = |family| self.force.table.has_family(family);
        self.families.send_replace(Families { ipv4: has(Family::Ipv4), ipv6: has(Family::Ipv6) });
        // What did not succeed is logged where it is tried again, and stands in the view as long as it lasts. A kernel's side
        // that takes longer tells when it is done.
        let _ = timeout(KERNEL_TIMEOUT, self.forwarding.apply(policy)).await;
        self.shown.kernel_is_behind();
        self.publish_view();
    }

    /// What became of cend's set: the answer to it, and to who asks later.
    pub fn owner_reply(&self) -> OwnerReply {
        let revision = self.owner.as_ref().map_or(0, |set| set.revision);
        let of_table = self.force.table.refused(routing::Owner::Cend).map(|(route, reason)| Refusal {
            kind: RefusedKind::Route,
            name: route.destination.to_string(),
            reason: reason.to_string(),
        });
        OwnerReply { revision, refused: self.cend.refused.iter().cloned().chain(of_table).collect() }
    }
}

impl Force {
    /// Takes the routes of the file and of cend, and tells which of the file are new.
    fn change_routes(&mut self, routes: [Arc<Vec<VpnRoute>>; 2]) -> Vec<RouteKey> {
        let before = std::mem::replace(&mut self.routes, routes);
        let mut of_file = Vec::new();
        for (side, owner) in [routing::Owner::File, routing::Owner::Cend].into_iter().enumerate() {
            let (gone, new) = difference(&before[side], &self.routes[side]);
            if owner == routing::Owner::File {
                self.protection.routes(&gone, &new);
                of_file.extend(new.iter().map(|route| route.key()));
            }
            let gone = gone.into_iter().map(VpnRoute::key).collect();
            self.table.change(owner, gone, new.into_iter().cloned().collect());
        }
        of_file
    }
}

/// Tells of what is refused or should be changed, and was not before.
fn warn_of_news(before: &Translation, after: &Translation) {
    let known: HashSet<&String> = before.warnings.iter().collect();
    for warning in after.warnings.iter().filter(|warning| !known.contains(warning)) {
        warn!("{warning}");
    }
    let known: HashSet<(&str, &str)> =
        before.refused.iter().map(|refusal| (&*refusal.name, &*refusal.reason)).collect();
    for Refusal { kind, name, reason } in &after.refused {
        if !known.contains(&(name, reason)) {
            warn!(?kind, name, reason, "refused a part of cend's set");
        }
    }
}
