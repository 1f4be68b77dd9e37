//! Everything of cend, joined.
//!
//! ```text
//!  HTTP ──► Service (signature, action) ──► Writer ──► store
//!                        ▲                     │ watch: every committed state
//!                        └── live SA states    └──► fabric and gateways of the bound namespaces
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::config::Config;
use super::fabric::{self, Fabric, Standings};
use super::fabric_binding::Bindings;
use super::gateway::GatewayLinks;
use super::workers::Workers;
use super::writer::{Committed, Writer};
use crate::cen::command::{Command, Submission};
use crate::cen::error::ApiError;
use crate::cen::network::UnixMillis;
use crate::cen::nonce::UsedNonce;
use crate::cen::openapi::ACTIONS;
use crate::cen::openapi::action::Purpose;
use crate::cen::openapi::authentication::AccessKeys;
use crate::cen::openapi::live::LiveGateways;
use crate::cen::openapi::region::REGIONS;
use crate::cen::openapi::service::{Cloud, Service};
use crate::cen::realism::Settings;
use crate::cen::state::State;
use crate::io::clock;
use crate::io::http::{self, Listener};
use crate::io::store::embedded::EmbeddedStore;
use crate::io::store::{Store, StoreError};
use crate::io::tls::{self, Identity, Tls, TlsError};

/// How long the writer may take to finish what it does when cend stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Why cend stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no access key, so no request could be signed.
    #[error("nobody could call the API: give an access key with --access-key ID:SECRET or in the configuration")]
    NoAccessKey,
    /// The state cannot be read, or another cend has it.
    #[error("the state in {directory}: {source}")]
    Store {
        /// The state directory.
        directory: String,
        /// What the store says.
        source: StoreError,
    },
    /// What the configuration declares breaks a rule of the cloud.
    #[error("cannot take over what the configuration declares: {0}")]
    Declarations(ApiError),
    /// The API's address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address and port of the API.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no certificate for TLS.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The system refuses something else.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What stands behind the API.
struct SimulatedCloud {
    writer: Writer,
    workers: Workers,
    live: Arc<dyn LiveGateways>,
}

impl Cloud for SimulatedCloud {
    fn state(&self) -> Arc<State> {
        self.writer.state()
    }

    fn live(&self) -> Arc<dyn LiveGateways> {
        Arc::clone(&self.live)
    }

    async fn work<T: Send + 'static>(
        &self,
        purpose: Purpose,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        self.workers.work(purpose, work).await
    }

    async fn submit(&self, submission: Submission, nonce: UsedNonce) -> Result<(), ApiError> {
        self.writer.submit_signed(submission, nonce).await
    }
}

/// Where the API listens.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Without TLS.
    pub http: SocketAddr,
    /// With TLS, if it does.
    pub https: Option<SocketAddr>,
    /// The file with the certificate of cend's own authority, if it has one.
    pub ca: Option<PathBuf>,
}

