//! One change among thousands, from the request to cend's API until gatewayd has carried it out and said so, and until the
//! kernels have the last route of it.
//!
//! `cargo bench --bench cloud_change -- [--connections N] [--rounds N] [--bar MILLISECONDS] [--socket PATH [--gateway NAMESPACE
//! --vpc NAMESPACE]]`, a minute. Without a socket, as much of a gatewayd as has to do with cend's set stands at the other end: the
//! journal on the disk, the translation, and of what follows inside gatewayd nothing. With one, the gatewayd that listens
//! there, to be started in a namespace for this alone. With its namespace and that of its VPC's router, joined by a cable with
//! the addresses 10.254.4.2 and 10.254.4.1, their kernels are watched too. Ends with the status 1 if a median, counted from the
//! request, is above the bar.

#![expect(clippy::disallowed_methods, reason = "the measuring thread waits; cend and gatewayd have theirs")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use futures_util::stream;
use ipsec_gateway::cen::change::Change;
use ipsec_gateway::cen::command::{
    Command, CreateCustomerGateway, CreateVSwitch, CreateVpc, CreateVpnConnection, CreateVpnGateway, IkeParameters,
    IpsecParameters, Submission,
};
use ipsec_gateway::cen::network::{Declarations, UnixMillis, VpcName};
use ipsec_gateway::cen::openapi::action::VPC;
use ipsec_gateway::cen::state::State;
use ipsec_gateway::cen::vpn::{DEFAULT_PRIORITY, PreSharedKey, VpnConnection, VpnRoute, VpnRouteKey};
use ipsec_gateway::cen::{apply::apply, plan::plan};
use ipsec_gateway::cloud::config::{AccessKey, Config};
use ipsec_gateway::cloud::fabric_binding::{Bindings, BoundNetwork, GatewayBinding, NetworkBinding};
use ipsec_gateway::cloud::wiring;
use ipsec_gateway::control::Problem;
use ipsec_gateway::control::owner::{OwnerReply, OwnerSet};
use ipsec_gateway::control::owner_change::{OwnerChange, OwnerEntries};
use ipsec_gateway::control::request::Request;
use ipsec_gateway::daemon::config::Config as Configuration;
use ipsec_gateway::daemon::owner_keeper::{Kept, OwnerKeeper, OwnerRefused, OwnerUpdate};
use ipsec_gateway::daemon::owner_set::Translation;
use ipsec_gateway::io::netlink::{Change as KernelChange, Changes};
use ipsec_gateway::io::netns::Namespace;
use ipsec_gateway::io::openapi_client::signed_query;
use ipsec_gateway::io::store::embedded::EmbeddedStore;
use ipsec_gateway::io::store::{Revision, Store};
use ipsec_gateway::io::unix::{ControlClient, ControlSocket};

/// After the last route, none has come for so long.
const QUIET: Duration = Duration::from_millis(100);
/// The longest that anything is waited for.
const LIMIT: Duration = Duration::from_secs(60);
const REGION: &str = "cn-hangzhou";
const GATEWAY: &str = "vpn-bench";

struct Arguments {
    connections: u32,
    rounds: u32,
    /// The most that the median of a change may take, from the request to cend's API until the packet path has it.
    bar: Duration,
    socket: Option<PathBuf>,
    gateway: Option<Namespace>,
    vpc: Option<Namespace>,
}

impl Arguments {
    fn read() -> Self {
        let bar = Duration::from_millis(20);
        let mut read = Self { connections: 8000, rounds: 40, bar, socket: None, gateway: None, vpc: None };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match &*word {
                "--connections" => read.connections = number(words.next()),
                "--rounds" => read.rounds = number(words.next()),
                "--bar" => read.bar = Duration::from_millis(number(words.next()).into()),
                "--socket" => read.socket = Some(words.next().expect("a path").into()),
                "--gateway" => read.gateway = words.next().map(|name| Namespace::Named(name.into())),
                "--vpc" => read.vpc = words.next().map(|name| Namespace::Named(name.into())),
                // What cargo adds.
                "--bench" => {}
                other => panic!("{other} is no option; the head of this file says which there are"),
            }
        }
        read
    }
}

fn number(word: Option<String>) -> u32 {
    word.and_then(|word| word.parse().ok()).filter(|number| *number > 0).expect("a number above 0")
}

