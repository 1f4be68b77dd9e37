//! cend's writer, store and link against what keeps its set in gatewayd, over a real control socket.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use futures_util::stream;
use ipsec_gateway::cen::command::Command;
use ipsec_gateway::cen::openapi::live::LiveGateways;
use ipsec_gateway::cloud::gateway::GatewayLinks;
use ipsec_gateway::cloud::gateway_set::owner_set;
use ipsec_gateway::cloud::writer::Writer;
use ipsec_gateway::control::Problem;
use ipsec_gateway::control::owner::{OwnerReply, OwnerSet};
use ipsec_gateway::control::owner_change::{OwnerChange, OwnerEntries};
use ipsec_gateway::daemon::owner_file;
use ipsec_gateway::daemon::owner_keeper::{Kept, OwnerKeeper, OwnerRefused, OwnerUpdate};
use ipsec_gateway::io::store::Revision;
use ipsec_gateway::io::store::embedded::EmbeddedStore;
use ipsec_gateway::io::unix::ControlSocket;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::oneshot;

use crate::vpn_world::{GATEWAYS, beginning, binding, random_command, submission};

/// What was asked of a gatewayd since it was looked at last.
#[derive(Default)]
struct Asked {
    puts: AtomicUsize,
    patches: AtomicUsize,
    refused: AtomicUsize,
    /// Sets and changes that are not answered yet.
    pending: AtomicUsize,
    /// Streams of events: one for each time that cend has connected.
    links: AtomicUsize,
    /// Looks at the status, and how many of the next ones find no time.
    looks: AtomicUsize,
    late: AtomicUsize,
    /// So many changes from now on are answered with this status and not taken.
    failures: AtomicUsize,
    failure: AtomicU16,
}

impl Asked {
    fn take(&self) -> (usize, usize, usize) {
        let [puts, patches, refused] =
            [&self.puts, &self.patches, &self.refused].map(|count| count.swap(0, Ordering::Relaxed));
        (puts, patches, refused)
    }
}

/// A set or a change for as long as it is neither answered nor lost with its gatewayd.
struct Pending(Arc<Asked>);

impl Pending {
    fn begin(asked: &Arc<Asked>) -> Self {
        asked.pending.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(asked))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// As much of a gatewayd as has to do with cend's set.
struct Gatewayd {
    /// What its control task has carried out.
    carried_out: Arc<Mutex<OwnerEntries>>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    control: JoinHandle<()>,
}

#[derive(Clone)]
struct Served {
    keeper: OwnerKeeper,
    asked: Arc<Asked>,
}

impl Gatewayd {
    fn start(socket: &Path, state: &Path, asked: &Arc<Asked>) -> Self {
        let restored = owner_file::restore(state).unwrap();
        let carried_out = Arc::new(Mutex::new(restored.clone().unwrap_or_default()));
        let (keeper, mut kept) = OwnerKeeper::start(state, restored).unwrap();
        let entries = Arc::clone(&carried_out);
        let control = std::thread::spawn(move || {
            while let Some(Kept { change, answer, .. }) = kept.blocking_recv() {
                entries.lock().unwrap().apply(&change);
                let _ = answer.send(Ok(OwnerReply { revision: change.to, refused: Vec::new() }));
            }
        });
        let router = Router::new()
            .route("/v1/owners/cend", put(take_set).patch(take_change))
            .route("/v1/status", get(tell_status))
            .route("/v1/events", get(tell_events))
            .with_state(Served { keeper, asked: Arc::clone(asked) });
        let (stop, stopped) = oneshot::channel();
        let socket = socket.to_owned();
        // A runtime of its own: its connections end with it.
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let socket = ControlSocket::bind(&socket).unwrap();
                socket.serve(router, async { stopped.await.unwrap_or_default() }).await.unwrap();
            });
        });
        Self { carried_out, stop, server, control }
    }

    /// Whatever is under way is not answered.
    fn kill(self) {
        let Self { carried_out: _, stop, server, control } = self;
        drop(stop);
        server.join().unwrap();
        control.join().unwrap();
    }
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(Problem { error: error.to_owned(), revision: None })).into_response()
}

/// Whether there was one left.
fn one_less(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
}

async fn tell_events(Shared(served): Shared<Served>) -> Response {
    served.asked.links.fetch_add(1, Ordering::Relaxed);
    Sse::new(stream::pending::<Result<Event, std::io::Error>>()).into_response()
}

