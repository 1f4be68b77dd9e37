//! Keeping the kernels of the bound namespaces as the cloud's state says.
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fabric_binding::Bindings;
use super::fabric_routes::fabric_routes;
use crate::cen::state::State;
use crate::io::netlink::keeper::{Standing, keep};
use crate::io::netns::Namespace;
use crate::io::retry::Retry;
use crate::routing::{KernelState, PROTOCOL_CEND};

/// How each kernel that was not always as it should be stands now, by its namespace.
pub type Standings = BTreeMap<Arc<str>, Standing>;
/// What the kernels of the bound namespaces should have.
type Derivation = fn(&State, &Bindings) -> BTreeMap<Arc<str>, KernelState>;

/// One task for each bound namespace, from when it is known what that should have: until then its kernel stays as it was
/// before the start. Dropping it ends the tasks and leaves the kernels as they are; the next start takes them over.
pub struct Fabric {
    bindings: Arc<Bindings>,
    derive: Derivation,
    /// What could not be derived is owed.
    retry: Retry,
    /// Those of which it is known what they should have.
    kernels: BTreeMap<Arc<str>, watch::Sender<KernelState>>,
    standings: Arc<watch::Sender<Standings>>,
    /// Keeps the tasks alive, and ends them.
    tasks: JoinSet<()>,
}

impl Fabric {
    /// No tasks yet: the first [`update`](Self::update) starts them. With empty bindings there never are any.
    pub fn new(bindings: Bindings) -> Self {
        Fabric {
            bindings: Arc::new(bindings),
            derive: fabric_routes,
            retry: Retry::default(),
            kernels: BTreeMap::new(),
            standings: Arc::new(watch::Sender::default()),
            tasks: JoinSet::new(),
        }
    }

    /// Asks for what `state` says; to be called at the start, after every change, and when [`due`](Self::due) says so. Kernels
    /// that need nothing new are left alone. What they should have is derived where nobody waits: of thousands of networks and
    /// route maps that takes a while. If that fails the kernels stay as they are, as while no cend runs.
    pub async fn update(&mut self, state: Arc<State>) {
        let (derive, bindings) = (self.derive, Arc::clone(&self.bindings));
        let kernels = match tokio::task::spawn_blocking(move || derive(&state, &bindings)).await {
            Ok(kernels) => kernels,
            Err(error) => {
                if !self.retry.is_owed() {
                    tracing::error!(%error, "what the kernels should have could not be derived; they stay as they are, and it is tried again");
                }
                self.retry.failed(Instant::now());
                return;
            }
        };
        match self.retry.succeeded() {
            0 => {}
            failures => tracing::info!(failures, "what the kernels should have is derived again"),
        }
        for (namespace, kernel) in kernels {
            let Some(sender) = self.kernels.get(&namespace) else {
                self.begin(namespace, kernel);
                continue;
            };
            sender.send_if_modified(|current| {
                let news = *current != kernel;
                *current = kernel;
                news
            });
        }
    }

    /// Starts the task of a namespace.
    fn begin(&mut self, namespace: Arc<str>, kernel: KernelState) {
        let (sender, receiver) = watch::channel(kernel);
        let (standings, name) = (Arc::clone(&self.standings), Arc::clone(&namespace));
        let report = move |standing: &Standing| {
            standings.send_modify(|all| drop(all.insert(Arc::clone(&name), standing.clone())));
        };
        self.tasks.spawn(keep(Namespace::Named(Arc::clone(&namespace)), PROTOCOL_CEND, receiver, report));
        self.kernels.insert(namespace, sender);
    }

    /// Whether the last update failed.
    pub fn is_owed(&self) -> bool {
        self.retry.is_owed()
    }

    /// Waits until an update that failed is to be tried again: for ever if there is none. May be dropped and called again.
    pub async fn due(&self) {
        self.retry.due().await;
    }

    /// How the kernels stand, as that changes.
    pub fn standings(&self) -> watch::Receiver<Standings> {
        self.standings.subscribe()
    }
}