/// A store with that many connections, each with a route.
fn fill(directory: &Path, connections: u32) -> Result<(), Box<dyn std::error::Error>> {
    let mut store = EmbeddedStore::open(directory)?;
    let mut state = State::default();
    let mut revision = Revision(0);
    let mut commit = |state: &mut State, changes: &[Change]| {
        changes.iter().for_each(|change| apply(state, change));
        revision = store.commit(revision, changes, None)?;
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    for command in beginning() {
        let submission = Submission { command, client_token: None, dry_run: false, now: UnixMillis(1) };
        let changes = plan(&state, &submission).map_err(|error| error.message.to_string())?;
        commit(&mut state, &changes)?;
    }
    let model = state.vpn_connections["vco-0"].clone();
    // More than the cloud lets one gateway have, so past its rules.
    let changes: Vec<Change> = (1..connections).flat_map(|number| copy(&model, number)).collect();
    commit(&mut state, &changes)?;
    store.fold(revision, &state)?;
    Ok(())
}

fn copy(model: &VpnConnection, number: u32) -> [Change; 2] {
    let [_, _, high, low] = number.to_be_bytes();
    let id = format!("vco-{number}");
    let mut connection = model.clone();
    connection.id = id.as_str().into();
    connection.ike.remote_id = format!("branch-{number}.example.com");
    connection.remote_subnets = vec![ipnet::Ipv4Net::new_assert([10, high, low, 0].into(), 24)];
    let route = VpnRoute {
        key: VpnRouteKey {
            gateway: GATEWAY.into(),
            destination: connection.remote_subnets[0],
            next_hop: id,
            source: None,
        },
        weight: 100,
        priority: DEFAULT_PRIORITY,
        published: false,
        owned_by_file: false,
        automatic: false,
        description: String::new(),
        created: UnixMillis(1),
    };
    [Change::VpnConnectionSet(Box::new(connection)), Change::VpnRouteSet(route)]
}

fn beginning() -> Vec<Command> {
    let pool = Declarations { address_pool: "203.0.113.0/24".parse().expect("a block"), ..Declarations::default() };
    vec![
        Command::Declare(Box::new(pool)),
        Command::CreateVpc(CreateVpc {
            id: "vpc-bench".into(),
            router: "vrt-bench".into(),
            route_table: "vtb-bench".into(),
            service_entry: "rte-service".into(),
            region: REGION.into(),
            cidr: "192.168.0.0/16".parse().expect("a block"),
            name: "vpc".into(),
            description: String::new(),
            tags: Vec::new(),
            user_cidrs: Vec::new(),
            resource_group: String::new(),
        }),
        Command::CreateVSwitch(CreateVSwitch {
            tags: Vec::new(),
            id: "vsw-bench".into(),
            system_entry: "rte-vsw".into(),
            vpc: "vpc-bench".into(),
            zone: String::new(),
            cidr: "192.168.0.0/24".parse().expect("a block"),
            name: String::new(),
            description: String::new(),
        }),
        Command::CreateVpnGateway(CreateVpnGateway {
            id: GATEWAY.into(),
            region: REGION.into(),
            vpc: "vpc-bench".into(),
            vswitch: None,
            disaster_recovery_vswitch: None,
            name: GATEWAY.into(),
            description: String::new(),
            bandwidth: 10,
            charge_type: "POSTPAY".into(),
            tags: Vec::new(),
            resource_group: String::new(),
        }),
        Command::CreateCustomerGateway(CreateCustomerGateway {
            id: "cgw-bench".into(),
            region: REGION.into(),
            address: "198.51.100.1".parse().expect("an address"),
            asn: None,
            name: String::new(),
            description: String::new(),
            tags: Vec::new(),
            resource_group: String::new(),
        }),
        Command::CreateVpnConnection(Box::new(CreateVpnConnection {
            id: "vco-0".into(),
            region: REGION.into(),
            gateway: GATEWAY.into(),
            customer_gateway: "cgw-bench".into(),
            name: String::new(),
            local_subnets: vec!["192.168.0.0/16".parse().expect("a block")],
            remote_subnets: vec!["10.255.0.0/24".parse().expect("a block")],
            effect_immediately: false,
            dead_peer_detection: true,
            nat_traversal: true,
            auto_config_route: false,
            ike: IkeParameters::default(),
            ipsec: IpsecParameters::default(),
            generated_psk: PreSharedKey::new("a key for this benchmark only".into()),
            tags: Vec::new(),
        })),
    ]
}

/// As much of a gatewayd as has to do with cend's set, on a thread of its own.
fn serve_set(folder: &Path) -> PathBuf {
    let (socket, state) = (folder.join("socket"), folder.join("gatewayd"));
    let listens = socket.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(set_server(listens, state));
    });
    socket
}

#[derive(Clone)]
struct Served {
    keeper: OwnerKeeper,
    revision: Arc<AtomicU64>,
}