/// One connection, which the cloud made.
async fn tell_status(Shared(served): Shared<Served>) -> Response {
    served.asked.looks.fetch_add(1, Ordering::Relaxed);
    if one_less(&served.asked.late) {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "IKE is too busy to answer, or stopping");
    }
    let nothing = serde_json::json!({ "packets": 0, "bytes": 0, "errors": 0 });
    Json(serde_json::json!({
        "version": "0", "uptime_seconds": 0, "device": "none", "mtu": 1400, "routes": [], "drops": {}, "connections": [{
            "name": "vco-1", "owner": "cend", "state": "waiting", "ike_state": "ike_sa_not_established",
            "child_state": "ipsec_sa_not_established", "peer": "198.51.100.1", "local_id": "a", "peer_id": "b",
            "start": "wait", "child_sas": [], "inbound": nothing, "outbound": nothing
        }]
    }))
    .into_response()
}

async fn take_set(Shared(served): Shared<Served>, Json(set): Json<OwnerSet>) -> Response {
    served.asked.puts.fetch_add(1, Ordering::Relaxed);
    answer(&served, OwnerUpdate::Set(set)).await
}

async fn take_change(Shared(served): Shared<Served>, Json(change): Json<OwnerChange>) -> Response {
    served.asked.patches.fetch_add(1, Ordering::Relaxed);
    if one_less(&served.asked.failures) {
        let failure = served.asked.failure.load(Ordering::Relaxed);
        return problem(StatusCode::from_u16(failure).unwrap(), "not taken");
    }
    answer(&served, OwnerUpdate::Change(change)).await
}

async fn answer(served: &Served, update: OwnerUpdate) -> Response {
    let pending = Pending::begin(&served.asked);
    let updated = served.keeper.update(update).await;
    drop(pending);
    match updated {
        Ok(reply) => Json(reply).into_response(),
        Err(OwnerRefused::Outdated { revision, .. }) => {
            served.asked.refused.fetch_add(1, Ordering::Relaxed);
            let problem = Problem { error: "outdated".into(), revision: Some(revision) };
            (StatusCode::CONFLICT, Json(problem)).into_response()
        }
        Err(refused) => {
            let problem = Problem { error: refused.to_string(), revision: None };
            (StatusCode::SERVICE_UNAVAILABLE, Json(problem)).into_response()
        }
    }
}

/// A cend without its API.
struct Cend {
    writer: Writer,
    thread: JoinHandle<()>,
    links: GatewayLinks,
}

impl Cend {
    fn start(store: &Path, socket: &Path) -> Self {
        let (writer, thread) = Writer::start(Box::new(EmbeddedStore::open(store).unwrap())).unwrap();
        let links = GatewayLinks::start(&[binding(socket)], writer.commits());
        Self { writer, thread, links }
    }

    async fn submit(&self, command: Command) -> bool {
        self.writer.submit(submission(command)).await.is_ok()
    }

    /// Goes on until the bound gateway has a connection: before that an empty set, and none that is asked for, agree as well.
    async fn connect(&self) {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        while self.wanted().connections.is_empty() {
            self.submit(random_command(&mut random, 0)).await;
        }
    }

    fn stop(self) {
        let Self { writer, thread, links } = self;
        drop((links, writer));
        // Its links hold receivers only, so the writer's end is the thread's.
        thread.join().unwrap();
    }

    /// The whole set, without session and revision.
    fn wanted(&self) -> OwnerEntries {
        let state = self.writer.state();
        let bound = state.vpn_gateways.values().find(|gateway| gateway.name == GATEWAYS[0]);
        OwnerEntries::new(owner_set(&state, bound.map(|gateway| &gateway.id), "", Revision(0))).0
    }
}

struct Lab {
    folder: tempfile::TempDir,
    asked: Arc<Asked>,
}

