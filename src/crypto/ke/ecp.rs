//! Elliptic curve groups modulo a prime (RFC 5903): public values are x || y without the 0x04 of SEC 1, and the shared
//! secret is the x coordinate alone.

use ring::agreement::{Algorithm, ECDH_P256, ECDH_P384, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;

use super::group::{Group, KeyExchangeError, PrivateKey};
use crate::crypto::{Entropy, Secret};

/// SEC 1's mark of an uncompressed point.
const UNCOMPRESSED: u8 = 4;

pub(super) struct Ecp {
    algorithm: &'static Algorithm,
    public_len: usize,
}

pub(super) static P256: Ecp = Ecp { algorithm: &ECDH_P256, public_len: 64 };

pub(super) static P384: Ecp = Ecp { algorithm: &ECDH_P384, public_len: 96 };

impl Group for Ecp {
    /// ring takes keys from the system's generator only; a failure of that leaves nothing to go on with.
    fn generate(&'static self, _entropy: &mut dyn Entropy) -> (Vec<u8>, Box<dyn PrivateKey>) {
        let generated = EphemeralPrivateKey::generate(self.algorithm, &SystemRandom::new())
            .and_then(|private| Ok((private.compute_public_key()?, private)));
        let Ok((public, private)) = generated else { std::process::abort() };
        (public.as_ref()[1..].to_vec(), Box::new(EcpPrivateKey { group: self, private }))
    }
}

struct EcpPrivateKey {
    group: &'static Ecp,
    private: EphemeralPrivateKey,
}

impl PrivateKey for EcpPrivateKey {
    /// ring refuses points that are not on the curve (RFC 6989 2.3).
    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, KeyExchangeError> {
        if peer.len() != self.group.public_len {
            return Err(KeyExchangeError::WrongLength { expected: self.group.public_len, actual: peer.len() });
        }
        let point = [&[UNCOMPRESSED], peer].concat();
        agree_ephemeral(self.private, &UnparsedPublicKey::new(self.group.algorithm, point), |x| Secret::from(x))
            .map_err(|_| KeyExchangeError::InvalidPublicValue)
    }
}
