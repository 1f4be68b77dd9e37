//! Curve25519 (RFC 7748, RFC 8031).

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::group::{Group, KeyExchangeError, PrivateKey};
use crate::crypto::{Entropy, Secret};

pub(super) struct X25519;

impl Group for X25519 {
    fn generate(&'static self, entropy: &mut dyn Entropy) -> (Vec<u8>, Box<dyn PrivateKey>) {
        let mut scalar = Zeroizing::new([0; 32]);
        entropy.fill(&mut *scalar);
        let private = StaticSecret::from(*scalar);
        (PublicKey::from(&private).as_bytes().to_vec(), Box::new(private))
    }
}

impl PrivateKey for StaticSecret {
    /// Refuses a secret of all zeros, which a public value of small order yields (RFC 7748 6.1).
    fn agree(&mut self, peer: &[u8]) -> Result<Secret, KeyExchangeError> {
        let peer: [u8; 32] =
            peer.try_into().map_err(|_| KeyExchangeError::WrongLength { expected: 32, actual: peer.len() })?;
        let shared = self.diffie_hellman(&PublicKey::from(peer));
        if !shared.was_contributory() {
            return Err(KeyExchangeError::InvalidPublicValue);
        }
        Ok(Secret::from(shared.as_bytes().as_slice()))
    }
}
