//! gatewayd's own nftables table: packets from protected addresses come out of the tunnel only, and packets to them go
//! into it only.
mod elements;
mod listing;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::time::timeout;

pub use elements::{ElementSocket, TABLE};
pub use listing::{Holds, Listing};
pub use watch::TableChanges;

use self::elements::SETS;
use crate::io::netns::Namespace;
use crate::routing::{AddressRange, SharedSet};

/// Why the table could not be set, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The program `nft` failed.
    #[error("nft: {0}")]
    Nft(String),
    /// The program is not there, or cannot be started; or the namespace cannot be entered.
    #[error("nft cannot be run: {0}")]
    NotRun(#[from] io::Error),
}

/// How long `nft` may take. It takes milliseconds; one that hangs must not keep the rest waiting.
const TIME: Duration = Duration::from_secs(5);

/// What the table accepts although the source is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterPorts {
    /// Our IKE port, normally 500.
    pub ike: u16,
    /// Our port for NAT traversal, normally 4500.
    pub nat: u16,
}

/// The table of one tunnel device. An address is protected if `routing::protected_sources` says so.
///
/// Inwards: a packet whose source is protected and that did not come out of the tunnel is dropped (RFC 4301 section 5.2), whether
/// it is to be forwarded or is addressed to us. Two kinds of packet addressed to us are not plaintext of the tunnel and pass: the peer's outer packets (IKE, UDP-encapsulated
/// ESP, protocol 50), because a peer's outer address may lie inside a protected prefix, as it always does with
/// 0.0.0.0/0; and the ICMP errors and neighbour discovery that those packets need (RFC 4301 section 6).
///
/// Outwards: a packet whose destination is protected and that would leave by another way than the tunnel is dropped
/// (RFC 4301 section 5.1), forwarded ones and our own alike. Routes alone cannot promise that: somebody else's route may
/// hold the place of the tunnel's. Of our own packets, those with the mark of our sockets pass, as they are sealed, and
/// so do multicast, limited broadcast and neighbour discovery (RFC 4861), which belong to the link that they are sent on.
///
/// The table is changed in one transaction, is independent of the device's existence, and stays until it is released,
/// so it outlives every end of gatewayd.
#[derive(Clone, Debug)]
pub struct PlaintextFilter {
    namespace: Namespace,
    /// What the tunnel device is called at the moment; `None` while it is not there, and nothing comes out of the tunnel.
    tunnel: Option<Arc<str>>,
    mark: u32,
    ports: OuterPorts,
    dropped: Arc<Mutex<Dropped>>,
}

/// Packets that the table's counters counted, also those of tables that somebody took away.
#[derive(Debug, Default)]
struct Dropped {
    before: u64,
    last: u64,
}

impl Dropped {
    fn read(&mut self, counted: u64) -> u64 {
        if counted < self.last {
            self.before += self.last;
        }
        self.last = counted;
        self.before + counted
    }
}

/// Whether the listed chains are as `commands` make them, with as many rules.
fn are_made_by(mut objects: Vec<Value>, commands: &[Value]) -> bool {
    for object in objects.iter_mut().filter_map(|object| object.get_mut("chain")?.as_object_mut()) {
        object.remove("handle");
    }
    let added = |kind: &'static str| commands.iter().filter_map(move |command| command["add"].get(kind));
    let listed = |kind: &'static str| objects.iter().filter_map(move |object| object.get(kind));
    let chain = |rule: &Value| rule["chain"].as_str().map(str::to_owned);
    added("chain").all(|chain| listed("chain").any(|listed| listed == chain))
        && listed("chain").count() == added("chain").count()
        && counts(added("rule").filter_map(chain)) == counts(listed("rule").filter_map(chain))
}

/// How often each item occurs.
fn counts(items: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}

/// How the names of tables began that former versions made, one for each tunnel device.
const FORMER_TABLES: &str = "gatewayd_";

impl PlaintextFilter {
    /// The filter for the tunnel device `device`; `mark` is the firewall mark of gatewayd's sockets. Nothing is set yet.
    pub fn new(namespace: Namespace, device: Arc<str>, mark: u32, ports: OuterPorts) -> Self {
        PlaintextFilter { namespace, tunnel: Some(device), mark, ports, dropped: Arc::default() }
    }

