//! What a key exchange method computes: key pairs, and the secret that two of them agree on.

use crate::crypto::{Entropy, Secret};

/// The arithmetic of a method.
pub trait Group: Sync {
    /// A fresh key pair: the public value as it is sent, and the private key.
    fn generate(&'static self, entropy: &mut dyn Entropy) -> (Vec<u8>, Box<dyn PrivateKey>);
}

/// A private key, good for one agreement.
pub trait PrivateKey: Send {
    /// The secret shared with the holder of a public value.
    ///
    /// # Errors
    /// The value has a wrong length, or is none of the group. The key is still good for another one.
    fn agree(&mut self, peer: &[u8]) -> Result<Secret, KeyExchangeError>;
}

/// Why a peer's public value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyExchangeError {
    /// Not as long as public values of the method are, in bytes.
    #[error("the peer's public value has {actual} bytes, not {expected}")]
    WrongLength {
        /// What the method takes.
        expected: usize,
        /// What the peer sent.
        actual: usize,
    },
    /// Not on the curve, or of so small an order that the secret would be known (RFC 6989 2, RFC 7748 6.1).
    #[error("the peer's public value is not a valid one of its group")]
    InvalidPublicValue,
}
