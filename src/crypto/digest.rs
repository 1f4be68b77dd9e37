//! Digests and keyed digests for callers outside the IKE and ESP suites: NAT detection, cookies, API signatures.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use subtle::ConstantTimeEq;

use super::mac::{Hash, HmacKey};

/// SHA-256 (FIPS 180-4).
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut output = [0; 32];
    output.copy_from_slice(digest(&SHA256, data).as_ref());
    output
}

/// SHA-1, which NAT detection prescribes (RFC 7296 2.23) and where its collisions do no harm.
pub fn sha1(data: &[u8]) -> [u8; 20] {
    let mut output = [0; 20];
    output.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, data).as_ref());
    output
}

/// HMAC-SHA1 (RFC 2104) of the joined `data`; the cloud's RPC signature version 1.0.
pub fn hmac_sha1(key: &[u8], data: &[&[u8]]) -> [u8; 20] {
    let mut output = [0; 20];
    HmacKey::new(Hash::Sha1, key).sign(data, &mut output);
    output
}

/// HMAC-SHA256 (RFC 2104) of the joined `data`; the cloud's ACS3 signature.
pub fn hmac_sha256(key: &[u8], data: &[&[u8]]) -> [u8; 32] {
    let mut output = [0; 32];
    HmacKey::new(Hash::Sha256, key).sign(data, &mut output);
    output
}

/// Compares in a time that depends on the lengths only.
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4 examples, message "abc".
    #[test]
    fn digests_of_abc() {
        assert_eq!(hex::encode(sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex::encode(sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn joined_pieces_sign_as_one_message() {
        assert_eq!(hmac_sha1(b"key", &[b"a", b"", b"bc"]), hmac_sha1(b"key", &[b"abc"]));
        assert_eq!(hmac_sha256(b"key", &[b"a", b"", b"bc"]), hmac_sha256(b"key", &[b"abc"]));
    }

    #[test]
    fn comparison_minds_length_and_content() {
        assert!(constant_time_eq(b"same", b"same"));
        assert!(!constant_time_eq(b"same", b"some"));
        assert!(!constant_time_eq(b"same", b"sam"));
    }
}
