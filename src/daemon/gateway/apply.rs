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
use super::routes::difference;
use super::tunnels::{Difference, Known};
use super::{Force, Gateway};
use crate::control::Owner;
use crate::control::event::EventKind;
use crate::control::owner::{OwnerReply, Refusal, RefusedKind};
use crate::control::owner_change::OwnerEntries;
use crate::control::reload::Reloaded;
use crate::daemon::changed::Changed;
use crate::daemon::config::{Config, PeerName, Tunnel};
use crate::daemon::connections::{Change, InForce};
use crate::daemon::ike_thread::Request;
use crate::daemon::owner_keeper::Kept;
use crate::daemon::owner_set::{Touched, Translation};
use crate::daemon::policy;
use crate::ike::Command;
use crate::io::clock;
use crate::io::ip_forwarding::Families;
use crate::io::kept_policy::{KeptRoute, Share};
use crate::routing::{self, ClosedBecause, Family, Publication, RouteKey, RouteRefused, VpnRoute, Weight};

/// How long a change waits for the kernel's side to follow.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(1);
/// And until the outbound thread's ring has it.
const RING_TIMEOUT: Duration = Duration::from_secs(1);

/// The policies of a set that is lost, closed (RFC 4301 section 4.4.1): what they hold is no other route's.
fn closed_routes(before: &Share) -> Vec<VpnRoute> {
    let closed = |kept: &KeptRoute| VpnRoute {
        destination: kept.destination,
        policy: Some(kept.policy),
        connection: Arc::clone(&kept.connection),
        weight: Weight::Active,
        owner: routing::Owner::Cend,
        publication: Publication::Normal,
        created: clock::unix_seconds(),
        closed: Some(ClosedBecause::SetLost),
    };
    before.policies.iter().map(closed).collect()
}

impl Gateway {
    /// Brings IKE, routes, kernel and status to what is configured, from nothing. `cend` is the whole of cend's set.
    pub async fn apply(&mut self, mut cend: Touched) {
        if self.owner.is_none() {
            cend.routes.new = closed_routes(&self.cend_before);
            cend.protected.new = self.cend_before.clone().into();
        }
        self.shown.file_warnings(&self.file.warnings);
        // Until then nothing is led into the tunnel.
        self.force.protection.stale = true;
        self.bring(Arc::clone(&self.file), cend).await;
    }

    /// Takes a file that has been read again.
    pub async fn take_file(&mut self, Loaded { file, reloaded, other_names, took }: Loaded) -> Reloaded {
        let began = Instant::now();
        for warning in &reloaded.warnings {
            warn!("{warning}");
        }
        let file = Arc::new(file);
        let of_file = Arc::clone(&file);
        let cend = if other_names {
            self.translated(move |set, cend| cend.follow_file(set, &of_file, clock::unix_seconds())).await
        } else {
            Touched::default()
        };
        self.bring(file, cend).await;
        let Reloaded { added, changed, removed, warnings: _ } = &reloaded;
        let ms = |time: Duration| time.as_micros() as f64 / 1000.0;
        info!(?added, ?changed, ?removed, read_ms = ms(took), applied_ms = ms(began.elapsed()), "reloaded");
        self.events.happened(EventKind::Reloaded, None, None, None);
        reloaded
    }

    /// Carries out a change of cend's set that has been kept, and answers it.
    pub async fn take_owner_change(&mut self, Kept { change, twice, answer }: Kept) {
        let first = self.owner.is_none();
        // What is refused protects all the same, and an empty set gives up what was protected before it.
        let is_news = first || !change.is_empty();
        let previous = self.owner.get_or_insert_default().revision;
        let mut touched = self.translated(move |set, cend| cend.change(set, &change, clock::unix_seconds())).await;
        if first {
            let before = std::mem::take(&mut self.cend_before);
            touched.routes.gone.extend(closed_routes(&before));
            touched.protected.gone = before.into();
        }
        if let Some(twice) = twice {
            touched.refused.extend_from_slice(&twice);
            self.cend.twice = twice;
        }
        if let Some(set) = &self.owner {
            let changed = touched.tunnels.new.len().max(touched.tunnels.gone.len());
            info!(revision = set.revision, previous, connections = set.connections.len(), changed, "took cend's set");
        }
        if is_news {
            self.bring(Arc::clone(&self.file), touched).await;
            self.events.happened(EventKind::Reloaded, None, None, None);
        } else {
            self.shown.cend_reply(self.owner_reply());
            self.publish_view();
        }
        // A caller that has gone does not mind that its answer is lost.
        let _ = answer.send(Ok(self.owner_reply().unwrap_or_default()));
    }

