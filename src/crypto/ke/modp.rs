//! MODP groups: classic Diffie-Hellman over the safe primes of RFC 2409 and RFC 3526, generator 2.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Encoding, Odd, U512, U1024, U1536, U2048, U3072, U4096, Uint};
use zeroize::{Zeroize, Zeroizing};

use super::group::{Group, KeyExchangeError, PrivateKey};
use crate::crypto::{Entropy, Secret};

/// A prime of `LIMBS` words and the length of the secret exponents used with it.
///
/// RFC 3526 8 rates each group's strength by two estimates; the exponent has twice the higher one, rounded up to
/// whole words, so that searching it is never the easier way in.
pub(super) struct Modp<const LIMBS: usize> {
    prime: Odd<Uint<LIMBS>>,
    exponent_bits: u32,
}

/// The 1024-bit group (second Oakley group, RFC 2409 6.2).
pub(super) static MODP1024: Modp<{ U1024::LIMBS }> = Modp {
    prime: Odd::<U1024>::from_be_hex(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
         EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
         EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
    ),
    exponent_bits: 256,
};

/// The 1536-bit group (RFC 3526 2).
pub(super) static MODP1536: Modp<{ U1536::LIMBS }> = Modp {
    prime: Odd::<U1536>::from_be_hex(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
         EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
         EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
         83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA237327FFFFFFFFFFFFFFFF",
    ),
    exponent_bits: 256,
};

/// The 2048-bit group (RFC 3526 3).
pub(super) static MODP2048: Modp<{ U2048::LIMBS }> = Modp {
    prime: Odd::<U2048>::from_be_hex(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
         EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
         EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
         83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
         E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
         15728E5A8AACAA68FFFFFFFFFFFFFFFF",
    ),
    exponent_bits: 320,
};

/// The 3072-bit group (RFC 3526 4).
pub(super) static MODP3072: Modp<{ U3072::LIMBS }> = Modp {
    prime: Odd::<U3072>::from_be_hex(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
         EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
         EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
         83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
         E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
         15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
         ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C\
         BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
    ),
    exponent_bits: 448,
};

/// The 4096-bit group (RFC 3526 5).
pub(super) static MODP4096: Modp<{ U4096::LIMBS }> = Modp {
    prime: Odd::<U4096>::from_be_hex(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
         EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
         EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
         83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
         E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
         15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
         ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C\
         BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7\
         88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8DBBBC2DB04DE8EF92E8EFC141FBECAA6\
         287C59474E6BC05D99B2964FA090C3A2233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9\
         93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF",
    ),
    exponent_bits: 512,
};

impl<const LIMBS: usize> Modp<LIMBS>
where
    Uint<LIMBS>: Encoding,
{
    /// `base` to the power of `exponent`, in a time that does not depend on either.
    fn power(&self, base: &Uint<LIMBS>, exponent: &U512) -> Uint<LIMBS> {
        let parameters = FixedMontyParams::new(self.prime);
        FixedMontyForm::new(base, &parameters).pow_bounded_exp(exponent, self.exponent_bits).retrieve()
    }

    /// A peer's value: as long as the prime (RFC 7296 3.4) and in 2..=p-2, as RFC 6989 2.1 demands; 0 is no element of
    /// the group, and 1 and p-1 would make the secret one of two known values.
    fn peer_value(&self, peer: &[u8]) -> Result<Uint<LIMBS>, KeyExchangeError> {
        if peer.len() != Uint::<LIMBS>::BYTES {
            return Err(KeyExchangeError::WrongLength { expected: Uint::<LIMBS>::BYTES, actual: peer.len() });
        }
        let value = Uint::from_be_slice(peer);
        let largest = self.prime.as_ref().wrapping_sub(&Uint::from(2u8));
        if value <= Uint::ONE || value > largest {
            return Err(KeyExchangeError::InvalidPublicValue);
        }
        Ok(value)
    }
}

impl<const LIMBS: usize> Group for Modp<LIMBS>
where
    Uint<LIMBS>: Encoding,
{
    fn generate(&'static self, entropy: &mut dyn Entropy) -> (Vec<u8>, Box<dyn PrivateKey>) {
        let mut bytes = Zeroizing::new([0; U512::BYTES]);
        // The exponent's top bit is set: its length is public, and an exponent of 0 or 1 cannot occur.
        let first = U512::BYTES - self.exponent_bits as usize / 8;
        entropy.fill(&mut bytes[first..]);
        bytes[first] |= 0x80;
        let exponent = U512::from_be_slice(&*bytes);
        let public = self.power(&Uint::from(2u8), &exponent);
        (public.to_be_bytes().as_ref().to_vec(), Box::new(ModpPrivateKey { group: self, exponent }))
    }
}

struct ModpPrivateKey<const LIMBS: usize> {
    group: &'static Modp<LIMBS>,
    exponent: U512,
}

impl<const LIMBS: usize> Drop for ModpPrivateKey<LIMBS> {
    fn drop(&mut self) {
        self.exponent.zeroize();
    }
}

impl<const LIMBS: usize> PrivateKey for ModpPrivateKey<LIMBS>
where
    Uint<LIMBS>: Encoding,
{
    /// The secret keeps its leading zeros (RFC 7296 2.14).
    fn agree(&mut self, peer: &[u8]) -> Result<Secret, KeyExchangeError> {
        let peer = self.group.peer_value(peer)?;
        let mut shared = self.group.power(&peer, &self.exponent);
        let secret = Secret::from(shared.to_be_bytes().as_ref());
        shared.zeroize();
        Ok(secret)
    }
}
