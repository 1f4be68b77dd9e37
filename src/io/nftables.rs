//! gatewayd's own nftables table: packets from protected addresses come out of the tunnel only, and packets to them go
//! into it only.
use std::io;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::io::netns::Namespace;
use crate::routing::AddressRange;

/// Why the table could not be set, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The program `nft` failed, or is not there.
    #[error("nft: {0}")]
    Nft(String),
    /// The namespace cannot be entered, or the program not be started.
    #[error(transparent)]
    Io(#[from] io::Error),
}

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
/// so do multicast and limited broadcast, which belong to the link that they are sent on (IPv6 neighbour discovery and
/// DHCP depend on it).
///
/// The table is replaced in one transaction, is independent of the device's existence, and stays until it is removed,
/// so it also outlives a crash.
#[derive(Clone, Debug)]
pub struct PlaintextFilter {
    namespace: Namespace,
    device: Arc<str>,
    /// What the device is called at the moment; `None` while it is not there, and nothing comes out of the tunnel.
    tunnel: Option<Arc<str>>,
    mark: u32,
    ports: OuterPorts,
}

impl PlaintextFilter {
    /// The filter for the tunnel device `device`; `mark` is the firewall mark of gatewayd's sockets. Nothing is set yet.
    pub fn new(namespace: Namespace, device: Arc<str>, mark: u32, ports: OuterPorts) -> Self {
        PlaintextFilter { namespace, tunnel: Some(Arc::clone(&device)), device, mark, ports }
    }

    /// The same table, for which the tunnel is the device that is called `tunnel` at the moment: somebody may have renamed
    /// it, and given its name to another one.
    #[must_use]
    pub fn trusting(&self, tunnel: Option<Arc<str>>) -> Self {
        PlaintextFilter { tunnel, ..self.clone() }
    }

    /// Name of the table: one for each tunnel device, so that several gatewayds never share one.
    pub fn table(&self) -> String {
        let device: String = self.device.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        format!("gatewayd_{device}")
    }

    /// Makes `protected` (of either family) the protected addresses. Counters go on counting.
    ///
    /// # Errors
    /// `nft` is missing or refused; the table is then as it was.
    pub async fn apply(&self, protected: Vec<AddressRange>) -> Result<(), FilterError> {
        let ruleset = self.ruleset(&protected);
        self.in_namespace(move || load(&ruleset)).await
    }

    /// Removes the table; one that is not there is no error.
    ///
    /// # Errors
    /// `nft` is missing or refused.
    pub async fn remove(&self) -> Result<(), FilterError> {
        let table = json!({"table": {"family": "inet", "name": self.table()}});
        let ruleset = json!({"nftables": [{"add": table}, {"delete": table}]});
        self.in_namespace(move || load(&ruleset)).await
    }

    /// Packets dropped since the table was made.
    ///
    /// # Errors
    /// `nft` is missing, or there is no table.
    pub async fn dropped(&self) -> Result<u64, FilterError> {
        let table = self.table();
        self.in_namespace(move || {
            let output = Command::new("nft").args(["-j", "list", "counters", "table", "inet", &table]).output()?;
            if !output.status.success() {
                return Err(FilterError::Nft(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
            }
            let listing: Value =
                serde_json::from_slice(&output.stdout).map_err(|error| FilterError::Nft(error.to_string()))?;
            let objects = listing["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
            Ok(objects.iter().filter_map(|object| object["counter"]["packets"].as_u64()).sum())
        })
        .await
    }

    async fn in_namespace<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, FilterError> + Send + 'static,
    ) -> Result<T, FilterError> {
        let namespace = self.namespace.clone();
        let ran = tokio::task::spawn_blocking(move || namespace.run(job)).await;
        ran.map_err(|error| FilterError::Io(io::Error::other(error)))??
    }

    fn ruleset(&self, protected: &[AddressRange]) -> Value {
        let table = self.table();
        let (v4, v6): (Vec<_>, Vec<_>) = protected.iter().copied().partition(|range| range.first.is_ipv4());
        let mut commands = vec![json!({"add": {"table": {"family": "inet", "name": table}}})];
        for (name, kind, ranges) in [("protected_ipv4", "ipv4_addr", v4), ("protected_ipv6", "ipv6_addr", v6)] {
            let set = json!({"set": {"family": "inet", "table": table, "name": name, "type": kind,
                "flags": ["interval"]}});
            commands.push(json!({"add": set}));
            commands.push(json!({"flush": set}));
            if !ranges.is_empty() {
                let elements: Vec<Value> = ranges.iter().map(element).collect();
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
        json!({"nftables": commands})
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
        let link_bound = |protocol: &str, address: &str, length: u8| {
            let group = json!({"prefix": {"addr": address, "len": length}});
            json!([equal(json!({"payload": {"protocol": protocol, "field": "daddr"}}), &group), {"accept": null}])
        };
        vec![
            json!([equal(json!({"meta": {"key": "mark"}}), &json!(self.mark)), {"accept": null}]),
            link_bound("ip", "224.0.0.0", 4),
            link_bound("ip", "255.255.255.255", 32),
            link_bound("ip6", "ff00::", 8),
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

fn equal(left: Value, right: &Value) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

fn element(range: &AddressRange) -> Value {
    if range.first == range.last { json!(range.first) } else { json!({"range": [range.first, range.last]}) }
}

/// Hands a rule set to `nft`, which applies all of it or nothing.
fn load(ruleset: &Value) -> Result<(), FilterError> {
    let no_arguments: [&str; 0] = [];
    nftables::helper::apply_ruleset_raw(&ruleset.to_string(), nftables::helper::DEFAULT_NFT, no_arguments)
        .map(drop)
        .map_err(|error| FilterError::Nft(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(device: &str) -> PlaintextFilter {
        PlaintextFilter::new(Namespace::Own, device.into(), 0x4947_0001, OuterPorts { ike: 500, nat: 4500 })
    }

    #[test]
    fn the_rule_set_is_what_nft_knows() {
        let ranges = [("10.1.1.0", "10.1.1.255"), ("192.0.2.1", "192.0.2.1"), ("fd00::", "fd00::ffff")];
        let ranges = ranges.map(|(first, last)| AddressRange {
            first: first.parse().expect("an address"),
            last: last.parse().expect("an address"),
        });
        let ruleset = filter("ipsec0").ruleset(&ranges);
        let typed: nftables::schema::Nftables = serde_json::from_value(ruleset.clone()).expect("nft's own schema");
        assert_eq!(typed.objects.len(), ruleset["nftables"].as_array().map_or(0, Vec::len));
        assert!(ruleset.to_string().contains(r#""elem":[{"range":["10.1.1.0","10.1.1.255"]},"192.0.2.1"]"#));
    }

    #[test]
    fn a_renamed_device_is_trusted_under_its_new_name_alone() {
        let rules = |tunnel: Option<&str>| filter("ipsec0").trusting(tunnel.map(Into::into)).ruleset(&[]).to_string();
        let renamed = rules(Some("foo"));
        assert!(renamed.contains(r#""right":"foo""#) && renamed.contains(r#""right":{"set":["lo","foo"]}"#));
        for text in [renamed, rules(None)] {
            assert!(text.contains("gatewayd_ipsec0") && !text.contains(r#""ipsec0""#), "{text}");
        }
    }

    #[test]
    fn each_device_has_a_table_of_its_own_with_a_name_that_nft_takes() {
        assert_eq!(filter("ipsec0").table(), "gatewayd_ipsec0");
        assert_eq!(filter("vpn.a-1").table(), "gatewayd_vpn_a_1");
    }
}
