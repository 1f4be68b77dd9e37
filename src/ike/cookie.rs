//! Cookies: an initiator proves that it receives at its address before any state is kept (RFC 7296 2.6).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::crypto::digest::{constant_time_eq, hmac_sha256};
use crate::crypto::{Entropy, Secret};
use crate::wire::ike::IkeSpi;

/// Age at which a new secret takes over. Cookies of the one before stay valid for as long again.
const ROTATION: Duration = Duration::from_secs(60);

/// The secrets that cookies are made with.
pub(super) struct CookieJar {
    current: Secret,
    previous: Secret,
    rotated: Instant,
}

impl CookieJar {
    pub(super) fn new(entropy: &mut dyn Entropy, now: Instant) -> Self {
        Self { current: fresh(entropy), previous: fresh(entropy), rotated: now }
    }

    /// The cookie that this initiator has to return.
    pub(super) fn bake(&mut self, initiator: &Initiator<'_>, entropy: &mut dyn Entropy, now: Instant) -> Vec<u8> {
        self.rotate(entropy, now);
        initiator.cookie(&self.current).to_vec()
    }

    /// Whether a returned cookie is one that this initiator got not long ago.
    pub(super) fn accepts(
        &mut self,
        cookie: &[u8],
        initiator: &Initiator<'_>,
        entropy: &mut dyn Entropy,
        now: Instant,
    ) -> bool {
        self.rotate(entropy, now);
        let current = constant_time_eq(cookie, &initiator.cookie(&self.current));
        let previous = constant_time_eq(cookie, &initiator.cookie(&self.previous));
        current | previous
    }

    /// A quiet hour must not leave an old secret valid, so both go when two rotations have been missed.
    fn rotate(&mut self, entropy: &mut dyn Entropy, now: Instant) {
        let age = now.saturating_duration_since(self.rotated);
        if age < ROTATION {
            return;
        }
        let retired = std::mem::replace(&mut self.current, fresh(entropy));
        self.previous = if age < 2 * ROTATION { retired } else { fresh(entropy) };
        self.rotated = now;
    }
}

fn fresh(entropy: &mut dyn Entropy) -> Secret {
    let mut bytes = vec![0; 32];
    entropy.fill(&mut bytes);
    Secret::new(bytes)
}

/// What a cookie is bound to: `Ni | IPi | SPIi` of RFC 7296 2.6, and the port.
pub(super) struct Initiator<'a> {
    pub(super) nonce: &'a [u8],
    pub(super) source: SocketAddr,
    pub(super) spi: IkeSpi,
}

impl Initiator<'_> {
    fn cookie(&self, secret: &Secret) -> [u8; 32] {
        let address = match self.source.ip() {
            std::net::IpAddr::V4(address) => address.to_ipv6_mapped(),
            std::net::IpAddr::V6(address) => address,
        };
        let port = self.source.port().to_be_bytes();
        hmac_sha256(secret.as_bytes(), &[self.nonce, &address.octets(), &port, &self.spi.0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::fake::SeededEntropy;

    fn initiator(port: u16) -> Initiator<'static> {
        Initiator { nonce: &[7; 32], source: SocketAddr::from(([192, 0, 2, 1], port)), spi: IkeSpi([1; 8]) }
    }

    #[test]
    fn a_cookie_is_good_for_its_initiator_until_two_rotations_later() {
        let mut entropy = SeededEntropy::new(1);
        let start = Instant::now();
        let mut jar = CookieJar::new(&mut entropy, start);
        let cookie = jar.bake(&initiator(500), &mut entropy, start);
        assert!(cookie.len() <= 64);
        assert!(jar.accepts(&cookie, &initiator(500), &mut entropy, start + ROTATION / 2));
        assert!(jar.accepts(&cookie, &initiator(500), &mut entropy, start + ROTATION));
        assert!(!jar.accepts(&cookie, &initiator(501), &mut entropy, start + ROTATION));
        assert!(!jar.accepts(&cookie, &initiator(500), &mut entropy, start + 2 * ROTATION));
    }

    #[test]
    fn a_long_silence_makes_every_cookie_void() {
        let mut entropy = SeededEntropy::new(2);
        let start = Instant::now();
        let mut jar = CookieJar::new(&mut entropy, start);
        let cookie = jar.bake(&initiator(500), &mut entropy, start);
        assert!(!jar.accepts(&cookie, &initiator(500), &mut entropy, start + 3 * ROTATION));
    }
}
