//! Proposals in the keyword style of the field (`aes128gcm16-prfsha256-x25519`), with the names of crypto's tables.

use super::hint;
use crate::crypto::{
    EncryptionAlgorithm, IntegrityAlgorithm, KeyExchangeAlgorithm, PrfAlgorithm, encryption, integ, ke, prf,
};
use crate::ike::{EspProposal, IkeProposal};

/// What gatewayd offers when a connection names no IKE proposal: all that is not weak, AEAD first, then the encryption
/// that takes an integrity algorithm.
pub fn default_ike() -> Vec<IkeProposal> {
    let prf = unless_weak(prf::TABLE, |prf| prf.weak);
    let proposal = |(encryption, integrity)| IkeProposal {
        encryption,
        integrity,
        prf: prf.clone(),
        groups: unless_weak(ke::TABLE, |group| group.weak),
    };
    default_protection().map(proposal).into()
}

/// What gatewayd offers when a connection names no ESP proposal, likewise. Peers that rekey without a key exchange of its
/// own are served by the last two. `esn` as [`EspProposal::esn`].
pub fn default_esp(esn: &[bool]) -> Vec<EspProposal> {
    let groups = unless_weak(ke::TABLE, |group| group.weak);
    let proposals = |groups: Vec<_>| {
        default_protection().map(|(encryption, integrity)| EspProposal {
            encryption,
            integrity,
            groups: groups.clone(),
            esn: esn.to_vec(),
        })
    };
    proposals(groups).into_iter().chain(proposals(Vec::new())).collect()
}

type Protection = (Vec<&'static EncryptionAlgorithm>, Vec<&'static IntegrityAlgorithm>);

/// AEAD stands alone and everything else with integrity algorithms (RFC 7296 3.3).
fn default_protection() -> [Protection; 2] {
    let encryption = unless_weak(encryption::TABLE, |encryption| encryption.weak);
    let (aead, other) = encryption.into_iter().partition(|encryption| encryption.is_aead());
    [(aead, Vec::new()), (other, unless_weak(integ::TABLE, |integrity| integrity.weak))]
}

fn unless_weak<A>(table: &[&'static A], weak: impl Fn(&A) -> bool) -> Vec<&'static A> {
    table.iter().copied().filter(|row| !weak(row)).collect()
}

/// The algorithms that a text names, by kind, in its order.
#[derive(Default)]
struct Named {
    encryption: Vec<&'static EncryptionAlgorithm>,
    integrity: Vec<&'static IntegrityAlgorithm>,
    prf: Vec<&'static PrfAlgorithm>,
    groups: Vec<&'static KeyExchangeAlgorithm>,
}

impl Named {
    fn read(text: &str) -> Result<Self, String> {
        let mut named = Self::default();
        for word in text.split('-') {
            if let Some(algorithm) = encryption::by_name(word) {
                named.encryption.push(algorithm);
            } else if let Some(algorithm) = integ::by_name(word) {
                named.integrity.push(algorithm);
            } else if let Some(algorithm) = prf::by_name(word) {
                named.prf.push(algorithm);
            } else if let Some(algorithm) = ke::by_name(word) {
                named.groups.push(algorithm);
            } else {
                let hint = hint::did_you_mean(hint::algorithm(word, &known_names()));
                return Err(format!("\"{word}\" is no algorithm{hint}; allowed: {}", known_names().join(", ")));
            }
        }
        named.check_encryption(text)?;
        Ok(named)
    }

    /// RFC 7296 3.3: AEAD and other encryption algorithms stand in different proposals, and only the latter take an
    /// integrity algorithm.
    fn check_encryption(&self, text: &str) -> Result<(), String> {
        let aead = self.encryption.iter().filter(|algorithm| algorithm.is_aead()).count();
        if self.encryption.is_empty() {
            return Err(format!("\"{text}\" names no encryption; allowed: {}", encryption_names()));
        }
        if aead != 0 && aead != self.encryption.len() {
            return Err(format!("\"{text}\" mixes AEAD and CBC encryption; write two proposals"));
        }
        if aead == 0 && self.integrity.is_empty() {
            return Err(format!("\"{text}\" needs an integrity algorithm; allowed: {}", integrity_names()));
        }
        if aead != 0 && !self.integrity.is_empty() {
            return Err(format!(
                "\"{text}\" names an integrity algorithm beside AEAD encryption, which protects integrity itself; an IKE proposal takes a PRF instead, such as prfsha256"
            ));
        }
        Ok(())
    }
}

/// The weak algorithms of an IKE proposal, by name.
pub fn weak_ike(proposal: &IkeProposal) -> Vec<&'static str> {
    let IkeProposal { encryption, integrity, prf, groups } = proposal;
    let prf = prf.iter().filter(|a| a.weak).map(|a| a.name);
    weak_protection(encryption, integrity).chain(prf).chain(weak_groups(groups)).collect()
}

/// The weak algorithms of an ESP proposal, by name.
pub fn weak_esp(proposal: &EspProposal) -> Vec<&'static str> {
    let EspProposal { encryption, integrity, groups, esn: _ } = proposal;
    weak_protection(encryption, integrity).chain(weak_groups(groups)).collect()
}

