//! Stand-ins for simulations and fuzzing: seeded randomness, and algorithms that cost nothing and protect nothing.
//!
//! None of them stands in a `TABLE`, so neither a configuration nor a peer can name one.

pub(super) mod key;

use std::cell::Cell;
use std::time::Duration;

use super::encryption::{Construction, EncryptionAlgorithm};
use super::ke::{Group, KeyExchangeAlgorithm, KeyExchangeError, MODP4096, PrivateKey, X25519};
use super::{Entropy, Secret, Suite};

/// Randomness that its seed fixes (SplitMix64).
#[derive(Clone, Debug)]
pub struct SeededEntropy(u64);

impl SeededEntropy {
    /// The sequence of this seed, from its beginning: equal seeds give equal bytes.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// An "AEAD" whose ciphertext is the plaintext XOR a byte of the key and whose ICV is a keyed checksum: accidents are
/// noticed, attackers are not. Shaped like AES-GCM, under a number for private use.
pub static ENCRYPTION: EncryptionAlgorithm = EncryptionAlgorithm {
    transform_id: 65_000,
    name: "fake",
    iana_name: "FAKE",
    key_bits: None,
    key_len: 16,
    salt_len: 4,
    iv_len: 8,
    icv_len: 16,
    block_len: 1,
    weak: true,
    construction: Construction::Fake,
};

/// The suite of [`ENCRYPTION`] alone.
pub const SUITE: Suite = Suite { encryption: &ENCRYPTION, integrity: None };

/// A key exchange whose "public" value is the private one, under a number for private use.
pub static KEY_EXCHANGE: KeyExchangeAlgorithm = KeyExchangeAlgorithm {
    transform_id: 65_000,
    name: "fake",
    iana_name: "FAKE",
    public_len: 16,
    weak: true,
    cost: X25519.cost,
    group: &FakeGroup { cost: X25519.cost },
};

/// The same under another number, and said to be as slow as the slowest of the real ones.
pub static SLOW_KEY_EXCHANGE: KeyExchangeAlgorithm = KeyExchangeAlgorithm {
    transform_id: 65_001,
    name: "fake-slow",
    iana_name: "FAKE_SLOW",
    public_len: 16,
    weak: true,
    cost: MODP4096.cost,
    group: &FakeGroup { cost: MODP4096.cost },
};

thread_local! {
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// What the key pairs and secrets of the stand-ins would have cost this thread so far, by the costs of their rows.
pub fn spent() -> Duration {
    SPENT.get()
}

struct FakeGroup {
    cost: Duration,
}

struct FakePrivateKey {
    value: [u8; 16],
    cost: Duration,
}

impl Group for FakeGroup {
    fn generate(&'static self, entropy: &mut dyn Entropy) -> (Vec<u8>, Box<dyn PrivateKey>) {
        let mut value = [0; 16];
        entropy.fill(&mut value);
        SPENT.set(SPENT.get() + self.cost);
        (value.to_vec(), Box::new(FakePrivateKey { value, cost: self.cost }))
    }
}

impl PrivateKey for FakePrivateKey {
    fn agree(&mut self, peer: &[u8]) -> Result<Secret, KeyExchangeError> {
        if peer.len() != self.value.len() {
            return Err(KeyExchangeError::WrongLength { expected: self.value.len(), actual: peer.len() });
        }
        SPENT.set(SPENT.get() + self.cost);
        if peer.iter().all(|byte| *byte == 0) {
            return Err(KeyExchangeError::InvalidPublicValue);
        }
        Ok(Secret::new(self.value.iter().zip(peer).map(|(ours, theirs)| ours ^ theirs).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{encryption, ke};

    #[test]
    fn stand_ins_cannot_be_named() {
        assert_eq!(encryption::by_name(ENCRYPTION.name), None);
        assert_eq!(encryption::by_id(ENCRYPTION.transform_id, None), None);
        for row in [&KEY_EXCHANGE, &SLOW_KEY_EXCHANGE] {
            assert_eq!(ke::by_name(row.name), None);
            assert_eq!(ke::by_id(row.transform_id), None);
        }
    }

    #[test]
    fn the_fake_key_exchange_agrees() {
        let mut entropy = SeededEntropy::new(1);
        let (ours, theirs) = (KEY_EXCHANGE.generate(&mut entropy), KEY_EXCHANGE.generate(&mut entropy));
        let (our_public, their_public) = (ours.public().to_vec(), theirs.public().to_vec());
        assert_eq!(ours.agree(&their_public), theirs.agree(&our_public));
    }

    #[test]
    fn what_is_spent_is_told() {
        let before = spent();
        let key_exchange = SLOW_KEY_EXCHANGE.generate(&mut SeededEntropy::new(1));
        assert_eq!(spent() - before, SLOW_KEY_EXCHANGE.cost);
        assert!(key_exchange.agree(&[1; 16]).is_ok());
        assert_eq!(spent() - before, 2 * SLOW_KEY_EXCHANGE.cost);
    }
}
