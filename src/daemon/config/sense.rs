//! What cannot work although each value of a file is allowed: `gatewayctl check`. gatewayd itself takes such a file, because a
//! machine may get its addresses later, and closes what the routes protect.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Config, PeerName, Tunnel};
use crate::io::host::Here;
use crate::routing::VpnRoute;

/// Keys below this many bytes can be guessed (RFC 7296 section 2.15 asks for as much as the strongest key that is derived).
const SHORT_KEY: usize = 16;

/// What the keys of this repository's examples begin with.
const EXAMPLE_KEYS: &[&str] = &["an example", "another example", "replace me with"];

/// What people put where a key belongs, or what they make a key of that is as good as none.
const COMMON_WORDS: &[&str] = &["changeme", "change me", "replaceme", "replace me", "password", "swordfish"];

/// From so many bytes on a key that begins with a common word is one for all that: the rest may be random.
const LONG_KEY: usize = 32;

/// What an operator should look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// This cannot work.
    pub problems: Vec<String>,
    /// This works, and is worse than it should be; or works only on another machine than this one.
    pub warnings: Vec<String>,
}

/// Compares the parts of a file with each other, and with the machine that it is checked on. `meant_for_here`: gatewayd is to
/// run on this very machine, so that what it lacks is a problem.
pub fn doubts(config: &Config, here: &Here, meant_for_here: bool) -> Doubts {
    let mut doubts = Doubts::default();
    // A file for another machine may well be checked on its peer.
    let machine: &[IpAddr] = if meant_for_here { &here.addresses } else { &[] };
    for tunnel in config.connections.iter() {
        let name = tunnel.name();
        doubts.problems.extend(addresses(config, tunnel, machine).map(|text| format!("connection {name}: {text}")));
        doubts.warnings.extend(key(tunnel).map(|text| format!("connection {name}: {text}")));
    }
    let by_name: HashMap<&str, &Tunnel> =
        config.connections.iter().map(|tunnel| (&**tunnel.name(), &**tunnel)).collect();
    let of_routes = config.routes.iter().filter_map(|route| outside_selectors(by_name.get(&*route.connection)?, route));
    doubts.problems.extend(of_routes);
    let lacking = if meant_for_here { &mut doubts.problems } else { &mut doubts.warnings };
    lacking.extend(not_of_this_machine(config, here));
    lacking.extend(here.tun_taken.clone());
    doubts
}

/// `machine`: addresses that are this gateway's although the file does not name them.
fn addresses(config: &Config, tunnel: &Tunnel, machine: &[IpAddr]) -> impl Iterator<Item = String> {
    let PeerName::Address(peer) = tunnel.peer else { return None.into_iter() };
    let ours = &config.gateway.local_addresses;
    let local = tunnel.template().local_address;
    let text = if local == Some(peer) || ours.contains(&peer) || machine.contains(&peer) {
        Some(format!("its peer {peer} is an address of this gateway itself"))
    } else if local.is_none() && !ours.is_empty() && !ours.iter().any(|ours| ours.is_ipv4() == peer.is_ipv4()) {
        let family = if peer.is_ipv4() { "IPv4" } else { "IPv6" };
        Some(format!("its peer {peer} is {family}, and local_addresses has no address of that family"))
    } else {
        None
    };
    text.into_iter()
}

/// What is said never tells what the key is, or holds.
fn key(tunnel: &Tunnel) -> Option<String> {
    let key = tunnel.template().pre_shared_key.as_bytes();
    let begins_with =
        |start: &&str| key.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes()));
    if EXAMPLE_KEYS.iter().any(begins_with) || key.len() < LONG_KEY && COMMON_WORDS.iter().any(begins_with) {
        return Some("its key is that of an example, or begins with a common word; anybody can know it".to_owned());
    }
    (key.len() < SHORT_KEY).then(|| {
        format!("its key has fewer than {SHORT_KEY} characters and can be guessed; take 32 random ones (openssl rand -base64 24)")
    })
}

/// Packets of a route go through a child whose selectors hold them, and are dropped if there is none.
fn outside_selectors(tunnel: &Tunnel, route: &VpnRoute) -> Option<String> {
    let overlap = |a: &ipnet::IpNet, b: &ipnet::IpNet| a.contains(b) || b.contains(a);
    let carries = |subnets: &super::ChildSubnets| {
        let source = route.policy.map(|policy| policy.source);
        subnets.peer.iter().any(|subnet| overlap(subnet, &route.destination))
            && source.is_none_or(|source| subnets.local.iter().any(|subnet| overlap(subnet, &source)))
    };
    if tunnel.subnets.iter().any(carries) {
        return None;
    }
    let peer = tunnel.subnets.iter().flat_map(|subnets| &subnets.peer).map(ToString::to_string);
    let source = route.policy.map_or_else(String::new, |policy| format!(" from {}", policy.source));
    Some(format!(
        "route {}{source}: no child of connection {} carries any of it, so all of it is dropped; its peer_subnets: {}",
        route.destination,
        route.connection,
        peer.collect::<Vec<_>>().join(", ")
    ))
}