/// Runs cend until SIGTERM or SIGINT. `ready` is called once with the addresses that the API listens on.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config, ready: impl FnOnce(Listening)) -> Result<(), RunError> {
    let mut keys = AccessKeys::default();
    for key in config.access_keys {
        keys.insert(key.id, key.secret);
    }
    if keys.is_empty() {
        return Err(RunError::NoAccessKey);
    }
    let in_store = |source| RunError::Store { directory: config.state.display().to_string(), source };
    let store = EmbeddedStore::open(&config.state).map_err(in_store)?;
    let nonces = store.nonces().map_err(in_store)?;
    let (writer, thread) = Writer::start(Box::new(store)).map_err(in_store)?;
    let declare = Command::Declare(Box::new(config.declarations));
    let declare = Submission { command: declare, client_token: None, dry_run: false, now: now() };
    writer.submit(declare).await.map_err(RunError::Declarations)?;

    let live = program(&writer, &config.bindings);

    let plain = Listener { listener: bind(config.listen).await?, tls: None };
    let mut listening = Listening { http: plain.listener.local_addr()?, https: None, ca: None };
    if !config.listen.ip().is_loopback() {
        tracing::warn!(address = %config.listen, "whoever is on the way reads and changes what HTTP carries: keep it on this machine, and give others listen_tls");
    }
    let (mut listeners, mut ca) = (vec![plain], None);
    if let Some(address) = config.listen_tls {
        let identity = match config.tls_files {
            Some((certificate, key)) => Identity::Files { certificate, key },
            None => Identity::Own { directory: config.state.clone() },
        };
        let addresses = if matches!(identity, Identity::Own { .. }) { tls_addresses(address) } else { Vec::new() };
        let tls = Tls::new(&identity, &tls_names(), &addresses)?;
        ca.clone_from(&tls.ca);
        let secure = Listener { listener: bind(address).await?, tls: Some(tls) };
        listening.https = Some(secure.listener.local_addr()?);
        listening.ca = ca.as_ref().map(|_| config.state.join(tls::CA_CERTIFICATE));
        listeners.push(secure);
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    };
    let cloud = SimulatedCloud { writer, workers: Workers::default(), live };
    let mut service = Service::new(cloud, keys, ACTIONS);
    service.recall(nonces);
    if config.realism != Settings::default() {
        service.set_realism(config.realism);
    }
    let service = Arc::new(service);
    tracing::info!(http = %listening.http, https = ?listening.https, "serving the cloud's API");
    ready(listening);
    http::serve(listeners, service, ca, stop).await;
    // Every handle of the writer is gone now, unless a call hangs; its thread ends after what it has begun.
    let _ = tokio::time::timeout(STOP_TIMEOUT, tokio::task::spawn_blocking(move || thread.join())).await;
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })
}

/// The host names of the cloud's endpoints, which a hosts file may lead here, and this machine's own.
fn tls_names() -> Vec<String> {
    let regional = REGIONS.iter().map(|region| format!("*.{}.aliyuncs.com", region.id));
    ["localhost".to_owned(), "*.aliyuncs.com".to_owned()].into_iter().chain(regional).collect()
}

/// The addresses under which clients find the listener: its own, or all of the machine's. Those that the authority does not
/// certify need a certificate from files.
fn tls_addresses(listen: SocketAddr) -> Vec<IpAddr> {
    let mut addresses = vec![IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    if listen.ip().is_unspecified() {
        addresses.extend(tls::interface_addresses());
    } else {
        addresses.push(listen.ip());
    }
    addresses.sort_unstable();
    addresses.dedup();
    let (certified, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| tls::certifies(*address));
    for address in others {
        tracing::warn!(%address, "clients that call this address by HTTPS need a certificate of yours: tls_certificate");
    }
    certified
}

/// Brings the bound namespaces and gatewayds to the newest state, now and after every commit. Without bindings there is
/// nothing to bring, and no gateway that says anything.
fn program(writer: &Writer, bindings: &Bindings) -> Arc<GatewayLinks> {
    let mut commits = writer.commits();
    let Committed { revision: mut seen, state } = commits.newest.borrow_and_update().clone();
    let mut fabric = Fabric::new(bindings.clone());
    tokio::spawn(tell(fabric.standings()));
    let links = Arc::new(GatewayLinks::start(&bindings.vpn_gateways, writer.commits()));
    let followed = Arc::clone(&links);
    tokio::spawn(async move {
        fabric.update(state).await;
        loop {
            tokio::select! {
                changed = commits.newest.changed() => if changed.is_err() { return },
                () = fabric.due() => {}
            }
            let Committed { revision, state } = commits.newest.borrow_and_update().clone();
            let touched = commits.recent.between(seen, revision);
            seen = revision;
            // Neither kernels nor which gateway is bound follow from connections and VPN routes.
            if fabric.is_owed() || touched.is_none_or(|touched| touched.networks) {
                followed.bind(&state);
                // What is committed meanwhile is taken together, the newest of it.
                fabric.update(state).await;
            }
        }
    });
    links
}

/// Tells the service manager how the bound kernels stand; `systemctl status` shows it.
async fn tell(mut standings: watch::Receiver<Standings>) {
    while standings.changed().await.is_ok() {
        let text = fabric::shown(&standings.borrow_and_update());
        if let Err(error) = sd_notify::notify(&[NotifyState::Status(&text)]) {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}

fn now() -> UnixMillis {
    UnixMillis(clock::unix_seconds().saturating_mul(1000))
}
