//! cend's complete set, translated from the cloud's values into what this gateway does, with a reason for what it
//! does not.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::config::{ChildSubnets, Config, EspOptions, PeerName, Tunnel, check_name, proposal};
use crate::control::owner::{
    OwnerConnection, OwnerEsp, OwnerIke, OwnerRoute, OwnerSet, OwnerStart, Refusal, RefusedKind,
};
use crate::control::route;
use crate::crypto::cloud_name::InCloud;
use crate::crypto::psk::{self, Notation};
use crate::crypto::{CloudName, CloudPfs, IntegrityAlgorithm, prf};
use crate::ike::{Child, Connection, EspProposal, Extensions, IkeProposal, Peer, Start};
use crate::routing::{Owner, Publication, RouteKey, VpnRoute, Weight};
use crate::wire::ike::{Identification, TrafficSelector};

/// Interval of liveness checks (EnableDpd), which the cloud does not let its users choose.
const LIVENESS: Duration = Duration::from_secs(30);

/// What of a set can be done.
#[derive(Debug, Default)]
pub struct Translation {
    /// The connections, with names that are neither the file's nor there twice.
    pub tunnels: Vec<Arc<Tunnel>>,
    /// The routes through these connections.
    pub routes: Vec<VpnRoute>,
    /// Publication state of the file's routes.
    pub publications: BTreeMap<RouteKey, Publication>,
    /// What is not done, and why.
    pub refused: Vec<Refusal>,
    /// What an operator should know although it is done, such as a weak algorithm.
    pub warnings: Vec<String>,
}

/// Translates a set beside the file's configuration, which wins where both name the same thing. `now` in Unix seconds
/// is the time of creation of new routes.
pub fn translate(set: &OwnerSet, file: &Config, now: u64) -> Translation {
    let mut translation = Translation::default();
    let of_file: HashSet<&str> = file.connections.iter().map(|tunnel| &**tunnel.name()).collect();
    let mut known = BTreeSet::new();
    for connection in &set.connections {
        translation.connection(connection, file, &of_file, &mut known);
    }
    for route in &set.routes {
        translation.route(route, &known, now);
    }
    let of_file: HashSet<RouteKey> = file.routes.iter().map(VpnRoute::key).collect();
    for publication in &set.publications {
        let key = RouteKey { destination: publication.destination, connection: publication.connection.as_str().into() };
        if of_file.contains(&key) {
            translation.publications.insert(key, published(publication.publication));
        } else {
            translation.refuse(
                RefusedKind::Publication,
                publication.destination.to_string(),
                format!(
                    "gatewayd.toml has no route {} through \"{}\"",
                    publication.destination, publication.connection
                ),
            );
        }
    }
    translation
}

/// A publication state as the route table knows it.
fn published(publication: route::Publication) -> Publication {
    match publication {
        route::Publication::Published => Publication::Published,
        route::Publication::Normal => Publication::Normal,
    }
}

impl Translation {
    fn refuse(&mut self, kind: RefusedKind, name: String, reason: String) {
        self.refused.push(Refusal { kind, name, reason });
    }

    fn connection(
        &mut self,
        wanted: &OwnerConnection,
        file: &Config,
        of_file: &HashSet<&str>,
        known: &mut BTreeSet<Arc<str>>,
    ) {
        let taken = of_file.contains(&*wanted.name);
        let twice = known.contains(&*wanted.name);
        let translated = match (taken, twice) {
            (true, _) => Err("gatewayd.toml has a connection of this name".to_owned()),
            (_, true) => Err("the set names this connection twice".to_owned()),
            _ => tunnel(wanted, file),
        };
        match translated {
            Ok((tunnel, weak)) => {
                if !weak.is_empty() {
                    let weak: Vec<&str> = weak.into_iter().collect();
                    self.warnings.push(format!("connection {}: {} can be broken today", wanted.name, weak.join(", ")));
                }
                known.insert(Arc::clone(tunnel.name()));
                self.tunnels.push(Arc::new(tunnel));
            }
            Err(reason) => self.refuse(RefusedKind::Connection, wanted.name.clone(), reason),
        }
    }