    /// Has cend's set, if there is one, changed or translated anew. One of thousands takes a while, in which others are
    /// answered.
    async fn translated<W>(&mut self, work: W) -> Touched
    where
        W: FnOnce(&mut OwnerEntries, &mut Translation) -> Touched + Send + 'static,
    {
        let (mut owner, mut cend) = (self.owner.take(), std::mem::take(&mut self.cend));
        let work = move || {
            let touched = work(owner.as_mut().unwrap_or(&mut OwnerEntries::default()), &mut cend);
            (owner, cend, touched)
        };
        // It fails only if it panics, which ends the process.
        let done = spawn_blocking(work).await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        let touched;
        (self.owner, self.cend, touched) = done;
        touched
    }

    /// Brings everything to this file and to what is different about cend's set.
    async fn bring(&mut self, file: Arc<Config>, cend: Touched) {
        let before = std::mem::replace(&mut self.file, file);
        self.force.protection.stale |= before.bypass != self.file.bypass;
        let give_up = self.file.gateway.retransmission_timeout;
        if before.gateway.retransmission_timeout != give_up {
            self.ike.send(Request::Command(Command::GiveUpAfter(give_up)));
        }
        let refused: HashSet<(routing::Owner, RouteKey)> =
            self.force.refused().map(|(route, _)| (route.owner, route.key())).collect();
        let difference = self.force.change(&self.file, &self.cend, &cend);
        self.change_connections(&difference);
        cend.warnings.iter().for_each(|warning| warn!("{warning}"));
        for Refusal { kind, name, reason } in &cend.refused {
            warn!(?kind, name, reason, "refused a part of cend's set");
        }
        for (route, reason) in self.force.refused().filter(|(route, _)| !refused.contains(&(route.owner, route.key())))
        {
            let VpnRoute { destination, connection, owner, .. } = route;
            warn!(%destination, %connection, %reason, "refused a route of the {owner}");
        }
        self.tell_unresolved();
        self.publish_fib();
        if !Arc::ptr_eq(&before, &self.file) {
            self.shown.file_warnings(&self.file.warnings);
        }
        if cend.other_warnings {
            self.shown.cend_warnings(self.cend.warnings.values().cloned());
        }
        self.shown.cend_reply(self.owner_reply());
        self.apply_policy().await;
        // What waits goes over later, and the IKE thread ends the process when a command was lost. Until then the change is
        // answered without being in the packet path.
        if let Err(error) = self.outbound.handed_over(RING_TIMEOUT).await {
            warn!(%error, "the packet path does not have a change yet");
        }
        self.events.happened(EventKind::RoutesChanged, None, None, None);
        // Thousands of keys are erased where nobody waits.
        spawn_blocking(move || drop((before, difference, cend)));
    }

    /// Tells IKE, the kernel's side and whoever looks up names which connections differ.
    fn change_connections(&mut self, difference: &Difference) {
        let change = self.force.told(difference, |tunnel| self.resolved_peer(tunnel));
        change.removed.iter().for_each(|name| self.seen.forget(name));
        // With those that are gone go the addresses that their peers were seen at.
        self.force.protection.stale |= !change.removed.is_empty();
        if !change.removed.is_empty() || !change.set.is_empty() {
            self.ike.send(Request::Configure(change));
        }
        let Difference { gone, new, moved: _ } = difference;
        let names = |list: &'_ [(Owner, Arc<Tunnel>)]| {
            list.iter().map(|(_, tunnel)| Arc::clone(tunnel.name())).collect::<Vec<_>>()
        };
        self.ids.change(&names(gone), &names(new), Instant::now());
        self.stale.names |= gone.iter().chain(new).any(|(_, tunnel)| matches!(tunnel.peer, PeerName::Name(_)));
        let addresses = |list: &[(Owner, Arc<Tunnel>)]| -> Vec<IpAddr> {
            list.iter().filter_map(|(_, tunnel)| self.resolved_peer(tunnel)).collect()
        };
        let (left, come) = (addresses(gone), addresses(new));
        self.force.protection.peers(left, come);
        self.forget_names(gone);
    }

    /// Names that no connection's peer has any more are nobody's trouble.
    fn forget_names(&mut self, gone: &[(Owner, Arc<Tunnel>)]) {
        for (_, tunnel) in gone {
            if let PeerName::Name(name) = &tunnel.peer
                && self.force.tunnels.of_peer(name).next().is_none()
            {
                self.resolved.remove(name);
                self.unresolved.remove(name);
            }
        }
    }

    /// Peers' names lead elsewhere than before, where each then led to.
    pub(super) async fn peers_have_moved(&mut self, moved: &BTreeMap<String, Option<IpAddr>>) {
        let set = self.force.moved(moved, &self.resolved);
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
        self.outer_peers.send_replace(policy.outer_peers.clone());
        let has = |family| self.force.table.has_family(family);
        self.families.send_replace(Families { ipv4: has(Family::Ipv4), ipv6: has(Family::Ipv6) });
        // What did not succeed is logged where it is tried again, and stands in the view as long as it lasts. A kernel's side
        // that takes longer tells when it is done.
        let _ = timeout(KERNEL_TIMEOUT, self.forwarding.apply(policy)).await;
        self.shown.kernel_is_behind();
        self.publish_view();
    }

    /// What became of cend's set, if there is one: the answer to it, and to who asks later.
    fn owner_reply(&self) -> Option<OwnerReply> {
        let of_table = self.force.table.refused(routing::Owner::Cend).map(|(route, reason)| Refusal {
            kind: RefusedKind::Route,
            name: route.destination.to_string(),
            reason: reason.to_string(),
        });
        let revision = self.owner.as_ref()?.revision;
        Some(OwnerReply { revision, refused: self.cend.refused().chain(of_table).collect() })
    }
}

