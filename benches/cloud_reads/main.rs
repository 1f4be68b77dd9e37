//! A cloud of thousands of networks: what each kind of call takes, alone and beside fifty clients, how much memory it needs,
//! how long a start takes after a kill, and whether ten thousand resources that came and went leave something behind.
//!
//! `cargo bench --bench cloud_reads -- [--networks N] [--rounds N] [--cycles N] [--maps N]`, three minutes. All VPCs stand in
//! four regions and are attached to one CEN instance, which has `--maps` route maps (none); each publishes 100 routes, of which
//! everybody learns the first 100. Ends with the status 1 if a bar of the table below is not met.

#![expect(clippy::disallowed_methods, reason = "the measuring threads wait; cend is a process of its own")]

mod client;
mod pages;
mod world;

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use ipsec_gateway::cen::openapi::action::CBN;

use self::client::{Cend, Client, program};
use self::pages::{call_page, of_child, pages};
use self::world::{ROUTES, destination, fill};

/// The longest that a call, a page and a start may take, and the 95th percentile beside fifty clients.
const CALL: Duration = Duration::from_millis(10);
const CROWD: Duration = Duration::from_millis(50);
const START: Duration = Duration::from_secs(1);
const RESIDENT: u64 = 300 << 20;
const CLIENTS: u32 = 50;
/// Resources that come and go before anything is compared: more than there are `ClientToken`s that cend remembers.
const WARM_UP: u32 = 9000;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Arguments {
    networks: u32,
    rounds: u32,
    cycles: u32,
    maps: u32,
}

impl Arguments {
    fn read() -> Self {
        let mut read = Self { networks: 2000, rounds: 40, cycles: 10_000, maps: 0 };
        let mut words = std::env::args().skip(1);
        let number = |word: Option<String>| word.and_then(|word| word.parse().ok()).expect("a number");
        while let Some(word) = words.next() {
            match &*word {
                "--networks" => read.networks = number(words.next()),
                "--rounds" => read.rounds = number(words.next()),
                "--maps" => read.maps = number(words.next()),
                "--cycles" => read.cycles = number(words.next()),
                // What cargo adds.
                "--bench" => {}
                other => panic!("{other} is no option; the head of this file says which there are"),
            }
        }
        read
    }
}

/// cend with what its state directory holds.
fn start(state: &Path) -> Outcome<Cend> {
    Cend::run(Command::new(program()).args(["--listen", "127.0.0.1:0", "--state"]).arg(state))
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
    let part = times.len().div_ceil(10);
    let end = times.len() - part;
    Ok((shown(&mut times[..part].to_vec()).0, shown(&mut times[end..].to_vec()).0))
}

/// What ten thousand of them leave behind.
fn come_and_go(bars: &mut Bars, wanted: u32) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let cend = start(folder.path())?;
    let mut client = Client::connect(cend.address)?;
    // So many that those begin to be forgotten which have been known longest.
    cycles(&mut client, WARM_UP)?;
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
    let Arguments { networks, rounds, cycles: wanted, maps } = Arguments::read();
    let folder = tempfile::tempdir()?;
    let mut bars = Bars { missed: Vec::new() };
    fill(folder.path(), networks, maps)?;
    let cend = start(folder.path())?;
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "{networks} networks, {ROUTES} routes each, {maps} route maps: started in {:.0?}, {} MiB",
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
    let cend = start(folder.path())?;
    println!("after a kill: started in {:.0?}, {} MiB", cend.started, mib(cend.resident()?));
    bars.check("a start after a kill", cend.started <= START);
    come_and_go(&mut bars, wanted)?;
    match bars.missed.is_empty() {
        true => println!("all bars are met"),
        false => println!("NOT MET: {}", bars.missed.join(", ")),
    }
    Ok(if bars.missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
