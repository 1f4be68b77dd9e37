//! gatewayd from its start to its end.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use clap::Parser;
use futures_util::future::OptionFuture;
use ipnet::IpNet;
use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use super::api::{Api, Ask};
use super::closed::{self, End, close_what_was_kept, forward};
use super::conditions::Source;
use super::config::{self, Config, Gateway as Settings, OnStop};
use super::events::EventLog;
use super::gateway::line_budget::LineBudget;
use super::gateway::load::Loaded;
use super::gateway::{Gateway, Refused};
use super::ike_thread::Request;
use super::loading::{Asker, Loading};
use super::owner_keeper::{Kept, OwnerKeeper};
use super::owner_set::Translation;
use super::path_changes::OuterAddresses;
use super::process::{Asked, Signals, feed_watchdog, tell_systemd};
use super::status::View;
use super::threads::Threads;
use super::{log, names, owner_file, owner_set, path_changes, policy};
use crate::control::event::EventKind;
use crate::control::owner_change::OwnerEntries;
use crate::dataplane::fib::FibPublisher;
use crate::ike::{Command, SHUTDOWN_TIME};
use crate::io::clock;
use crate::io::device::Device;
use crate::io::forwarding::{Forwarding, left_closed};
use crate::io::instance::Instance;
use crate::io::ip_forwarding::WatchedForwarding;
use crate::io::kept_policy::{KeptPolicy, Share};
use crate::io::memory;
use crate::io::netns::Namespace;
use crate::io::tunnel_device::TunnelDevice;
use crate::io::unix::ControlSocket;
use crate::routing::{SharedSet, WantedDevice};

/// The forwarding table is rebuilt at most this often.
const FIB_PACE: Duration = Duration::from_millis(10);
/// What happened to many connections at once is taken together, up to this number.
const NOTICES_AT_ONCE: usize = 4096;
/// How long IKE has to tell that it has shut down: as long as it waits for the peers, and a moment to say so.
const SHUTDOWN_TIMEOUT: Duration = SHUTDOWN_TIME.saturating_add(Duration::from_millis(100));
/// How long the data threads have to end. Two seconds after SIGTERM everything is over, but for what the kernel takes.
const THREADS_TIMEOUT: Duration = Duration::from_millis(200);

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