    /// The same table, for which the tunnel is the device that is called `tunnel` at the moment: somebody may have renamed
    /// it, and given its name to another one.
    #[must_use]
    pub fn trusting(&self, tunnel: Option<Arc<str>>) -> Self {
        PlaintextFilter { tunnel, ..self.clone() }
    }

    /// Makes `protected` (of either family) the protected addresses, and the table whole: where somebody did more to it
    /// than its own commands mend, it is made anew in one transaction. Answers what it then holds.
    ///
    /// # Errors
    /// `nft` is missing or refused; the table is then as it was.
    pub async fn apply(&self, protected: Vec<AddressRange>) -> Result<Listing, FilterError> {
        let commands = self.ruleset(&protected);
        let former = tables(&self.namespace).await?.into_iter().filter(|name| name.starts_with(FORMER_TABLES));
        let former: Vec<String> = former.collect();
        let add = json!({"add": table(TABLE)});
        let anew = [add.clone(), json!({"delete": table(TABLE)}), add.clone()];
        for begin in [&[add][..], &anew] {
            // Added first, so that one that has gone already is no error.
            let former = former.iter().flat_map(|name| ["add", "delete"].map(|what| json!({what: table(name)})));
            let all: Vec<Value> = begin.iter().cloned().chain(former).chain(commands.iter().cloned()).collect();
            let loaded = load(&self.namespace, &all).await;
            match listing(&self.namespace).await? {
                Some(listing)
                    if loaded.is_ok() && is_whole(&self.namespace, &listing, &commands, &protected).await? =>
                {
                    return Ok(listing);
                }
                _ if begin.len() > 1 => loaded?,
                _ => {}
            }
        }
        Err(FilterError::Nft("the table does not hold what was loaded: somebody else changes it as well".to_owned()))
    }

    /// Makes `protected` the protected addresses of a table that has been made whole with those `before`, by the elements that
    /// differ. False: they are too many, and [`PlaintextFilter::apply`] has to be asked. Where
    /// somebody else changes the table too, it is to be compared with [`PlaintextFilter::whole`].
    ///
    /// # Errors
    /// The kernel refused; the table is as it was.
    pub async fn change(
        &self,
        socket: &mut ElementSocket,
        before: &SharedSet<AddressRange>,
        protected: &SharedSet<AddressRange>,
    ) -> Result<bool, FilterError> {
        let [gone, new] = [(before, protected), (protected, before)]
            .map(|(one, other)| one.without(other).copied().collect::<Vec<AddressRange>>());
        if gone.len() + new.len() > elements::AT_MOST {
            return Ok(false);
        }
        socket.change(&self.namespace, &gone, &new).await?;
        Ok(true)
    }

    /// What the table holds, if that is all that it should and no more.
    ///
    /// # Errors
    /// `nft` is missing or refused.
    pub async fn whole(&self, protected: &[AddressRange]) -> Result<Option<Listing>, FilterError> {
        let Some(listing) = self.listing().await? else { return Ok(None) };
        let whole = is_whole(&self.namespace, &listing, &self.ruleset(protected), protected).await?;
        Ok(whole.then_some(listing))
    }

    /// What the table holds; none if there is no table.
    ///
    /// # Errors
    /// `nft` is missing or refused.
    pub async fn listing(&self) -> Result<Option<Listing>, FilterError> {
        listing(&self.namespace).await
    }

    /// Packets dropped since the table was made, and in tables before it that this filter has seen. It never falls.
    ///
    /// # Errors
    /// `nft` is missing, or there is no table.
    pub async fn dropped(&self) -> Result<u64, FilterError> {
        let objects = list(&self.namespace, &["counters", "table", "inet", TABLE]).await?;
        let counted = objects.iter().filter_map(|object| object["counter"]["packets"].as_u64()).sum();
        Ok(self.dropped.lock().unwrap_or_else(PoisonError::into_inner).read(counted))
    }

