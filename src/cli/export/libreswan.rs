//! A connection for libreswan: ipsec.conf(5), and what belongs into ipsec.secrets(5).

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::control::export::{ChildExport, ConnectionExport};
use crate::crypto::{Secret, encryption, integ, ke, prf};

/// libreswan's words for what it does not call as gatewayd does (`ipsec algparse`).
const WORDS: &[(&str, &str)] = &[
    ("aes128gcm16", "aes_gcm128"),
    ("aes256gcm16", "aes_gcm256"),
    ("chacha20poly1305", "chacha20_poly1305"),
    ("sha256", "sha2_256"),
    ("sha384", "sha2_384"),
    ("sha512", "sha2_512"),
    ("prfsha1", "sha1"),
    ("prfsha256", "sha2_256"),
    ("prfsha384", "sha2_384"),
    ("prfsha512", "sha2_512"),
    ("ecp256", "dh19"),
    ("ecp384", "dh20"),
    ("x25519", "dh31"),
];

/// The text for the peer; the key stands in it as a comment, because libreswan reads it from another file.
pub fn configuration(exported: &ConnectionExport, key: Option<&Secret>) -> String {
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
    let left = if is_address(peer) { peer } else { "%defaultroute" };
    let right = local_address.as_deref().unwrap_or("%any");
    let (left_id, right_id) = (identity(peer_id), identity(local_id));
    let ike = ike(ike_proposals);
    let childless = if *only_childless {
        "    # gatewayd takes only IKE SAs that begin without a child (childless = \"force\"), and libreswan cannot make one.\n"
    } else {
        ""
    };
    let liveness = liveness_seconds.map_or_else(String::new, |seconds| format!("    dpddelay={seconds}s\n"));
    let encapsulation = if *force_encapsulation { "    encapsulation=yes\n" } else { "" };
    // Who has no fixed address cannot be called, and who is called does not call.
    let auto = if start == "now" || right == "%any" { "add" } else { "start" };
    let head = format!(
        "    ikev2=insist\n    authby=secret\n    left={left}\n    leftid={left_id}\n    right={right}\n    \
         rightid={right_id}\n{ike}    ikelifetime={ike_lifetime_seconds}s\n{liveness}{encapsulation}{childless}"
    );
    let conns: String = match &children[..] {
        [child] => format!("conn {name}\n{head}{}    auto={auto}\n", body(child)),
        several => {
            let conn = |child: &ChildExport| {
                format!("conn {name}-{}\n    also={name}\n{}    auto={auto}\n", child.name, body(child))
            };
            format!("conn {name}\n{head}\n{}", several.iter().map(conn).collect::<Vec<_>>().join("\n"))
        }
    };
    let secret = key.map_or_else(
        || "\"...\"   (gatewayd gives no key away; gatewayctl export reads it with --psk-file)".to_owned(),
        |key| format!("0x{}", hex::encode(key.as_bytes())),
    );
    format!(
        "# The peer's side of gatewayd's connection {name}, for /etc/ipsec.d/{name}.conf of libreswan.\n{conns}\n\
         # And for /etc/ipsec.d/{name}.secrets, with mode 0600:\n# {left_id} {right_id} : PSK {secret}\n"
    )
}

fn body(child: &ChildExport) -> String {
    let ChildExport { name: _, local_subnets, peer_subnets, esp_proposals, lifetime_seconds } = child;
    let nets = |nets: &[IpNet]| nets.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",");
    format!(
        "    leftsubnets={{{}}}\n    rightsubnets={{{}}}\n{}    salifetime={lifetime_seconds}s\n",
        nets(peer_subnets),
        nets(local_subnets),
        esp(esp_proposals),
    )
}

/// The proposals that libreswan can have, and as comments those that it cannot.
fn ike(proposals: &[String]) -> String {
    let mut text = String::new();
    let mut taken = Vec::new();
    for proposal in proposals {
        match Words::of(proposal).ike() {
            Some(words) => taken.push(words),
            None => {
                let why = "libreswan has the PRF of the integrity algorithm only";
                let _ = writeln!(text, "    # Left out: {proposal}. {why}.");
            }
        }
    }
    let _ = match taken.is_empty() {
        true => writeln!(text, "    # libreswan can negotiate none of the IKE proposals of this connection."),
        false => writeln!(text, "    ike={}", taken.join(",")),
    };
    text
}

