//! The pseudorandom functions (IKEv2 transform type 2) and prf+ (RFC 7296 2.13).

use std::fmt;

use zeroize::Zeroizing;

use super::integ::IntegrityAlgorithm;
use super::mac::{Hash, HmacKey, MAX_OUTPUT_LEN};
use super::secret::Secret;

/// One pseudorandom function. All of them are HMACs, so they take keys of any length.
pub struct PrfAlgorithm {
    /// The number in IANA's "IKEv2 Transform Type 2" registry.
    pub transform_id: u16,
    /// What configuration files and `status` call it.
    pub name: &'static str,
    /// Its name in that registry, such as `PRF_HMAC_SHA2_256`.
    pub iana_name: &'static str,
    /// Bytes of output, which is also the preferred key length (RFC 7296 2.13, 2.14).
    pub output_len: usize,
    /// To be used only when a connection names it.
    pub weak: bool,
    hash: Hash,
}

impl PrfAlgorithm {
    /// `prf(key, data)`, the pieces of `data` joined.
    pub fn prf(&self, key: &[u8], data: &[&[u8]]) -> Secret {
        let mut output = vec![0; self.output_len];
        HmacKey::new(self.hash, key).sign(data, &mut output);
        Secret::new(output)
    }

    /// `prf+(key, seed)`, its first `len` bytes, the pieces of `seed` joined (RFC 7296 2.13).
    ///
    /// # Panics
    /// When `len` is above 255 times the PRF's output, where prf+ ends; no set of keys is near that.
    pub fn prf_plus(&self, key: &[u8], seed: &[&[u8]], len: usize) -> Secret {
        let key = HmacKey::new(self.hash, key);
        let mut output = Vec::with_capacity(len);
        let mut block = Zeroizing::new([0; MAX_OUTPUT_LEN]);
        let mut block_len = 0;
        for counter in 1..=u8::MAX {
            if output.len() == len {
                break;
            }
            let mut data: Vec<&[u8]> = Vec::with_capacity(seed.len() + 2);
            let previous = Zeroizing::new(*block);
            let counter = [counter];
            data.push(&previous[..block_len]);
            data.extend_from_slice(seed);
            data.push(&counter);
            block_len = self.output_len;
            key.sign(&data, &mut block[..block_len]);
            output.extend_from_slice(&block[..block_len.min(len - output.len())]);
        }
        assert_eq!(output.len(), len, "prf+ yields at most 255 blocks (RFC 7296 2.13)");
        Secret::new(output)
    }
}

impl PartialEq for PrfAlgorithm {
    fn eq(&self, other: &Self) -> bool {
        self.transform_id == other.transform_id
    }
}

impl Eq for PrfAlgorithm {}

impl fmt::Debug for PrfAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// PRF_HMAC_SHA2_256 (RFC 4868).
pub static HMAC_SHA2_256: PrfAlgorithm = PrfAlgorithm {
    transform_id: 5,
    name: "prfsha256",
    iana_name: "PRF_HMAC_SHA2_256",
    output_len: Hash::Sha256.output_len(),
    weak: false,
    hash: Hash::Sha256,
};

/// PRF_HMAC_SHA2_384 (RFC 4868).
pub static HMAC_SHA2_384: PrfAlgorithm = PrfAlgorithm {
    transform_id: 6,
    name: "prfsha384",
    iana_name: "PRF_HMAC_SHA2_384",
    output_len: Hash::Sha384.output_len(),
    weak: false,
    hash: Hash::Sha384,
};

/// PRF_HMAC_SHA2_512 (RFC 4868).
pub static HMAC_SHA2_512: PrfAlgorithm = PrfAlgorithm {
    transform_id: 7,
    name: "prfsha512",
    iana_name: "PRF_HMAC_SHA2_512",
    output_len: Hash::Sha512.output_len(),
    weak: false,
    hash: Hash::Sha512,
};

/// PRF_HMAC_SHA1 (RFC 2104), for peers that know nothing better.
pub static HMAC_SHA1: PrfAlgorithm = PrfAlgorithm {
    transform_id: 2,
    name: "prfsha1",
    iana_name: "PRF_HMAC_SHA1",
    output_len: Hash::Sha1.output_len(),
    weak: true,
    hash: Hash::Sha1,
};

/// Every pseudorandom function, preferred first.
pub static TABLE: &[&PrfAlgorithm] = &[&HMAC_SHA2_256, &HMAC_SHA2_384, &HMAC_SHA2_512, &HMAC_SHA1];

/// The function that a proposal means.
pub fn by_id(transform_id: u16) -> Option<&'static PrfAlgorithm> {
    TABLE.iter().copied().find(|row| row.transform_id == transform_id)
}

/// The function that a configuration file means.
pub fn by_name(name: &str) -> Option<&'static PrfAlgorithm> {
    TABLE.iter().copied().find(|row| row.name == name)
}

/// The function over the same hash as an integrity algorithm.
pub fn of_integrity(integrity: &IntegrityAlgorithm) -> &'static PrfAlgorithm {
    match integrity.hash {
        Hash::Sha1 => &HMAC_SHA1,
        Hash::Sha256 => &HMAC_SHA2_256,
        Hash::Sha384 => &HMAC_SHA2_384,
        Hash::Sha512 => &HMAC_SHA2_512,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integrity_algorithm_goes_with_the_function_over_its_hash() {
        for integrity in crate::crypto::integ::TABLE {
            assert_eq!(of_integrity(integrity).hash, integrity.hash);
            assert_eq!(of_integrity(integrity).name, format!("prf{}", integrity.name));
        }
    }

    #[test]
    fn rows_are_found_by_name_and_number() {
        for row in TABLE {
            assert_eq!(by_name(row.name), Some(*row));
            assert_eq!(by_id(row.transform_id), Some(*row));
        }
    }

    #[test]
    fn prf_plus_chains_its_blocks() {
        let (key, seed): (&[u8], &[&[u8]]) = (b"key", &[b"se", b"ed"]);
        for row in TABLE {
            let first = row.prf(key, &[b"seed", &[1]]);
            let second = row.prf(key, &[first.as_bytes(), b"seed", &[2]]);
            let joined = [first.as_bytes(), second.as_bytes()].concat();
            for len in [0, 1, row.output_len, row.output_len + 1, 2 * row.output_len] {
                assert_eq!(row.prf_plus(key, seed, len).as_bytes(), &joined[..len], "{row:?}, {len} bytes");
            }
        }
    }

    #[test]
    fn prf_plus_reaches_its_last_block() {
        assert_eq!(HMAC_SHA1.prf_plus(b"key", &[b"seed"], 255 * 20).len(), 5100);
    }

    #[test]
    #[should_panic(expected = "255 blocks")]
    fn prf_plus_ends_after_255_blocks() {
        HMAC_SHA1.prf_plus(b"key", &[b"seed"], 255 * 20 + 1);
    }
}