/// How the kernels stand, in one line for a person.
pub fn shown(standings: &Standings) -> String {
    let failures: u64 = standings.values().map(|standing| standing.failures).sum();
    let mut amiss = standings.iter().filter_map(|(namespace, one)| Some((namespace, one.amiss.as_ref()?)));
    let Some((namespace, why)) = amiss.next() else {
        return format!("all kernels are as they should be; attempts that failed: {failures}");
    };
    let others = amiss.count();
    format!("not as they should be: {namespace} ({why}), and {others} others; attempts that failed: {failures}")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::poll;
    use tokio::runtime::Builder;
    use tokio::task::spawn_blocking;
    use tokio::time::timeout;

    use super::*;
    use crate::routing::KernelRoute;

    #[test]
    fn an_update_is_derived_on_another_thread() {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let mut fabric = Fabric::new(Bindings::default());
            // The only other thread is busy.
            let (release, gate) = mpsc::sync_channel::<()>(1);
            let busy = spawn_blocking(move || gate.recv().is_ok());
            let mut update = std::pin::pin!(fabric.update(Arc::default()));
            assert!(poll!(update.as_mut()).is_pending());
            drop(release);
            assert!(!busy.await.unwrap());
            timeout(Duration::from_secs(5), update).await.expect("it is done");
        });
    }

    #[tokio::test]
    async fn what_could_not_be_derived_is_owed_until_a_state_can_be() {
        let mut fabric = Fabric::new(Bindings::default());
        let (sender, kernel) = watch::channel(KernelState::default());
        fabric.kernels.insert("a".into(), sender);
        fabric.derive = |state, _| {
            assert!(state.next_publication > 0, "of this state nothing can be derived");
            let wanted = KernelState {
                routes: [KernelRoute::least("10.0.0.0/8".parse().unwrap())].into(),
                ..KernelState::default()
            };
            BTreeMap::from([("a".into(), wanted)])
        };
        fabric.update(Arc::default()).await;
        assert!(fabric.is_owed() && !kernel.has_changed().unwrap(), "the kernel stays as it is");
        timeout(Duration::from_secs(5), fabric.due()).await.expect("it is tried again");
        fabric.update(Arc::default()).await;
        let mut state = State::default();
        state.next_publication = 1;
        fabric.update(Arc::new(state)).await;
        assert!(!fabric.is_owed() && poll!(std::pin::pin!(fabric.due())).is_pending());
        assert_eq!(kernel.borrow().routes.len(), 1);
    }

    #[tokio::test]
    async fn a_namespace_is_kept_from_the_first_state_that_can_be_derived() {
        let mut fabric = Fabric::new(Bindings::default());
        fabric.derive = |state, _| {
            assert!(state.next_publication > 0, "of this state nothing can be derived");
            BTreeMap::from([("cend-no-such-namespace".into(), KernelState::default())])
        };
        let mut standings = fabric.standings();
        fabric.update(Arc::default()).await;
        assert!(fabric.is_owed() && fabric.tasks.is_empty(), "the kernel stays as it is");
        let mut state = State::default();
        state.next_publication = 1;
        for _ in 0..2 {
            fabric.update(Arc::new(state.clone())).await;
            assert!(!fabric.is_owed() && fabric.tasks.len() == 1);
        }
        timeout(Duration::from_secs(5), standings.changed()).await.expect("it is kept").unwrap();
        assert!(standings.borrow()["cend-no-such-namespace"].amiss.is_some(), "there is none");
    }

    #[test]
    fn how_the_kernels_stand_is_said_in_one_line() {
        let standing = |failures, amiss: Option<&str>| Standing { failures, amiss: amiss.map(str::to_owned) };
        let mut standings =
            Standings::from([("a".into(), standing(2, None)), ("b".into(), standing(3, Some("no device")))]);
        assert_eq!(shown(&standings), "not as they should be: b (no device), and 0 others; attempts that failed: 5");
        standings.insert("b".into(), standing(3, None));
        assert_eq!(shown(&standings), "all kernels are as they should be; attempts that failed: 5");
    }
}
