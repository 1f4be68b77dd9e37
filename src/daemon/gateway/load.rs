//! gatewayd.toml, read again beside what it said before.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Refused;
use super::routes::keep_creation;
use super::tunnels;
use crate::control::reload::Reloaded;
use crate::daemon::config::{self, Config};
use crate::routing::VpnRoute;

/// A file that has been read.
pub struct Loaded {
    /// What it says, with what did not change shared.
    pub file: Config,
    /// What that changes.
    pub reloaded: Reloaded,
    /// There are other names of connections than before, or other routes: what cend may name depends on them.
    pub other_names: bool,
    /// How long that took.
    pub took: Duration,
}

/// Reads the file again. What did not change is shared with what was in force `before`. It takes its time, so it has to be
/// called where nobody waits for anything else.
///
/// # Errors
/// The file is wrong.
pub fn load(path: &Path, before: &Config) -> Result<Loaded, Refused> {
    let began = Instant::now();
    let mut file = Config::load(path).map_err(|error| Refused::BadConfiguration(error.to_string()))?;
    tunnels::share(Arc::<Vec<_>>::make_mut(&mut file.connections), &before.connections);
    keep_creation(Arc::<Vec<_>>::make_mut(&mut file.routes), &before.routes);
    let [added, changed, removed] = tunnels::told(&before.connections, &file.connections);
    let mut reloaded = Reloaded { added, changed, removed, warnings: file.warnings.clone() };
    let retransmission_timeout = file.gateway.retransmission_timeout;
    let now = config::Gateway { retransmission_timeout, ..before.gateway.clone() };
    let (socket, state) = (before.gateway.socket.clone(), before.gateway.state.clone());
    if (config::Gateway { socket, state, ..file.gateway.clone() }) != now {
        reloaded.warnings.push("a key above the connections changed; that takes effect at the next start".to_owned());
    }
    file.gateway = now;
    let keys = |file: &'_ Config| file.routes.iter().map(VpnRoute::key).collect::<Vec<_>>();
    let other_connections = !reloaded.added.is_empty() || !reloaded.removed.is_empty();
    let other_names = other_connections || keys(&file) != keys(before);
    Ok(Loaded { file, reloaded, other_names, took: began.elapsed() })
}
