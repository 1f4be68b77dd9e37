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
    bindings: Bindings,
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
        Fabric { bindings, kernels, _tasks: tasks }
    }

    /// Asks for what `state` says; to be called after every change. Kernels that need nothing new are left alone.
    pub fn update(&self, state: &State) {
        for (namespace, kernel) in fabric_routes(state, &self.bindings) {
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
