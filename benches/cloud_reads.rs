//! A cloud of thousands of networks: what each kind of call takes, alone and beside fifty clients, how much memory it needs,
//! how long a start takes after a kill, and whether ten thousand resources that came and went leave something behind.
//!
//! `cargo bench --bench cloud_reads -- [--networks N] [--rounds N] [--cycles N]`, two minutes. All VPCs stand in four regions
//! and are attached to one CEN instance; each publishes 100 routes, of which everybody learns the first 100. Ends with the
//! status 1 if a bar of the table below is not met.

#![expect(clippy::disallowed_methods, reason = "the measuring threads wait; cend is a process of its own")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use ipsec_gateway::cen::apply::apply;
use ipsec_gateway::cen::change::Change;
use ipsec_gateway::cen::network::{NetworkId, UnixMillis, Vpc};
use ipsec_gateway::cen::openapi::rpc::Parameters;
use ipsec_gateway::cen::openapi::signature::{RpcMethod, percent_encode, sign_rpc};
use ipsec_gateway::cen::route::{EntryOrigin, RouteEntry, RouteKind, RouteTable};
use ipsec_gateway::cen::state::{Cen, State};
use ipsec_gateway::io::store::embedded::EmbeddedStore;
use ipsec_gateway::io::store::{Revision, Store};
use socket2::{Domain, Socket, Type};

const REGIONS: [&str; 4] = ["cn-hangzhou", "cn-beijing", "cn-shanghai", "eu-central-1"];
/// Routes that each network publishes.
const ROUTES: u32 = 100;
const CBN: &str = "2017-09-12";
const VPC: &str = "2016-04-28";
/// The longest that a call, a page and a start may take, and the 95th percentile beside fifty clients.
const CALL: Duration = Duration::from_millis(10);
const CROWD: Duration = Duration::from_millis(50);
const START: Duration = Duration::from_secs(1);
const RESIDENT: u64 = 300 << 20;
const CLIENTS: u32 = 50;

