//! A connection's configuration for the other side: what is local here is remote there.

mod libreswan;

use std::net::IpAddr;
use std::path::Path;

use clap::ValueEnum;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Serialize;
use zeroize::Zeroizing;

use super::output;
use crate::control::export::{ChildExport, ConnectionExport};
use crate::crypto::{Secret, psk};
use crate::daemon::config::secret::{KeyFileError, key_file};

/// What runs at the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Product {
    /// swanctl.conf
    Strongswan,
    /// ipsec.conf, and the line of ipsec.secrets
    Libreswan,
    /// The connection and its routes, for gatewayd.toml
    Gatewayd,
}

/// A configuration for the peer, as `--json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Exported<'a> {
    /// The name of the connection.
    connection: &'a str,
    /// What is to be written at the peer; with the pre-shared key, if a file with it was named.
    configuration: &'a str,
}

/// Prints the text for the peer.
pub fn print(
    json: bool,
    exported: &ConnectionExport,
    product: Product,
    psk_file: Option<&Path>,
) -> Result<(), Box<dyn std::error::Error>> {
    let text = configuration(exported, product, psk_file)?;
    if json {
        output::json(&Exported { connection: &exported.name, configuration: &text })?;
    } else {
        output::print(&text)?;
    }
    Ok(())
}

/// The text for the peer. The key comes from a private file or not at all.
pub fn configuration(
    exported: &ConnectionExport,
    product: Product,
    psk_file: Option<&Path>,
) -> Result<Zeroizing<String>, KeyFileError> {
    let key = psk_file.map(key_file).transpose()?;
    Ok(Zeroizing::new(match product {
        Product::Strongswan => swanctl(exported, key.as_ref()),
        Product::Libreswan => libreswan::configuration(exported, key.as_ref()),
        Product::Gatewayd => gatewayd(exported, key.as_ref()),
    }))
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn networks(list: &[IpNet]) -> String {
    list.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
}

fn swanctl(exported: &ConnectionExport, key: Option<&Secret>) -> String {
    let ConnectionExport {
        name,
        local_address,
        peer,
        local_id,
        peer_id,
        ike_proposals,
        ike_lifetime_seconds,
        liveness_seconds,
        force_encapsulation,
        only_childless,
        start,
        children,
    } = exported;
    let local_addrs = if is_address(peer) { peer } else { "%any" };
    let remote_addrs = local_address.as_deref().unwrap_or("%any");
    let liveness = liveness_seconds.map_or_else(String::new, |s| format!("        dpd_delay = {s}s\n"));
    let encapsulation = if *force_encapsulation { "        encap = yes\n" } else { "" };
    let childless = if *only_childless { "        childless = force\n" } else { "" };
    let children: String = children.iter().map(|child| swanctl_child(start, child)).collect();
    let (here, there) = (swanctl_identity(peer_id), swanctl_identity(local_id));
    let secret = key.map_or_else(
        || "# gatewayd gives no key away: put it here, or let gatewayctl export read it with --psk-file\n        # secret = \"...\"".to_owned(),
        |key| format!("secret = {}", swanctl_secret(key)),
    );
    format!(
        "\
# The peer's side of gatewayd's connection {name}, for swanctl.conf.
connections {{
    {name} {{
        version = 2
        local_addrs = {local_addrs}
        remote_addrs = {remote_addrs}
        proposals = {proposals}
        rekey_time = {ike_lifetime_seconds}s
        unique = replace
{liveness}{encapsulation}{childless}        local {{
            auth = psk
            id = {here}
        }}
        remote {{
            auth = psk
            id = {there}
        }}
        children {{
{children}        }}
    }}
}}
secrets {{
    ike-{name} {{
        id-local = {here}
        id-remote = {there}
        {secret}
    }}
}}
",
        proposals = ike_proposals.join(","),
    )
}

/// gatewayd rekeys at 80 to 90 per cent of its lifetimes, so a peer that takes them as its own rekey times comes second.
fn swanctl_child(start: &str, child: &ChildExport) -> String {
    let ChildExport { name, local_subnets, peer_subnets, esp_proposals, lifetime_seconds } = child;
    let start = if start == "now" { "none" } else { "start" };
    format!(
        "            {name} {{
                local_ts = {}
                remote_ts = {}
                esp_proposals = {}
                rekey_time = {lifetime_seconds}s
                start_action = {start}
            }}
",
        networks(peer_subnets).replace(' ', ""),
        networks(local_subnets).replace(' ', ""),
        esp_proposals.join(","),
    )
}

