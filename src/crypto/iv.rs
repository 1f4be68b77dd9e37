//! Initialization vectors.

use zeroize::Zeroizing;

use super::cbc::{BLOCK_LEN, EncryptingKey};
use super::cipher::Suite;
use super::random::Entropy;

/// The IVs of one sealing key, without a system call per message.
///
/// AEADs need IVs that never repeat under a key: a counter. CBC needs IVs that nobody can predict (RFC 3602 3): a
/// counter encrypted under a random key of its own. One source belongs to one sealing key.
pub struct IvSource {
    counter: u64,
    scramble: Option<EncryptingKey>,
}

impl IvSource {
    /// A source for a fresh sealing key of this suite. For CBC it draws a key of 32 bytes, with which counters become
    /// unpredictable.
    pub fn new(suite: Suite, entropy: &mut dyn Entropy) -> Self {
        let scramble = (!suite.encryption.is_aead()).then(|| {
            let mut key = Zeroizing::new([0; 32]);
            entropy.fill(&mut *key);
            EncryptingKey::new(&*key).expect("AES takes keys of 32 bytes")
        });
        Self { counter: 0, scramble }
    }

    /// Writes the next IV. Allocates nothing.
    ///
    /// # Panics
    /// When `iv` is longer than a CBC block of 16 bytes or, for an AEAD, shorter than its 8 bytes.
    pub fn fill_next(&mut self, iv: &mut [u8]) {
        let mut block = [0; BLOCK_LEN];
        block[BLOCK_LEN - 8..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        if let Some(scramble) = &self.scramble {
            scramble.encrypt_block(&mut block);
        }
        assert!(iv.len() >= 8, "an IV has at least 8 bytes");
        iv.copy_from_slice(&block[BLOCK_LEN - iv.len()..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::fake::SeededEntropy;
    use crate::crypto::{encryption, integ};

    #[test]
    fn aead_ivs_count() {
        let suite = Suite::new(&encryption::AES128_GCM_16, None).expect("an AEAD stands alone");
        let mut source = IvSource::new(suite, &mut SeededEntropy::new(1));
        let mut iv = [0xff; 8];
        for expected in 0..3 {
            source.fill_next(&mut iv);
            assert_eq!(u64::from_be_bytes(iv), expected);
        }
    }

    #[test]
    fn cbc_ivs_neither_repeat_nor_follow_from_each_other() {
        let suite = Suite::new(&encryption::AES256_CBC, Some(&integ::HMAC_SHA2_256_128)).expect("CBC with an HMAC");
        let mut first = IvSource::new(suite, &mut SeededEntropy::new(1));
        let mut second = IvSource::new(suite, &mut SeededEntropy::new(2));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            for source in [&mut first, &mut second] {
                let mut iv = [0; 16];
                source.fill_next(&mut iv);
                assert!(seen.insert(iv));
            }
        }
    }
}