type Outcome<T> = Result<T, Box<dyn Error>>;
type Given<'a> = &'a [(&'a str, &'a str)];
/// A version, an action and its parameters.
type PageCall = (&'static str, &'static str, Vec<(&'static str, String)>);

struct Arguments {
    networks: u32,
    rounds: u32,
    cycles: u32,
}

impl Arguments {
    fn read() -> Self {
        let mut read = Self { networks: 2000, rounds: 40, cycles: 10_000 };
        let mut words = std::env::args().skip(1);
        let number = |word: Option<String>| word.and_then(|word| word.parse().ok()).expect("a number");
        while let Some(word) = words.next() {
            match &*word {
                "--networks" => read.networks = number(words.next()),
                "--rounds" => read.rounds = number(words.next()),
                "--cycles" => read.cycles = number(words.next()),
                // What cargo adds.
                "--bench" => {}
                other => panic!("{other} is no option; the head of this file says which there are"),
            }
        }
        read
    }
}

fn region(number: u32) -> &'static str {
    REGIONS[number as usize % REGIONS.len()]
}

fn destination(number: u32, route: u32) -> Ipv4Net {
    Ipv4Net::new_assert((0x0a00_0000 + (number * 128 + route) * 16).into(), 28)
}

fn entry(number: u32, route: u32) -> RouteEntry {
    RouteEntry {
        id: format!("rte-{number:05}-{route:014}").into(),
        destination: destination(number, route),
        kind: RouteKind::Instance,
        next_hop: format!("i-{number:020}"),
        as_path: Vec::new(),
        origin: EntryOrigin::Api,
        name: String::new(),
        description: String::new(),
        created: UnixMillis(1),
        next_hops: Vec::new(),
    }
}

/// One network with its routes, all but the last of them published.
fn network(number: u32, order: &mut u64, attached: bool) -> Vec<Change> {
    let network = NetworkId::Vpc(format!("vpc-{number:020}").into());
    let table = format!("vtb-{number:020}");
    let vpc = Vpc {
        id: network.as_str().into(),
        region: region(number).to_owned(),
        cidr: "172.16.0.0/12".parse().expect("a block"),
        name: format!("network-{number}"),
        description: String::new(),
        router: format!("vrt-{number:020}").into(),
        route_table: table.as_str().into(),
        created: UnixMillis(1),
        tags: Vec::new(),
        created_as: None,
        secondary_cidrs: Vec::new(),
        user_cidrs: Vec::new(),
    };
    let entries: BTreeMap<_, _> =
        (0..=ROUTES).map(|route| entry(number, route)).map(|one| (one.id.clone(), one)).collect();
    let table = RouteTable {
        id: table.as_str().into(),
        network: network.clone(),
        name: String::new(),
        description: String::new(),
        tags: Vec::new(),
        created: UnixMillis(1),
        entries: entries.into(),
        route_propagation: true,
    };
    let mut changes = vec![Change::VpcSet(vpc), Change::RouteTableSet(table)];
    if attached {
        changes.push(Change::Attached { network: network.clone(), cen: "cen-bench".into(), at: UnixMillis(1) });
        changes.extend((0..ROUTES).map(|route| {
            *order += 1;
            Change::Published { network: network.clone(), destination: destination(number, route), order: *order }
        }));
    }
    changes
}

/// A store with that many networks, and one more that is not attached.
fn fill(directory: &Path, networks: u32) -> Outcome<()> {
    let mut store = EmbeddedStore::open(directory)?;
    let (mut state, mut revision, mut order) = (State::default(), Revision(0), 0);
    let cen = Cen {
        id: "cen-bench".into(),
        name: String::new(),
        description: String::new(),
        protection_level: "REDUCED".into(),
        created: UnixMillis(1),
        tags: Vec::new(),
    };
    let mut all = vec![Change::CenSet(cen)];
    for number in 0..=networks {
        all.extend(network(number, &mut order, number < networks));
    }
    all.iter().for_each(|change| apply(&mut state, change));
    revision = store.commit(revision, &[Change::CenRemoved("cen-none".into())], None)?;
    store.fold(revision, &state)?;
    Ok(())
}

struct Cend {
    process: Child,
    address: SocketAddr,
    started: Duration,
}

impl Cend {
    fn start(state: &Path) -> Outcome<Self> {
        let begun = Instant::now();
        let mut process = Command::new(env!("CARGO_BIN_EXE_cend"))
            .args(["--listen", "127.0.0.1:0", "--access-key", "bench:secret", "--state"])
            .arg(state)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let address = line.trim().rsplit('/').next().ok_or("no address")?.parse()?;
        Ok(Self { process, address, started: begun.elapsed() })
    }

    /// What is resident, in bytes.
    fn resident(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }
}

impl Drop for Cend {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client with one connection.
struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Client {
    fn connect(address: SocketAddr) -> Outcome<Self> {
        Self::connect_from(1, address)
    }

    /// From 127.0.0.`last`: connections of one address are bounded.
    fn connect_from(last: u32, address: SocketAddr) -> Outcome<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let [.., last] = last.to_be_bytes();
        socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into())?;
        socket.connect(&address.into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    /// Calls an action; how long it took, and the length of the answer.
    fn call(&mut self, version: &str, action: &str, given: Given<'_>) -> Outcome<(Duration, usize)> {
        self.ask(version, action, given).map(|(took, body)| (took, body.len()))
    }

    /// Calls an action; how long it took, and the answer.
    fn ask(&mut self, version: &str, action: &str, given: Given<'_>) -> Outcome<(Duration, Vec<u8>)> {
        let mut parameters = Parameters::default();
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let nonce = uuid::Uuid::new_v4().to_string();
        let common = [
            ("Action", action),
            ("Version", version),
            ("Format", "JSON"),
            ("AccessKeyId", "bench"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureVersion", "1.0"),
            ("SignatureNonce", &nonce),
            ("Timestamp", &now),
        ];
        common.iter().chain(given).for_each(|(name, value)| parameters.insert(*name, *value));
        let signature = sign_rpc(RpcMethod::HmacSha1, "GET", &parameters, b"secret");
        parameters.insert("Signature", signature);
        let query: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
            .collect();
        let begun = Instant::now();
        let request = format!("GET /?{} HTTP/1.1\r\nHost: {}\r\n\r\n", query.join("&"), self.address);
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut status) = (0, String::new());
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            if status.is_empty() {
                status.clone_from(&line);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let took = begun.elapsed();
        if !status.contains(" 200 ") {
            return Err(format!("{action}: {status}{}", String::from_utf8_lossy(&body)).into());
        }
        Ok((took, body))
    }
}

fn shown(times: &mut [Duration]) -> (Duration, Duration, String) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    (at(50), at(95), format!("median {}, 95 % {}, most {} ms", ms(at(50)), ms(at(95)), ms(at(100))))
}

/// Measures, and remembers whether a bar was missed.
struct Bars {
    missed: Vec<String>,
}

impl Bars {
    fn check(&mut self, what: &str, holds: bool) {
        if !holds {
            self.missed.push(what.to_owned());
        }
    }

    fn calls(
        &mut self,
        what: &str,
        rounds: u32,
        mut call: impl FnMut(u32) -> Outcome<(Duration, usize)>,
    ) -> Outcome<()> {
        let (mut times, mut length) = (Vec::new(), 0);
        for round in 0..rounds {
            let (took, bytes) = call(round)?;
            times.push(took);
            length = bytes;
        }
        let (median, _, text) = shown(&mut times);
        println!("{what}: {text}, {length} bytes");
        self.check(what, median <= CALL);
        Ok(())
    }
}

/// The parameters that name the child instance of this number.
fn child(number: u32) -> [(&'static str, String); 5] {
    [
        ("CenId", "cen-bench".to_owned()),
        ("ChildInstanceId", format!("vpc-{number:020}")),
        ("ChildInstanceType", "VPC".to_owned()),
        ("ChildInstanceRegionId", region(number).to_owned()),
        ("ChildInstanceRouteTableId", format!("vtb-{number:020}")),
    ]
}

fn of_child(client: &mut Client, action: &str, number: u32, more: Given<'_>) -> Outcome<(Duration, usize)> {
    let child = child(number);
    let given: Vec<(&str, &str)> =
        child.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect();
    client.call(CBN, action, &given)
}

fn pages(networks: u32) -> Vec<PageCall> {
    let page = |size: &str| ("PageSize", size.to_owned());
    let middle = networks / 2;
    let mut child_page: Vec<_> = child(middle).into();
    child_page.push(page("500"));
    let mut deep = child_page.clone();
    deep.push(("PageNumber", (networks * ROUTES / 1000).to_string()));
    let mut published: Vec<_> = child(middle).into();
    published.push(page("50"));
    let mut first: Vec<_> = child(0).into();
    first.push(page("50"));
    let table = ("RouteTableId", format!("vtb-{middle:020}"));
    let here = ("RegionId", region(middle).to_owned());
    let cen = ("CenId", "cen-bench".to_owned());
    let at = ("CenRegionId", region(0).to_owned());
    let mut rejected = child_page.clone();
    rejected.push(("Status", "Rejected".to_owned()));
    let mut active = child_page.clone();
    active.push(("Status", "Active".to_owned()));
    vec![
        (CBN, "DescribeCens", vec![page("50")]),
        (CBN, "DescribeCenAttachedChildInstances", vec![cen.clone(), page("50")]),
        (CBN, "DescribePublishedRouteEntries", published.clone()),
        (CBN, "DescribePublishedRouteEntries", first),
        (CBN, "DescribeCenChildInstanceRouteEntries", child_page),
        (CBN, "DescribeCenChildInstanceRouteEntries", deep),
        (CBN, "DescribeCenChildInstanceRouteEntries", rejected),
        (CBN, "DescribeCenChildInstanceRouteEntries", active),
        (CBN, "DescribeCenRegionDomainRouteEntries", vec![cen, at, page("500")]),
        (CBN, "DescribeRouteConflict", published[1..].to_vec()),
        (VPC, "DescribeVpcs", vec![here.clone(), page("50")]),
        (VPC, "DescribeVSwitches", vec![here.clone(), page("50")]),
        (VPC, "DescribeRouteTableList", vec![here.clone(), page("50")]),
        (VPC, "DescribeRouteTables", vec![table.clone(), here.clone(), page("50")]),
        (VPC, "DescribeRouteEntryList", vec![here, table, ("MaxResult", "100".to_owned())]),
    ]
}

fn call_page(client: &mut Client, page: &PageCall) -> Outcome<(Duration, usize)> {
    let (version, action, given) = page;
    let given: Vec<(&str, &str)> = given.iter().map(|(name, value)| (*name, value.as_str())).collect();
    client.call(version, action, &given)
}

fn changes(bars: &mut Bars, client: &mut Client, networks: u32, rounds: u32) -> Outcome<()> {
    let spare = destination(7, ROUTES).to_string();
    let first = destination(0, 3).to_string();
    for (what, number, destination) in
        [("a late route", 7, &spare), ("an early route, for which others move up", 0, &first)]
    {
        let route = [("DestinationCidrBlock", destination.as_str())];
        bars.calls(&format!("withdraw, {what}"), rounds, |_| {
            let took = of_child(client, "WithdrawPublishedRouteEntries", number, &route)?;
            of_child(client, "PublishRouteEntries", number, &route)?;
            Ok(took)
        })?;
        bars.calls(&format!("publish, {what}"), rounds, |_| {
            of_child(client, "WithdrawPublishedRouteEntries", number, &route)?;
            of_child(client, "PublishRouteEntries", number, &route)
        })?;
    }
    bars.calls("attach a network", rounds, |_| {
        let took = of_child(client, "AttachCenChildInstance", networks, &[])?;
        of_child(client, "DetachCenChildInstance", networks, &[])?;
        Ok(took)
    })?;
    bars.calls("detach a network", rounds, |_| {
        of_child(client, "AttachCenChildInstance", networks, &[])?;
        of_child(client, "DetachCenChildInstance", networks, &[])
    })
}

/// Fifty clients at once, most of whom read and some of whom publish.
fn crowd(bars: &mut Bars, address: SocketAddr, networks: u32, rounds: u32) -> Outcome<()> {
    let threads: Vec<_> = (0..CLIENTS)
        .map(|number| {
            std::thread::spawn(move || {
                let mut client = Client::connect_from(2 + number, address).expect("a connection");
                let pages = pages(networks);
                let mut times = Vec::new();
                for round in 0..rounds {
                    let took = if number % 10 == 0 {
                        let route = destination(100 + number, round % ROUTES).to_string();
                        let action =
                            if round % 2 == 0 { "WithdrawPublishedRouteEntries" } else { "PublishRouteEntries" };
                        of_child(&mut client, action, 100 + number, &[("DestinationCidrBlock", &route)])
                    } else {
                        call_page(&mut client, &pages[(number + round) as usize % pages.len()])
                    };
                    times.push(took.expect("an answer").0);
                    // Each client asks ten times a second.
                    std::thread::sleep(Duration::from_millis(100));
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for thread in threads {
        times.extend(thread.join().map_err(|_| "a client failed")?);
    }
    let (_, late, text) = shown(&mut times);
    println!("{CLIENTS} clients at once: {text}");
    bars.check("fifty clients", late <= CROWD);
    Ok(())
}

/// Resources that come and go, all with tokens; what a call took at the beginning and at the end.
fn cycles(client: &mut Client, cycles: u32) -> Outcome<(Duration, Duration)> {
    let mut times = Vec::new();
    for _ in 0..cycles {
        let token = uuid::Uuid::new_v4().to_string();
        let (took, body) = client.ask(CBN, "CreateCen", &[("Name", "short-lived"), ("ClientToken", &token)])?;
        let made: serde_json::Value = serde_json::from_slice(&body)?;
        client.call(CBN, "DeleteCen", &[("CenId", made["CenId"].as_str().ok_or("no CenId")?)])?;
        times.push(took);
    }
    let part = times.len() / 10;
    let end = times.len() - part;
    Ok((shown(&mut times[..part].to_vec()).0, shown(&mut times[end..].to_vec()).0))
}

fn come_and_go(bars: &mut Bars, wanted: u32) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let cend = Cend::start(folder.path())?;
    let mut client = Client::connect(cend.address)?;
    cycles(&mut client, wanted / 10)?;
    let size = || Ok::<_, Box<dyn Error>>(std::fs::metadata(folder.path().join("cloud.redb"))?.len());
    let before = (cend.resident()?, size()?);
    let (first, last) = cycles(&mut client, wanted)?;
    let after = (cend.resident()?, size()?);
    println!(
        "{wanted} resources that came and went: {} and {} KiB resident, {} and {} KiB of file, a call {first:.1?} and {last:.1?}",
        before.0 >> 10,
        after.0 >> 10,
        before.1 >> 10,
        after.1 >> 10
    );
    bars.check(
        "what comes and goes",
        last <= first * 2 && after.0 <= before.0 + (16 << 20) && after.1 <= before.1 + (16 << 20),
    );
    Ok(())
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Arguments { networks, rounds, cycles: wanted } = Arguments::read();
    let folder = tempfile::tempdir()?;
    let mut bars = Bars { missed: Vec::new() };
    fill(folder.path(), networks)?;
    let cend = Cend::start(folder.path())?;
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "{networks} networks, {ROUTES} routes each: started in {:.0?}, {} MiB",
        cend.started,
        mib(cend.resident()?)
    );
    let mut client = Client::connect(cend.address)?;
    for page in pages(networks) {
        let more = page.2.iter().find(|(name, _)| matches!(*name, "Status" | "PageNumber"));
        let what = format!("{} {}", page.1, more.map(|(_, value)| value.as_str()).unwrap_or_default());
        bars.calls(&what, rounds, |_| call_page(&mut client, &page))?;
    }
    changes(&mut bars, &mut client, networks, rounds)?;
    crowd(&mut bars, cend.address, networks, rounds)?;
    println!("afterwards: {} MiB", mib(cend.resident()?));
    bars.check("memory", cend.resident()? <= RESIDENT);
    drop(client);
    drop(cend);
    let cend = Cend::start(folder.path())?;
    println!("after a kill: started in {:.0?}, {} MiB", cend.started, mib(cend.resident()?));
    bars.check("a start after a kill", cend.started <= START);
    come_and_go(&mut bars, wanted)?;
    match bars.missed.is_empty() {
        true => println!("all bars are met"),
        false => println!("NOT MET: {}", bars.missed.join(", ")),
    }
    Ok(if bars.missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
