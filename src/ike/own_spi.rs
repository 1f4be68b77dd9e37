//! The IKE SPIs that we choose. They are random to everybody else; we can tell, also after a restart, that one is ours, and
//! to which address we gave it: who sends on such a one has received it there, and has lost an IKE SA if we do not know it.
//!
//! ```text
//!  48 random bits | 16 bits of HMAC-SHA-256(secret, "IKE SPI" | the peer's address | those 48)
//! ```
//! The secret is that of the tokens of quick crash detection, which is kept. A peer that moves is not recognised.

use std::net::IpAddr;

use crate::crypto::digest::{constant_time_eq, hmac_sha256};
use crate::crypto::{Entropy, Secret};
use crate::wire::ike::IkeSpi;

/// Bytes of an SPI that are random. Two IKE SAs with one peer have different ones, as good as certainly.
const RANDOM: usize = 6;

/// A new SPI for an IKE SA with the peer at this address, not zero (RFC 7296 section 3.1). Random altogether without a secret.
pub(super) fn make(peer: IpAddr, secret: Option<&Secret>, entropy: &mut dyn Entropy) -> IkeSpi {
    let mut spi = IkeSpi::ZERO;
    while spi.is_zero() {
        entropy.fill(&mut spi.0);
        if let Some(secret) = secret {
            let mark = mark(&spi, peer, secret);
            spi.0[RANDOM..].copy_from_slice(&mark);
        }
    }
    spi
}

/// Whether we made this SPI for that address. One in 65 536 random ones looks so.
pub(super) fn was_made_for(peer: IpAddr, spi: &IkeSpi, secret: Option<&Secret>) -> bool {
    let secret = secret.filter(|_| !spi.is_zero());
    secret.is_some_and(|secret| constant_time_eq(&mark(spi, peer, secret), &spi.0[RANDOM..]))
}

fn mark(spi: &IkeSpi, peer: IpAddr, secret: &Secret) -> [u8; 2] {
    let address = match peer {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let [first, second, ..] = hmac_sha256(secret.as_bytes(), &[b"IKE SPI", &address.octets(), &spi.0[..RANDOM]]);
    [first, second]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::fake::SeededEntropy;

    #[test]
    fn an_spi_is_known_with_the_secret_at_the_address_that_it_was_made_for() {
        let (mut entropy, secret) = (SeededEntropy::new(1), Secret::new(vec![7; 32]));
        let [peer, other]: [IpAddr; 2] = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().expect("an address"));
        for _ in 0..1_000 {
            let spi = make(peer, Some(&secret), &mut entropy);
            assert!(was_made_for(peer, &spi, Some(&secret)) && !was_made_for(peer, &spi, None));
        }
        let looks_so = |peer, secret: &Secret| {
            let mut entropy = SeededEntropy::new(2);
            let spis = (0..20_000).map(|_| make(other, Some(secret), &mut entropy));
            spis.filter(|spi| was_made_for(peer, spi, Some(&Secret::new(vec![7; 32])))).count()
        };
        assert!(looks_so(peer, &secret) <= 4, "made for another address");
        assert!(looks_so(other, &Secret::new(vec![8; 32])) <= 4, "made by somebody else");
        assert_eq!(looks_so(other, &secret), 20_000);
    }

    #[test]
    fn without_a_secret_all_is_random() {
        let mut entropy = SeededEntropy::new(3);
        let spi = make(IpAddr::from([192, 0, 2, 1]), None, &mut entropy);
        let mut bytes = [0; 8];
        SeededEntropy::new(3).fill(&mut bytes);
        assert_eq!(spi.0, bytes);
    }
}
