//! What protects a message: a [`Suite`] of algorithms, and its keys for sealing and for opening.
//!
//! IKE's Encrypted payload (RFC 7296 3.14, RFC 5282) and ESP (RFC 4303) are both laid out as
//! `before | IV | body | ICV`, where the ICV protects all that stands before it. `after` is protected too but never
//! sent; it holds the high half of an extended sequence number where a separate integrity algorithm is used
//! (RFC 4303 2.2.1).

use std::fmt;

use super::aead::AeadKey;
use super::cbc::{DecryptingKey, EncryptingKey};
use super::encryption::{Construction, EncryptionAlgorithm};
use super::fake::key::FakeKey;
use super::integ::IntegrityAlgorithm;
use super::mac::HmacKey;
use super::secret::placed;

/// An encryption algorithm with the integrity algorithm that it needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    /// What keeps a message secret; an AEAD protects its integrity too.
    pub encryption: &'static EncryptionAlgorithm,
    /// What protects its integrity when encryption does not; `None` with an AEAD.
    pub integrity: Option<&'static IntegrityAlgorithm>,
}

impl Suite {
    /// `None` unless integrity is protected exactly once: by an AEAD (RFC 5282 8) or by an integrity algorithm.
    pub fn new(
        encryption: &'static EncryptionAlgorithm,
        integrity: Option<&'static IntegrityAlgorithm>,
    ) -> Option<Self> {
        (encryption.is_aead() != integrity.is_some()).then_some(Self { encryption, integrity })
    }

    /// Bytes of the IV in each message.
    pub fn iv_len(&self) -> usize {
        self.encryption.iv_len
    }

    /// Bytes of the ICV in each message.
    pub fn icv_len(&self) -> usize {
        self.integrity.map_or(self.encryption.icv_len, |integrity| integrity.icv_len)
    }

    /// Plaintext lengths are a multiple of this many bytes.
    pub fn block_len(&self) -> usize {
        self.encryption.block_len
    }

    /// Bytes of key material for encryption: key and salt.
    pub fn encryption_key_len(&self) -> usize {
        self.encryption.key_len + self.encryption.salt_len
    }

    /// Bytes of key material for integrity; 0 for an AEAD.
    pub fn integrity_key_len(&self) -> usize {
        self.integrity.map_or(0, |integrity| integrity.key_len)
    }

    /// Whether a part is weak, so that using it deserves a warning.
    pub fn is_weak(&self) -> bool {
        self.encryption.weak || self.integrity.is_some_and(|integrity| integrity.weak)
    }

    /// The name as configuration files have it, such as `aes256gcm16` or `aes128-sha256`.
    pub fn name(&self) -> String {
        match self.integrity {
            Some(integrity) => format!("{}-{}", self.encryption.name, integrity.name),
            None => self.encryption.name.to_owned(),
        }
    }

