//! gatewayd from its start to its end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use clap::Parser;
use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use super::api::{Api, Ask};
use super::config::{Config, Gateway as Settings};
use super::events::EventLog;
use super::gateway::{Gateway, make_state_directory};
use super::ike_thread::Request;
use super::process::{Asked, Signals, feed_watchdog, tell_systemd};
use super::status::View;
use super::threads::{IKE_PORT, NAT_PORT, Threads};
use super::{log, names};
use crate::dataplane::fib::FibPublisher;
use crate::ike::Command;
use crate::io::device::Device;
use crate::io::forwarding::{Forwarding, ForwardingSettings};
use crate::io::memory;
use crate::io::netlink::Netlink;
use crate::io::netns::Namespace;
use crate::io::nftables::OuterPorts;
use crate::io::unix::ControlSocket;
use crate::routing::Table;

/// The forwarding table is rebuilt at most this often.
const FIB_PACE: Duration = Duration::from_millis(10);
/// What happened to many connections at once is taken together, up to this number.
const NOTICES_AT_ONCE: usize = 4096;
/// How long the peers have to acknowledge that we go; two seconds after SIGTERM everything is over.
const FAREWELL: Duration = Duration::from_millis(1200);
/// How long the data threads have to end.
const LAST_ORDERS: Duration = Duration::from_millis(200);

/// An IPsec VPN gateway in userspace.
#[derive(Debug, Parser)]
#[command(name = "gatewayd", version)]
pub struct Arguments {
    /// The configuration file
    #[arg(long, default_value = "/etc/gatewayd/gatewayd.toml")]
    config: PathBuf,
    /// The control socket, instead of the configuration's
    #[arg(long)]
    socket: Option<PathBuf>,
    /// The state directory, instead of the configuration's
    #[arg(long)]
    state: Option<PathBuf>,
}

type Failure = Box<dyn std::error::Error>;

/// Runs until a signal or a failure ends it.
///
/// # Errors
/// What kept gatewayd from starting, or ended it.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let locked = memory::protect()?;
    let config = Config::load(&arguments.config)?;
    log::start(&config.gateway.log);
    for warning in &config.warnings {
        warn!("{warning}");
    }
    memory::settle(&locked, config.gateway.core_dumps)?;
    let socket = arguments.socket.unwrap_or_else(|| config.gateway.socket.clone());
    let state = arguments.state.unwrap_or_else(|| config.gateway.state.clone());
    make_state_directory(&state).map_err(|error| format!("state directory {}: {error}", state.display()))?;
    let mut signals = Signals::new()?;

    // The socket first: a second instance must find out before it touches the network.
    let socket = ControlSocket::bind(&socket)?;
    let settings = config.gateway.clone();
    let device = open_device(&settings).await?;
    let mut threads = patiently(|| Threads::start(&settings, &device)).await?;
    let forwarding = Forwarding::start(ForwardingSettings {
        namespace: Namespace::Own,
        device: Arc::from(settings.tun.as_str()),
        mark: settings.mark,
        ports: OuterPorts { ike: IKE_PORT, nat: NAT_PORT },
    });
    let mut gateway = Gateway {
        path: arguments.config,
        state,
        file: config,
        ike: threads.ike.clone(),
        ids: Arc::clone(&threads.ids),
        outbound: Arc::clone(&threads.outbound),
        forwarding,
        events: EventLog::default(),
        view: Arc::new(ArcSwap::from_pointee(View::default())),
        owner: None,
        table: Table::new(),
        fibs: FibPublisher::default(),
        cend: Default::default(),
        resolved: Default::default(),
        unresolved: Default::default(),
        seen: Default::default(),
        outer_peers: Default::default(),
        fib_stale: false,
        kernel_stale: false,
        view_stale: false,
        turned: Vec::new(),
        kernel_trouble: None,
    };
    gateway.restore_owner();
    gateway.apply().await;

    let (asks, asked) = mpsc::channel(64);
    let api = api(asks, &gateway, &threads);
    let (stop_serving, serving_stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(socket.serve(api.router(), async { serving_stopped.await.unwrap_or_default() }));
    tokio::spawn(feed_watchdog(Arc::clone(&threads.heartbeat)));
    info!(version = env!("CARGO_PKG_VERSION"), device = settings.tun, "gatewayd runs");
    tell_systemd(&[NotifyState::Ready]);

    let ended = control(&mut gateway, &mut threads, asked, &mut signals).await;
    tell_systemd(&[NotifyState::Stopping]);
    drop(stop_serving);
    stop(gateway, threads).await;
    // The server removes its socket; a failure of it has been told already.
    let _ = timeout(LAST_ORDERS, server).await;
    ended
}