fn not_of_this_machine(config: &Config, here: &Here) -> Vec<String> {
    let of_connections = config.connections.iter().filter_map(|tunnel| tunnel.template().local_address);
    let mut named: Vec<IpAddr> = config.gateway.local_addresses.iter().copied().chain(of_connections).collect();
    named.sort_unstable();
    named.dedup();
    named.retain(|address| !here.addresses.contains(address));
    named.iter().map(|address| format!("{address} is no address of this machine and network namespace")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const GOOD: &str = r#"
local_addresses = ["198.51.100.2"]
[[connection]]
name = "idc"
peer = "203.0.113.2"
psk = "0123456789abcdef"
local_subnets = ["192.168.0.0/16"]
peer_subnets = ["10.1.0.0/16"]
[[route]]
destination = "10.1.1.0/24"
connection = "idc"
"#;

    fn here() -> Here {
        Here { addresses: vec!["198.51.100.2".parse().unwrap()], tun_taken: None }
    }

    fn doubts_of(text: &str) -> Doubts {
        doubts(&Config::parse(text, Path::new("gatewayd.toml")).unwrap(), &here(), true)
    }

    #[test]
    fn a_good_file_leaves_no_doubt() {
        assert_eq!(doubts_of(GOOD), Doubts::default());
        assert_eq!(doubts_of(&GOOD.replace("10.1.1.0/24", "10.0.0.0/8")), Doubts::default(), "a part of it is carried");
        let with_source = format!("{GOOD}source = \"192.168.7.0/24\"\n");
        assert_eq!(doubts_of(&with_source), Doubts::default());
    }

    #[test]
    fn what_cannot_work_is_a_problem() {
        for (from, to, expected) in [
            ("10.1.1.0/24", "10.9.0.0/24", "route 10.9.0.0/24: no child of connection idc carries any of it"),
            ("10.1.1.0/24", "fd00::/64", "route fd00::/64: no child"),
            (
                "connection = \"idc\"\n",
                "connection = \"idc\"\nsource = \"172.16.0.0/24\"\n",
                "from 172.16.0.0/24: no child",
            ),
            (
                "203.0.113.2",
                "198.51.100.2",
                "connection idc: its peer 198.51.100.2 is an address of this gateway itself",
            ),
            (
                "peer = \"203.0.113.2\"",
                "peer = \"2001:db8::1\"\nlocal_id = \"gw\"",
                "local_addresses has no address of that family",
            ),
            ("198.51.100.2", "198.51.100.3", "198.51.100.3 is no address of this machine"),
        ] {
            let doubts = doubts_of(&GOOD.replacen(from, to, 1));
            assert_eq!(doubts.problems.len(), 1, "{to}: {doubts:?}");
            assert!(doubts.problems[0].contains(expected), "{to}: {doubts:?}");
        }
        let config = Config::parse(GOOD, Path::new("gatewayd.toml")).unwrap();
        let taken = Here { tun_taken: Some("gwd0 is there and is no TUN".into()), ..here() };
        assert_eq!(doubts(&config, &taken, true).problems, ["gwd0 is there and is no TUN"]);
        let elsewhere = Here::default();
        let checked = doubts(&config, &elsewhere, false);
        assert!(checked.problems.is_empty() && checked.warnings.len() == 1, "a file for another machine: {checked:?}");
    }

    #[test]
    fn the_file_of_the_other_end_is_good_although_this_machine_is_its_peer() {
        let config = Config::parse(GOOD, Path::new("gatewayd.toml")).unwrap();
        let peer = Here { addresses: vec!["203.0.113.2".parse().unwrap()], tun_taken: None };
        assert!(doubts(&config, &peer, false).problems.is_empty());
        let problems = doubts(&config, &peer, true).problems;
        assert!(problems[0].contains("its peer 203.0.113.2 is an address of this gateway itself"), "{problems:?}");
    }

    #[test]
    fn a_key_that_anybody_may_know_or_guess_is_warned_of_and_not_shown() {
        for (key, expected) in [
            ("0123456789abcde", "fewer than 16 characters"),
            ("hex:00112233445566778899aabbccddee", "fewer than 16 characters"),
            ("an example, to be replaced by 32 random characters", "of an example"),
            ("Replace me with at least 32 random characters", "of an example"),
            ("changeme", "of an example"),
            ("Password-of-branch-7", "of an example"),
        ] {
            let doubts = doubts_of(&GOOD.replace("0123456789abcdef", key));
            assert_eq!((doubts.problems.len(), doubts.warnings.len()), (0, 1), "{key}: {doubts:?}");
            assert!(doubts.warnings[0].contains(expected), "{doubts:?}");
            let told = doubts.warnings[0].to_lowercase();
            let words = ["an example, to", "replace me", "changeme", "password"];
            assert!(words.iter().all(|word| !told.contains(word)), "{doubts:?}");
        }
        for good in ["9f2Kd8password7QmXz41", "password and then forty-three more random characters"] {
            assert_eq!(doubts_of(&GOOD.replace("0123456789abcdef", good)), Doubts::default(), "{good}");
        }
    }
}