/// Runs until a signal or a failure ends it, tells why, and what stays closed.
pub async fn run(arguments: Arguments) -> ExitCode {
    let loaded = memory::protect().map_err(Failure::from);
    let loaded = loaded.and_then(|locked| Ok((locked, Config::load(&arguments.config)?)));
    let (failure, end) = match loaded {
        Ok((locked, file)) => {
            log::start(&file.gateway.log);
            run_configured(arguments, file, &locked).await
        }
        Err(failure) => {
            log::start(log::DEFAULT);
            let state = arguments.state.unwrap_or_else(|| config::state_directory(&arguments.config));
            (Some(failure), run_closed(&state).await)
        }
    };
    if let Some(failure) = &failure {
        error!("{failure}");
    }
    end.tell();
    if failure.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A start with a configuration that cannot be read.
async fn run_closed(state: &Path) -> End {
    match retry_while_taken(Instance::claim).await {
        Ok(_instance) => close_what_was_kept(state).await,
        // The one that runs takes care of its namespace.
        Err(_) => End::Untouched,
    }
}

/// Closes what the configuration protects before anything else, then runs. Answers why it ended, if not by a signal.
async fn run_configured(arguments: Arguments, mut file: Config, locked: &memory::Locked) -> (Option<Failure>, End) {
    file.gateway.socket = arguments.socket.unwrap_or(file.gateway.socket);
    file.gateway.state = arguments.state.unwrap_or(file.gateway.state);
    for warning in &file.warnings {
        warn!("{warning}");
    }
    let _instance = match retry_while_taken(Instance::claim).await {
        Ok(instance) => instance,
        Err(error) => return (Some(error.into()), End::Untouched),
    };
    let state = file.gateway.state.clone();
    // What does not work out is told when it is needed, after what protects is closed.
    let signals = memory::settle(locked, file.gateway.core_dumps).and_then(|()| Signals::new());
    let made = owner_file::make_state_directory(&state);
    let mut kept = read_kept(&state, &mut file.warnings);
    let owner = owner_file::restore(&state).unwrap_or_else(|error| {
        error!(%error, "cend's last set cannot be read; what it protected stays closed until cend sends it again");
        None
    });
    if owner.is_none() && kept == KeptPolicy::default() {
        kept.cend.protect = left_by_a_former_run(&file).await;
    }
    let cend = owner.as_ref().map_or_else(|| kept.cend.clone(), owner_set::share);
    let peers = policy::configured_peers(&file, owner.as_ref()).union(&kept.outer_peers);
    let policy = KeptPolicy { closed: kept.closed, ..policy::policy(&file, cend, peers) };
    let protect = policy.policy().protect;
    let forwarding = forward(Some(state), &policy);
    // What is the matter stands in the log by now, and in the last line if it stays so.
    let _ = forwarding.close(policy).await;
    let prepared = match (made, signals) {
        (Err(error), _) => Err(format!("state directory {}: {error}", file.gateway.state.display()).into()),
        (_, Err(error)) => Err(error.into()),
        (Ok(()), Ok(signals)) => prepare(&file.gateway, signals).await,
    };
    match prepared {
        Ok(prepared) => {
            let standing = Standing { path: arguments.config, file, owner, cend_before: kept.cend, forwarding };
            serve(prepared, standing).await
        }
        Err(failure) => (Some(failure), closed::end(forwarding, protect).await),
    }
}

/// Without anything kept: what stands closed in the kernel and is not the file's. The cloud may still want it closed.
async fn left_by_a_former_run(file: &Config) -> SharedSet<IpNet> {
    let of_file = policy::file_share(file).protect;
    let left = left_closed(Namespace::Own).await.unwrap_or_else(|error| {
        error!("what a former run left closed cannot be read: {error}");
        BTreeSet::new()
    });
    left.into_iter().filter(|net| !of_file.contains(net)).collect()
}

/// What was protected last. A file that cannot be read is put aside and warned of: what only the cloud protected is known
/// again when cend sends its set.
fn read_kept(state: &Path, warnings: &mut Vec<String>) -> KeptPolicy {
    KeptPolicy::read(state).map(Option::unwrap_or_default).unwrap_or_else(|error| {
        let aside = KeptPolicy::put_aside(state).unwrap_or_else(|error| format!("nowhere ({error})"));
        let warning =
            format!("what was protected last cannot be read, and is not closed: {error}; the file is now {aside}");
        error!("{warning}");
        warnings.push(warning);
        KeptPolicy::default()
    })
}

/// What gatewayd needs of the system.
struct Prepared {
    signals: Signals,
    socket: ControlSocket,
    device: Device,
    kept: TunnelDevice,
    threads: Threads,
}

async fn prepare(settings: &Settings, signals: Signals) -> Result<Prepared, Failure> {
    let socket = ControlSocket::bind(&settings.socket)?;
    let (device, kept) = open_device(settings).await?;
    let threads = retry_while_taken(|| Threads::start(settings, &device)).await?;
    Ok(Prepared { signals, socket, device, kept, threads })
}

/// What is known before the threads are there.
struct Standing {
    path: PathBuf,
    file: Config,
    owner: Option<OwnerEntries>,
    cend_before: Share,
    forwarding: Forwarding,
}

async fn serve(prepared: Prepared, standing: Standing) -> (Option<Failure>, End) {
    let Prepared { mut signals, socket, device: _device, kept, mut threads } = prepared;
    let Standing { path, file, owner, cend_before, forwarding } = standing;
    let device = file.gateway.tun.clone();
    forwarding.pin(kept.pinned());
    let (cend, touched) = Translation::new(owner.as_ref(), &file, clock::unix_seconds());
    let keeper = OwnerKeeper::start(&file.gateway.state, owner.clone());
    let mut gateway = Gateway {
        path,
        state: file.gateway.state.clone(),
        file: Arc::new(file),
        ike: threads.ike.clone(),
        ids: Arc::clone(&threads.ids),
        outbound: Arc::clone(&threads.outbound),
        forwarding,
        events: EventLog::default(),
        view: Arc::new(ArcSwap::from_pointee(View::default())),
        owner,
        cend_before,
        cend,
        force: Default::default(),
        fibs: FibPublisher::default(),
        hurries: Default::default(),
        resolved: Default::default(),
        unresolved: Default::default(),
        seen: Default::default(),
        outer_peers: Default::default(),
        stale: Default::default(),
        shown: Default::default(),
        turned: Vec::new(),
        lines: LineBudget::new(Instant::now()),
        conditions: Default::default(),
        families: Default::default(),
    };
    let kept = kept.keep();
    gateway.conditions.follow(Source::Device, kept.troubles());
    let forwards = WatchedForwarding::start(Arc::from(device.as_str()), gateway.families.subscribe());
    gateway.conditions.follow(Source::IpForwarding, forwards.troubles());
    gateway.apply(touched).await;

    let (keeper, kept_changes) = match keeper {
        Ok(keeper) => keeper,
        Err(error) => {
            let failure = format!("no thread for cend's set: {error}").into();
            return (Some(failure), stop(gateway, threads, false).await);
        }
    };
    let (asks, asked) = mpsc::channel(64);
    let api = api(asks, keeper, &gateway, &threads);
    let (stop_serving, serving_stopped) = oneshot::channel::<()>();
    let server = match serve_api(socket, api, serving_stopped) {
        Ok(server) => server,
        Err(error) => {
            let protect = gateway.policy().policy().protect;
            return (Some(error.into()), closed::end(gateway.forwarding, protect).await);
        }
    };
    tokio::spawn(feed_watchdog(Arc::clone(&threads.heartbeat)));
    let outer_addresses =
        OuterAddresses { ours: gateway.file.gateway.local_addresses.clone(), peers: gateway.outer_peers.subscribe() };
    tokio::spawn(path_changes::follow(gateway.ike.clone(), outer_addresses));
    info!(version = env!("CARGO_PKG_VERSION"), device, "gatewayd runs");
    tell_systemd(&[NotifyState::Ready]);

    let (failure, opens) = match control(&mut gateway, &mut threads, asked, kept_changes, &mut signals).await {
        Ok(signal) => (None, signal == Asked::Terminate && gateway.file.on_stop == OnStop::Open),
        Err(failure) => (Some(failure), false),
    };
    tell_systemd(&[NotifyState::Stopping]);
    drop(stop_serving);
    let end = stop(gateway, threads, opens).await;
    let _ = timeout(THREADS_TIMEOUT, server).await;
    (failure, end)
}

/// Answers on the control socket in a thread of its own: who asks how things stand waits for nobody who changes them.
/// The answer comes when it has ended.
fn serve_api(socket: ControlSocket, api: Api, stop: oneshot::Receiver<()>) -> io::Result<oneshot::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("api".to_owned()).spawn(move || {
        // The server removes its socket; a failure of it is no reason to end.
        if let Err(error) = runtime.block_on(socket.serve(api.router(), async { stop.await.unwrap_or_default() })) {
            error!("the control socket is not served any more: {error}");
        }
        drop(ended);
    })?;
    Ok(end)
}

