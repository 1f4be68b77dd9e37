//! Sealing and opening as the stand-in for an AEAD does it: fast, and no protection.

/// A key of [`ENCRYPTION`](super::ENCRYPTION).
pub struct FakeKey {
    seed: u64,
    mask: u8,
}

impl FakeKey {
    /// From key and salt, of any length.
    pub fn new(key: &[u8]) -> Self {
        let seed = checksum(0xcbf2_9ce4_8422_2325, key);
        Self { seed, mask: seed as u8 | 1 }
    }

    /// Encrypts `body` in place and yields the ICV over all three.
    pub fn seal(&self, before: &[u8], iv: &[u8], body: &mut [u8]) -> [u8; 16] {
        body.iter_mut().for_each(|byte| *byte ^= self.mask);
        self.icv(before, iv, body)
    }

    /// Decrypts `body` in place if the ICV is right; otherwise it stays as it is, and there is nothing.
    pub fn open(&self, before: &[u8], iv: &[u8], body: &mut [u8], icv: &[u8]) -> Option<()> {
        (self.icv(before, iv, body) == icv).then(|| body.iter_mut().for_each(|byte| *byte ^= self.mask))
    }

    fn icv(&self, before: &[u8], iv: &[u8], body: &[u8]) -> [u8; 16] {
        let sum = [before, iv, body].iter().fold(self.seed, |sum, piece| {
            let with_length = checksum(sum, &(piece.len() as u64).to_be_bytes());
            checksum(with_length, piece)
        });
        let mut icv = [0; 16];
        icv[..8].copy_from_slice(&sum.to_be_bytes());
        icv
    }
}

/// FNV-1a, started from `sum`.
fn checksum(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
