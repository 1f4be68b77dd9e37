//! A hundred bound networks: from the request to publish a route until the last kernel has it, and how many kernels one
//! network's own change touches.
//!
//! `cargo bench --bench cloud_kernels -- [--networks N] [--rounds N]` as root, a minute. Each VPC's router is a network
//! namespace with a device towards CEN; all the other ends are in one more. Ends with the status 1 if the last kernel has a
//! route later than after 500 ms in the median, or a change of one network touches another one's kernel.

#[path = "cloud_reads/client.rs"]
mod client;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use ipsec_gateway::cen::openapi::action::{CBN, VPC};
use ipsec_gateway::io::netlink::{Change, Changes};
use ipsec_gateway::io::netns::Namespace;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::timeout_at;

use self::client::{Cend, Client};

/// The longest that a route may take to the last kernel.
const LAST: Duration = Duration::from_millis(500);
/// How long kernels are listened to after a change; those that hear nothing for so long have everything.
const HEARD: Duration = Duration::from_millis(1500);
const REGION: &str = "cn-hangzhou";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The namespaces of all networks, and of the fabric in the place behind them. They go when it is dropped.
struct Lab {
    networks: u8,
}

impl Lab {
    fn new(networks: u8) -> Outcome<Self> {
        let lab = Self { networks };
        let fabric = lab.name(networks);
        let mut batch = format!("netns add {fabric}\n");
        for number in 0..networks {
            let router = lab.name(number);
            write!(
                batch,
                "netns add {router}\nlink add cen netns {router} type veth peer name v{number} netns {fabric}\n\
                 -n {router} address add 100.64.{number}.2/30 dev cen\n-n {router} link set cen up\n\
                 -n {router} address add 10.{number}.0.1/24 dev cen\n\
                 -n {fabric} address add 100.64.{number}.1/30 dev v{number}\n-n {fabric} link set v{number} up\n"
            )?;
        }
        for line in batch.lines() {
            let done = Command::new("ip").args(line.split(' ')).status()?;
            if !done.success() {
                return Err(format!("ip {line}: {done}").into());
            }
        }
        Ok(lab)
    }

    fn name(&self, number: u8) -> String {
        format!("igb{}-{number}", std::process::id())
    }

    /// cend's configuration.
    fn configuration(&self, state: &str) -> Outcome<String> {
        let mut text = format!(
            "listen = \"127.0.0.1:0\"\nstate = \"{state}\"\n[fabric]\nnamespace = \"{}\"\n",
            self.name(self.networks)
        );
        for number in 0..self.networks {
            write!(
                text,
                "[[vpc]]\nregion = \"{REGION}\"\nname = \"n{number}\"\ncidr = \"10.{number}.0.0/16\"\n\
                 namespace = \"{}\"\nrouter_device = \"cen\"\nrouter_address = \"100.64.{number}.2\"\n\
                 fabric_device = \"v{number}\"\nfabric_address = \"100.64.{number}.1\"\n\
                 [[instance]]\nid = \"i-{number}\"\nregion = \"{REGION}\"\nvpc = \"n{number}\"\naddress = \"10.{number}.0.9\"\n",
                self.name(number)
            )?;
        }
        Ok(text)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for number in 0..=self.networks {
            let _ = Command::new("ip").args(["netns", "delete", &self.name(number)]).stderr(Stdio::null()).status();
        }
    }
}

/// A VPC: its id and that of its route table.
struct Network {
    vpc: String,
    table: String,
}

fn make(client: &mut Client, version: &str, action: &str, given: client::Given<'_>) -> Outcome<Value> {
    Ok(serde_json::from_slice(&client.ask(version, action, given)?.1)?)
}

fn text(answer: &Value, name: &str) -> Outcome<String> {
    Ok(answer[name].as_str().ok_or_else(|| format!("no {name}"))?.to_owned())
}

/// All VPCs with a vSwitch, attached to one CEN instance, whose id comes first.
fn build(client: &mut Client, networks: u8) -> Outcome<(String, Vec<Network>)> {
    let cen = text(&make(client, CBN, "CreateCen", &[])?, "CenId")?;
    let mut made = Vec::new();
    for number in 0..networks {
        let (name, cidr, subnet) = (format!("n{number}"), format!("10.{number}.0.0/16"), format!("10.{number}.0.0/24"));
        let vpc = [("RegionId", REGION), ("VpcName", &name), ("CidrBlock", &cidr)];
        let answer = make(client, VPC, "CreateVpc", &vpc)?;
        let network = Network { vpc: text(&answer, "VpcId")?, table: text(&answer, "RouteTableId")? };
        let vswitch =
            [("RegionId", REGION), ("VpcId", &network.vpc), ("CidrBlock", &subnet), ("ZoneId", "cn-hangzhou-b")];
        make(client, VPC, "CreateVSwitch", &vswitch)?;
        make(client, CBN, "AttachCenChildInstance", &child(&cen, &network))?;
        made.push(network);
    }
    Ok((cen, made))
}