fn api(asks: mpsc::Sender<Ask>, gateway: &Gateway, threads: &Threads) -> Api {
    Api {
        asks,
        view: Arc::clone(&gateway.view),
        ike: threads.ike.clone(),
        drops: threads.drops.clone(),
        filter: gateway.forwarding.filter().clone(),
        events: gateway.events.clone(),
        started: Instant::now(),
    }
}

/// The TUN device, up, with its addresses.
async fn open_device(settings: &Settings) -> Result<Device, Failure> {
    let device = patiently(|| Device::open(&settings.tun, settings.tun_backend))
        .await
        .map_err(|error| format!("TUN device {}: {error}", settings.tun))?;
    let netlink = Netlink::open(&Namespace::Own)?;
    netlink.bring_up(&settings.tun, settings.mtu).await?;
    for address in &settings.inner_addresses {
        netlink.add_address(&settings.tun, *address).await?;
    }
    Ok(device)
}

/// Tries for a second to open what an instance that was just killed may still hold for a moment.
async fn patiently<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        match open() {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::ResourceBusy)
                    && Instant::now() < until =>
            {
                sleep(Duration::from_millis(50)).await;
            }
            opened => return opened,
        }
    }
}

/// The control task: one thing after the other, until a signal or a failure.
async fn control(
    gateway: &mut Gateway,
    threads: &mut Threads,
    mut asks: mpsc::Receiver<Ask>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let (wanted_names, names_to_resolve) = watch::channel(gateway.names());
    let (resolution_sender, mut resolutions) = mpsc::channel(16);
    let resolver = tokio::spawn(names::resolve(names_to_resolve, resolution_sender));
    let mut blocked = gateway.forwarding.blocked();
    let mut fib_from = tokio::time::Instant::now();
    let mut notices = Vec::new();
    let ended = loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop => break Ok(()),
                Asked::Reload => if let Err(error) = gateway.reload().await {
                    error!("{error}");
                },
            },
            Some(reason) = threads.failures.recv() => {
                error!("{reason}");
                break Err(reason.into());
            }
            1.. = threads.notices.recv_many(&mut notices, NOTICES_AT_ONCE) => {
                gateway.take_notices(&mut notices).await;
            }
            () = sleep_until(fib_from), if gateway.fib_stale => {
                gateway.publish_fib();
                fib_from = tokio::time::Instant::now() + FIB_PACE;
            }
            Some(ask) = asks.recv() => answer(gateway, ask).await,
            Some((name, result)) = resolutions.recv() => gateway.take_resolution(name, result).await,
            Ok(()) = blocked.changed() => gateway.publish_view(),
        }
        wanted_names.send_if_modified(|current| {
            let wanted = gateway.names();
            let news = *current != wanted;
            *current = wanted;
            news
        });
    };
    resolver.abort();
    ended
}

/// A caller that has gone does not mind that its answer is lost.
async fn answer(gateway: &mut Gateway, ask: Ask) {
    match ask {
        Ask::Act { name, action, answer } => drop(answer.send(gateway.act(&name, action))),
        Ask::Export { name, answer } => drop(answer.send(gateway.export(&name))),
        Ask::Reload { answer } => drop(answer.send(gateway.reload().await)),
        Ask::Owner { set, answer } => drop(answer.send(gateway.take_owner_set(set).await)),
    }
}

/// Deletes the SAs at the peers, then takes everything of ours out of the kernel.
async fn stop(mut gateway: Gateway, mut threads: Threads) {
    info!("gatewayd stops");
    gateway.ike.send(Request::Command(Command::Shutdown));
    let farewell = async {
        let mut notices = Vec::new();
        while threads.notices.recv_many(&mut notices, NOTICES_AT_ONCE).await > 0 {
            if gateway.take_notices(&mut notices).await {
                return;
            }
        }
    };
    if timeout(FAREWELL, farewell).await.is_err() {
        warn!("some peers did not acknowledge that their SAs are deleted");
    }
    gateway.ike.send(Request::Stop);
    if let Err(error) = gateway.forwarding.stop().await {
        error!(%error, "something of ours stays in the kernel");
    }
    let ended = async {
        while !threads.ended() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    // The outbound thread may sleep for a second more; the process does not wait for it.
    let _ = timeout(LAST_ORDERS, ended).await;
}