    fn route(&mut self, wanted: &OwnerRoute, known: &BTreeSet<Arc<str>>, now: u64) {
        let OwnerRoute { destination, connection, weight, publication } = wanted;
        let Some(connection) = known.get(connection.as_str()) else {
            let reason = format!("its connection \"{connection}\" is refused, or not in the set");
            return self.refuse(RefusedKind::Route, destination.to_string(), reason);
        };
        match Weight::try_from(u32::from(*weight)) {
            Ok(weight) => self.routes.push(VpnRoute {
                destination: *destination,
                connection: Arc::clone(connection),
                weight,
                owner: Owner::Cend,
                publication: published(*publication),
                created: now,
            }),
            Err(error) => self.refuse(RefusedKind::Route, destination.to_string(), error.to_string()),
        }
    }
}

fn tunnel(wanted: &OwnerConnection, file: &Config) -> Result<(Tunnel, BTreeSet<&'static str>), String> {
    let OwnerConnection {
        name,
        peer,
        local_id,
        peer_id,
        psk,
        ike,
        esp,
        local_subnets,
        peer_subnets,
        start,
        liveness,
        nat_traversal,
    } = wanted;
    let address: IpAddr = peer.parse().map_err(|_| format!("the peer \"{peer}\" is no address"))?;
    let local_address = file.gateway.local_addresses.iter().copied().find(|local| local.is_ipv4() == address.is_ipv4());
    let identity = |text: &str| text.parse::<Identification>().map_err(|_| format!("\"{text}\" is no identity"));
    check_name(name)?;
    let pre_shared_key = psk::read(psk.as_str(), Notation::Text).map_err(|_| "it has no pre-shared key".to_owned())?;
    let (ike_proposal, esp_proposal) = (ike_proposal(ike)?, esp_proposal(esp)?);
    let weak = proposal::weak_ike(&ike_proposal).into_iter().chain(proposal::weak_esp(&esp_proposal)).collect();
    let selectors = |nets: &[IpNet]| selectors(nets);
    let child = Child {
        name: name.as_str().into(),
        local_selectors: selectors(local_subnets)?,
        peer_selectors: selectors(peer_subnets)?,
        esp_proposals: vec![esp_proposal],
    };
    let connection = Connection {
        name: name.as_str().into(),
        local_address,
        peer: Peer::Address(address),
        local_id: identity(local_id)?,
        peer_id: if peer_id.is_empty() { None } else { Some(identity(peer_id)?) },
        pre_shared_key: Arc::new(pre_shared_key),
        ike_proposals: vec![ike_proposal],
        children: vec![child],
        start: match start {
            OwnerStart::Now => Start::Now,
            OwnerStart::OnTraffic => Start::OnTraffic,
            OwnerStart::Wait => Start::Wait,
        },
        ike_lifetime: lifetime(ike.lifetime)?,
        child_lifetime: lifetime(esp.lifetime)?,
        liveness_interval: liveness.then_some(LIVENESS),
        nat_traversal: *nat_traversal,
        force_encapsulation: false,
        nat_keepalive: Duration::from_secs(20),
        extensions: Extensions::default(),
    };
    connection.check_size().map_err(|unsendable| format!("it cannot be negotiated: {unsendable}"))?;
    let subnets = ChildSubnets { local: local_subnets.clone(), peer: peer_subnets.clone() };
    Ok((Tunnel::new(connection, PeerName::Address(address), EspOptions::default(), vec![subnets]), weak))
}

fn selectors(nets: &[IpNet]) -> Result<Vec<TrafficSelector>, String> {
    if nets.is_empty() {
        return Err("it has no subnets on one side".to_owned());
    }
    match nets.iter().find(|net| **net != net.trunc()) {
        Some(net) => Err(format!("{net} has bits set behind its prefix")),
        None => Ok(nets.iter().map(|net| TrafficSelector::from_net(*net)).collect()),
    }
}

/// The cloud takes 0 to 86400; a lifetime below a minute would be nothing but rekeys.
fn lifetime(seconds: u64) -> Result<Duration, String> {
    if (60..=86_400).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(format!("a lifetime of {seconds} seconds is not supported; from 60 to 86400 are"))
    }
}

fn ike_proposal(ike: &OwnerIke) -> Result<IkeProposal, String> {
    let OwnerIke { version, mode: _, encryption, integrity, group, lifetime: _ } = ike;
    if version != "ikev2" {
        return Err(format!("{version} is not supported; ikev2 is"));
    }
    let integrity = algorithm::<IntegrityAlgorithm>("integrity", integrity)?;
    Ok(IkeProposal {
        encryption: vec![algorithm("encryption", encryption)?],
        integrity: vec![integrity],
        prf: vec![prf::of_integrity(integrity)],
        groups: vec![algorithm("Diffie-Hellman", group)?],
    })
}