fn child<'n>(cen: &'n str, network: &'n Network) -> [(&'n str, &'n str); 4] {
    [("CenId", cen), ("ChildInstanceId", &network.vpc), ("ChildInstanceType", "VPC"), ("ChildInstanceRegionId", REGION)]
}

/// When each kernel, by its number, was told the last route, of those that were told any after a change. Reading ends when
/// nothing more is to come.
fn heard(runtime: &Runtime, kernels: &mut [Changes]) -> Vec<Option<Instant>> {
    let until = tokio::time::Instant::now() + HEARD;
    let last = async |changes: &mut Changes| {
        let mut last = None;
        while let Ok(Some(change)) = timeout_at(until, changes.next()).await {
            if matches!(change, Change::Route { .. }) {
                last = Some(Instant::now());
            }
        }
        last
    };
    runtime.block_on(async { join_all(kernels.iter_mut().map(last)).await })
}

fn main() -> Outcome<ExitCode> {
    let (mut networks, mut rounds) = (100_u8, 10_u32);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match &*word {
            "--networks" => networks = words.next().ok_or("how many?")?.parse()?,
            "--rounds" => rounds = words.next().ok_or("how many?")?.parse()?,
            // What cargo adds.
            "--bench" => {}
            other => return Err(format!("{other} is no option; the head of this file says which there are").into()),
        }
    }
    let folder = tempfile::tempdir()?;
    let lab = Lab::new(networks)?;
    let path = folder.path().join("cend.toml");
    std::fs::File::create(&path)?.write_all(lab.configuration(&folder.path().display().to_string())?.as_bytes())?;
    let cend = Cend::run(Command::new(client::program()).arg("--config").arg(&path))?;
    let mut client = Client::connect(cend.address)?;
    let begun = Instant::now();
    let (cen, made) = build(&mut client, networks)?;
    println!(
        "cend started in {:.0?}; {networks} networks made in {:.1?}, {} MiB",
        cend.started,
        begun.elapsed(),
        cend.resident()? >> 20
    );

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listen = |number| Changes::listen(&Namespace::Named(lab.name(number).into()));
    let mut kernels = {
        let _inside = runtime.enter();
        (0..=networks).map(listen).collect::<Result<Vec<_>, _>>()?
    };
    // What is still to come of the beginning.
    while heard(&runtime, &mut kernels).iter().any(Option::is_some) {}
    println!("all kernels had everything after {:.1?}", begun.elapsed() - HEARD);
    let (mut times, mut met) = (Vec::new(), true);
    for round in 0..rounds {
        let number = usize::try_from(round)? * 7 % made.len();
        let (network, destination) = (&made[number], format!("172.16.{round}.0/24"));
        let instance = format!("i-{number}");
        let entry = [
            ("RegionId", REGION),
            ("RouteTableId", &network.table),
            ("DestinationCidrBlock", &destination),
            ("NextHopType", "Instance"),
            ("NextHopId", &instance),
        ];
        client.call(VPC, "CreateRouteEntry", &entry)?;
        let touched: BTreeSet<usize> =
            heard(&runtime, &mut kernels).into_iter().enumerate().filter_map(|(place, at)| at.map(|_| place)).collect();
        if touched != BTreeSet::from([number]) {
            println!("a route of network {number} has touched the kernels {touched:?}");
            met = false;
        }
        let begun = Instant::now();
        let route = [("ChildInstanceRouteTableId", network.table.as_str()), ("DestinationCidrBlock", &destination)];
        client.call(CBN, "PublishRouteEntries", &[&child(&cen, network)[..], &route].concat())?;
        let last = heard(&runtime, &mut kernels);
        let told = last.iter().flatten().count();
        if told != made.len() {
            println!(
                "{told} kernels have the published route, instead of those of {} others and of CEN",
                made.len() - 1
            );
            met = false;
        }
        times.extend(last.iter().flatten().max().map(|last| *last - begun));
        // The others have room for one route more than there are vSwitches.
        client.call(CBN, "WithdrawPublishedRouteEntries", &[&child(&cen, network)[..], &route].concat())?;
        while heard(&runtime, &mut kernels).iter().any(Option::is_some) {}
    }
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("from the request to publish to the last kernel: median {median:.0?}, most {:.0?}", times.last());
    met &= median <= LAST && !times.is_empty();
    println!("{}", if met { "all bars are met" } else { "NOT MET" });
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
