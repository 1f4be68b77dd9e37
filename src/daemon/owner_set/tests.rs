use std::path::Path;

use super::*;
use crate::control::owner::{OwnerPublication, OwnerSet, PresharedKey};
use crate::routing::{Owner, RoutePolicy, Weight};

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
        esp: OwnerEsp { encryption: "aes256".into(), integrity: "sha1".into(), pfs: "group2".into(), lifetime: 3600 },
        local_subnets: vec!["192.168.0.0/16".parse().unwrap()],
        peer_subnets: vec!["10.1.1.0/24".parse().unwrap(), "10.1.2.0/24".parse().unwrap()],
        start: OwnerStart::OnTraffic,
        liveness: false,
        nat_traversal: true,
    }
}

/// What a set by itself comes to.
struct Translated {
    tunnels: Vec<Arc<Tunnel>>,
    routes: Vec<VpnRoute>,
    publications: BTreeMap<RouteKey, Publication>,
    refused: Vec<Refusal>,
    warnings: Vec<String>,
}

fn translate(set: &OwnerSet, file: &Config, now: u64) -> Translated {
    let (entries, twice) = OwnerEntries::new(set.clone());
    assert!(twice.is_empty());
    let (translation, touched) = Translation::new(Some(&entries), file, now);
    let refused: Vec<Refusal> = translation.refused().collect();
    assert_eq!(touched.refused, refused);
    let Translation { tunnels, routes, publications, warnings, .. } = translation;
    Translated {
        tunnels: tunnels.values().cloned().collect(),
        routes: routes.into_values().collect(),
        publications,
        refused,
        warnings: warnings.values().map(ToString::to_string).collect(),
    }
}

fn route(destination: &str, connection: &str, weight: u8) -> OwnerRoute {
    let publication = route::Publication::Published;
    let destination = destination.parse().unwrap();
    OwnerRoute { destination, source: None, priority: None, connection: connection.into(), weight, publication }
}

/// The connections that have come, gone or changed.
fn touched_names(touched: &Touched) -> BTreeSet<Arc<str>> {
    touched.tunnels.gone.iter().chain(&touched.tunnels.new).map(|tunnel| Arc::clone(tunnel.name())).collect()
}

#[test]
fn the_cloud_s_values_become_algorithms() {
    let set = OwnerSet { revision: 1, connections: vec![connection("vco-1").into()], ..OwnerSet::default() };
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
    let (tunnel, _) = tunnel(&wanted, &FileNames::of(&file())).unwrap();
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
        let set = OwnerSet { revision: 1, connections: vec![wanted.into()], routes, ..OwnerSet::default() };
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
        let set = OwnerSet { revision: 1, connections: vec![wanted.into()], ..OwnerSet::default() };
        let translation = translate(&set, &file(), 0);
        let key = translation.tunnels[0].template().pre_shared_key.as_bytes().to_vec();
        assert_eq!(key, expected.as_bytes());
    }
}

#[test]
fn routes_keep_their_weight_and_publication() {
    let routes = vec![route("10.1.1.0/24", "vco-1", 0), route("10.1.2.0/24", "vco-1", 50)];
    let set = OwnerSet { revision: 1, connections: vec![connection("vco-1").into()], routes, ..OwnerSet::default() };
    let translation = translate(&set, &file(), 7);
    assert_eq!(translation.routes.len(), 1);
    let first = &translation.routes[0];
    assert_eq!((first.weight, first.publication, first.created), (Weight::Standby, Publication::Published, 7));
    assert_eq!(translation.refused[0].kind, RefusedKind::Route);
}

#[test]
fn a_route_with_a_source_is_another_one_and_has_a_priority() {
    let by = |source: &str, priority| OwnerRoute {
        source: source.parse().ok(),
        priority,
        ..route("10.1.1.0/24", "vco-1", 100)
    };
    let routes = vec![
        route("10.1.1.0/24", "vco-1", 100),
        by("192.168.1.0/24", None),
        by("192.168.2.0/24", Some(100)),
        by("192.168.3.0/24", Some(0)),
    ];
    let set = OwnerSet { revision: 1, connections: vec![connection("vco-1").into()], routes, ..OwnerSet::default() };
    let translation = translate(&set, &file(), 7);
    let policies: Vec<_> =
        translation.routes.iter().filter(|route| route.closed.is_none()).map(|route| route.policy).collect();
    let policy = |priority, source: &str| Some(RoutePolicy { priority, source: source.parse().unwrap() });
    assert_eq!(policies, [None, policy(10, "192.168.1.0/24"), policy(100, "192.168.2.0/24")]);
    let refused: Vec<_> = translation.refused.iter().map(|one| (one.name.as_str(), one.reason.as_str())).collect();
    assert_eq!(refused, [("10.1.1.0/24 from 192.168.3.0/24", "a priority of 0 is not from 1 to 100")]);
}