    fn check_keys(&self, encryption_key: &[u8], integrity_key: &[u8]) -> Result<(), WrongKeyLength> {
        let expected = (self.encryption_key_len(), self.integrity_key_len());
        let actual = (encryption_key.len(), integrity_key.len());
        if expected == actual { Ok(()) } else { Err(WrongKeyLength { expected, actual }) }
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// Key material that does not fit the suite. Lengths in bytes: encryption key with its salt, integrity key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys of {actual:?} bytes where the suite takes {expected:?}")]
pub struct WrongKeyLength {
    /// What the suite takes.
    pub expected: (usize, usize),
    /// What was given.
    pub actual: (usize, usize),
}

/// The message is not what the holder of the key sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the integrity check failed")]
pub struct BadIcv;

enum Sealing {
    Aead(AeadKey),
    Cbc(EncryptingKey, HmacKey),
    Fake(FakeKey),
}

/// A suite with keys, for sealing. Its own copies of the keys are made ready once; sealing allocates nothing.
pub struct SealingKey {
    suite: Suite,
    sealing: Box<Sealing>,
}

impl SealingKey {
    /// `encryption_key` is the cipher's key followed by the salt, as KEYMAT has them (RFC 4106 8.1).
    pub fn new(suite: Suite, encryption_key: &[u8], integrity_key: &[u8]) -> Result<Self, WrongKeyLength> {
        suite.check_keys(encryption_key, integrity_key)?;
        let sealing = match (suite.encryption.construction, suite.integrity) {
            (Construction::Aead(algorithm), _) => AeadKey::new(algorithm, encryption_key).map(Sealing::Aead),
            (Construction::AesCbc, Some(integrity)) => EncryptingKey::new(encryption_key)
                .map(|cipher| Sealing::Cbc(cipher, HmacKey::new(integrity.hash, integrity_key))),
            (Construction::AesCbc, None) => None,
            (Construction::Fake, _) => Some(Sealing::Fake(FakeKey::new(encryption_key))),
        };
        let sealing = Box::new(sealing.expect("a suite whose key lengths were checked"));
        placed(&*sealing);
        Ok(Self { suite, sealing })
    }

    /// The algorithms that the key is for.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Encrypts `body` in place and writes the ICV over `before`, IV, ciphertext and `after`.
    ///
    /// An IV must never come twice under the same key; for CBC it must be unpredictable as well. See
    /// [`IvSource`](super::IvSource).
    ///
    /// # Panics
    /// When `iv` or `icv` is not as long as the suite says, `body` not a multiple of its block, or `after` not empty
    /// for an AEAD: mistakes of the caller, which no input from outside can cause.
    pub fn seal(&self, before: &[u8], iv: &[u8], body: &mut [u8], after: &[u8], icv: &mut [u8]) {
        assert_eq!(icv.len(), self.suite.icv_len(), "the ICV's length");
        match &*self.sealing {
            Sealing::Aead(key) => {
                assert!(after.is_empty(), "an AEAD protects only what stands before the body");
                icv.copy_from_slice(&key.seal(before, iv, body).expect("an IV of the suite's length"));
            }
            Sealing::Cbc(cipher, integrity) => {
                cipher.encrypt(iv, body).expect("an IV and whole blocks of the suite's length");
                integrity.sign(&[before, iv, body, after], icv);
            }
            Sealing::Fake(key) => {
                assert!(after.is_empty(), "an AEAD protects only what stands before the body");
                icv.copy_from_slice(&key.seal(before, iv, body));
            }
        }
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("suite", &self.suite).finish_non_exhaustive()
    }
}

enum Opening {
    Aead(AeadKey),
    Cbc(DecryptingKey, HmacKey),
    Fake(FakeKey),
}

/// A suite with keys, for opening. Its own copies of the keys are made ready once; opening allocates nothing.
pub struct OpeningKey {
    suite: Suite,
    opening: Box<Opening>,
}

impl OpeningKey {
    /// `encryption_key` is the cipher's key followed by the salt, as KEYMAT has them (RFC 4106 8.1).
    pub fn new(suite: Suite, encryption_key: &[u8], integrity_key: &[u8]) -> Result<Self, WrongKeyLength> {
        suite.check_keys(encryption_key, integrity_key)?;
        let opening = match (suite.encryption.construction, suite.integrity) {
            (Construction::Aead(algorithm), _) => AeadKey::new(algorithm, encryption_key).map(Opening::Aead),
            (Construction::AesCbc, Some(integrity)) => DecryptingKey::new(encryption_key)
                .map(|cipher| Opening::Cbc(cipher, HmacKey::new(integrity.hash, integrity_key))),
            (Construction::AesCbc, None) => None,
            (Construction::Fake, _) => Some(Opening::Fake(FakeKey::new(encryption_key))),
        };
        let opening = Box::new(opening.expect("a suite whose key lengths were checked"));
        placed(&*opening);
        Ok(Self { suite, opening })
    }

    /// The algorithms that the key is for.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Verifies the ICV over `before`, IV, `body` and `after`, and only then yields `body` decrypted in place.
    ///
    /// Any length that does not fit the suite is a [`BadIcv`] too: the holder of the key sends no such thing. After
    /// an error the content of `body` is undefined but never plaintext.
    pub fn open(&self, before: &[u8], iv: &[u8], body: &mut [u8], after: &[u8], icv: &[u8]) -> Result<(), BadIcv> {
        if icv.len() != self.suite.icv_len() {
            return Err(BadIcv);
        }
        match &*self.opening {
            Opening::Aead(_) | Opening::Fake(_) if !after.is_empty() => Err(BadIcv),
            Opening::Aead(key) => key.open(before, iv, body, icv).ok_or(BadIcv),
            Opening::Cbc(cipher, integrity) => {
                if !integrity.verify(&[before, iv, body, after], icv) {
                    return Err(BadIcv);
                }
                cipher.decrypt(iv, body).ok_or(BadIcv)
            }
            Opening::Fake(key) => key.open(before, iv, body, icv).ok_or(BadIcv),
        }
    }
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpeningKey").field("suite", &self.suite).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
