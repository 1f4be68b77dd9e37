use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::ike;
use crate::routing::FIREWALL_MARK;

const GOOD: &str = r#"local_addresses = ["198.51.100.2"]
inner_addresses = ["100.64.0.2/30"]

[[connection]]
name = "idc"
peer = "203.0.113.2"
psk = "swordfish"
local_subnets = ["192.168.0.0/16"]
peer_subnets = ["10.1.1.0/24", "10.1.2.0/24"]

[[route]]
destination = "10.1.1.0/24"
connection = "idc"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("gatewayd.toml"))
}

/// The only complaint about [`GOOD`] with `line` put in at the end of its `[[connection]]`.
fn complaint(line: &str) -> String {
    let text = GOOD.replace(
        "peer_subnets = [\"10.1.1.0/24\", \"10.1.2.0/24\"]\n",
        &format!("peer_subnets = [\"10.1.1.0/24\"]\n{line}\n"),
    );
    let error = parse(&text).err().unwrap_or_else(|| panic!("{line} must be refused"));
    assert_eq!(error.problems.len(), 1, "{error}");
    error.to_string()
}

#[test]
fn defaults_fill_what_a_small_file_leaves_out() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.gateway.mtu, 1500);
    assert_eq!(config.gateway.pmtu_raise, Duration::from_secs(600));
    assert_eq!(config.gateway.mark, FIREWALL_MARK);
    let tunnel = &config.connections[0];
    let ike = tunnel.ike(None).unwrap();
    assert_eq!(ike.local_address, Some("198.51.100.2".parse().unwrap()));
    assert_eq!(ike.local_id.to_string(), "198.51.100.2");
    assert_eq!(ike.start, ike::Start::Now);
    assert_eq!(ike.children.len(), 1);
    assert_eq!(ike.children[0].peer_selectors.len(), 2);
    assert_eq!(tunnel.esp_options, EspOptions::default());
    assert_eq!(config.routes[0].weight, Weight::Active);
    assert!(config.warnings.is_empty());
}

#[test]
fn leading_zeros_are_refused_at_every_place() {
    let good = GOOD
        .replacen("inner_addresses", "bypass = [\"10.1.1.64/26\"]\ninner_addresses", 1)
        .replace("\"10.1.1.0/24\"\nconnection", "\"10.3.0.0/24\"\nsource = \"10.4.0.0/16\"\nconnection");
    assert!(parse(&good).is_ok());
    for block in ["10.1.1.64/26", "100.64.0.2/30", "192.168.0.0/16", "10.1.2.0/24", "10.3.0.0/24", "10.4.0.0/16"] {
        let (address, length) = block.split_once('/').unwrap();
        for wrong in [format!("0{block}"), format!("{address}/0{length}")] {
            let error = parse(&good.replace(block, &wrong)).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{wrong}\" is not allowed here; allowed: ")), "{error}");
            assert!(error.contains("without leading zeros"), "{error}");
        }
    }
}