#[test]
fn a_policy_stays_in_force_without_its_connection_and_is_told_again_with_it() {
    let policy = OwnerRoute { source: "192.168.1.0/24".parse().ok(), ..route("10.1.1.0/24", "vco-1", 100) };
    let routes = vec![policy, route("10.1.1.0/24", "vco-1", 100)];
    let mut refused = connection("vco-1");
    refused.ike.version = "ikev1".into();
    let set = |wanted: OwnerConnection| {
        let set = OwnerSet { connections: vec![wanted.into()], routes: routes.clone(), ..OwnerSet::default() };
        OwnerEntries::new(set).0
    };
    let mut entries = set(refused);
    let (mut translation, touched) = Translation::new(Some(&entries), &file(), 7);
    let [policy] = &touched.routes.new[..] else { panic!("{:?}", touched.routes.new) };
    assert!(policy.policy.is_some() && policy.closed == Some(crate::routing::ClosedBecause::Refused));
    assert_eq!(translation.refused().count(), 3, "the connection and both of its routes");
    let change = entries.difference(&set(connection("vco-1")));
    let touched = translation.change(&mut entries, &change, 8);
    assert_eq!((&touched.routes.gone[..], touched.routes.new.len()), (&[policy.clone()][..], 2));
    assert_eq!(translation.refused().count(), 0);
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
    assert_eq!((translation.refused[0].kind, &*translation.refused[0].name), (RefusedKind::Publication, "10.8.0.0/24"));
}

/// Sets that reach everything that a translation depends on: names of the file, refused connections and their routes.
fn entries(connections: &[(&str, &str)], routes: &[(&str, &str, u8)], publications: &[&str]) -> OwnerEntries {
    let named = |(name, integrity): &(&str, &str)| {
        let mut connection = connection(name);
        connection.esp.integrity = (*integrity).into();
        Arc::new(connection)
    };
    let published = |destination: &&str| OwnerPublication {
        destination: destination.parse().unwrap(),
        connection: "branch".into(),
        publication: route::Publication::Published,
    };
    let set = OwnerSet {
        session: "a".into(),
        revision: 1,
        connections: connections.iter().map(named).collect(),
        routes: routes.iter().map(|(to, by, weight)| route(to, by, *weight)).collect(),
        publications: publications.iter().map(published).collect(),
    };
    OwnerEntries::new(set).0
}

#[test]
fn a_translation_that_follows_changes_is_that_of_the_whole() {
    let sets = [
        entries(&[("a", "sha256"), ("b", "sha256")], &[("10.1.0.0/16", "a", 100), ("10.2.0.0/16", "b", 0)], &[]),
        entries(
            &[("a", "md5"), ("b", "sha1")],
            &[("10.1.0.0/16", "a", 100), ("10.2.0.0/16", "b", 100)],
            &["10.9.0.0/24"],
        ),
        entries(
            &[("a", "sha1"), ("branch", "sha1")],
            &[("10.1.0.0/16", "a", 100), ("10.2.0.0/16", "b", 100)],
            &["10.8.0.0/24"],
        ),
        entries(
            &[("b", "sha256")],
            &[("10.1.0.0/16", "a", 7), ("10.2.0.0/16", "b", 7)],
            &["10.9.0.0/24", "10.8.0.0/24"],
        ),
        entries(&[], &[], &[]),
    ];
    let shown = |translation: &Translation| {
        let Translation { tunnels, routes, publications, warnings, .. } = translation;
        let refused: Vec<Refusal> = translation.refused().collect();
        (tunnels.clone(), routes.clone(), publications.clone(), warnings.clone(), refused)
    };
    for from in &sets {
        for to in &sets {
            let (mut followed, _) = Translation::new(Some(from), &file(), 7);
            let before = shown(&followed);
            let mut set = from.clone();
            let touched = followed.change(&mut set, &from.difference(to), 7);
            assert_eq!(set, *to);
            let (whole, _) = Translation::new(Some(to), &file(), 7);
            let after = shown(&whole);
            assert_eq!(shown(&followed), after);
            // What it says it has touched is what differs, and no more.
            let keys = before.0.keys().chain(after.0.keys());
            let differ = keys.filter(|key| before.0.get(*key) != after.0.get(*key)).cloned().collect();
            assert_eq!(touched_names(&touched), differ);
            assert!(touched.tunnels.gone.iter().all(|gone| before.0.get(gone.name()) == Some(gone)));
            assert!(touched.tunnels.new.iter().all(|new| after.0.get(new.name()) == Some(new)));
            let keys = before.1.keys().chain(after.1.keys());
            let differ = keys.filter(|key| before.1.get(*key) != after.1.get(*key)).cloned().collect();
            let Changed { gone, new } = &touched.routes;
            assert_eq!(gone.iter().chain(new).map(VpnRoute::key).collect::<BTreeSet<_>>(), differ);
            assert!(gone.iter().all(|gone| before.1.get(&gone.key()) == Some(gone)));
            assert!(new.iter().all(|new| after.1.get(&new.key()) == Some(new)));
            let keys = before.2.keys().chain(after.2.keys());
            let differ: BTreeSet<_> = keys.filter(|key| before.2.get(*key) != after.2.get(*key)).cloned().collect();
            assert_eq!(touched.publications.into_iter().collect::<BTreeSet<_>>(), differ);
            assert_eq!(touched.other_warnings, before.3 != after.3);
        }
    }
}

