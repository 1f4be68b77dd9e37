use std::path::Path;

use super::*;

const VPC: &str = r#"
[fabric]
namespace = "cen"

[[vpc]]
region = "cn-beijing"
name = "beijing"
cidr = "192.168.1.0/24"
namespace = "beijing-router"
router_device = "cen0"
router_address = "100.127.1.2"
fabric_device = "beijing"
fabric_address = "100.127.1.1"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("cend.toml"), text)
}

fn refused(text: &str) -> String {
    parse(text).expect_err("a refusal").to_string()
}

#[test]
fn a_complaint_names_file_line_key_and_what_is_allowed() {
    assert_eq!(
        refused("listen = \"127.0.0.1:0\"\nstatus = \"/tmp\"\n"),
        "cend.toml:2: status: unknown field `status`, expected one of `listen`, `listen_tls`, `tls_certificate`, `tls_key`, `state`, `log`, `core_dumps`, \
         `access_key_file`, `access_key`, `public_addresses`, `fabric`, `vpc`, `vbr`, `vpn_gateway`, `instance`, `ha_vip`, `realism`"
    );
    let wrong_type = refused(&VPC.replace("\"192.168.1.0/24\"", "7"));
    assert!(wrong_type.starts_with("cend.toml:8: vpc.cidr: "), "{wrong_type}");
    let missing = refused(&VPC.replace("cidr = \"192.168.1.0/24\"", ""));
    assert!(missing.contains("missing field `cidr`"), "{missing}");
    let host_bits = refused(&VPC.replace("192.168.1.0/24", "192.168.1.5/24"));
    assert_eq!(
        host_bits,
        "cend.toml:8: vpc.cidr: 192.168.1.5/24 has bits set behind its prefix; allowed: 192.168.1.0/24"
    );
}

#[test]
fn leading_zeros_are_refused_at_every_place() {
    let vbr = "[[vbr]]\nid = \"vbr-idc\"\nregion = \"cn-beijing\"\n[[vbr.route]]\ndestination = \"10.7.0.0/16\"\n";
    let good = format!("public_addresses = \"203.0.113.0/24\"\n{VPC}{vbr}");
    assert!(parse(&good).is_ok());
    for (block, key) in [
        ("203.0.113.0/24", "1: public_addresses"),
        ("192.168.1.0/24", "9: vpc.cidr"),
        ("10.7.0.0/16", "19: vbr.route.destination"),
    ] {
        let (address, length) = block.split_once('/').unwrap();
        for wrong in [format!("0{block}"), format!("{address}/0{length}")] {
            let refusal = refused(&good.replace(block, &wrong));
            let expected = format!(
                "cend.toml:{key}: \"{wrong}\" is not allowed here; allowed: a CIDR block without leading zeros, such as \"10.1.1.0/24\""
            );
            assert_eq!(refusal, expected);
        }
    }
}

#[test]
fn bound_networks_that_collide_are_refused() {
    let second = VPC
        .replace("[fabric]\nnamespace = \"cen\"\n", "")
        .replace("beijing-router", "shanghai-router")
        .replace("\"beijing\"", "\"shanghai\"");
    let both = |cidr: &str| format!("{VPC}{}", second.replace("192.168.1.0/24", cidr));
    assert_eq!(
        refused(&both("192.168.0.0/16")),
        "cend.toml:19: vpc.cidr: 192.168.0.0/16 collides with 192.168.1.0/24 of VPC beijing"
    );
    let config = parse(&both("192.168.2.0/24")).unwrap();
    assert_eq!((config.bindings.networks.len(), config.declarations.bound_vpcs.len()), (2, 2));

    let vbr = |keys: &str| {
        format!(
            "{VPC}[[vbr]]\nid = \"vbr-idc\"\nregion = \"cn-beijing\"\n{keys}\
        [[vbr.route]]\ndestination = \"192.168.1.0/25\"\n"
        )
    };
    let binding = "namespace = \"vbr\"\nrouter_device = \"cen0\"\nrouter_address = \"100.127.9.2\"\n\
        fabric_device = \"vbr\"\nfabric_address = \"100.127.9.1\"\n";
    let refusal = refused(&vbr(binding));
    assert!(refusal.ends_with("192.168.1.0/25 collides with 192.168.1.0/24 of VPC beijing"), "{refusal}");
    // A network that is not bound may collide: the cloud then shows a conflict.
    assert_eq!(parse(&vbr("")).unwrap().bindings.networks.len(), 1);
    assert!(refused(&vbr("namespace = \"vbr\"\n")).contains("has all of namespace, router_device"));
}

#[test]
fn two_things_cannot_share_a_name_or_a_namespace() {
    let again = VPC.replace("[fabric]\nnamespace = \"cen\"\n", "").replace("192.168.1.0/24", "192.168.9.0/24");
    let refusal = refused(&format!("{VPC}{again}"));
    assert_eq!(refusal, "cend.toml:18: vpc.name: VPC beijing in cn-beijing is used in line 7 already");
    let refusal = refused(&format!("{VPC}{}", again.replace("name = \"beijing\"", "name = \"other\"")));
    assert!(refusal.ends_with("vpc.namespace: beijing-router is used in line 9 already"), "{refusal}");
}

#[test]
fn declared_ids_have_the_prefix_of_their_kind() {
    let instance =
        "[[instance]]\nid = \"havip-1\"\nregion = \"cn-beijing\"\nvpc = \"beijing\"\naddress = \"192.168.1.9\"\n";
    assert_eq!(
        refused(instance),
        "cend.toml:2: instance.id: \"havip-1\" is not allowed here; allowed: an id that begins with i-"
    );
    let config = parse(&instance.replace("havip-1", "i-1")).unwrap();
    assert_eq!(config.declarations.instances.len(), 1);
}

