//! Where randomness comes from.

use ring::rand::{SecureRandom, SystemRandom};

/// A source of random bytes: the system's generator in the daemons, a seeded one in tests.
///
/// The P-256 and P-384 groups do not draw from it (see [`ke`](super::ke)), so nothing may depend on how many bytes
/// were drawn.
pub trait Entropy: Send {
    /// Fills `out` with random bytes.
    fn fill(&mut self, out: &mut [u8]);
}

/// The operating system's generator.
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    /// The generator, ready at once: it has no state of its own.
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    /// A system without randomness cannot protect anything: the process aborts.
    fn fill(&mut self, out: &mut [u8]) {
        if self.0.fill(out).is_err() {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_entropy_fills_every_byte_and_never_repeats() {
        let mut entropy = SystemEntropy::new();
        let (mut first, mut second) = ([0; 64], [0; 64]);
        entropy.fill(&mut first);
        entropy.fill(&mut second);
        assert_ne!(first, second);
        assert_ne!(first[48..], [0; 16]);
    }
}