/// strongSwan reads `@#` as the hexadecimal digits of a key identity, and everything after a bare `#` as a comment.
fn swanctl_identity(identity: &str) -> String {
    match identity.strip_prefix("keyid:") {
        Some(digits) => format!("\"@#{digits}\""),
        None => format!("\"{identity}\""),
    }
}

/// Quoted where strongSwan takes the text as it is, in hexadecimal where it would read something into it.
fn swanctl_secret(key: &Secret) -> String {
    let text = std::str::from_utf8(key.as_bytes()).unwrap_or_default();
    let plain = text.chars().all(|c| (c.is_ascii_graphic() || c == ' ') && !"\"\\".contains(c));
    let announced = text.as_bytes().first_chunk().is_some_and(|[zero, x]| *zero == b'0' && b"xXsS".contains(x));
    if plain && !announced && !text.is_empty() {
        format!("\"{text}\"")
    } else {
        format!("0x{}", hex::encode(key.as_bytes()))
    }
}

fn gatewayd(exported: &ConnectionExport, key: Option<&Secret>) -> String {
    let ConnectionExport {
        name,
        local_address,
        peer,
        local_id,
        peer_id,
        ike_proposals,
        ike_lifetime_seconds,
        liveness_seconds,
        force_encapsulation,
        only_childless,
        start,
        children,
    } = exported;
    let remote = local_address.as_deref().unwrap_or("any");
    let own = if is_address(peer) { format!("local_address = {}\n", quoted(peer)) } else { String::new() };
    let start = if start == "now" || remote == "any" { "wait" } else { "now" };
    let secret = key.map_or_else(
        || "# gatewayd gives no key away: put it here, or let gatewayctl export read it with --psk-file\n# psk = \"...\"".to_owned(),
        |key| format!("psk = {}", quoted(&psk::write(key))),
    );
    let childless = if *only_childless { "childless = \"force\"\n" } else { "" };
    let liveness = liveness_seconds.map_or_else(|| "off".to_owned(), |seconds| format!("{seconds}s"));
    let mut text = format!(
        "\
# The peer's side of gatewayd's connection {name}, for gatewayd.toml.
[[connection]]
name = {}
peer = {}
{own}local_id = {}
peer_id = {}
{secret}
start = \"{start}\"
ike = {}
ike_lifetime = \"{}s\"
liveness = \"{liveness}\"
force_encapsulation = {}
{childless}",
        quoted(name),
        quoted(remote),
        quoted(peer_id),
        quoted(local_id),
        list(ike_proposals),
        ike_lifetime_seconds,
        force_encapsulation,
    );
    if let Some(child) = children.first() {
        text.push_str(&format!("child_lifetime = \"{}s\"\n", child.lifetime_seconds));
    }
    for child in children {
        text.push_str(&gatewayd_child(child));
    }
    let mut destinations: Vec<&IpNet> = children.iter().flat_map(|child| &child.local_subnets).collect();
    destinations.sort_unstable();
    destinations.dedup();
    for destination in destinations {
        text.push_str(&format!("\n[[route]]\ndestination = \"{destination}\"\nconnection = {}\n", quoted(name)));
    }
    text
}