#[test]
fn access_keys_come_in_lists_and_are_not_shown_when_they_are_wrong() {
    let keys = AccessKey::parse_list("# ours\nid1:secret1\n\nid2:se:cret2, id3:x\n").unwrap();
    let keys: Vec<_> = keys.iter().map(|key| (key.id.as_str(), key.secret.as_bytes())).collect();
    assert_eq!(keys, [("id1", &b"secret1"[..]), ("id2", b"se:cret2"), ("id3", b"x")]);
    let error = AccessKey::parse_list("verysecret").unwrap_err();
    assert!(!error.contains("verysecret"));
}

#[test]
fn every_complaint_names_the_key_in_its_table_and_what_is_allowed() {
    let gateway = "[[vpn_gateway]]\nregion = \"cn-beijing\"\nname = \"g\"\npublic_address = \"203.0.113.1\"\n";
    for (text, key, allowed) in [
        ("listen = \"localhost:80\"\n".to_owned(), "1: listen", "allowed: an address with a port"),
        ("log = \"info,x=loud\"\n".to_owned(), "1: log", "allowed: error, warn, info"),
        (VPC.replace("100.127.1.2", "100.127.1"), "11: vpc.router_address", "allowed: an IPv4 address"),
        (VPC.replace("cn-beijing", "beijing"), "6: vpc.region", "\"beijing\" is no region of the cloud; allowed: cn-"),
        (VPC.replace("\"beijing-router\"", "\"\""), "9: vpc.namespace", "allowed: a text in quotes, not empty"),
        (VPC.replace("cen0", "a-name-of-16-char"), "10: vpc.router_device", "allowed: up to 15 letters"),
        (gateway.replace("203.0.113.1", "0203.0.113.1"), "4: vpn_gateway.public_address", "allowed: an IPv4 address"),
        (gateway.replace("region = \"cn-beijing\"\n", ""), "1: vpn_gateway", "missing field `region`"),
        ("public_addresses = \"203.0.113.7/24\"\n".to_owned(), "1: public_addresses", "allowed: 203.0.113.0/24"),
        ("[[vbr]] # no more\nid = 7\n".to_owned(), "2: vbr.id", "expected a string"),
    ] {
        let refusal = refused(&text);
        assert!(refusal.starts_with(&format!("cend.toml:{key}: ")) && refusal.contains(allowed), "{refusal}");
    }
}

#[test]
fn no_complaint_shows_the_secret_of_an_access_key() {
    let key = |secret: &str| format!("[[access_key]]\nid = \"a\"\nsecret = {secret}\n");
    for secret in ["37", "true", "[\"37\"]", "{ a = 37 }", "\"\"", "\"37", "37 37"] {
        let refusal = refused(&key(secret));
        assert!(refusal.starts_with("cend.toml:3: access_key.secret: ") && !refusal.contains("37"), "{refusal}");
    }
    // The first `=` is forgotten, or stands on another line.
    for line in [
        "secret \"c2VjcmV0Cg==\"",
        "secret c2VjcmV0Cg==",
        "secret: c2VjcmV0Cg==",
        "secret\nc2VjcmV0Cg==",
        "secret =\nc2VjcmV0Cg==",
        "secret = \"\"\"\nc2VjcmV0Cg==",
        "secret = \"\"\"\n[c2VjcmV0Cg==]",
        "secret = [\n[\"c2VjcmV0Cg==\"",
    ] {
        let refusal = refused(&format!("[[access_key]]\nid = \"a\"\n{line}\n"));
        assert!(!refusal.contains("c2Vj"), "{line}: {refusal}");
        assert!(refusal.contains(": access_key"), "{line}: {refusal}");
    }
    let twice = refused(&format!("{}{}", key("\"b\""), key("\"c\"")));
    assert_eq!(twice, "cend.toml:5: access_key.id: a is there twice; allowed: one secret for each id");
    assert_eq!(AccessKey::parse_list("# ours\na:b\n\na\n").unwrap_err(), "line 4: an access key is ID:SECRET");
}

#[test]
fn a_file_with_access_keys_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cend.toml");
    std::fs::write(&path, "[[access_key]]\nid = \"a\"\nsecret = \"b\"\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Config::read(&path).unwrap_err().message.contains("0600"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Config::read(&path).unwrap().access_keys.len(), 1);
}

#[test]
fn the_example_parses_and_binds_something() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/cend.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let config = Config::parse(&path, &text).unwrap();
    assert!(config.bindings.fabric.is_some() && !config.bindings.networks.is_empty());
    assert!(!config.bindings.vpn_gateways.is_empty() && !config.declarations.vbrs.is_empty());
}

#[test]
fn realism_is_off_unless_it_is_asked_for_and_within_its_ranges() {
    assert_eq!(parse("").unwrap().realism, Settings::default());
    let asked = parse("[realism]\ndelay = 3000\nbusy = 0.25\nseed = 7\ncalls_per_second = 20\n").unwrap().realism;
    assert_eq!(asked, Settings { delay: 3000, busy: 0.25, seed: 7, calls_per_second: 20 });
    assert_eq!(refused("[realism]\nbusy = 1.5\n"), "cend.toml:2: realism.busy: allowed: 0 to 1");
    let long = refused("[realism]\ndelay = 600001\n");
    assert_eq!(long, "cend.toml:2: realism.delay: allowed: 0 to 600000 milliseconds");
}