impl Force {
    /// Takes the file and what is different about cend's set, which is `cend` now. Tells which connections are different.
    fn change(&mut self, file: &Config, cend: &Translation, touched: &Touched) -> Difference {
        let before = std::mem::replace(&mut self.routes, Arc::clone(&file.routes));
        let same = Arc::ptr_eq(&before, &file.routes);
        let (gone, new) = if same { Default::default() } else { difference(&before, &file.routes) };
        let tunnels = self.tunnels.change(&file.connections, &cend.tunnels, &touched.tunnels);
        let of_file = Changed {
            gone: policy::of_file(of_the_file(&tunnels.gone), gone.iter().copied()),
            new: policy::of_file(of_the_file(&tunnels.new), new.iter().copied()),
        };
        self.protection.change(Owner::File, &of_file);
        self.protection.change(Owner::Cend, &touched.protected);
        self.table.change(
            routing::Owner::File,
            keys(gone.iter().copied()),
            new.iter().map(|route| (*route).clone()).collect(),
        );
        let Changed { gone: cend_gone, new: cend_new } = &touched.routes;
        self.table.change(routing::Owner::Cend, keys(cend_gone), cend_new.clone());
        for key in touched.publications.iter().cloned().chain(keys(new)) {
            self.table.publish(&key, cend.publications.get(&key).copied().unwrap_or_default());
        }
        tunnels
    }

    /// What IKE is told of a difference. `resolved` knows the address of a connection's peer.
    fn told(&self, difference: &Difference, resolved: impl Fn(&Tunnel) -> Option<IpAddr>) -> Change {
        let Difference { gone, new, moved } = difference;
        let names = gone.iter().map(|(_, tunnel)| tunnel.name());
        let removed = names.filter(|name| self.tunnels.known(name).is_none()).cloned().collect();
        let set = new.iter().map(|(_, tunnel)| tunnel).chain(moved);
        let set = set.filter_map(|tunnel| self.tunnels.known(tunnel.name()));
        Change { removed, set: set.map(|known| in_force(known, resolved(&known.tunnel))).collect() }
    }

    /// What IKE is told of peers whose names lead elsewhere than before, where each then led to.
    fn moved(&mut self, moved: &BTreeMap<String, Option<IpAddr>>, resolved: &BTreeMap<String, IpAddr>) -> Vec<InForce> {
        let mut set = Vec::new();
        for (name, before) in moved {
            let address = resolved.get(name).copied();
            for known in self.tunnels.of_peer(name) {
                set.push(in_force(known, address));
                self.protection.peers(*before, address);
            }
        }
        set
    }

    /// The routes that an owner asks for and does not get.
    fn refused(&self) -> impl Iterator<Item = (&VpnRoute, &RouteRefused)> {
        self.table.refused(routing::Owner::File).chain(self.table.refused(routing::Owner::Cend))
    }
}

fn in_force(Known { place, tunnel }: &Known, peer: Option<IpAddr>) -> InForce {
    InForce { name: Arc::clone(tunnel.name()), place: *place, ike: tunnel.ike(peer), esp_options: tunnel.esp_options }
}

fn of_the_file(tunnels: &[(Owner, Arc<Tunnel>)]) -> impl Iterator<Item = &Arc<Tunnel>> {
    tunnels.iter().filter(|(owner, _)| *owner == Owner::File).map(|(_, tunnel)| tunnel)
}

fn keys<'a>(routes: impl IntoIterator<Item = &'a VpnRoute>) -> Vec<RouteKey> {
    routes.into_iter().map(VpnRoute::key).collect()
}

#[cfg(test)]
mod tests;