impl Lab {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), asked: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn gatewayd(&self) -> Gatewayd {
        Gatewayd::start(&self.path("socket"), &self.path("gatewayd"), &self.asked)
    }

    fn cend(&self) -> Cend {
        Cend::start(&self.path("cend"), &self.path("socket"))
    }

    /// What gatewayd carries out, and what it would restore, is what cend wants, soon.
    async fn agree(&self, cend: &Cend, gatewayd: &Gatewayd, when: &str) {
        let wanted = cend.wanted();
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let entries = gatewayd.carried_out.lock().unwrap().clone();
            let revision = entries.revision;
            if (OwnerEntries { session: String::new(), revision: 0, ..entries }) == wanted && revision > 0 {
                break;
            }
            assert!(Instant::now() < until, "{when}: gatewayd is at revision {revision}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // A kill before that leaves cend in doubt, which then asks and puts.
        while self.asked.pending.load(Ordering::Relaxed) > 0 {
            assert!(Instant::now() < until, "{when}: gatewayd does not answer");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // Commits that undo each other leave gatewayd as it is wanted before it has heard of the first of them.
        loop {
            let kept = owner_file::restore(&self.path("gatewayd")).unwrap().unwrap();
            let kept = OwnerEntries { session: String::new(), revision: 0, ..kept };
            if kept == wanted {
                return;
            }
            assert!(Instant::now() < until, "{when}: on the disk is {kept:?}, and {wanted:?} is wanted");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(300), test).await.unwrap() });
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_change_is_told_by_one_patch_and_the_whole_only_at_the_start() {
    run(async {
        let lab = Lab::new();
        let (gatewayd, cend) = (lab.gatewayd(), lab.cend());
        for command in beginning() {
            assert!(cend.submit(command).await);
        }
        let mut random = ChaCha8Rng::seed_from_u64(1);
        cend.connect().await;
        lab.agree(&cend, &gatewayd, "at first").await;
        lab.asked.take();
        let bound = |cend: &Cend| cend.writer.state().vpn_gateways.contains_key(GATEWAYS[0]);
        let (mut patches, mut commits) = (0, 0);
        for step in 0..150 {
            let was_bound = bound(&cend);
            commits += usize::from(cend.submit(random_command(&mut random, step)).await);
            lab.agree(&cend, &gatewayd, &format!("step {step}")).await;
            if bound(&cend) != was_bound {
                // Another gateway, or none, is a start.
                let until = Instant::now() + Duration::from_secs(10);
                while lab.asked.puts.load(Ordering::Relaxed) == 0 && Instant::now() < until {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                assert_eq!(lab.asked.puts.swap(0, Ordering::Relaxed), 1);
            }
            let (puts, told, refused) = lab.asked.take();
            assert_eq!((puts, refused), (0, 0), "step {step}");
            patches += told;
        }
        assert!(patches <= commits, "{patches} patches for {commits} commits");
        assert!(patches > 20, "{patches} patches");
        cend.stop();
        gatewayd.kill();
    });
}

#[test]
fn whoever_is_restarted_or_restored_both_agree_after_every_step() {
    run(async {
        let lab = Lab::new();
        let (mut gatewayd, mut cend) = (lab.gatewayd(), lab.cend());
        for command in beginning() {
            assert!(cend.submit(command).await);
        }
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let (mut backups, mut restarts) = (0, 0);
        for step in 0..120 {
            match random.random_range(0..12) {
                0 => {
                    gatewayd.kill();
                    cend.submit(random_command(&mut random, step * 10)).await;
                    gatewayd = lab.gatewayd();
                    restarts += 1;
                }
                1 => {
                    cend.stop();
                    cend = lab.cend();
                    restarts += 1;
                }
                2 => {
                    cend.stop();
                    copy(&lab.path("cend"), &lab.path("backup"));
                    cend = lab.cend();
                }
                3 if lab.path("backup").exists() => {
                    cend.stop();
                    copy(&lab.path("backup"), &lab.path("cend"));
                    cend = lab.cend();
                    backups += 1;
                }
                _ => {
                    // Faster than gatewayd answers.
                    for more in 0..random.random_range(1..4) {
                        cend.submit(random_command(&mut random, step * 10 + more)).await;
                    }
                }
            }
            lab.agree(&cend, &gatewayd, &format!("step {step}")).await;
        }
        assert!(backups > 3 && restarts > 8, "{backups} backups, {restarts} restarts");
        cend.stop();
        gatewayd.kill();
    });
}

#[test]
fn after_a_restart_of_gatewayd_a_question_is_enough_and_a_foreign_set_is_replaced() {
    run(async {
        let lab = Lab::new();
        let (gatewayd, cend) = (lab.gatewayd(), lab.cend());
        for command in beginning() {
            assert!(cend.submit(command).await);
        }
        cend.connect().await;
        lab.agree(&cend, &gatewayd, "at first").await;
        lab.asked.take();
        gatewayd.kill();
        let gatewayd = lab.gatewayd();
        let until = Instant::now() + Duration::from_secs(10);
        while lab.asked.patches.load(Ordering::Relaxed) == 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lab.agree(&cend, &gatewayd, "after the restart").await;
        assert_eq!(lab.asked.take(), (0, 1, 0), "it has kept its revision");
        // While it is away its set is lost.
        gatewayd.kill();
        std::fs::remove_dir_all(lab.path("gatewayd")).unwrap();
        let gatewayd = lab.gatewayd();
        lab.agree(&cend, &gatewayd, "after the loss").await;
        assert_eq!(lab.asked.take(), (1, 1, 1), "asked, refused, put");
        cend.stop();
        gatewayd.kill();
    });
}

#[test]
fn commits_go_on_while_gatewayd_is_away() {
    run(async {
        let lab = Lab::new();
        let cend = lab.cend();
        for command in beginning() {
            assert!(cend.submit(command).await);
        }
        let mut random = ChaCha8Rng::seed_from_u64(3);
        for step in 0..50 {
            cend.submit(random_command(&mut random, step)).await;
        }
        let gatewayd = lab.gatewayd();
        lab.agree(&cend, &gatewayd, "when it is there").await;
        assert_eq!(lab.asked.take().0, 1, "told once");
        cend.stop();
        gatewayd.kill();
    });
}

/// Until it holds, for ten seconds.
async fn soon(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One thing that somebody asks of the cloud, which binds no other gateway.
fn change(random: &mut ChaCha8Rng, number: usize) -> Command {
    loop {
        match random_command(random, number) {
            Command::CreateVpnGateway(_) | Command::DeleteVpnGateway { .. } => {}
            command => return command,
        }
    }
}

#[test]
fn a_status_that_comes_late_is_asked_for_again_and_ends_no_link() {
    run(async {
        let lab = Lab::new();
        lab.asked.late.store(2, Ordering::Relaxed);
        let (gatewayd, cend) = (lab.gatewayd(), lab.cend());
        for command in beginning() {
            assert!(cend.submit(command).await);
        }
        cend.links.bind(&cend.writer.state());
        let status = || cend.links.tunnel_status(&GATEWAYS[0].into(), "vco-1");
        soon("it is shown when gatewayd has the time", || status().is_some()).await;
        lab.agree(&cend, &gatewayd, "at first").await;
        let looks = || lab.asked.looks.load(Ordering::Relaxed);
        // One that is late later takes nothing away that was shown.
        lab.asked.late.store(1, Ordering::Relaxed);
        let before = looks();
        let mut random = ChaCha8Rng::seed_from_u64(4);
        for step in 0.. {
            cend.submit(change(&mut random, step)).await;
            assert!(status().is_some());
            if looks() > before + 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        lab.agree(&cend, &gatewayd, "afterwards").await;
        assert_eq!(lab.asked.links.load(Ordering::Relaxed), 1, "connected once");
        cend.stop();
        gatewayd.kill();
    });
}

#[test]
fn a_change_that_gatewayd_could_not_take_this_time_is_told_again_and_one_that_it_never_takes_is_put() {
    run(async {
        let lab = Lab::new();
        let (gatewayd, cend) = (lab.gatewayd(), lab.cend());
        for command in beginning() {
            assert!(cend.submit(command).await);
        }
        lab.agree(&cend, &gatewayd, "at first").await;
        cend.links.bind(&cend.writer.state());
        let status = || cend.links.tunnel_status(&GATEWAYS[0].into(), "vco-1");
        soon("the status is shown", || status().is_some()).await;
        let mut random = ChaCha8Rng::seed_from_u64(5);
        // A full disk, a stop; what this gatewayd does not understand, or has never heard of.
        for (failure, failures, expected_puts) in [(500, 4, 0), (503, 4, 0), (400, 1, 1), (405, 1, 1)] {
            let keeps = failure >= 500;
            lab.asked.take();
            let looks = lab.asked.looks.load(Ordering::Relaxed);
            lab.asked.failure.store(failure, Ordering::Relaxed);
            lab.asked.failures.store(failures, Ordering::Relaxed);
            let mut step = usize::from(failure) * 1000;
            while lab.asked.failures.load(Ordering::Relaxed) != 0 {
                cend.submit(change(&mut random, step)).await;
                step += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
                assert!(!keeps || status().is_some(), "{failure}: what gatewayd said is shown meanwhile");
            }
            lab.agree(&cend, &gatewayd, &format!("after {failure}")).await;
            let (puts, patches, refused) = lab.asked.take();
            assert_eq!((puts, refused), (expected_puts, 0), "after {failure}: {patches} patches");
            if keeps {
                assert_eq!(lab.asked.links.load(Ordering::Relaxed), 1, "after {failure}: the link has stayed");
                assert!(lab.asked.looks.load(Ordering::Relaxed) > looks + 1, "after {failure}: looked at meanwhile");
            }
        }
        cend.stop();
        gatewayd.kill();
    });
}
