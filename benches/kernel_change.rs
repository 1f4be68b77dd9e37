//! One protected prefix more and one less among thousands, in a kernel: from the request until routes, blackholes and filter
//! are as it asks.
//!
//! `cargo bench --bench kernel_change -- [--prefixes N] [--rounds N] [--foreign N]`, as root, a few seconds: it makes a network
//! namespace of its own, with so many routes of somebody else beside. Ends with the status 1 if the median of a change is above
//! the bar.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use ipsec_gateway::io::forwarding::{Forwarding, ForwardingSettings, release};
use ipsec_gateway::io::kept_policy::{KeptPolicy, Share};
use ipsec_gateway::io::netns::Namespace;
use ipsec_gateway::io::nftables::OuterPorts;
use ipsec_gateway::routing::{FIREWALL_MARK, SharedSet};

/// The most that the median of a change may take: half of what a whole change of the configuration may.
const BAR: Duration = Duration::from_millis(10);

struct Arguments {
    prefixes: u32,
    rounds: u32,
    foreign: u32,
}

impl Arguments {
    fn read() -> Self {
        let mut read = Self { prefixes: 8000, rounds: 20, foreign: 0 };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
            match &*word {
                "--prefixes" => read.prefixes = number(),
                "--rounds" => read.rounds = number(),
                "--foreign" => read.foreign = number(),
                // What cargo adds.
                "--bench" => {}
                other => panic!("{other} is no option; there are --prefixes, --rounds and --foreign"),
            }
        }
        read
    }
}

/// A network namespace, taken away at the end.
struct Lab(String);

impl Lab {
    fn new() -> Self {
        let lab = Lab(format!("igk{}", std::process::id()));
        run("ip", &["netns", "add", &lab.0]);
        for words in ["link set lo up", "tuntap add gwd0 mode tun", "link set gwd0 up"] {
            run("ip", &[&["-n", &lab.0][..], &words.split(' ').collect::<Vec<_>>()].concat());
        }
        lab
    }

    fn place(&self) -> Namespace {
        Namespace::Named(self.0.as_str().into())
    }

    /// So many routes of somebody else, none of which overlaps what is protected.
    fn routes(&self, count: u32) {
        let net = |n: u32| Ipv4Net::new_assert(Ipv4Addr::from(0x2000_0000 + (n << 8)), 24);
        let batch: String = (0..count).map(|n| format!("route add {} dev lo proto 186\n", net(n))).collect();
        let mut ip = Command::new("ip").args(["-n", &self.0, "-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip");
        ip.stdin.take().expect("a pipe").write_all(batch.as_bytes()).expect("ip reads");
        assert!(ip.wait().expect("ip ends").success());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).output();
    }
}

fn run(program: &str, words: &[&str]) {
    assert!(Command::new(program).args(words).status().expect("the program").success(), "{program} {words:?}");
}

/// That many connections, each with a prefix and a peer. The prefixes are no neighbours, so nothing joins them.
fn policy(prefixes: u32, one_more: bool) -> KeptPolicy {
    let net = |n: u32| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(0x0a40_0000 + (n << 5)), 28));
    let mut protect: SharedSet<IpNet> = (0..prefixes).map(net).collect();
    let mut outer_peers: SharedSet<IpAddr> = (0..prefixes).map(|n| Ipv4Addr::from(0xc612_0000 + n).into()).collect();
    if one_more {
        protect.insert("172.20.1.0/28".parse().expect("a prefix"));
        outer_peers.insert([198, 51, 100, 9].into());
    }
    let local = ["10.1.0.0/24".parse().expect("a prefix")].into();
    KeptPolicy {
        device: "gwd0".into(),
        mark: FIREWALL_MARK,
        outer_peers,
        file: Share { protect, local, ..Share::default() },
        ..KeptPolicy::default()
    }
}

async fn measure(arguments: Arguments) -> bool {
    let Arguments { prefixes, rounds, foreign } = arguments;
    let lab = Lab::new();
    lab.routes(foreign);
    let state = tempfile::tempdir().expect("a folder");
    let ports = OuterPorts { ike: 500, nat: 4500 };
    let settings = ForwardingSettings { namespace: lab.place(), ports, state: Some(state.path().to_owned()) };
    let forwarding = Forwarding::start(settings, &policy(0, false));
    let began = Instant::now();
    forwarding.apply(policy(prefixes, false)).await.expect("the kernel takes them");
    println!("{prefixes} prefixes at first: {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    // The filter is compared, and the policy kept.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut more, mut less) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (one_more, took) in [(true, &mut more), (false, &mut less)] {
            let policy = policy(prefixes, one_more);
            let began = Instant::now();
            forwarding.apply(policy).await.expect("the kernel takes them");
            took.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    forwarding.end().await;
    release(lab.place()).await.expect("a release");
    let mut fails = false;
    for (what, mut took) in [("one more", more), ("one less", less)] {
        took.sort();
        let (median, ms) = (took[took.len() / 2], |time: &Duration| time.as_secs_f64() * 1e3);
        println!("{what}: median {:.2} ms, {:.2} to {:.2}", ms(&median), ms(&took[0]), ms(&took[took.len() - 1]));
        fails |= median > BAR;
    }
    println!("bar: {} ms in the median{}", BAR.as_millis(), if fails { ": NOT MET" } else { "" });
    fails
}

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        println!("left out: making a network namespace takes root");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if runtime.block_on(measure(Arguments::read())) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