fn weak_protection(
    encryption: &[&'static EncryptionAlgorithm],
    integrity: &[&'static IntegrityAlgorithm],
) -> impl Iterator<Item = &'static str> {
    let encryption = encryption.iter().filter(|a| a.weak).map(|a| a.name);
    encryption.chain(integrity.iter().filter(|a| a.weak).map(|a| a.name))
}

fn weak_groups(groups: &[&'static KeyExchangeAlgorithm]) -> impl Iterator<Item = &'static str> {
    groups.iter().filter(|a| a.weak).map(|a| a.name)
}

/// Reads an IKE proposal. Without a PRF, the PRFs are those of the integrity algorithms' hashes.
pub fn ike(text: &str) -> Result<IkeProposal, String> {
    let mut named = Named::read(text)?;
    if named.prf.is_empty() {
        named.prf = named.integrity.iter().map(|integrity| prf::of_integrity(integrity)).collect();
    }
    if named.prf.is_empty() {
        let names: Vec<&str> = prf::TABLE.iter().map(|a| a.name).collect();
        return Err(format!("\"{text}\" needs a PRF; allowed: {}", names.join(", ")));
    }
    if named.groups.is_empty() {
        return Err(format!("\"{text}\" needs a key exchange; allowed: {}", group_names()));
    }
    let Named { encryption, integrity, prf, groups } = named;
    Ok(IkeProposal { encryption, integrity, prf, groups })
}

/// Reads an ESP proposal; its groups are for perfect forward secrecy. `esn` as [`EspProposal::esn`].
pub fn esp(text: &str, esn: &[bool]) -> Result<EspProposal, String> {
    let named = Named::read(text)?;
    if !named.prf.is_empty() {
        return Err(format!(
            "\"{text}\" names a PRF, which ESP has not; allowed: {}, {}",
            encryption_names(),
            group_names()
        ));
    }
    let Named { encryption, integrity, prf: _, groups } = named;
    Ok(EspProposal { encryption, integrity, groups, esn: esn.to_vec() })
}

/// An IKE proposal in the style that [`ike`] reads and that strongSwan's configuration takes.
pub fn ike_keywords(proposal: &IkeProposal) -> String {
    let IkeProposal { encryption, integrity, prf, groups } = proposal;
    let names = encryption.iter().map(|a| a.name).chain(integrity.iter().map(|a| a.name));
    names.chain(prf.iter().map(|a| a.name)).chain(groups.iter().map(|a| a.name)).collect::<Vec<_>>().join("-")
}

/// An ESP proposal in the same style.
pub fn esp_keywords(proposal: &EspProposal) -> String {
    let EspProposal { encryption, integrity, groups, esn: _ } = proposal;
    let names = encryption.iter().map(|a| a.name).chain(integrity.iter().map(|a| a.name));
    names.chain(groups.iter().map(|a| a.name)).collect::<Vec<_>>().join("-")
}

fn encryption_names() -> String {
    encryption::TABLE.iter().map(|a| a.name).collect::<Vec<_>>().join(", ")
}

fn integrity_names() -> String {
    integ::TABLE.iter().map(|a| a.name).collect::<Vec<_>>().join(", ")
}

fn group_names() -> String {
    ke::TABLE.iter().map(|a| a.name).collect::<Vec<_>>().join(", ")
}

fn known_names() -> Vec<&'static str> {
    let names = encryption::TABLE.iter().map(|a| a.name).chain(integ::TABLE.iter().map(|a| a.name));
    names.chain(prf::TABLE.iter().map(|a| a.name)).chain(ke::TABLE.iter().map(|a| a.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [&str; 2] = [
        "aes128gcm16-aes256gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-modp2048-modp3072-modp4096",
        "aes128-aes256-sha256-sha384-sha512-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-modp2048-modp3072-modp4096",
    ];

    #[test]
    fn the_defaults_are_all_that_is_not_weak() {
        assert_eq!(default_ike().iter().map(ike_keywords).collect::<Vec<_>>(), OFFERED);
        let esp = default_esp(&[true, false]);
        assert_eq!(
            esp.iter().map(esp_keywords).collect::<Vec<_>>(),
            [
                "aes128gcm16-aes256gcm16-chacha20poly1305-x25519-ecp256-ecp384-modp2048-modp3072-modp4096",
                "aes128-aes256-sha256-sha384-sha512-x25519-ecp256-ecp384-modp2048-modp3072-modp4096",
                "aes128gcm16-aes256gcm16-chacha20poly1305",
                "aes128-aes256-sha256-sha384-sha512",
            ]
        );
        assert!(default_ike().iter().all(|proposal| weak_ike(proposal).is_empty()));
        assert!(esp.iter().all(|proposal| weak_esp(proposal).is_empty() && proposal.esn == [true, false]));
    }

    #[test]
    fn keywords_are_read_as_they_are_written() {
        for proposal in default_ike() {
            assert_eq!(ike(&ike_keywords(&proposal)), Ok(proposal));
        }
        for proposal in default_esp(&[false]) {
            assert_eq!(esp(&esp_keywords(&proposal), &[false]), Ok(proposal));
        }
    }

    #[test]
    fn an_integrity_algorithm_brings_its_prf() {
        let proposal = ike("aes128-sha256-modp2048").unwrap();
        assert_eq!(proposal.prf.iter().map(|a| a.name).collect::<Vec<_>>(), ["prfsha256"]);
    }

    #[test]
    fn weak_algorithms_are_named() {
        assert_eq!(weak_ike(&ike("aes128-sha1-modp1024").unwrap()), ["sha1", "prfsha1", "modp1024"]);
        assert_eq!(weak_esp(&esp("aes128-sha1-modp1024", &[false]).unwrap()), ["sha1", "modp1024"]);
    }

    #[test]
    fn wrong_combinations_say_what_is_missing() {
        for (text, expected) in [
            ("aes128gcm16-x25519", "needs a PRF"),
            ("aes128gcm16-sha256-x25519", "beside AEAD"),
            ("aes128-x25519", "needs an integrity algorithm"),
            ("aes128-aes128gcm16-sha256-x25519", "mixes AEAD"),
            ("aes128gcm16-prfsha256", "needs a key exchange"),
            ("3des-sha256-modp2048", "\"3des\" is no algorithm"),
            ("", "\"\" is no algorithm"),
            (
                "aes256-sha256-curve25519",
                "\"curve25519\" is no algorithm (did you mean \"x25519\"?); allowed: aes128gcm16",
            ),
            ("aes265-sha256-x25519", "(did you mean \"aes256\"?)"),
        ] {
            let error = ike(text).err().unwrap();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(esp("aes128gcm16-prfsha256", &[false]).err().unwrap().contains("names a PRF"));
    }
}