#[test]
fn what_fits_no_message_is_refused() {
    let proposal = "\"aes128gcm16-prfsha256-x25519\"";
    let proposals = |count: usize| format!("ike = [{}]", vec![proposal; count].join(", "));
    let same = |count: usize| format!("ike = \"aes128gcm16{}-x25519\"", "-prfsha256".repeat(count));
    let children = |count: usize| {
        let subnets: Vec<String> = (0..count).map(|n| format!("\"10.9.{n}.0/24\"")).collect();
        format!(
            "[[connection.child]]\nname = \"many\"\nlocal_subnets = \"10.8.0.0/16\"\npeer_subnets = [{}]",
            subnets.join(", ")
        )
    };
    let without_subnets = GOOD.replace("local_subnets = [\"192.168.0.0/16\"]\n", "");
    let without_subnets = without_subnets.replace("peer_subnets = [\"10.1.1.0/24\", \"10.1.2.0/24\"]\n", "{}\n");
    assert!(parse(&without_subnets.replace("{}", &children(255))).is_ok());
    let error = parse(&without_subnets.replace("{}", &children(256))).unwrap_err().to_string();
    assert!(error.contains("would have more than 255 traffic selectors on one side; shorten"), "{error}");
    for (line, expected) in [
        (proposals(256), "our IKE_SA_INIT request would have more than 255 proposals in one offer"),
        (same(254), "our IKE_SA_INIT request would have more than 255 algorithms in one proposal"),
        (
            format!("local_id = \"keyid:{}\"", "00".repeat(65_530)),
            "our IKE_AUTH request would have more than 65535 bytes",
        ),
        (format!("local_id = \"keyid:{}\"", "00".repeat(65_450)), "our IKE_AUTH request would have more than 65"),
    ] {
        let error = complaint(&line);
        assert!(error.starts_with("gatewayd.toml:5: connection.idc.name: cannot be negotiated: "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    let fits = [proposals(255), same(253), format!("local_id = \"keyid:{}\"", "00".repeat(60_000))];
    for line in fits {
        assert!(parse(&GOOD.replace("psk =", &format!("{line}\npsk ="))).is_ok());
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_what_is_allowed() {
    let error = complaint("peer_subnet = [\"10.1.2.0/24\"]");
    assert!(
        error.starts_with("gatewayd.toml:10: connection.idc.peer_subnet: unknown key; allowed: child, child_lifetime"),
        "{error}"
    );
    let error = parse("mtuu = 1400\n").unwrap_err().to_string();
    assert!(error.starts_with("gatewayd.toml:1: mtuu: unknown key (did you mean \"mtu\"?); allowed: "), "{error}");
    assert!(error.contains(", mtu, "), "{error}");
}

#[test]
fn a_child_s_lifetime_may_be_one_of_packets_and_of_bytes() {
    let lines = "child_lifetime_packets = 4_000_000_000\nchild_lifetime_bytes = 1_000_000\n\n[[route]]";
    let options = parse(&GOOD.replace("\n[[route]]", lines)).unwrap().connections[0].esp_options;
    assert_eq!((options.lifetime_packets, options.lifetime_bytes), (Some(4_000_000_000), Some(1_000_000)));
    assert_eq!((EspOptions::default().lifetime_packets, EspOptions::default().lifetime_bytes), (None, None));
}

#[test]
fn a_description_is_one_line_of_256_characters_at_most() {
    let with = |text: &str| parse(&GOOD.replace("\n[[route]]", &format!("description = \"{text}\"\n\n[[route]]")));
    let longest = "é".repeat(256);
    assert_eq!(with(&longest).unwrap().connections[0].description.as_deref(), Some(&*longest));
    let error = with(&format!("{longest}x")).unwrap_err().to_string();
    assert!(error.contains("connection.idc.description: has 257 characters; allowed: up to 256"), "{error}");
    assert_eq!(parse(GOOD).unwrap().connections[0].description, None);
}

#[test]
fn every_wrong_value_names_its_line_its_key_and_what_is_allowed() {
    for (line, key, allowed) in [
        ("start = \"later\"", "start", "allowed: \"now\", \"on-traffic\", \"wait\""),
        ("ike = [\"aes128gcm16-x25519\"]", "ike", "needs a PRF; allowed: prfsha256"),
        (
            "ike = \"aes128-sha256-modp2047\"",
            "ike",
            "\"modp2047\" is no algorithm (did you mean \"modp2048\"?); allowed: aes128gcm16",
        ),
        ("esp = [\"aes128\"]", "esp", "needs an integrity algorithm; allowed: sha256"),
        ("esp = []", "esp", "names no proposal"),
        ("ike_lifetime = \"4 hours\"", "ike_lifetime", "allowed: a time from 1m to 30d"),
        ("liveness = \"2h\"", "liveness", "allowed: a time from 1s to 1h"),
        ("replay_window = 32", "replay_window", "allowed: a whole number from 64 to 65536"),
        (
            "child_lifetime_packets = 999",
            "child_lifetime_packets",
            "999 is not allowed here; allowed: a whole number from 1000 to 9223372036854775807",
        ),
        ("child_lifetime_packets = 0", "child_lifetime_packets", "allowed: a whole number from 1000"),
        ("child_lifetime_bytes = 999_999", "child_lifetime_bytes", "allowed: a whole number from 1000000"),
        ("child_lifetime_bytes = \"4 GB\"", "child_lifetime_bytes", "allowed: a whole number from 1000000"),
        ("child_lifetime_bytes = -1", "child_lifetime_bytes", "allowed: a whole number from 1000000"),
        ("description = 7", "description", "allowed: a text in quotes, not empty"),
        ("description = \"a\\nb\"", "description", "holds line ends or other control characters"),
        ("description = \"\\u001b[31m\"", "description", "holds line ends or other control characters"),
        ("df = true", "df", "allowed: \"copy\", \"set\", \"clear\""),
        ("esn = \"maybe\"", "esn", "allowed: \"prefer\", \"require\", \"off\""),
        ("nat_traversal = \"yes\"", "nat_traversal", "allowed: true, false"),
        ("fragmentation = 1", "fragmentation", "allowed: true, false"),
        ("fragment_size = 575", "fragment_size", "allowed: a whole number from 576 to 65535"),
        ("fragmentation = false\nfragment_size = 1000", "fragment_size", "needs fragmentation = true"),
        ("childless = \"prefer\"", "childless", "allowed: \"allow\", \"force\", \"never\""),
        ("quick_crash_detection = \"off\"", "quick_crash_detection", "allowed: true, false"),
        ("local_id = \"\"", "local_id", "allowed: an address, a name (FQDN), user@host"),
        ("local_address = \"198.51.100.3\"", "local_address", "allowed: 198.51.100.2"),
        ("psk_file = \"other\"", "psk_file", "other: No such file"),
        ("[[connection.child]]\nname = \"b\"", "local_subnets", "stands beside [[connection.child]]"),
    ] {
        let text = GOOD.replace("psk = \"swordfish\"\n", if key == "psk_file" { "" } else { "psk = \"swordfish\"\n" });
        let text = text.replace("\n[[route]]", &format!("{line}\n\n[[route]]"));
        let error = parse(&text).err().unwrap_or_else(|| panic!("{line} must be refused")).to_string();
        let first = error.lines().next().unwrap();
        assert!(first.contains(&format!("connection.idc.{key}: ")) && first.contains(allowed), "{line}: {error}");
        let number: usize = first.split(':').nth(1).unwrap().parse().unwrap();
        let at = text.lines().nth(number - 1).unwrap();
        assert!(at.starts_with(key), "{line}: line {number} is {at}");
    }
}

#[test]
fn how_soon_a_path_that_grows_is_found_is_a_time_of_a_day_at_most() {
    assert_eq!(parse("pmtu_raise = \"90s\"\n").unwrap().gateway.pmtu_raise, Duration::from_secs(90));
    for wrong in ["\"0s\"", "\"2d\"", "\"soon\""] {
        let error = parse(&format!("pmtu_raise = {wrong}\n")).unwrap_err().to_string();
        assert!(error.starts_with("gatewayd.toml:1: pmtu_raise: "), "{error}");
        assert!(error.contains("allowed: a time from 1s to 1d"), "{error}");
    }
}

#[test]
fn how_long_a_silent_peer_is_asked_again_is_ten_seconds_to_an_hour() {
    let timeout = |text: &str| parse(text).map(|config| config.gateway.retransmission_timeout);
    assert_eq!(timeout(GOOD).unwrap(), Duration::from_secs(150));
    assert_eq!(timeout("retransmission_timeout = \"4m\"\n").unwrap(), Duration::from_secs(240));
    for wrong in ["\"9s\"", "\"2h\"", "\"long\""] {
        let error = timeout(&format!("retransmission_timeout = {wrong}\n")).unwrap_err().to_string();
        assert!(error.starts_with("gatewayd.toml:1: retransmission_timeout: "), "{error}");
        assert!(error.contains("allowed: a time from 10s to 1h"), "{error}");
    }
}

#[test]
fn networks_and_peers_are_checked() {
    for (from, to, expected) in [
        ("\"192.168.0.0/16\"", "\"192.168.0.1/16\"", "allowed: \"192.168.0.0/16\""),
        ("\"192.168.0.0/16\"", "\"fd00::/16\"", "only one side has IPv4 subnets"),
        ("\"203.0.113.2\"", "\"203.0.113\"", "allowed: an IPv4 or IPv6 address, a host name, \"any\""),
        ("psk = \"swordfish\"", "psk = 7", "is no text in quotes"),
        ("psk = \"swordfish\"", "", "psk: is missing; allowed: psk, psk_file"),
        ("name = \"idc\"", "name = \"i d c\"", "allowed: up to 64 letters"),
        ("name = \"idc\"", "name = \".\"", "\".\" is no name"),
        (
            "name = \"idc\"",
            "name = \"..\"",
            "\"..\" is no name; allowed: up to 64 letters, digits, and - _ ., but not . or ..",
        ),
        ("psk = \"swordfish\"", "psk = \"hex:12345\"", "connection.idc.psk: begins with hex:, so pairs of hexadecimal"),
        ("psk = \"swordfish\"", "psk = \"\\n\"", "psk: holds no key"),
        (
            "connection = \"idc\"",
            "connection = \"icd\"",
            "no connection is called \"icd\" (did you mean \"idc\"?); allowed: idc",
        ),
        (
            "destination = \"10.1.1.0/24\"",
            "destination = \"10.1.1.0/24\"\nweight = 50",
            "allowed: 0 (standby), 100 (active)",
        ),
    ] {
        let error = parse(&GOOD.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn a_route_with_a_source_is_policy_based() {
    let route = "destination = \"10.1.1.0/24\"\nconnection = \"idc\"\n";
    let with = |lines: &str| parse(&format!("{GOOD}\n[[route]]\n{route}{lines}\n"));
    let policy = |lines: &str| with(lines).unwrap().routes[1].policy.unwrap();
    let source = "192.168.7.0/24".parse().unwrap();
    assert_eq!(policy("source = \"192.168.7.0/24\""), RoutePolicy { priority: 10, source });
    assert_eq!(policy("source = \"192.168.7.0/24\"\npriority = 100"), RoutePolicy { priority: 100, source });
    assert_eq!(parse(GOOD).unwrap().routes[0].policy, None);
    for (lines, expected) in [
        ("", "10.1.1.0/24 through \"idc\" is there twice"),
        ("source = \"fd00::/8\"", "fd00::/8 is not of the address family of 10.1.1.0/24"),
        ("source = \"192.168.7.1/24\"", "has bits set behind its prefix"),
        ("source = \"192.168.7.0/24\"\npriority = 0", "from 1 to 100"),
        ("source = \"192.168.7.0/24\"\npriority = 101", "from 1 to 100"),
    ] {
        let error = with(lines).unwrap_err().to_string();
        assert!(error.contains(expected), "{lines}: {error}");
    }
    let error = parse(&GOOD.replace("[[route]]", "[[route]]\npriority = 1")).unwrap_err().to_string();
    assert!(error.contains("means something only beside a source"), "{error}");
}

#[test]
fn of_routes_with_a_source_only_so_many_lead_to_one_destination() {
    let policy = |n: usize, to: &str| {
        format!("[[route]]\nconnection = \"idc\"\nsource = \"192.168.{n}.0/24\"\ndestination = \"{to}\"\n")
    };
    let most: String = (0..64).flat_map(|n| [policy(n, "10.1.1.0/24"), policy(n, "10.1.2.0/24")]).collect();
    let text = format!("{GOOD}\n{most}");
    assert_eq!(parse(&text).unwrap().routes.len(), 129);
    let error = parse(&format!("{text}{}{}", policy(64, "10.1.2.0/24"), policy(65, "10.1.2.0/24"))).unwrap_err();
    let line = text.lines().count() + 4;
    let place = format!("gatewayd.toml:{line}: route.destination: 10.1.2.0/24 has more than 64 routes with a source");
    assert_eq!(error.to_string().matches("more than 64").count(), 1);
    assert!(error.to_string().contains(&place), "{error}");
}

#[test]
fn all_problems_are_told_at_once_and_in_order() {
    let text = GOOD.replace("psk = \"swordfish\"", "df = \"maybe\"").replace("[[route]]", "[[route]]\nweight = 1");
    let error = parse(&text).unwrap_err();
    let lines: Vec<usize> = error.problems.iter().map(|problem| problem.line).collect();
    assert!(lines.len() >= 3 && lines.is_sorted(), "{error}");
}

#[test]
fn what_is_exempt_is_a_list_of_longer_prefixes() {
    let config = parse(&format!("bypass = [\"10.1.1.0/25\", \"fd00::/64\"]\non_stop = \"open\"\n{GOOD}")).unwrap();
    assert_eq!((config.bypass.len(), config.on_stop), (2, OnStop::Open));
    assert_eq!(config.warnings, [""; 0]);
    let config = parse(&format!("bypass = \"10.1.1.0/24\"\n{GOOD}")).unwrap();
    assert!(
        config.warnings[0].contains("10.1.1.0/24 is the destination of a route, which wins"),
        "{:?}",
        config.warnings
    );
    assert_eq!(config.on_stop, OnStop::Closed);
    for (line, allowed) in [
        ("bypass = \"0.0.0.0/0\"", "allowed: longer prefixes"),
        ("bypass = \"10.1.1.7/24\"", "allowed: \"10.1.1.0/24\""),
        ("on_stop = \"leave\"", "allowed: \"closed\", \"open\""),
    ] {
        let error = parse(&format!("{line}\n{GOOD}")).unwrap_err().to_string();
        assert!(error.contains(allowed), "{error}");
    }
}

#[test]
fn the_state_directory_is_found_in_a_broken_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gatewayd.toml");
    assert_eq!(state_directory(&path), Path::new("/var/lib/gatewayd"));
    for broken in ["state = \"/x/y\"\ntun = = 3\n", "nonsense = 1\nstate = \"/x/y\"\n", "[[route\nstate = 1"] {
        std::fs::write(&path, broken).unwrap();
        let expected = if broken.contains("/x/y") { "/x/y" } else { "/var/lib/gatewayd" };
        assert_eq!(state_directory(&path), Path::new(expected), "{broken}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let error = parse("mtu = 1500\ntun = = 3\n").unwrap_err().to_string();
    assert!(error.starts_with("gatewayd.toml:2: "), "{error}");
    let error = parse("mtu = 1500\nmtu = 1400\n").unwrap_err().to_string();
    assert!(error.starts_with("gatewayd.toml:2: "), "{error}");
}

#[test]
fn of_many_wrong_names_a_few_are_guessed_at_and_a_few_allowed_ones_are_told() {
    const MANY: usize = 300;
    let connection = GOOD.split("[[route]]").next().unwrap().replacen("198.51.100.2", "198.51.100.3", 1);
    let (head, connection) = connection.split_once("[[connection]]").unwrap();
    let connections = (0..MANY).map(|n| format!("[[connection]]{}", connection.replace("idc", &format!("site-{n}"))));
    let routes = (0..MANY).map(|n| format!("[[route]]\ndestination = \"10.1.1.0/24\"\nconnection = \"stie-{n}\"\n"));
    let text: String = std::iter::once(head.to_owned()).chain(connections).chain(routes).collect();
    let problems = parse(&text).unwrap_err().problems;
    assert_eq!(problems.len(), MANY);
    assert_eq!(problems.iter().filter(|problem| problem.message.contains("did you mean")).count(), 8);
    for problem in &problems {
        assert!(problem.message.contains("site-19, and 280 more"), "{}", problem.message);
        assert!(!problem.message.contains("site-20,"), "{}", problem.message);
    }
}

#[test]
fn one_mistake_is_one_complaint_with_what_may_be_meant() {
    for (from, to, expected) in [
        ("peer = ", "pere = ", "connection.idc.pere: unknown key (did you mean \"peer\"?)"),
        ("peer_subnets = ", "remote_ts = ", "connection.idc.remote_ts: unknown key (did you mean \"peer_subnets\"?)"),
        ("psk = ", "secret = ", "connection.idc.secret: unknown key (did you mean \"psk\"?)"),
        ("\"203.0.113.2\"", "\"%any\"", "connection.idc.peer: \"%any\" is no peer's address (did you mean \"any\"?)"),
        ("\"203.0.113.2\"", "\"0.0.0.0\"", "\"0.0.0.0\" is no peer's address (did you mean \"any\"?)"),
        (
            "peer = ",
            "local_address = \"198.51.100\"\npeer = ",
            "connection.idc.local_address: \"198.51.100\" is not allowed",
        ),
        ("[\"198.51.100.2\"]", "[\"198.51.100\"]", "local_addresses: \"198.51.100\" is not allowed"),
        ("\"192.168.0.0/16\"", "\"192.168.0.0\"", "connection.idc.local_subnets: "),
        ("psk = ", "ike = \"aes256-sha256-curve25519\"\npsk = ", "(did you mean \"x25519\"?)"),
        ("name = \"idc\"", "nmae = \"idc\"", "connection.nmae: unknown key (did you mean \"name\"?)"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        let error = parse(&text).err().unwrap_or_else(|| panic!("{to} must be refused"));
        assert_eq!(error.problems.len(), 1, "{to}: {error}");
        assert!(error.to_string().contains(expected), "{to}: {error}");
    }
    let children = "[[connection.child]]\nname = \"a\"\nlocal_subnets = \"192.168.0\"\npeer_subnets = \"10.1.1.0/24\"\n\
                    [[connection.child]]\nname = \"b\"\nlocal_subnets = []\npeer_subnets = \"10.1.2.0/24\"\n";
    let own = "local_subnets = [\"192.168.0.0/16\"]\npeer_subnets = [\"10.1.1.0/24\", \"10.1.2.0/24\"]\n";
    let error = parse(&GOOD.replace(own, children)).unwrap_err();
    assert_eq!(error.problems.len(), 2, "each child has its own: {error}");
    let broken = GOOD.replace("psk =", "df = \"maybe\"\npsk =").replace("peer = \"203.0.113.2\"", "peer = \"1.2.3\"");
    assert_eq!(parse(&broken).unwrap_err().problems.len(), 2, "and none about its route");
}

#[test]
fn a_weak_algorithm_is_allowed_by_name_and_warned_of() {
    let config = parse(&GOOD.replace("psk =", "ike = \"aes128-sha1-modp1024\"\npsk =")).unwrap();
    assert_eq!(config.warnings.len(), 1);
    let warning = &config.warnings[0];
    assert!(warning.starts_with("gatewayd.toml:7: connection.idc.ike: sha1, prfsha1, modp1024"), "{warning}");
}

#[test]
fn a_peer_may_be_anyone_or_a_name() {
    let any = GOOD.replace("peer = \"203.0.113.2\"", "peer = \"any\"");
    let config = parse(&any).unwrap();
    assert_eq!(config.connections[0].ike(None).unwrap().start, ike::Start::Wait);
    let error = parse(&any.replace("psk =", "start = \"now\"\npsk =")).unwrap_err().to_string();
    assert!(error.contains("peer = \"any\" cannot be called; allowed: \"wait\""), "{error}");

    let config = parse(&GOOD.replace("\"203.0.113.2\"", "\"vpn.example.com\"")).unwrap();
    let tunnel = &config.connections[0];
    assert_eq!(tunnel.peer, PeerName::Name("vpn.example.com".into()));
    assert!(tunnel.ike(None).is_none(), "a name is nothing to call before it is resolved");
    let address: IpAddr = "203.0.113.7".parse().unwrap();
    assert_eq!(tunnel.ike(Some(address)).unwrap().peer, ike::Peer::Address(address));
}

#[test]
fn children_have_selectors_and_proposals_of_their_own() {
    let text = GOOD.replace(
        "local_subnets = [\"192.168.0.0/16\"]\npeer_subnets = [\"10.1.1.0/24\", \"10.1.2.0/24\"]\n",
        r#"
esp = "aes256gcm16"
[[connection.child]]
name = "one"
local_subnets = "192.168.1.0/24"
peer_subnets = "10.1.1.0/24"
[[connection.child]]
name = "two"
local_subnets = ["192.168.2.0/24", "fd00:2::/64"]
peer_subnets = ["10.1.1.0/24", "fd00:1::/64"]
esp = ["aes128gcm16-x25519"]
"#,
    );
    let ike = parse(&text).unwrap().connections[0].ike(None).unwrap();
    let names: Vec<&str> = ike.children.iter().map(|child| &*child.name).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(proposal::esp_keywords(&ike.children[0].esp_proposals[0]), "aes256gcm16");
    assert_eq!(proposal::esp_keywords(&ike.children[1].esp_proposals[0]), "aes128gcm16-x25519");
    let error = parse(&text.replace("name = \"two\"", "name = \"one\"")).unwrap_err().to_string();
    assert!(error.contains("names two children"), "{error}");
}

#[test]
fn keys_come_from_private_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    write("idc.key", "sword fish\n", 0o600);
    write("open.key", "swordfish", 0o644);
    write("secrets.toml", "[psk]\nidc = \"from secrets\"\n", 0o600);
    write("binary.toml", "[psk]\nidc = \"0sAP8\"\n", 0o600);
    write("broken.toml", "[psk]\nidc = \"0ssecret!\"\n", 0o600);
    let without = GOOD.replace("psk = \"swordfish\"\n", "");
    let with = |line: &str| without.replace("peer = ", &format!("{line}\npeer = "));
    let key = |text: &str| {
        let path = write("gatewayd.toml", text, 0o644);
        Config::load(&path).map(|config| config.connections[0].template().pre_shared_key.as_bytes().to_vec())
    };
    write("hexadecimal.key", "0x00ff\r\n\n", 0o600);
    write("no.key", "\n\n", 0o600);
    assert_eq!(key(&with("psk_file = \"idc.key\"")).unwrap(), b"sword fish");
    assert_eq!(key(&with("psk_file = \"hexadecimal.key\"")).unwrap(), [0, 255]);
    assert_eq!(key(&with("psk = \"base64:AP8=\"")).unwrap(), [0, 255]);
    let error = key(&with("psk_file = \"no.key\"")).unwrap_err().to_string();
    assert!(error.contains("no.key holds no key"), "{error}");
    assert_eq!(key(&format!("secrets = \"secrets.toml\"\n{without}")).unwrap(), b"from secrets");
    assert_eq!(key(&format!("secrets = \"binary.toml\"\n{without}")).unwrap(), [0, 255]);
    let error = key(&format!("secrets = \"broken.toml\"\n{without}")).unwrap_err().to_string();
    assert!(error.contains("broken.toml:2: psk.idc: begins with 0s") && !error.contains("secret!"), "{error}");
    let error = key(&with("psk_file = \"open.key\"")).unwrap_err().to_string();
    assert!(error.contains("open.key has mode 0644") && error.contains("allowed: 0600"), "{error}");
    let error = key(&with("psk_file = \"idc.key\"\npsk = \"x\"")).unwrap_err().to_string();
    assert!(error.contains("allowed: one of the two"), "{error}");
}

#[test]
fn a_key_in_a_file_that_others_may_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gatewayd.toml");
    std::fs::write(&path, GOOD).unwrap();
    for (mode, warnings) in [(0o644, 1), (0o600, 0)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.warnings.len(), warnings, "{mode:o}: {:?}", config.warnings);
    }
}

#[test]
fn no_message_and_no_debug_shows_a_key() {
    let config = parse(GOOD).unwrap();
    assert!(!format!("{config:?}").contains("swordfish"));
    for broken in
        [GOOD.replace("\"swordfish\"", "[\"swordfish\"]"), GOOD.replace("peer =", "psk = \"swordfish\"\npeer =")]
    {
        let error = parse(&broken).unwrap_err();
        assert!(!error.to_string().contains("swordfish") && !format!("{error:?}").contains("swordfish"), "{error}");
    }
}
