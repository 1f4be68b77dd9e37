//! The integrity algorithms (IKEv2 transform type 3), for encryption that has no integrity of its own.

use std::fmt;

use super::mac::Hash;

/// One integrity algorithm with its sizes in bytes.
pub struct IntegrityAlgorithm {
    /// The number in IANA's "IKEv2 Transform Type 3" registry.
    pub transform_id: u16,
    /// What configuration files and `status` call it.
    pub name: &'static str,
    /// Its name in that registry, such as `AUTH_HMAC_SHA2_256_128`.
    pub iana_name: &'static str,
    /// The key, as long as the hash's output (RFC 2404 3, RFC 4868 2.1.1).
    pub key_len: usize,
    /// The ICV, which is the HMAC truncated.
    pub icv_len: usize,
    /// To be used only when a connection names it.
    pub weak: bool,
    pub(super) hash: Hash,
}

impl PartialEq for IntegrityAlgorithm {
    fn eq(&self, other: &Self) -> bool {
        self.transform_id == other.transform_id
    }
}

impl Eq for IntegrityAlgorithm {}

impl fmt::Debug for IntegrityAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// HMAC-SHA-256-128 (RFC 4868).
pub static HMAC_SHA2_256_128: IntegrityAlgorithm = IntegrityAlgorithm {
    transform_id: 12,
    name: "sha256",
    iana_name: "AUTH_HMAC_SHA2_256_128",
    key_len: 32,
    icv_len: 16,
    weak: false,
    hash: Hash::Sha256,
};

/// HMAC-SHA-384-192 (RFC 4868).
pub static HMAC_SHA2_384_192: IntegrityAlgorithm = IntegrityAlgorithm {
    transform_id: 13,
    name: "sha384",
    iana_name: "AUTH_HMAC_SHA2_384_192",
    key_len: 48,
    icv_len: 24,
    weak: false,
    hash: Hash::Sha384,
};

/// HMAC-SHA-512-256 (RFC 4868).
pub static HMAC_SHA2_512_256: IntegrityAlgorithm = IntegrityAlgorithm {
    transform_id: 14,
    name: "sha512",
    iana_name: "AUTH_HMAC_SHA2_512_256",
    key_len: 64,
    icv_len: 32,
    weak: false,
    hash: Hash::Sha512,
};

/// HMAC-SHA1-96 (RFC 2404), for peers that know nothing better.
pub static HMAC_SHA1_96: IntegrityAlgorithm = IntegrityAlgorithm {
    transform_id: 2,
    name: "sha1",
    iana_name: "AUTH_HMAC_SHA1_96",
    key_len: 20,
    icv_len: 12,
    weak: true,
    hash: Hash::Sha1,
};

/// Every integrity algorithm, preferred first.
pub static TABLE: &[&IntegrityAlgorithm] = &[&HMAC_SHA2_256_128, &HMAC_SHA2_384_192, &HMAC_SHA2_512_256, &HMAC_SHA1_96];

/// The algorithm that a proposal means.
pub fn by_id(transform_id: u16) -> Option<&'static IntegrityAlgorithm> {
    TABLE.iter().copied().find(|row| row.transform_id == transform_id)
}

/// The algorithm that a configuration file means.
pub fn by_name(name: &str) -> Option<&'static IntegrityAlgorithm> {
    TABLE.iter().copied().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_name_and_number() {
        for row in TABLE {
            assert_eq!(by_name(row.name), Some(*row));
            assert_eq!(by_id(row.transform_id), Some(*row));
            assert_eq!(row.key_len, row.hash.output_len(), "RFC 4868 2.1.1: the key is as long as the hash");
        }
        assert_eq!(by_name("md5"), None);
    }
}