fn api(asks: mpsc::Sender<Ask>, owner: OwnerKeeper, gateway: &Gateway, threads: &Threads) -> Api {
    Api {
        asks,
        owner,
        view: Arc::clone(&gateway.view),
        ike: threads.ike.clone(),
        drops: threads.drops.clone(),
        filter: gateway.forwarding.filter().clone(),
        events: gateway.events.clone(),
        started: Instant::now(),
        writers: Default::default(),
    }
}

/// The TUN device, up, with its addresses, and what keeps it so.
async fn open_device(settings: &Settings) -> Result<(Device, TunnelDevice), Failure> {
    let about = |error: &dyn std::fmt::Display| format!("TUN device {}: {error}", settings.tun);
    let device =
        retry_while_taken(|| Device::open(&settings.tun, settings.tun_backend)).await.map_err(|error| about(&error))?;
    let mut addresses = Vec::new();
    for address in &settings.inner_addresses {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    let name = Arc::from(settings.tun.as_str());
    let wanted = WantedDevice { name, mtu: settings.mtu, queue_length: None, addresses };
    let found = TunnelDevice::find(Namespace::Own, device.descriptor()?, wanted).await;
    let mut kept = found.map_err(|error| about(&error))?;
    match kept.round().await.troubles.first() {
        None => Ok((device, kept)),
        Some(trouble) => Err(trouble.clone().into()),
    }
}

/// Tries for a second to open what an instance that was just killed may still hold for a moment.
async fn retry_while_taken<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
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
    mut kept: mpsc::Receiver<Kept>,
    signals: &mut Signals,
) -> Result<Asked, Failure> {
    let (wanted_names, names_to_resolve) = watch::channel(gateway.names());
    let (resolution_sender, mut resolutions) = mpsc::channel(names::RESOLUTIONS);
    let resolver = tokio::spawn(names::resolve(names_to_resolve, gateway.hurries.clone(), resolution_sender));
    let mut standing = gateway.forwarding.standing();
    let mut conditions = gateway.conditions.changes();
    let mut fib_from = tokio::time::Instant::now();
    let (mut notices, mut resolved) = (Vec::new(), Vec::new());
    let mut loading = Loading::default();
    let ended = loop {
        tokio::select! {
            asked = signals.next() => match asked {
                signal @ (Asked::Terminate | Asked::Interrupt) => break Ok(signal),
                Asked::Reload => loading.ask(None, gateway),
            },
            Some(reason) = threads.failures.recv() => {
                error!("{reason}");
                break Err(reason.into());
            }
            1.. = threads.notices.recv_many(&mut notices, NOTICES_AT_ONCE) => {
                gateway.take_notices(&mut notices).await;
            }
            () = sleep_until(fib_from), if !gateway.stale.fib.is_empty() => {
                gateway.publish_fib();
                fib_from = tokio::time::Instant::now() + FIB_PACE;
            }
            Some(()) = OptionFuture::from(gateway.rest_is_due().map(|due| sleep_until(due.into()))) => gateway.tell_the_rest(),
            Some(ask) = asks.recv() => answer(gateway, &mut loading, ask).await,
            Some((loaded, asker)) = loading.next() => {
                take_file(gateway, loaded, asker).await;
                loading.go_on(gateway);
            }
            Some(kept) = kept.recv() => gateway.take_owner_change(kept).await,
            1.. = resolutions.recv_many(&mut resolved, names::RESOLUTIONS) => gateway.take_resolutions(&mut resolved).await,
            changed = standing.changed() => {
                if changed.is_err() {
                    break Err("nobody keeps the kernel's side of the VPN routes any more".into());
                }
                gateway.publish_view();
                gateway.events.happened(EventKind::RoutesChanged, None, None, None);
            }
            Ok(()) = conditions.changed() => gateway.publish_view(),
        }
        if gateway.ike.has_hung() {
            break Err("the IKE thread takes nothing that it is asked any more".into());
        }
        if std::mem::take(&mut gateway.stale.names) {
            wanted_names.send_if_modified(|current| {
                let wanted = gateway.names();
                let news = *current != wanted;
                *current = wanted;
                news
            });
        }
    };
    resolver.abort();
    gateway.tell_the_rest();
    ended
}