async fn set_server(socket: PathBuf, state: PathBuf) {
    let file = Configuration::parse("", Path::new("gatewayd.toml")).expect("a configuration");
    let (keeper, mut kept) = OwnerKeeper::start(&state, None).expect("a thread");
    let revision = Arc::new(AtomicU64::new(0));
    let done = Arc::clone(&revision);
    tokio::spawn(async move {
        let mut set = OwnerEntries::default();
        let (mut translation, _) = Translation::new(None, &file, 0);
        while let Some(Kept { change, answer, .. }) = kept.recv().await {
            let touched = translation.change(&mut set, &change, 0);
            assert!(touched.refused.is_empty(), "{:?}", touched.refused);
            done.store(change.to, Ordering::Relaxed);
            let _ = answer.send(Ok(OwnerReply { revision: change.to, refused: Vec::new() }));
        }
    });
    let status = serde_json::json!({
        "version": "0", "uptime_seconds": 0, "device": "none", "mtu": 1400, "connections": [], "routes": [], "drops": {}
    });
    let router = Router::new()
        .route("/v1/owners/cend", put(take_set).patch(take_change).get(tell))
        .route("/v1/status", get(async move || Json(status)))
        .route("/v1/events", get(async || Sse::new(stream::pending::<Result<Event, std::io::Error>>())))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(Served { keeper, revision });
    let socket = ControlSocket::bind(&socket).expect("a socket");
    socket.serve(router, std::future::pending()).await.expect("a server");
}

async fn tell(Shared(served): Shared<Served>) -> Json<OwnerReply> {
    Json(OwnerReply { revision: served.revision.load(Ordering::Relaxed), refused: Vec::new() })
}

async fn take_set(Shared(served): Shared<Served>, Json(set): Json<OwnerSet>) -> Response {
    answer(&served, OwnerUpdate::Set(set)).await
}

async fn take_change(Shared(served): Shared<Served>, Json(change): Json<OwnerChange>) -> Response {
    answer(&served, OwnerUpdate::Change(change)).await
}

async fn answer(served: &Served, update: OwnerUpdate) -> Response {
    match served.keeper.update(update).await {
        Ok(reply) => Json(reply).into_response(),
        Err(refused @ OwnerRefused::Outdated { revision, .. }) => {
            (StatusCode::CONFLICT, Json(Problem { error: refused.to_string(), revision: Some(revision) }))
                .into_response()
        }
        Err(refused) => panic!("{refused}"),
    }
}

fn named(namespace: Option<&Namespace>) -> Arc<str> {
    match namespace {
        Some(Namespace::Named(name)) => Arc::clone(name),
        _ => "cloud-change-has-none".into(),
    }
}

/// Starts cend on a thread of its own; where its API listens.
fn start_cend(state: PathBuf, socket: PathBuf, gateway: Option<&Namespace>, vpc: Option<&Namespace>) -> SocketAddr {
    let mut config = Config::simulation("127.0.0.1:0".parse().expect("an address"), state);
    config.access_keys.push(AccessKey::parse("bench:secret").expect("a key"));
    let binding = GatewayBinding {
        region: REGION.into(),
        name: GATEWAY.into(),
        namespace: named(gateway),
        inner_address: "10.254.4.2".parse().expect("an address"),
        router_address: "10.254.4.1".parse().expect("an address"),
        socket,
    };
    let network = vpc.map(|vpc| NetworkBinding {
        network: BoundNetwork::Vpc(VpcName { region: REGION.into(), name: "vpc".into() }),
        namespace: named(Some(vpc)),
        // There is no fabric.
        router_device: "none".into(),
        router_address: "10.255.4.2".parse().expect("an address"),
        fabric_device: "none".into(),
        fabric_address: "10.255.4.1".parse().expect("an address"),
        data_center_address: None,
    });
    config.bindings = Bindings { fabric: None, networks: network.into_iter().collect(), vpn_gateways: vec![binding] };
    config.declarations.address_pool = "203.0.113.0/24".parse().expect("a block");
    let (ready, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(wiring::run(config, |at| ready.send(at.http).expect("somebody waits"))).expect("cend runs");
    });
    address.recv().expect("cend listens")
}

/// Calls an action of the Vpc API.
fn call(address: SocketAddr, action: &str, given: &[(&str, &str)]) {
    let query = signed_query(("bench", b"secret"), VPC, action, &[&[("RegionId", REGION)], given].concat());
    let mut stream = TcpStream::connect(address).expect("cend listens");
    let request = format!("GET /?{query} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("cend reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("cend answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{action}: {answer}");
}

/// Asks gatewayd which revision it has until it is another one; when it was.
async fn next_revision(client: &ControlClient, known: u64) -> (u64, Instant) {
    let until = Instant::now() + LIMIT;
    loop {
        match client.call::<OwnerReply>(&Request::Owner).await {
            Ok(reply) if reply.revision != known => return (reply.revision, Instant::now()),
            _ if Instant::now() > until => panic!("gatewayd stays at revision {known}"),
            _ => tokio::time::sleep(Duration::from_micros(200)).await,
        }
    }
}

/// When a kernel was told the last route of a change.
async fn last_route(kernel: Option<&mut Changes>) -> Option<Instant> {
    let kernel = kernel?;
    let mut last = None;
    loop {
        let patience = if last.is_some() { QUIET } else { LIMIT };
        match tokio::time::timeout(patience, kernel.next()).await {
            Ok(Some(KernelChange::Route { .. })) => last = Some(Instant::now()),
            Ok(Some(_)) => {}
            Ok(None) => panic!("the kernel had more to tell than could be heard"),
            Err(_) => return Some(last.expect("a route in the kernel")),
        }
    }
}

fn shown(times: &mut [Duration]) -> (Duration, String) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    (at(50), format!("median {}, 90 % {}, most {}", ms(at(50)), ms(at(90)), ms(at(100))))
}

