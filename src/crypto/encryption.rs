//! The encryption algorithms (IKEv2 transform type 1).

use std::fmt;

use ring::aead::{AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305};

/// One encryption algorithm with its sizes, in bytes unless said otherwise.
pub struct EncryptionAlgorithm {
    /// The number in IANA's "IKEv2 Transform Type 1" registry.
    pub transform_id: u16,
    /// What configuration files and `status` call it.
    pub name: &'static str,
    /// Its name in that registry, such as `ENCR_AES_GCM_16`.
    pub iana_name: &'static str,
    /// The Key Length attribute in bits, for algorithms that carry one (RFC 7296 3.3.5).
    pub key_bits: Option<u16>,
    /// The cipher's key, without the salt.
    pub key_len: usize,
    /// The part of the nonce that is keyed and never sent (RFC 4106 4, RFC 7634 2); it follows the key in KEYMAT.
    pub salt_len: usize,
    /// The initialization vector that every message carries.
    pub iv_len: usize,
    /// The integrity check value; 0 when not an AEAD.
    pub icv_len: usize,
    /// Plaintext lengths are a multiple of this; 1 for stream ciphers.
    pub block_len: usize,
    /// To be used only when a connection names it.
    pub weak: bool,
    pub(super) construction: Construction,
}

/// How a key of the algorithm is built.
#[derive(Clone, Copy)]
pub(super) enum Construction {
    Aead(&'static ring::aead::Algorithm),
    AesCbc,
    /// The stand-in for simulations and fuzzing.
    Fake,
}

impl EncryptionAlgorithm {
    /// Whether the algorithm protects integrity too, so that no integrity transform goes with it (RFC 5282 8).
    pub fn is_aead(&self) -> bool {
        self.icv_len > 0
    }
}

/// Algorithms are equal when a proposal could not tell them apart.
impl PartialEq for EncryptionAlgorithm {
    fn eq(&self, other: &Self) -> bool {
        (self.transform_id, self.key_bits) == (other.transform_id, other.key_bits)
    }
}

impl Eq for EncryptionAlgorithm {}

impl fmt::Debug for EncryptionAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// AES-GCM with a 16-byte ICV and a 128-bit key (RFC 4106 for ESP, RFC 5282 for IKE).
pub static AES128_GCM_16: EncryptionAlgorithm = EncryptionAlgorithm {
    transform_id: 20,
    name: "aes128gcm16",
    iana_name: "ENCR_AES_GCM_16",
    key_bits: Some(128),
    key_len: 16,
    salt_len: 4,
    iv_len: 8,
    icv_len: 16,
    block_len: 1,
    weak: false,
    construction: Construction::Aead(&AES_128_GCM),
};

/// AES-GCM with a 16-byte ICV and a 256-bit key (RFC 4106 for ESP, RFC 5282 for IKE).
pub static AES256_GCM_16: EncryptionAlgorithm = EncryptionAlgorithm {
    transform_id: 20,
    name: "aes256gcm16",
    iana_name: "ENCR_AES_GCM_16",
    key_bits: Some(256),
    key_len: 32,
    salt_len: 4,
    iv_len: 8,
    icv_len: 16,
    block_len: 1,
    weak: false,
    construction: Construction::Aead(&AES_256_GCM),
};

/// ChaCha20-Poly1305 (RFC 7634). It has one key length, so its transform carries no Key Length attribute.
pub static CHACHA20_POLY1305_16: EncryptionAlgorithm = EncryptionAlgorithm {
    transform_id: 28,
    name: "chacha20poly1305",
    iana_name: "ENCR_CHACHA20_POLY1305",
    key_bits: None,
    key_len: 32,
    salt_len: 4,
    iv_len: 8,
    icv_len: 16,
    block_len: 1,
    weak: false,
    construction: Construction::Aead(&CHACHA20_POLY1305),
};

/// AES-CBC with a 128-bit key (RFC 3602).
pub static AES128_CBC: EncryptionAlgorithm = EncryptionAlgorithm {
    transform_id: 12,
    name: "aes128",
    iana_name: "ENCR_AES_CBC",
    key_bits: Some(128),
    key_len: 16,
    salt_len: 0,
    iv_len: 16,
    icv_len: 0,
    block_len: 16,
    weak: false,
    construction: Construction::AesCbc,
};

/// AES-CBC with a 256-bit key (RFC 3602).
pub static AES256_CBC: EncryptionAlgorithm = EncryptionAlgorithm {
    transform_id: 12,
    name: "aes256",
    iana_name: "ENCR_AES_CBC",
    key_bits: Some(256),
    key_len: 32,
    salt_len: 0,
    iv_len: 16,
    icv_len: 0,
    block_len: 16,
    weak: false,
    construction: Construction::AesCbc,
};

/// Every encryption algorithm, preferred first.
pub static TABLE: &[&EncryptionAlgorithm] =
    &[&AES128_GCM_16, &AES256_GCM_16, &CHACHA20_POLY1305_16, &AES128_CBC, &AES256_CBC];

/// The algorithm that a proposal means by a transform number and its Key Length attribute.
pub fn by_id(transform_id: u16, key_bits: Option<u16>) -> Option<&'static EncryptionAlgorithm> {
    TABLE.iter().copied().find(|row| row.transform_id == transform_id && row.key_bits == key_bits)
}

/// The algorithm that a configuration file means.
pub fn by_name(name: &str) -> Option<&'static EncryptionAlgorithm> {
    TABLE.iter().copied().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_name_and_by_what_a_proposal_carries() {
        for row in TABLE {
            assert_eq!(by_name(row.name).map(|found| found.name), Some(row.name));
            assert_eq!(by_id(row.transform_id, row.key_bits).map(|found| found.name), Some(row.name));
        }
        assert_eq!(by_id(28, Some(256)), None, "ChaCha20-Poly1305 with a Key Length attribute is not RFC 7634's");
        assert_eq!(by_id(12, None), None, "AES-CBC without a Key Length attribute has no meaning");
        assert_eq!(by_id(12, Some(192)), None);
    }

    #[test]
    fn key_length_attribute_agrees_with_the_key() {
        for row in TABLE {
            assert!(row.key_bits.is_none_or(|bits| usize::from(bits) == row.key_len * 8), "{row:?}");
        }
    }
}