    /// The commands that fill the table.
    fn ruleset(&self, protected: &[AddressRange]) -> Vec<Value> {
        let table = TABLE;
        let mut commands = Vec::new();
        for (name, is_ipv4) in SETS {
            let kind = if is_ipv4 { "ipv4_addr" } else { "ipv6_addr" };
            let ranges: Vec<_> = protected.iter().filter(|range| range.first.is_ipv4() == is_ipv4).collect();
            let set = json!({"set": {"family": "inet", "table": table, "name": name, "type": kind,
                "flags": ["interval"]}});
            commands.push(json!({"add": set}));
            commands.push(json!({"flush": set}));
            if !ranges.is_empty() {
                let elements: Vec<Value> = ranges.into_iter().map(element).collect();
                commands.push(json!({"add": {"element": {"family": "inet", "table": table, "name": name,
                    "elem": elements}}}));
            }
        }
        let hooks = [
            ("forward", Vec::new(), vec![INWARDS, OUTWARDS]),
            ("input", self.accepted_input(), vec![INWARDS]),
            ("output", self.accepted_output(), vec![OUTWARDS]),
        ];
        for (hook, accepted, directions) in hooks {
            let chain = json!({"chain": {"family": "inet", "table": table, "name": hook, "type": "filter",
                "hook": hook, "prio": -10, "policy": "accept"}});
            commands.push(json!({"add": {"counter": {"family": "inet", "table": table, "name": hook}}}));
            commands.push(json!({"add": chain}));
            commands.push(json!({"flush": chain}));
            let rules = accepted.into_iter().chain(directions.into_iter().flat_map(|way| self.drops(hook, way)));
            commands.extend(rules.map(|expression| {
                json!({"add": {"rule": {"family": "inet", "table": table, "chain": hook, "expr": expression}}})
            }));
        }
        commands
    }

    /// What passes although its source is protected, if it is addressed to us.
    fn accepted_input(&self) -> Vec<Value> {
        let ports = json!({"set": [self.ports.ike, self.ports.nat]});
        let icmp = json!({"set": ["destination-unreachable", "time-exceeded", "parameter-problem"]});
        let icmpv6 = json!({"set": ["destination-unreachable", "packet-too-big", "time-exceeded",
            "parameter-problem", "nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert"]});
        vec![
            json!([equal(json!({"payload": {"protocol": "udp", "field": "dport"}}), &ports), {"accept": null}]),
            json!([equal(json!({"meta": {"key": "l4proto"}}), &json!(50)), {"accept": null}]),
            json!([equal(json!({"payload": {"protocol": "icmp", "field": "type"}}), &icmp), {"accept": null}]),
            json!([equal(json!({"payload": {"protocol": "icmpv6", "field": "type"}}), &icmpv6), {"accept": null}]),
        ]
    }

    /// What passes although its destination is protected, if it comes from us.
    fn accepted_output(&self) -> Vec<Value> {
        let neighbours = json!({"set": ["nd-neighbor-solicit", "nd-neighbor-advert"]});
        let link_bound = |protocol: &str, address: &str, length: u8| {
            let group = json!({"prefix": {"addr": address, "len": length}});
            json!([equal(json!({"payload": {"protocol": protocol, "field": "daddr"}}), &group), {"accept": null}])
        };
        vec![
            json!([equal(json!({"meta": {"key": "mark"}}), &json!(self.mark)), {"accept": null}]),
            link_bound("ip", "224.0.0.0", 4),
            link_bound("ip", "255.255.255.255", 32),
            link_bound("ip6", "ff00::", 8),
            json!([equal(json!({"payload": {"protocol": "icmpv6", "field": "type"}}), &neighbours), {"accept": null}]),
        ]
    }

    fn drops(&self, counter: &str, Direction { device, address }: Direction) -> Vec<Value> {
        // What is forwarded never has to do with lo, and one name is compared faster than a set is searched.
        let allowed = match &self.tunnel {
            Some(tunnel) if counter == "forward" => json!(tunnel),
            Some(tunnel) => json!({"set": ["lo", tunnel]}),
            None => json!("lo"),
        };
        let elsewhere = json!({"match": {"op": "!=", "left": {"meta": {"key": device}}, "right": allowed}});
        [("ip", "@protected_ipv4"), ("ip6", "@protected_ipv6")]
            .into_iter()
            .map(|(protocol, set)| {
                let address = json!({"payload": {"protocol": protocol, "field": address}});
                json!([elsewhere, equal(address, &json!(set)), {"counter": counter}, {"drop": null}])
            })
            .collect()
    }
}