/// Makes changes one after the other, and prints what they took.
struct Measure<'m> {
    runtime: tokio::runtime::Runtime,
    client: &'m ControlClient,
    revision: u64,
    rounds: u32,
    bar: Duration,
    fails: bool,
}

impl Measure<'_> {
    fn of(&mut self, what: &str, kernel: Option<&Namespace>, change: &dyn Fn(u32)) {
        let (mut replies, mut carried_out, mut routed) = (Vec::new(), Vec::new(), Vec::new());
        let listen = |namespace| Changes::listen(namespace).expect("a namespace that can be listened to");
        let mut kernel = kernel.map(|namespace| self.runtime.block_on(async { listen(namespace) }));
        for round in 0..self.rounds {
            let begun = Instant::now();
            change(round);
            let replied = Instant::now();
            replies.push(replied - begun);
            let outcome =
                async { tokio::join!(next_revision(self.client, self.revision), last_route(kernel.as_mut())) };
            let ((revision, at), last) = self.runtime.block_on(outcome);
            self.revision = revision;
            carried_out.push((at - begun, at.saturating_duration_since(replied)));
            routed.extend(last.map(|last| (last - begun, last.saturating_duration_since(replied))));
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("{what}, from the request\n  until cend's reply: {}", shown(&mut replies).1);
        for (what, times) in [("gatewayd has it", carried_out), ("the kernel has the last route", routed)] {
            if !times.is_empty() {
                let (mut whole, mut after): (Vec<_>, Vec<_>) = times.into_iter().unzip();
                let (median, text) = shown(&mut whole);
                println!("  until {what}: {text}\n    of that after cend's reply: {}", shown(&mut after).1);
                self.fails |= median > self.bar;
            }
        }
    }
}

fn main() -> std::process::ExitCode {
    let Arguments { connections, rounds, bar, socket, gateway, vpc } = Arguments::read();
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("cend");
    fill(&store, connections).expect("a store");
    let socket = socket.unwrap_or_else(|| serve_set(folder.path()));
    let client = ControlClient::new(&socket).expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");

    let begun = Instant::now();
    let address = start_cend(store, socket, gateway.as_ref(), vpc.as_ref());
    let (revision, at) = runtime.block_on(next_revision(&client, 0));
    println!("{connections} connections, the whole set at first: {:.0} ms", (at - begun).as_secs_f64() * 1e3);

    let mut measure = Measure { runtime, client: &client, revision, rounds, bar, fails: false };
    let id = |round: u32| format!("vco-{}", round + 1);
    let modify = |round, given: &[(&str, &str)]| {
        let id = id(round);
        call(address, "ModifyVpnConnectionAttribute", &[&[("VpnConnectionId", &*id)], given].concat());
    };
    let route = |action, round: u32, given: &[(&str, &str)]| {
        let [_, _, high, low] = (round + 1).to_be_bytes();
        let (hop, to) = (id(round), format!("10.{high}.{low}.0/24"));
        let route = [("VpnGatewayId", GATEWAY), ("RouteDest", &*to), ("NextHop", &*hop)];
        call(address, action, &[&route[..], given].concat());
    };
    measure.of("one connection of them changed", None, &|round| modify(round, &[("EnableDpd", "false")]));
    measure.of("one weight of them changed", None, &|round| {
        route("ModifyVpnRouteEntryWeight", round, &[("Weight", "100"), ("NewWeight", "0")]);
    });
    if gateway.is_some() {
        measure.of("one subnet more, in gatewayd's kernel", gateway.as_ref(), &|round| {
            modify(round, &[("RemoteSubnet", &format!("172.20.{round}.0/24"))]);
        });
    }
    if vpc.is_some() {
        measure.of("one route published, in the kernel of the VPC's router", vpc.as_ref(), &|round| {
            route("PublishVpnRouteEntry", round, &[("RouteType", "dbr"), ("PublishVpc", "true")]);
        });
    }
    println!("bar: {} ms in the median{}", bar.as_millis(), if measure.fails { ": NOT MET" } else { "" });
    if measure.fails { std::process::ExitCode::FAILURE } else { std::process::ExitCode::SUCCESS }
}
