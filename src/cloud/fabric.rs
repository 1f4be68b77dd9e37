//! Keeping the kernels of the bound namespaces as the cloud's state says.
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::fabric_binding::Bindings;
use super::fabric_routes::fabric_routes;
use crate::cen::state::State;
use crate::io::netlink::reconciler::keep;
use crate::io::netns::Namespace;
use crate::routing::{KernelState, PROTOCOL_CEND};

/// One task for each bound namespace. Dropping it ends the tasks and leaves the kernels as they are; the next start
/// takes them over.
pub struct Fabric {
    bindings: Arc<Bindings>,
    kernels: BTreeMap<Arc<str>, watch::Sender<KernelState>>,
    /// Keeps the tasks alive, and ends them.
    _tasks: JoinSet<()>,
}

impl Fabric {
    /// Starts the tasks with what `state` asks for; with empty bindings there are none.
    pub fn start(bindings: Bindings, state: &State) -> Self {
        let mut tasks = JoinSet::new();
        let mut kernels = BTreeMap::new();
        for (namespace, kernel) in fabric_routes(state, &bindings) {
            let (sender, receiver) = watch::channel(kernel);
            tasks.spawn(keep(Namespace::Named(Arc::clone(&namespace)), PROTOCOL_CEND, receiver));
            kernels.insert(namespace, sender);
        }
        Fabric { bindings: Arc::new(bindings), kernels, _tasks: tasks }
    }

    /// Asks for what `state` says; to be called after every change. Kernels that need nothing new are left alone. What they
    /// should have is derived where nobody waits: of thousands of networks and route maps that takes a while.
    pub async fn update(&self, state: Arc<State>) {
        let bindings = Arc::clone(&self.bindings);
        let kernels = match tokio::task::spawn_blocking(move || fabric_routes(&state, &bindings)).await {
            Ok(kernels) => kernels,
            Err(error) => {
                tracing::error!(%error, "what the kernels should have could not be derived; they stay as they are");
                return;
            }
        };
        for (namespace, kernel) in kernels {
            if let Some(sender) = self.kernels.get(&namespace) {
                sender.send_if_modified(|current| {
                    let news = *current != kernel;
                    *current = kernel;
                    news
                });
            }
        }
    }
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

    #[test]
    fn an_update_is_derived_on_another_thread() {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let fabric = Fabric::start(Bindings::default(), &State::default());
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
}
