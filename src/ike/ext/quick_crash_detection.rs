//! Quick crash detection (RFC 6290): each end gives the other a token that only it can make, and makes it again when it has
//! lost the IKE SA. Whoever gets the token of an IKE SA back need not wait for the peer's silence.
//!
//! ```text
//!  IKE_AUTH, or INFORMATIONAL after a rekey: SK{ …, N(QUICK_CRASH_DETECTION: token) }
//!  after a restart:   any request on that IKE SA ──►
//!                     ◄── in the clear: N(INVALID_IKE_SPI), N(QUICK_CRASH_DETECTION: the same token)
//! ```
//! The token is `HMAC-SHA-256(secret, SPIi | SPIr | whether its maker initiated)`: nothing of it has to be kept but the
//! secret, and the token of one IKE SA or of one end says nothing of any other's. It is never told of an IKE SA that
//! exists, or somebody could collect it and end that IKE SA (RFC 6290 9.2).

use super::extension::{At, Extension, Point, Voice};
use super::negotiated::{CrashDetection, Negotiated};
use crate::crypto::Secret;
use crate::crypto::digest::{constant_time_eq, hmac_sha256};
use crate::ike::config::Connection;
use crate::ike::message::Payloads;
use crate::wire::ike::{Notify, NotifyType, Payload};

/// Bytes of a token (RFC 6290 4.1).
const TOKEN_LEN: std::ops::RangeInclusive<usize> = 16..=128;

/// The row of quick crash detection.
pub(super) struct QuickCrashDetection;

impl Extension for QuickCrashDetection {
    fn name(&self) -> &'static str {
        "quick-crash-detection"
    }

    fn is_on(&self, connection: &Connection) -> bool {
        connection.extensions.quick_crash_detection
    }

    /// From when the peer's token is there.
    fn is_used(&self, negotiated: &Negotiated) -> bool {
        negotiated.crash_detection.token.is_some()
    }

    fn say(&self, at: At, voice: &mut Voice<'_>, negotiated: &mut Negotiated) -> Vec<Payload> {
        if !may_hold_token(at.point) || negotiated.crash_detection.told {
            return Vec::new();
        }
        let token = self.disown(at, voice.token_secret);
        negotiated.crash_detection.told = !token.is_empty();
        token
    }

    fn hear(&self, at: At, payloads: &Payloads, negotiated: &mut Negotiated) {
        if may_hold_token(at.point)
            && let Some(token) = tokens(payloads).next()
        {
            negotiated.crash_detection.token = Some(token.clone());
        }
    }

    fn owes(&self, has_token_secret: bool, negotiated: &Negotiated) -> bool {
        has_token_secret && !negotiated.crash_detection.told
    }

    /// Other SPIs have another token.
    fn renew(&self, negotiated: &mut Negotiated) {
        negotiated.crash_detection = CrashDetection::default();
    }

    fn disown(&self, at: At, token_secret: Option<&Secret>) -> Vec<Payload> {
        let notify =
            |secret| Payload::Notify(Notify::new(NotifyType::QUICK_CRASH_DETECTION, token(secret, at).to_vec()));
        token_secret.map(notify).into_iter().collect()
    }

    fn is_disowned(&self, payloads: &Payloads, negotiated: &Negotiated) -> bool {
        let Some(expected) = &negotiated.crash_detection.token else { return false };
        tokens(payloads).any(|token| constant_time_eq(token, expected))
    }
}

/// Where tokens are told; a responder's comes with the proof of who it is.
fn may_hold_token(point: Point) -> bool {
    matches!(point, Point::AuthRequest | Point::AuthResponse | Point::Inform)
}

fn tokens(payloads: &Payloads) -> impl Iterator<Item = &Vec<u8>> {
    let notifies = payloads.notifies(NotifyType::QUICK_CRASH_DETECTION);
    notifies.map(|notify| &notify.data).filter(|token| TOKEN_LEN.contains(&token.len()))
}

fn token(secret: &Secret, at: At) -> [u8; 32] {
    let role = [u8::from(at.initiator)];
    hmac_sha256(secret.as_bytes(), &[&at.spis.initiator.0, &at.spis.responder.0, &role])
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::ike::event::Path;
    use crate::ike::keys::Spis;
    use crate::wire::ike::IkeSpi;

    fn at(initiator_spi: u8, initiator: bool) -> At {
        let anywhere = SocketAddr::from(([192, 0, 2, 1], 500));
        let path = Path { local: anywhere, peer: anywhere, non_esp_marker: false };
        let spis = Spis { initiator: IkeSpi([initiator_spi; 8]), responder: IkeSpi([2; 8]) };
        At { point: Point::Inform, spis, path, initiator }
    }

    #[test]
    fn a_token_is_of_one_secret_one_ike_sa_and_one_end() {
        let secrets = [Secret::new(vec![1; 32]), Secret::new(vec![2; 32])];
        let first = token(&secrets[0], at(1, true));
        assert_eq!(token(&secrets[0], at(1, true)), first);
        for other in
            [token(&secrets[1], at(1, true)), token(&secrets[0], at(3, true)), token(&secrets[0], at(1, false))]
        {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn only_the_token_that_was_told_disowns() {
        let secret = Secret::new(vec![1; 32]);
        let told = |at| Payloads::new(QuickCrashDetection.disown(at, Some(&secret)));
        let mut negotiated = Negotiated::default();
        assert!(!QuickCrashDetection.is_disowned(&told(at(1, true)), &negotiated), "none was told");
        QuickCrashDetection.hear(at(1, true), &told(at(1, true)), &mut negotiated);
        assert!(QuickCrashDetection.is_disowned(&told(at(1, true)), &negotiated));
        assert!(!QuickCrashDetection.is_disowned(&told(at(3, true)), &negotiated), "of another IKE SA");
        assert!(!QuickCrashDetection.is_disowned(&told(at(1, false)), &negotiated), "of the other end");
        QuickCrashDetection.renew(&mut negotiated);
        assert!(!QuickCrashDetection.is_disowned(&told(at(1, true)), &negotiated), "rekeyed");
    }

    #[test]
    fn a_token_of_a_wrong_length_is_none() {
        for (length, is_taken) in [(0, false), (15, false), (16, true), (128, true), (129, false)] {
            let notify = Notify::new(NotifyType::QUICK_CRASH_DETECTION, vec![7; length]);
            let mut negotiated = Negotiated::default();
            QuickCrashDetection.hear(at(1, true), &Payloads::new(vec![Payload::Notify(notify)]), &mut negotiated);
            assert_eq!(negotiated.crash_detection.token.is_some(), is_taken, "{length}");
        }
    }
}