#[test]
fn one_change_among_thousands_translates_one() {
    let names: Vec<String> = (0..2000).map(|number| format!("vco-{number}")).collect();
    let connections: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "sha1")).collect();
    let routes: Vec<(&str, &str, u8)> = names.iter().map(|name| ("10.1.0.0/16", &**name, 100)).collect();
    let before = entries(&connections, &routes, &[]);
    let (mut translation, _) = Translation::new(Some(&before), &file(), 7);
    let tunnels = translation.tunnels.clone();
    let mut after = before.clone();
    let mut changed = OwnerConnection::clone(&after.connections["vco-7"]);
    changed.liveness = true;
    let weight = route("10.1.0.0/16", "vco-9", 0);
    let mut change = OwnerChange { session: "a".into(), from: 1, to: 2, ..OwnerChange::default() };
    change.connections.set.push(changed.into());
    change.routes.set.push(weight);
    let touched = translation.change(&mut after, &change, 8);
    assert_eq!(touched_names(&touched), ["vco-7".into()].into());
    assert_eq!((touched.routes.gone.len(), touched.routes.new.len()), (1, 1));
    assert!(!touched.other_warnings, "the operator knows");
    assert_eq!(touched.warnings.len(), 1, "the log is told of what changed only");
    let same = tunnels.iter().filter(|(name, tunnel)| Arc::ptr_eq(tunnel, &translation.tunnels[*name])).count();
    assert_eq!(same, 1999, "all others are what they were");
    let key = RouteKey { destination: "10.1.0.0/16".parse().unwrap(), connection: "vco-9".into(), source: None };
    assert_eq!((translation.routes[&key].weight, translation.routes[&key].created), (Weight::Standby, 7));
}

#[test]
fn a_file_that_takes_or_frees_a_name_is_followed() {
    let set = entries(&[("a", "sha256"), ("branch", "sha256")], &[("10.1.0.0/16", "branch", 100)], &["10.9.0.0/24"]);
    let empty = Config::parse("", Path::new("gatewayd.toml")).unwrap();
    let (mut translation, _) = Translation::new(Some(&set), &empty, 7);
    let a = Arc::clone(&translation.tunnels["a"]);
    assert_eq!((translation.tunnels.len(), translation.routes.len(), translation.publications.len()), (2, 1, 0));
    let touched = translation.follow_file(&set, &file(), 7);
    assert_eq!(touched_names(&touched), ["branch".into()].into());
    assert_eq!((translation.tunnels.len(), translation.routes.len(), translation.publications.len()), (1, 0, 1));
    translation.follow_file(&set, &empty, 7);
    assert_eq!((translation.tunnels.len(), translation.routes.len(), translation.publications.len()), (2, 1, 0));
    assert_eq!(translation.refused().count(), 1, "the publication");
    assert!(Arc::ptr_eq(&a, &translation.tunnels["a"]));
}

mod policies;