fn gatewayd_child(child: &ChildExport) -> String {
    // The lifetime is a key of the whole connection.
    let ChildExport { name, local_subnets, peer_subnets, esp_proposals, lifetime_seconds: _ } = child;
    let nets = |nets: &[IpNet]| list(&nets.iter().map(IpNet::to_string).collect::<Vec<_>>());
    format!(
        "\n[[connection.child]]\nname = {}\nlocal_subnets = {}\npeer_subnets = {}\nesp = {}\n",
        quoted(name),
        nets(peer_subnets),
        nets(local_subnets),
        list(esp_proposals),
    )
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::daemon::config::Config;

    fn key(text: &str) -> Secret {
        Secret::from(text.as_bytes())
    }

    pub fn exported() -> ConnectionExport {
        ConnectionExport {
            name: "idc".into(),
            local_address: Some("198.51.100.2".into()),
            peer: "203.0.113.2".into(),
            local_id: "198.51.100.2".into(),
            peer_id: "keyid:0102ff".into(),
            ike_proposals: vec!["aes128gcm16-prfsha256-x25519".into()],
            ike_lifetime_seconds: 86_400,
            liveness_seconds: Some(30),
            force_encapsulation: false,
            only_childless: false,
            start: "now".into(),
            children: vec![ChildExport {
                name: "idc".into(),
                local_subnets: vec!["192.168.1.0/24".parse().unwrap(), "192.168.2.0/24".parse().unwrap()],
                peer_subnets: vec!["10.1.1.0/24".parse().unwrap()],
                esp_proposals: vec!["aes128-sha256-modp2048".into()],
                lifetime_seconds: 3600,
            }],
        }
    }

    #[test]
    fn what_is_local_here_is_remote_there() {
        let text = swanctl(&exported(), Some(&key("swordfish")));
        for expected in [
            "local_addrs = 203.0.113.2\n",
            "remote_addrs = 198.51.100.2\n",
            "local_ts = 10.1.1.0/24\n",
            "remote_ts = 192.168.1.0/24,192.168.2.0/24\n",
            "esp_proposals = aes128-sha256-modp2048\n",
            "id = \"@#0102ff\"\n",
            "secret = \"swordfish\"\n",
            "start_action = none\n",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
    }

    #[test]
    fn a_peer_is_told_that_only_childless_ike_sas_are_taken() {
        let forced = ConnectionExport { only_childless: true, ..exported() };
        assert!(swanctl(&forced, None).contains("\n        childless = force\n"));
        assert!(!swanctl(&exported(), None).contains("childless"));
        let text = gatewayd(&forced, Some(&key("swordfish")));
        let config = Config::parse(&text, Path::new("peer.toml")).unwrap();
        assert_eq!(format!("{:?}", config.connections[0].template().extensions.childless), "Force");
    }

    #[test]
    fn without_a_file_there_is_no_key() {
        for text in [swanctl(&exported(), None), gatewayd(&exported(), None)] {
            let key = text.lines().map(str::trim).find(|line| line.starts_with("secret =") || line.starts_with("psk"));
            assert_eq!(key, None);
        }
    }

    #[test]
    fn keys_survive_strongswan_s_quoting() {
        assert_eq!(swanctl_secret(&key("a b#c")), "\"a b#c\"");
        for text in ["say \"x\"", "0xabc", "0Sabc", "é", "a\nb"] {
            assert_eq!(swanctl_secret(&key(text)), format!("0x{}", hex::encode(text)));
        }
        assert_eq!(swanctl_secret(&Secret::from(&[0, 255][..])), "0x00ff");
    }

    #[test]
    fn our_own_daemon_reads_its_side() {
        let text = gatewayd(&exported(), Some(&key("sword\"fish")));
        let config = Config::parse(&text, Path::new("peer.toml")).unwrap();
        let tunnel = &config.connections[0];
        assert_eq!(tunnel.template().pre_shared_key.as_bytes(), b"sword\"fish");
        assert_eq!(tunnel.peer.to_string(), "198.51.100.2");
        assert_eq!(tunnel.template().local_address, Some("203.0.113.2".parse().unwrap()));
        let destinations: Vec<String> = config.routes.iter().map(|route| route.destination.to_string()).collect();
        assert_eq!(destinations, ["192.168.1.0/24", "192.168.2.0/24"]);
    }

    /// The key of a file as it is for gatewayd itself, and for a gatewayd that got it from `export`.
    fn here_and_there(content: &[u8]) -> [Vec<u8>; 2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("idc.psk");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let bytes = |text: &str, path: &Path| {
            Config::parse(text, path).unwrap().connections[0].template().pre_shared_key.as_bytes().to_vec()
        };
        let exported = configuration(&exported(), Product::Gatewayd, Some(&path)).unwrap();
        let ours = gatewayd(&self::exported(), None).replace("peer = ", "psk_file = \"idc.psk\"\npeer = ");
        [bytes(&ours, &folder.path().join("gatewayd.toml")), bytes(&exported, Path::new("peer.toml"))]
    }

    #[test]
    fn a_file_is_one_key_for_gatewayd_and_for_export() {
        for (content, expected) in [
            (&b"swordfish"[..], &b"swordfish"[..]),
            (b"swordfish\n\n", b"swordfish"),
            (b"swordfish\r\n\r\n", b"swordfish"),
            (b" sword\nfish \n", b" sword\nfish "),
            (b"0x00ff\n", &[0, 255]),
            (b"hex:3078\n", b"0x"),
            (b"0sMHhhYg==\n", b"0xab"),
            (b"base64:AP8\r\n", &[0, 255]),
        ] {
            assert_eq!(here_and_there(content), [expected, expected], "{}", content.escape_ascii());
        }
    }
}
