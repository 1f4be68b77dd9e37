//! The key exchange methods (IKEv2 transform type 4).
//!
//! ring draws the private keys of P-256 and P-384 from the system itself, so those two rows ignore [`Entropy`].

mod ecp;
mod group;
mod modp;
mod x25519;

use std::fmt;
use std::time::Duration;

pub use group::KeyExchangeError;
pub(super) use group::{Group, PrivateKey};

use super::{Entropy, Secret};

/// One key exchange method.
pub struct KeyExchangeAlgorithm {
    /// The number in IANA's "IKEv2 Transform Type 4" registry (the Diffie-Hellman group).
    pub transform_id: u16,
    /// What configuration files and `status` call it.
    pub name: &'static str,
    /// Its name in that registry, such as `Curve25519`.
    pub iana_name: &'static str,
    /// Bytes of a public value in the Key Exchange payload.
    pub public_len: usize,
    /// To be used only when a connection names it.
    pub weak: bool,
    /// What a key pair, or a secret of two, takes on one core, roughly: who shares that time out does so by this, and need
    /// not measure. The proportions matter, not the machine.
    pub cost: Duration,
    pub(super) group: &'static dyn Group,
}

/// Our half of a key exchange.
pub struct KeyExchange {
    algorithm: &'static KeyExchangeAlgorithm,
    public: Vec<u8>,
    private: Box<dyn PrivateKey>,
}

impl KeyExchangeAlgorithm {
    /// Makes a fresh key pair. Not for a method shared between runs: every call draws new randomness.
    pub fn generate(&'static self, entropy: &mut dyn Entropy) -> KeyExchange {
        let (public, private) = self.group.generate(entropy);
        debug_assert_eq!(public.len(), self.public_len);
        KeyExchange { algorithm: self, public, private }
    }
}

impl KeyExchange {
    /// The public value as the Key Exchange payload carries it.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The method that the key pair belongs to.
    pub fn algorithm(&self) -> &'static KeyExchangeAlgorithm {
        self.algorithm
    }

    /// The shared secret g^ir with the peer's public value, which is checked first.
    ///
    /// # Errors
    /// The value has a wrong length, or is none of the group.
    pub fn agree(mut self, peer: &[u8]) -> Result<Secret, KeyExchangeError> {
        self.private.agree(peer)
    }

    /// The same, for who may get another public value when this one is wrong. A pair is good for one secret.
    ///
    /// # Errors
    /// The value has a wrong length, or is none of the group, or there has been a secret.
    pub fn try_agree(&mut self, peer: &[u8]) -> Result<Secret, KeyExchangeError> {
        self.private.agree(peer)
    }
}

impl fmt::Debug for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyExchange").field("algorithm", self.algorithm).finish_non_exhaustive()
    }
}

impl PartialEq for KeyExchangeAlgorithm {
    fn eq(&self, other: &Self) -> bool {
        self.transform_id == other.transform_id
    }
}

impl Eq for KeyExchangeAlgorithm {}

impl fmt::Debug for KeyExchangeAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Curve25519 (RFC 8031).
pub static X25519: KeyExchangeAlgorithm = KeyExchangeAlgorithm {
    transform_id: 31,
    name: "x25519",
    iana_name: "Curve25519",
    public_len: 32,
    weak: false,
    cost: Duration::from_micros(40),
    group: &x25519::X25519,
};

/// The 256-bit random ECP group, P-256 (RFC 5903).
pub static ECP256: KeyExchangeAlgorithm = KeyExchangeAlgorithm {
    transform_id: 19,
    name: "ecp256",
    iana_name: "256-bit random ECP group",
    public_len: 64,
    weak: false,
    cost: Duration::from_micros(40),
    group: &ecp::P256,
};

/// The 384-bit random ECP group, P-384 (RFC 5903).
pub static ECP384: KeyExchangeAlgorithm = KeyExchangeAlgorithm {
    transform_id: 20,
    name: "ecp384",
    iana_name: "384-bit random ECP group",
    public_len: 96,
    weak: false,
    cost: Duration::from_micros(250),
    group: &ecp::P384,
};

/// The 4096-bit MODP group (RFC 3526).
pub static MODP4096: KeyExchangeAlgorithm = KeyExchangeAlgorithm {
    transform_id: 16,
    name: "modp4096",
    iana_name: "4096-bit MODP Group",
    public_len: 512,
    weak: false,
    cost: Duration::from_micros(5_500),
    group: &modp::MODP4096,
};

/// The 3072-bit MODP group (RFC 3526).
pub static MODP3072: KeyExchangeAlgorithm = KeyExchangeAlgorithm {
    transform_id: 15,
    name: "modp3072",
    iana_name: "3072-bit MODP Group",
    public_len: 384,
    weak: false,
    cost: Duration::from_micros(2_700),
    group: &modp::MODP3072,
};

/// The 2048-bit MODP group (RFC 3526).
pub static MODP2048: KeyExchangeAlgorithm = KeyExchangeAlgorithm {
    transform_id: 14,
    name: "modp2048",
    iana_name: "2048-bit MODP Group",
    public_len: 256,
    weak: false,
    cost: Duration::from_micros(900),
    group: &modp::MODP2048,
};

/// The 1536-bit MODP group (RFC 3526), for peers that know nothing better.
pub static MODP1536: KeyExchangeAlgorithm = KeyExchangeAlgorithm {
    transform_id: 5,
    name: "modp1536",
    iana_name: "1536-bit MODP Group",
    public_len: 192,
    weak: true,
    cost: Duration::from_micros(400),
    group: &modp::MODP1536,
};

/// The 1024-bit MODP group (RFC 2409), for peers that know nothing better.
pub static MODP1024: KeyExchangeAlgorithm = KeyExchangeAlgorithm {
    transform_id: 2,
    name: "modp1024",
    iana_name: "1024-bit MODP Group",
    public_len: 128,
    weak: true,
    cost: Duration::from_micros(200),
    group: &modp::MODP1024,
};

/// Every key exchange method, preferred first.
pub static TABLE: &[&KeyExchangeAlgorithm] =
    &[&X25519, &ECP256, &ECP384, &MODP2048, &MODP3072, &MODP4096, &MODP1536, &MODP1024];

/// The method that a proposal or a Key Exchange payload means.
pub fn by_id(transform_id: u16) -> Option<&'static KeyExchangeAlgorithm> {
    TABLE.iter().copied().find(|row| row.transform_id == transform_id)
}

/// The method that a configuration file means.
pub fn by_name(name: &str) -> Option<&'static KeyExchangeAlgorithm> {
    TABLE.iter().copied().find(|row| row.name == name)
}

#[cfg(test)]
mod tests;
