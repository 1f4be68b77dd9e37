//! What somebody may have meant who wrote something else: a misspelt name, or another program's word for it.

/// Keys of strongSwan (swanctl.conf(5), ipsec.conf(5)) and of libreswan, and what is called so here.
const KEYS: &[(&str, &str)] = &[
    ("address", "peer"),
    ("auto", "start"),
    ("connections", "connection"),
    ("copy_df", "df"),
    ("dpd_delay", "liveness"),
    ("dpddelay", "liveness"),
    ("dst", "destination"),
    ("encap", "force_encapsulation"),
    ("esp_proposals", "esp"),
    ("forceencaps", "force_encapsulation"),
    ("id", "local_id"),
    ("ikelifetime", "ike_lifetime"),
    ("keylife", "child_lifetime"),
    ("left", "local_address"),
    ("leftid", "local_id"),
    ("leftsubnet", "local_subnets"),
    ("leftsubnets", "local_subnets"),
    ("life_bytes", "child_lifetime_bytes"),
    ("life_packets", "child_lifetime_packets"),
    ("life_time", "child_lifetime"),
    ("lifetime", "child_lifetime"),
    ("local_addrs", "local_address"),
    ("local_ts", "local_subnets"),
    ("phase2alg", "esp"),
    ("proposals", "ike"),
    ("rekey_time", "ike_lifetime"),
    ("remote_addrs", "peer"),
    ("remote_id", "peer_id"),
    ("remote_ts", "peer_subnets"),
    ("right", "peer"),
    ("rightid", "peer_id"),
    ("rightsubnet", "peer_subnets"),
    ("rightsubnets", "peer_subnets"),
    ("salifetime", "child_lifetime"),
    ("secret", "psk"),
    ("start_action", "start"),
];

/// Values of theirs: of `start_action`, `auto` and `remote_addrs`, and what is true or false in other formats.
const VALUES: &[(&str, &str)] = &[
    ("%any", "any"),
    ("%any4", "any"),
    ("%any6", "any"),
    ("add", "wait"),
    ("none", "wait"),
    ("ondemand", "on-traffic"),
    ("route", "on-traffic"),
    ("start", "now"),
    ("trap", "on-traffic"),
    ("no", "false"),
    ("off", "false"),
    ("on", "true"),
    ("yes", "true"),
];

/// Algorithms, as strongSwan (`proposal_keywords_static.txt`), libreswan and the registries spell them.
const ALGORITHMS: &[(&str, &str)] = &[
    ("aes", "aes128"),
    ("aes128gcm", "aes128gcm16"),
    ("aes128gcm128", "aes128gcm16"),
    ("aes256gcm", "aes256gcm16"),
    ("aes256gcm128", "aes256gcm16"),
    ("aes_gcm", "aes128gcm16"),
    ("aes_gcm128", "aes128gcm16"),
    ("aes_gcm256", "aes256gcm16"),
    ("aes_gcm_16_128", "aes128gcm16"),
    ("aes_gcm_16_256", "aes256gcm16"),
    ("chacha20_poly1305", "chacha20poly1305"),
    ("curve25519", "x25519"),
    ("dh14", "modp2048"),
    ("dh15", "modp3072"),
    ("dh16", "modp4096"),
    ("dh19", "ecp256"),
    ("dh20", "ecp384"),
    ("dh31", "x25519"),
    ("p256", "ecp256"),
    ("p384", "ecp384"),
    ("secp256r1", "ecp256"),
    ("secp384r1", "ecp384"),
    ("sha", "sha1"),
    ("sha2", "sha256"),
    ("sha2_256", "sha256"),
    ("sha2_384", "sha384"),
    ("sha2_512", "sha512"),
    ("prfsha2_256", "prfsha256"),
];

/// The key that is meant by one that is none: another program's word, or the nearest of those that are allowed.
pub fn key<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    meant(word, KEYS, allowed)
}

/// The value that is meant by one that is none, likewise.
pub fn value<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    meant(word, VALUES, allowed)
}

/// The algorithm that is meant by one that is none, likewise.
pub fn algorithm<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    meant(word, ALGORITHMS, allowed)
}

/// What a complaint says of it, to stand behind the wrong word; nothing where there is nothing to guess.
pub fn did_you_mean(meant: Option<&str>) -> String {
    meant.map_or_else(String::new, |meant| format!(" (did you mean \"{meant}\"?)"))
}

fn meant<'a>(word: &str, words: &[(&str, &str)], allowed: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let ours = words.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours);
    let named = ours.and_then(|ours| allowed.iter().copied().find(|allowed| *allowed == ours));
    named.or_else(|| nearest(&word, allowed.iter().copied()))
}

/// The nearest of some names, if it is as near as a slip of the fingers leaves it.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let near = names.map(|name| (strsim::damerau_levenshtein(&name.to_lowercase(), &word), name));
    near.min().filter(|(distance, name)| *distance <= name.len().min(word.len()).div_ceil(4)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_programs_words_are_understood_before_similar_ones() {
        let keys = ["esp", "ike", "liveness", "local_subnets", "name", "peer", "peer_subnets", "psk", "start"];
        for (word, expected) in [
            ("remote_ts", Some("peer_subnets")),
            ("dpd_delay", Some("liveness")),
            ("secret", Some("psk")),
            ("pere", Some("peer")),
            ("local_subnet", Some("local_subnets")),
            ("Name", Some("name")),
            ("entirely_other", None),
            ("x", None),
        ] {
            assert_eq!(key(word, &keys), expected, "{word}");
        }
        assert_eq!(algorithm("curve25519", &["x25519", "ecp256"]), Some("x25519"));
        assert_eq!(algorithm("aes256gmc16", &["aes256gcm16", "aes256"]), Some("aes256gcm16"));
        assert_eq!(value("trap", &["now", "on-traffic", "wait"]), Some("on-traffic"));
        assert_eq!(value("yes", &["true", "false"]), Some("true"));
    }

    #[test]
    fn every_hint_leads_to_an_algorithm_that_there_is() {
        for (_, ours) in ALGORITHMS {
            let ours = *ours;
            let known = crate::crypto::encryption::by_name(ours).is_some()
                || crate::crypto::integ::by_name(ours).is_some()
                || crate::crypto::prf::by_name(ours).is_some()
                || crate::crypto::ke::by_name(ours).is_some();
            assert!(known, "{ours}");
        }
    }
}