/// libreswan takes one key exchange for all ESP proposals (`ipsec algparse -v2 -pfs`): those that cannot have it are left out.
fn esp(proposals: &[String]) -> String {
    let all: Vec<Words> = proposals.iter().map(|text| Words::of(text)).collect();
    let group = all.iter().flat_map(|words| &words.groups).next().cloned();
    let fitting = all.iter().filter(|words| group.as_ref().is_none_or(|group| words.groups.contains(group)));
    let esp: Vec<String> = fitting.map(|words| words.esp(group.as_deref())).collect();
    let pfs = if group.is_some() { "yes" } else { "no" };
    format!("    esp={}\n    pfs={pfs}\n", esp.join(","))
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// Addresses as they are, names with `@`, key identities as `@#` with hexadecimal digits; `#` would begin a comment.
fn identity(identity: &str) -> String {
    match identity.strip_prefix("keyid:") {
        Some(digits) => format!("\"@#0x{digits}\""),
        None if is_address(identity) => identity.to_owned(),
        None => format!("\"@{identity}\""),
    }
}

/// The algorithms of a proposal by kind, in libreswan's words.
#[derive(Default)]
struct Words {
    encryption: Vec<String>,
    integrity: Vec<String>,
    prf: Vec<String>,
    groups: Vec<String>,
}

impl Words {
    fn of(proposal: &str) -> Self {
        let mut words = Self::default();
        for word in proposal.split('-') {
            let theirs = WORDS.iter().find(|(ours, _)| *ours == word).map_or(word, |(_, theirs)| *theirs).to_owned();
            if encryption::by_name(word).is_some() {
                words.encryption.push(theirs);
            } else if integ::by_name(word).is_some() {
                words.integrity.push(theirs);
            } else if prf::by_name(word).is_some() {
                words.prf.push(theirs);
            } else if ke::by_name(word).is_some() {
                words.groups.push(theirs);
            }
        }
        words
    }

    /// The word in the middle is the integrity algorithm and the PRF, with AEAD the PRF alone. `None` if they have none in
    /// common.
    fn ike(&self) -> Option<String> {
        let both = |word: &&String| self.integrity.is_empty() || self.integrity.contains(word);
        let middle: Vec<&str> = self.prf.iter().filter(both).map(String::as_str).collect();
        let (encryption, groups) = (self.encryption.join("+"), self.groups.join("+"));
        (!middle.is_empty()).then(|| format!("{encryption}-{}-{groups}", middle.join("+")))
    }

    fn esp(&self, group: Option<&str>) -> String {
        let middle = if self.integrity.is_empty() { "null".to_owned() } else { self.integrity.join("+") };
        let group = group.map_or_else(String::new, |group| format!("-{group}"));
        format!("{}-{middle}{group}", self.encryption.join("+"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::super::tests::exported;
    use super::*;

    #[test]
    fn algorithms_are_in_libreswan_s_words() {
        let ike = |text: &str| Words::of(text).ike().unwrap();
        assert_eq!(
            ike("aes128gcm16-aes256gcm16-prfsha256-x25519-modp2048"),
            "aes_gcm128+aes_gcm256-sha2_256-dh31+modp2048"
        );
        assert_eq!(ike("aes128-sha256-prfsha256-ecp256"), "aes128-sha2_256-dh19");
        let of = |texts: &[&str]| esp(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let expected = "    esp=aes_gcm128-null-dh31,aes128-sha2_256-dh31\n    pfs=yes\n";
        assert_eq!(of(&["aes128gcm16-x25519-ecp256", "aes128-sha256-x25519", "aes128gcm16"]), expected);
        assert_eq!(of(&["chacha20poly1305"]), "    esp=chacha20_poly1305-null\n    pfs=no\n");
    }

    #[test]
    fn what_is_local_here_is_right_there() {
        let key = Secret::from(&b"swordfish"[..]);
        let text = configuration(&exported(), Some(&key));
        for expected in [
            "conn idc\n",
            "    left=203.0.113.2\n    leftid=\"@#0x0102ff\"\n    right=198.51.100.2\n    rightid=198.51.100.2\n",
            "    leftsubnets={10.1.1.0/24}\n    rightsubnets={192.168.1.0/24,192.168.2.0/24}\n",
            "    esp=aes128-sha2_256-modp2048\n    pfs=yes\n",
            "# \"@#0x0102ff\" 198.51.100.2 : PSK 0x73776f726466697368\n",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
        assert!(!configuration(&exported(), None).contains("0x7377"));
    }

    #[test]
    fn a_proposal_with_a_prf_that_libreswan_would_not_use_is_left_out() {
        let with = |proposals: &[&str]| {
            let ike_proposals = proposals.iter().map(|&text| text.to_owned()).collect();
            configuration(&ConnectionExport { ike_proposals, ..exported() }, None)
        };
        let text = with(&["aes128-sha256-prfsha512-x25519", "aes128-sha256-sha512-prfsha256-x25519"]);
        assert!(text.contains("    ike=aes128-sha2_256-dh31\n"), "{text}");
        let said =
            "    # Left out: aes128-sha256-prfsha512-x25519. libreswan has the PRF of the integrity algorithm only.\n";
        assert!(text.contains(said), "{text}");
        let text = with(&["aes128-sha1-prfsha256-modp2048"]);
        assert!(text.contains("# Left out: aes128-sha1-prfsha256-modp2048. ") && !text.contains(" ike="), "{text}");
        assert!(text.contains("# libreswan can negotiate none of the IKE proposals of this connection.\n"), "{text}");
    }

    /// Only where `LIBRESWAN` names the folder of its programs, as `/usr/libexec/ipsec`: Debian's package does not stand beside
    /// strongSwan's, which other tests need.
    #[test]
    fn libreswan_takes_it() {
        let folder = std::env::var("LIBRESWAN").unwrap_or_default();
        if folder.is_empty() {
            return eprintln!("not asked for: LIBRESWAN=FOLDER asks libreswan's programs in that folder");
        }
        let tool = |name: &str| Path::new(&folder).join(name);
        let mut several = exported();
        several.children.push(ChildExport { name: "second".into(), ..several.children[0].clone() });
        for exported in [exported(), several] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ipsec.conf");
            let text = configuration(&exported, None);
            std::fs::write(&path, &text).unwrap();
            let checked =
                Command::new(tool("addconn")).arg("--checkconfig").arg("--config").arg(&path).output().unwrap();
            assert!(
                checked.status.success() && checked.stderr.is_empty(),
                "{}\n{text}",
                String::from_utf8_lossy(&checked.stderr)
            );
            // addconn does not look at the algorithms.
            for line in text.lines().map(str::trim).filter(|line| line.starts_with("ike=") || line.starts_with("esp="))
            {
                let parsed = Command::new(tool("algparse")).args(["-v2", "-pfs", line]).output().unwrap();
                let said = [parsed.stdout, parsed.stderr].concat();
                assert!(
                    !String::from_utf8_lossy(&said).contains("ERROR"),
                    "{line}: {}",
                    String::from_utf8_lossy(&said)
                );
            }
        }
    }
}