fn esp_proposal(esp: &OwnerEsp) -> Result<EspProposal, String> {
    let OwnerEsp { encryption, integrity, pfs, lifetime: _ } = esp;
    let pfs: CloudPfs = pfs.parse().map_err(|unknown| format!("Diffie-Hellman {pfs} is unknown. {unknown}"))?;
    Ok(EspProposal {
        encryption: vec![algorithm("encryption", encryption)?],
        integrity: vec![algorithm("integrity", integrity)?],
        groups: match pfs {
            CloudPfs::Disabled => Vec::new(),
            CloudPfs::Group(group) => vec![supported("Diffie-Hellman", group)?],
        },
        esn: vec![true, false],
    })
}

/// What one of the cloud's words means.
fn algorithm<A: InCloud>(kind: &str, word: &str) -> Result<&'static A, String> {
    let name = word.parse::<CloudName<A>>().map_err(|unknown| format!("{kind} {word} is unknown. {unknown}"))?;
    supported(kind, name)
}

fn supported<A: InCloud>(kind: &str, name: CloudName<A>) -> Result<&'static A, String> {
    name.algorithm().map_err(|error| format!("{kind} {error}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::control::owner::{OwnerPublication, PresharedKey};

    fn file() -> Config {
        let text = r#"
            local_addresses = ["2001:db8::1", "198.51.100.2"]
            [[connection]]
            name = "branch"
            peer = "203.0.113.9"
            psk = "x"
            local_subnets = "192.168.0.0/16"
            peer_subnets = "10.9.0.0/24"
            [[route]]
            destination = "10.9.0.0/24"
            connection = "branch"
        "#;
        Config::parse(text, Path::new("gatewayd.toml")).unwrap()
    }

    fn connection(name: &str) -> OwnerConnection {
        OwnerConnection {
            name: name.into(),
            peer: "203.0.113.2".into(),
            local_id: "198.51.100.2".into(),
            peer_id: "203.0.113.2".into(),
            psk: PresharedKey::new("swordfish"),
            ike: OwnerIke {
                version: "ikev2".into(),
                mode: "main".into(),
                encryption: "aes".into(),
                integrity: "sha256".into(),
                group: "group14".into(),
                lifetime: 86_400,
            },
            esp: OwnerEsp {
                encryption: "aes256".into(),
                integrity: "sha1".into(),
                pfs: "group2".into(),
                lifetime: 3600,
            },
            local_subnets: vec!["192.168.0.0/16".parse().unwrap()],
            peer_subnets: vec!["10.1.1.0/24".parse().unwrap(), "10.1.2.0/24".parse().unwrap()],
            start: OwnerStart::OnTraffic,
            liveness: false,
            nat_traversal: true,
        }
    }

    fn route(destination: &str, connection: &str, weight: u8) -> OwnerRoute {
        let publication = route::Publication::Published;
        OwnerRoute { destination: destination.parse().unwrap(), connection: connection.into(), weight, publication }
    }

    #[test]
    fn the_cloud_s_values_become_algorithms() {
        let set = OwnerSet { revision: 1, connections: vec![connection("vco-1")], ..OwnerSet::default() };
        let translation = translate(&set, &file(), 7);
        assert_eq!(translation.refused, []);
        let ike = translation.tunnels[0].ike(None).unwrap();
        assert_eq!(proposal::ike_keywords(&ike.ike_proposals[0]), "aes128-sha256-prfsha256-modp2048");
        assert_eq!(proposal::esp_keywords(&ike.children[0].esp_proposals[0]), "aes256-sha1-modp1024");
        assert_eq!(ike.local_address, Some("198.51.100.2".parse().unwrap()));
        assert_eq!((ike.start, ike.liveness_interval), (Start::OnTraffic, None));
        assert_eq!(ike.children[0].peer_selectors.len(), 2);
        assert_eq!(translation.warnings, ["connection vco-1: modp1024, sha1 can be broken today"]);
    }

    #[test]
    fn sha1_is_prf_and_integrity() {
        let mut wanted = connection("vco-1");
        wanted.ike.integrity = "sha1".into();
        let (tunnel, _) = tunnel(&wanted, &file()).unwrap();
        let keywords = proposal::ike_keywords(&tunnel.template().ike_proposals[0]);
        assert_eq!(keywords, "aes128-sha1-prfsha1-modp2048");
    }

    #[test]
    fn what_is_not_supported_is_refused_with_a_reason() {
        type Change = fn(&mut OwnerConnection);
        let changes: [(Change, &str); 15] = [
            (|c| c.ike.version = "ikev1".into(), "ikev1 is not supported"),
            (|c| c.ike.encryption = "3des".into(), "3des"),
            (|c| c.esp.encryption = "des".into(), "des"),
            (|c| c.esp.encryption = "aes192".into(), "aes192"),
            (|c| c.ike.integrity = "md5".into(), "md5"),
            (|c| c.ike.group = "group1".into(), "group1"),
            (|c| c.esp.pfs = "group1".into(), "group1"),
            (|c| c.esp.integrity = "xor".into(), "integrity xor is unknown"),
            (|c| c.peer = "vpn.example.com".into(), "is no address"),
            (|c| c.psk = PresharedKey::new(""), "no pre-shared key"),
            (|c| c.local_subnets.clear(), "no subnets"),
            (|c| c.local_subnets = vec![c.local_subnets[0]; 256], "more than 255 traffic selectors"),
            (|c| c.esp.lifetime = 0, "0 seconds"),
            (|c| c.name = "..".into(), "\"..\" is no name"),
            (|c| c.name = "branch".into(), "gatewayd.toml has a connection of this name"),
        ];
        for (change, reason) in changes {
            let mut wanted = connection("vco-1");
            change(&mut wanted);
            let name = wanted.name.clone();
            let routes = vec![route("10.1.1.0/24", &name, 100)];
            let set = OwnerSet { revision: 1, connections: vec![wanted], routes, ..OwnerSet::default() };
            let translation = translate(&set, &file(), 0);
            assert!(translation.tunnels.is_empty() && translation.routes.is_empty(), "{reason}");
            assert_eq!(translation.refused.len(), 2, "the connection, and the route through it");
            let refusal = &translation.refused[0];
            assert_eq!((refusal.kind, &*refusal.name), (RefusedKind::Connection, &*name));
            assert!(refusal.reason.contains(reason), "{}", refusal.reason);
        }
    }

    #[test]
    fn the_cloud_s_keys_are_text_without_a_line_end() {
        for (psk, expected) in [("0x00ff", "0x00ff"), ("hex:", "hex:"), ("swordfish\n\n", "swordfish")] {
            let wanted = OwnerConnection { psk: PresharedKey::new(psk), ..connection("vco-1") };
            let set = OwnerSet { revision: 1, connections: vec![wanted], ..OwnerSet::default() };
            let translation = translate(&set, &file(), 0);
            let key = translation.tunnels[0].template().pre_shared_key.as_bytes().to_vec();
            assert_eq!(key, expected.as_bytes());
        }
    }

    #[test]
    fn routes_keep_their_weight_and_publication() {
        let routes = vec![route("10.1.1.0/24", "vco-1", 0), route("10.1.2.0/24", "vco-1", 50)];
        let set = OwnerSet { revision: 1, connections: vec![connection("vco-1")], routes, ..OwnerSet::default() };
        let translation = translate(&set, &file(), 7);
        assert_eq!(translation.routes.len(), 1);
        let first = &translation.routes[0];
        assert_eq!((first.weight, first.publication, first.created), (Weight::Standby, Publication::Published, 7));
        assert_eq!(translation.refused[0].kind, RefusedKind::Route);
    }

    #[test]
    fn only_routes_of_the_file_are_published_by_name() {
        let publication = |destination: &str| OwnerPublication {
            destination: destination.parse().unwrap(),
            connection: "branch".into(),
            publication: route::Publication::Published,
        };
        let publications = vec![publication("10.9.0.0/24"), publication("10.8.0.0/24")];
        let translation = translate(&OwnerSet { revision: 1, publications, ..OwnerSet::default() }, &file(), 0);
        assert_eq!(translation.publications.len(), 1);
        assert_eq!(
            (translation.refused[0].kind, &*translation.refused[0].name),
            (RefusedKind::Publication, "10.8.0.0/24")
        );
    }
}
