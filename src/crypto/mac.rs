//! HMAC (RFC 2104) over the hashes in use, with its key schedule computed once.

use ::hmac::{Hmac, KeyInit, Mac};
use ring::hmac;
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// Bytes of the longest HMAC.
pub(super) const MAX_OUTPUT_LEN: usize = 64;

/// The hash of an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// Bytes of the untruncated HMAC.
    pub(super) const fn output_len(self) -> usize {
        match self {
            Hash::Sha1 => 20,
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }
}

/// An HMAC key, ready for use.
///
/// SHA-1 is the RustCrypto one: ring's does not use the processor's SHA instructions and takes over three times as
/// long. ring's state of the SHA-2 keys is not erased on drop, which ring offers no way to do.
pub(super) enum HmacKey {
    Sha1(Hmac<Sha1>),
    Sha2(hmac::Key),
}

impl HmacKey {
    pub(super) fn new(hash: Hash, key: &[u8]) -> Self {
        match hash {
            Hash::Sha1 => Self::Sha1(Hmac::new_from_slice(key).expect("HMAC takes keys of any length")),
            Hash::Sha256 => Self::Sha2(hmac::Key::new(hmac::HMAC_SHA256, key)),
            Hash::Sha384 => Self::Sha2(hmac::Key::new(hmac::HMAC_SHA384, key)),
            Hash::Sha512 => Self::Sha2(hmac::Key::new(hmac::HMAC_SHA512, key)),
        }
    }

    /// Writes the HMAC of the joined `data`, truncated to the length of `out`. Allocates nothing.
    ///
    /// # Panics
    /// When `out` is longer than the HMAC.
    pub(super) fn sign(&self, data: &[&[u8]], out: &mut [u8]) {
        match self {
            Self::Sha1(key) => {
                let mut context = key.clone();
                data.iter().for_each(|piece| context.update(piece));
                out.copy_from_slice(&context.finalize().into_bytes()[..out.len()]);
            }
            Self::Sha2(key) => {
                let mut context = hmac::Context::with_key(key);
                data.iter().for_each(|piece| context.update(piece));
                out.copy_from_slice(&context.sign().as_ref()[..out.len()]);
            }
        }
    }

    /// Whether `icv` is the HMAC of the joined `data`, truncated to `icv`'s length; in constant time.
    pub(super) fn verify(&self, data: &[&[u8]], icv: &[u8]) -> bool {
        let mut expected = [0; MAX_OUTPUT_LEN];
        let Some(expected) = expected.get_mut(..icv.len()) else { return false };
        self.sign(data, expected);
        expected.ct_eq(icv).into()
    }
}