/// Which device and which address of a packet decide, as nft calls them.
#[derive(Clone, Copy)]
struct Direction {
    device: &'static str,
    address: &'static str,
}

const INWARDS: Direction = Direction { device: "iifname", address: "saddr" };
const OUTWARDS: Direction = Direction { device: "oifname", address: "daddr" };

/// The elements of the listed sets.
fn elements(objects: &[Value]) -> BTreeSet<AddressRange> {
    let of_set = |object: &Value| object["set"]["elem"].as_array().cloned().unwrap_or_default();
    objects.iter().flat_map(of_set).filter_map(|element| listed_range(&element)).collect()
}

/// An element as `nft` lists it: an address, a prefix or a range.
fn listed_range(element: &Value) -> Option<AddressRange> {
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    if let Some(prefix) = element.get("prefix") {
        let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
        let prefix = IpNet::new(address(&prefix["addr"])?, length).ok()?;
        return Some(AddressRange { first: prefix.network(), last: prefix.broadcast() });
    }
    let (first, last) = match element.get("range") {
        Some(range) => (address(&range[0])?, address(&range[1])?),
        None => (address(element)?, address(element)?),
    };
    Some(AddressRange { first, last })
}

fn equal(left: Value, right: &Value) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

fn element(range: &AddressRange) -> Value {
    if range.first == range.last { json!(range.first) } else { json!({"range": [range.first, range.last]}) }
}

/// Takes away every table that a gatewayd left in `namespace`; answers their names.
///
/// # Errors
/// `nft` is missing or refused.
pub async fn release(namespace: &Namespace) -> Result<Vec<String>, FilterError> {
    let mut ours = tables(namespace).await?;
    ours.retain(|name| name == TABLE || name.starts_with(FORMER_TABLES));
    if !ours.is_empty() {
        let delete: Vec<Value> = ours.iter().map(|name| json!({"delete": table(name)})).collect();
        load(namespace, &delete).await?;
    }
    Ok(ours)
}

/// The names of all tables of the family inet. As text: nft 1.0.6 breaks off its JSON at a table with flags, which may be
/// somebody else's.
async fn tables(namespace: &Namespace) -> Result<Vec<String>, FilterError> {
    let text = nft(namespace, &["list", "tables", "inet"], &[]).await?;
    let name = |line: &str| Some(line.strip_prefix("table inet ")?.trim().to_owned());
    Ok(String::from_utf8_lossy(&text).lines().filter_map(name).collect())
}

async fn listing(namespace: &Namespace) -> Result<Option<Listing>, FilterError> {
    match nft(namespace, &["-s", "list", "table", "inet", TABLE], &[]).await {
        Ok(text) => Ok(Some(Listing(String::from_utf8_lossy(&text).into_owned()))),
        Err(error) if tables(namespace).await?.iter().any(|name| name == TABLE) => Err(error),
        Err(_) => Ok(None),
    }
}

async fn is_whole(
    namespace: &Namespace,
    listing: &Listing,
    commands: &[Value],
    protected: &[AddressRange],
) -> Result<bool, FilterError> {
    if listing.has_flags() {
        return Ok(false);
    }
    let objects = list(namespace, &["table", "inet", TABLE]).await?;
    Ok(elements(&objects) == protected.iter().copied().collect() && are_made_by(objects, commands))
}

/// The objects that `nft list` prints.
async fn list(namespace: &Namespace, what: &[&str]) -> Result<Vec<Value>, FilterError> {
    let text = nft(namespace, &[&["-j", "list"], what].concat(), &[]).await?;
    let mut listing: Value = serde_json::from_slice(&text).map_err(|error| FilterError::Nft(error.to_string()))?;
    match listing["nftables"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Err(FilterError::Nft("prints something else than a list of objects".to_owned())),
    }
}

fn table(name: &str) -> Value {
    json!({"table": {"family": "inet", "name": name}})
}

