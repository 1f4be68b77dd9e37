//! Proposals in the keyword style of the field (`aes128gcm16-prfsha256-x25519`), with the names of crypto's tables.

use crate::crypto::{
    EncryptionAlgorithm, IntegrityAlgorithm, KeyExchangeAlgorithm, PrfAlgorithm, encryption, integ, ke, prf,
};
use crate::ike::{EspProposal, IkeProposal};

/// What gatewayd offers when a connection names no IKE proposal: AEAD first, then CBC with HMAC-SHA2.
pub const DEFAULT_IKE: &[&str] = &[
    "aes128gcm16-aes256gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-modp2048-modp3072-modp4096",
    "aes128-aes256-sha256-sha384-sha512-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-modp2048-modp3072-modp4096",
];

/// What gatewayd offers when a connection names no ESP proposal. Peers that rekey without a key exchange of its own are
/// served by the last two.
pub const DEFAULT_ESP: &[&str] = &[
    "aes128gcm16-aes256gcm16-chacha20poly1305-x25519-ecp256-ecp384-modp2048-modp3072-modp4096",
    "aes128-aes256-sha256-sha384-sha512-x25519-ecp256-ecp384-modp2048-modp3072-modp4096",
    "aes128gcm16-aes256gcm16-chacha20poly1305",
    "aes128-aes256-sha256-sha384-sha512",
];

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
                return Err(format!("\"{word}\" is no algorithm; allowed: {}", known_names()));
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

    /// The weak algorithms among them, by name.
    fn weak(&self) -> Vec<&'static str> {
        let encryption = self.encryption.iter().filter(|a| a.weak).map(|a| a.name);
        let integrity = self.integrity.iter().filter(|a| a.weak).map(|a| a.name);
        let prf = self.prf.iter().filter(|a| a.weak).map(|a| a.name);
        let groups = self.groups.iter().filter(|a| a.weak).map(|a| a.name);
        encryption.chain(integrity).chain(prf).chain(groups).collect()
    }
}

/// A proposal, with the weak algorithms that it names.
pub struct WithWeak<P> {
    pub proposal: P,
    pub weak: Vec<&'static str>,
}

/// Reads an IKE proposal. Without a PRF, the PRFs are those of the integrity algorithms' hashes.
pub fn ike(text: &str) -> Result<WithWeak<IkeProposal>, String> {
    let mut named = Named::read(text)?;
    if named.prf.is_empty() {
        named.prf =
            named.integrity.iter().filter_map(|integrity| prf::by_name(&format!("prf{}", integrity.name))).collect();
    }
    if named.prf.is_empty() {
        let names: Vec<&str> = prf::TABLE.iter().map(|a| a.name).collect();
        return Err(format!("\"{text}\" needs a PRF; allowed: {}", names.join(", ")));
    }
    if named.groups.is_empty() {
        return Err(format!("\"{text}\" needs a key exchange; allowed: {}", group_names()));
    }
    let weak = named.weak();
    let Named { encryption, integrity, prf, groups } = named;
    Ok(WithWeak { proposal: IkeProposal { encryption, integrity, prf, groups }, weak })
}

/// Reads an ESP proposal; its groups are for perfect forward secrecy. `esn` as [`EspProposal::esn`].
pub fn esp(text: &str, esn: &[bool]) -> Result<WithWeak<EspProposal>, String> {
    let named = Named::read(text)?;
    if !named.prf.is_empty() {
        return Err(format!(
            "\"{text}\" names a PRF, which ESP has not; allowed: {}, {}",
            encryption_names(),
            group_names()
        ));
    }
    let weak = named.weak();
    let Named { encryption, integrity, prf: _, groups } = named;
    Ok(WithWeak { proposal: EspProposal { encryption, integrity, groups, esn: esn.to_vec() }, weak })
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

fn known_names() -> String {
    let prfs = prf::TABLE.iter().map(|a| a.name).collect::<Vec<_>>().join(", ");
    format!("{}, {}, {prfs}, {}", encryption_names(), integrity_names(), group_names())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_readable_and_not_weak() {
        for text in DEFAULT_IKE {
            assert!(ike(text).unwrap().weak.is_empty(), "{text}");
        }
        for text in DEFAULT_ESP {
            assert!(esp(text, &[true, false]).unwrap().weak.is_empty(), "{text}");
        }
    }

    #[test]
    fn keywords_are_written_as_they_are_read() {
        for text in DEFAULT_IKE {
            assert_eq!(ike_keywords(&ike(text).unwrap().proposal), *text);
        }
        for text in DEFAULT_ESP {
            assert_eq!(esp_keywords(&esp(text, &[false]).unwrap().proposal), *text);
        }
    }

    #[test]
    fn an_integrity_algorithm_brings_its_prf() {
        let proposal = ike("aes128-sha256-modp2048").unwrap().proposal;
        assert_eq!(proposal.prf.iter().map(|a| a.name).collect::<Vec<_>>(), ["prfsha256"]);
    }

    #[test]
    fn weak_algorithms_are_named() {
        let read = ike("aes128-sha1-modp1024").unwrap();
        assert_eq!(read.weak, ["sha1", "prfsha1", "modp1024"]);
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
        ] {
            let error = ike(text).err().unwrap();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(esp("aes128gcm16-prfsha256", &[false]).err().unwrap().contains("names a PRF"));
    }
}
