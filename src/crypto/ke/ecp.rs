//! Elliptic curve groups modulo a prime (RFC 5903): public values are x || y without the 0x04 of SEC 1, and the shared
//! secret is the x coordinate alone.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U256, U384, Uint};
use ring::agreement::{Algorithm, ECDH_P256, ECDH_P384, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;

use super::group::{Group, KeyExchangeError, PrivateKey};
use crate::crypto::{Entropy, Secret};

/// SEC 1's mark of an uncompressed point.
const UNCOMPRESSED: u8 = 4;

pub(super) struct Ecp {
    algorithm: &'static Algorithm,
    public_len: usize,
    /// Whether a point of these coordinates is on the curve.
    holds: fn(&[u8], &[u8]) -> bool,
}

pub(super) static P256: Ecp = Ecp { algorithm: &ECDH_P256, public_len: 64, holds: |x, y| CURVE_P256.holds(x, y) };

pub(super) static P384: Ecp = Ecp { algorithm: &ECDH_P384, public_len: 96, holds: |x, y| CURVE_P384.holds(x, y) };

/// The curve y² = x³ - 3x + b modulo a prime.
struct Curve<const LIMBS: usize> {
    prime: Odd<Uint<LIMBS>>,
    b: Uint<LIMBS>,
}

/// RFC 5903 3.1.
const CURVE_P256: Curve<{ U256::LIMBS }> = Curve {
    prime: Odd::<U256>::from_be_hex("FFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF"),
    b: U256::from_be_hex("5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B"),
};

/// RFC 5903 3.2.
const CURVE_P384: Curve<{ U384::LIMBS }> = Curve {
    prime: Odd::<U384>::from_be_hex(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFFFF0000000000000000FFFFFFFF",
    ),
    b: U384::from_be_hex(
        "B3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF",
    ),
};

impl<const LIMBS: usize> Curve<LIMBS> {
    /// Whether a point, which is public, is on the curve and not at infinity (RFC 6989 2.3).
    fn holds(&self, x: &[u8], y: &[u8]) -> bool {
        let (x, y) = (Uint::from_be_slice(x), Uint::from_be_slice(y));
        if x.max(y) >= *self.prime.as_ref() {
            return false;
        }
        let parameters = FixedMontyParams::new_vartime(self.prime);
        let [x, y, b] = [x, y, self.b].map(|value| FixedMontyForm::new(&value, &parameters));
        y.square() == x.square() * x - (x + x + x) + b
    }
}

impl Group for Ecp {
    /// ring takes keys from the system's generator only; a failure of that leaves nothing to go on with.
    fn generate(&'static self, _entropy: &mut dyn Entropy) -> (Vec<u8>, Box<dyn PrivateKey>) {
        let generated = EphemeralPrivateKey::generate(self.algorithm, &SystemRandom::new())
            .and_then(|private| Ok((private.compute_public_key()?, private)));
        let Ok((public, private)) = generated else { std::process::abort() };
        (public.as_ref()[1..].to_vec(), Box::new(EcpPrivateKey { group: self, private: Some(private) }))
    }
}

struct EcpPrivateKey {
    group: &'static Ecp,
    private: Option<EphemeralPrivateKey>,
}

impl PrivateKey for EcpPrivateKey {
    /// ring takes the key away also when it refuses a point, so those that are not on the curve don't get there.
    fn agree(&mut self, peer: &[u8]) -> Result<Secret, KeyExchangeError> {
        if peer.len() != self.group.public_len {
            return Err(KeyExchangeError::WrongLength { expected: self.group.public_len, actual: peer.len() });
        }
        let (x, y) = peer.split_at(peer.len() / 2);
        let private = self.private.take_if(|_| (self.group.holds)(x, y)).ok_or(KeyExchangeError::InvalidPublicValue)?;
        let point = [&[UNCOMPRESSED], peer].concat();
        agree_ephemeral(private, &UnparsedPublicKey::new(self.group.algorithm, point), |x| Secret::from(x))
            .map_err(|_| KeyExchangeError::InvalidPublicValue)
    }
}