/// Hands commands to `nft`, which applies all of them or nothing.
async fn load(namespace: &Namespace, commands: &[Value]) -> Result<(), FilterError> {
    let ruleset = json!({"nftables": commands}).to_string();
    nft(namespace, &["-j", "-f", "-"], ruleset.as_bytes()).await.map(drop)
}

/// Runs `nft` in a namespace; answers what it prints. One that takes too long is ended.
async fn nft(namespace: &Namespace, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, FilterError> {
    let runtime = Handle::current();
    let mut child = namespace.run(|| {
        let _inside = runtime.enter();
        let mut command = Command::new("nft");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).spawn()
    })??;
    let output = timeout(TIME, talk(&mut child, input)).await;
    let output = output.map_err(|_| FilterError::Nft(format!("did not end within {} s", TIME.as_secs())))??;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(FilterError::Nft(complaint.lines().next().unwrap_or("failed without a word").trim().to_owned()))
}

async fn talk(child: &mut Child, input: &[u8]) -> io::Result<Output> {
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading says why.
        let _ = stdin.write_all(input).await;
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let (read, complained, status) = tokio::join!(
        async { read_all(out.as_mut(), &mut stdout).await },
        async { read_all(err.as_mut(), &mut stderr).await },
        child.wait()
    );
    read?;
    complained?;
    Ok(Output { status: status?, stdout, stderr })
}

async fn read_all(from: Option<&mut (impl tokio::io::AsyncRead + Unpin)>, into: &mut Vec<u8>) -> io::Result<()> {
    if let Some(from) = from {
        tokio::io::AsyncReadExt::read_to_end(from, into).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_set_is_what_nft_knows() {
        let ranges = [("10.1.1.0", "10.1.1.255"), ("192.0.2.1", "192.0.2.1"), ("fd00::", "fd00::ffff")];
        let ranges = ranges.map(|(first, last)| AddressRange {
            first: first.parse().expect("an address"),
            last: last.parse().expect("an address"),
        });
        let ports = OuterPorts { ike: 500, nat: 4500 };
        let commands = PlaintextFilter::new(Namespace::Own, "ipsec0".into(), 0x4947_0001, ports).ruleset(&ranges);
        let count = commands.len();
        let ruleset = json!({"nftables": commands});
        let typed: nftables::schema::Nftables = serde_json::from_value(ruleset.clone()).expect("nft's own schema");
        assert_eq!(typed.objects.len(), count);
        assert!(ruleset.to_string().contains(r#""elem":[{"range":["10.1.1.0","10.1.1.255"]},"192.0.2.1"]"#));
    }

    #[test]
    fn elements_are_read_however_they_are_listed() {
        let elem = json!(["192.0.2.1", {"prefix": {"addr": "10.1.1.0", "len": 24}}, {"range": ["fd00::", "fd00::5"]}]);
        let shown: Vec<String> = elements(&[json!({"set": {"elem": elem}}), json!({"set": {"name": "empty"}})])
            .iter()
            .map(|range| format!("{}-{}", range.first, range.last))
            .collect();
        assert_eq!(shown, ["10.1.1.0-10.1.1.255", "192.0.2.1-192.0.2.1", "fd00::-fd00::5"]);
    }

    #[test]
    fn counts_of_a_table_that_was_taken_away_stay() {
        let mut dropped = Dropped::default();
        assert_eq!([5, 7, 0, 2].map(|counted| dropped.read(counted)), [5, 7, 7, 9]);
    }

    #[test]
    fn chains_and_the_number_of_their_rules_are_compared() {
        let chain = |handle: u64, policy: &str| json!({"name": "forward", "handle": handle, "policy": policy});
        let rule = json!({"rule": {"chain": "forward", "expr": []}});
        let commands = [json!({"add": {"chain": {"name": "forward", "policy": "accept"}}}), json!({"add": rule})];
        let listed = |policy| vec![json!({"metainfo": {}}), json!({"chain": chain(3, policy)}), rule.clone()];
        assert!(are_made_by(listed("accept"), &commands));
        assert!(!are_made_by(listed("drop"), &commands));
        assert!(!are_made_by([listed("accept"), vec![rule.clone()]].concat(), &commands));
        assert!(!are_made_by([listed("accept"), vec![json!({"chain": chain(4, "accept")})]].concat(), &commands));
    }
}