/// A caller that has gone does not mind that its answer is lost.
async fn answer(gateway: &mut Gateway, loading: &mut Loading, ask: Ask) {
    match ask {
        Ask::Act { name, action, answer } => drop(answer.send(gateway.act(&name, action))),
        Ask::Rekey { name, which, answer } => drop(answer.send(gateway.rekey(&name, which))),
        Ask::Export { name, answer } => drop(answer.send(gateway.export(&name))),
        Ask::Reload { answer } => loading.ask(Some(answer), gateway),
    }
}

/// Takes a file that was read again, if it is right.
async fn take_file(gateway: &mut Gateway, loaded: Result<Loaded, Refused>, asker: Asker) {
    let taken = match loaded {
        Ok(loaded) => Ok(gateway.take_file(loaded).await),
        Err(refused) => Err(refused),
    };
    match asker {
        // A caller that has gone does not mind that its answer is lost.
        Some(asker) => drop(asker.send(taken)),
        None => taken.err().into_iter().for_each(|error| error!("{error}")),
    }
}

/// Deletes the SAs at the peers. Blackholes, rules and filter stay in the kernel, unless it `opens`.
async fn stop(mut gateway: Gateway, mut threads: Threads, opens: bool) -> End {
    info!("gatewayd stops");
    gateway.ike.send(Request::Command(Command::Shutdown));
    let began = Instant::now();
    let deleted = async {
        let mut notices = Vec::new();
        while threads.notices.recv_many(&mut notices, NOTICES_AT_ONCE).await > 0 {
            if gateway.take_notices(&mut notices).await {
                return;
            }
        }
    };
    // IKE ends its waiting without saying for whom it waited in vain.
    if timeout(SHUTDOWN_TIMEOUT, deleted).await.is_err() || began.elapsed() >= SHUTDOWN_TIME {
        warn!("some peers did not acknowledge that their SAs are deleted");
    }
    gateway.ike.send(Request::Stop);
    let protect = gateway.policy().policy().protect;
    let end =
        if opens { closed::open(gateway.forwarding).await } else { closed::end(gateway.forwarding, protect).await };
    let ended = async {
        while !threads.ended() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    // The outbound thread may sleep for a second more; the process does not wait for it.
    let _ = timeout(THREADS_TIMEOUT, ended).await;
    end
}
