//! The key schedule as a chain of types (RFC 7296 2.13 to 2.18): SKEYSEED becomes the keys of an IKE SA, and SK_d of
//! these the keys of its Child SAs and of the IKE SA that replaces it.

use super::event::SaKeys;
use super::key_log::{IkeKeyMaterial, KeyLog};
use crate::crypto::{OpeningKey, PrfAlgorithm, SealingKey, Secret, Suite, WrongKeyLength};
use crate::wire::ike::IkeSpi;

/// The nonces of an exchange.
#[derive(Clone, Copy)]
pub(super) struct Nonces<'a> {
    pub(super) initiator: &'a [u8],
    pub(super) responder: &'a [u8],
}

/// The SPIs of an IKE SA, by who initiated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spis {
    pub(super) initiator: IkeSpi,
    pub(super) responder: IkeSpi,
}

impl Spis {
    /// The SPI of an IKE proposal: eight bytes, not all zero (RFC 7296 3.3.1).
    pub(super) fn of_proposal(spi: &[u8]) -> Option<IkeSpi> {
        let spi = IkeSpi(<[u8; 8]>::try_from(spi).ok()?);
        (!spi.is_zero()).then_some(spi)
    }
}

/// SKEYSEED (RFC 7296 2.14 and 2.18).
pub(super) struct Skeyseed(Secret);

impl Skeyseed {
    /// Of a first IKE SA: `prf(Ni | Nr, g^ir)`.
    pub(super) fn initial(prf: &PrfAlgorithm, nonces: Nonces<'_>, shared: &Secret) -> Self {
        let key = [nonces.initiator, nonces.responder].concat();
        Self(prf.prf(&key, &[shared.as_bytes()]))
    }

    /// Of an IKE SA that replaces another: `prf(SK_d (old), g^ir (new) | Ni | Nr)`, with the PRF of the old one.
    pub(super) fn rekeyed(old: &ChildKeySource, nonces: Nonces<'_>, shared: &Secret) -> Self {
        Self(old.prf.prf(old.sk_d.as_bytes(), &[shared.as_bytes(), nonces.initiator, nonces.responder]))
    }

    /// `{SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)`.
    pub(super) fn expand(
        self,
        prf: &'static PrfAlgorithm,
        suite: Suite,
        nonces: Nonces<'_>,
        spis: Spis,
        log: Option<&dyn KeyLog>,
    ) -> Result<IkeKeys, WrongKeyLength> {
        let (integrity, encryption) = (suite.integrity_key_len(), suite.encryption_key_len());
        let total = 3 * prf.output_len + 2 * integrity + 2 * encryption;
        let seed = [nonces.initiator, nonces.responder, &spis.initiator.0, &spis.responder.0];
        let stream = prf.prf_plus(self.0.as_bytes(), &seed, total);
        let mut cutter = Cutter(stream.as_bytes());
        let sk_d = cutter.cut(prf.output_len);
        let (sk_ai, sk_ar) = (cutter.cut(integrity), cutter.cut(integrity));
        let (sk_ei, sk_er) = (cutter.cut(encryption), cutter.cut(encryption));
        let (sk_pi, sk_pr) = (cutter.cut(prf.output_len), cutter.cut(prf.output_len));
        if let Some(log) = log {
            let (initiator_spi, responder_spi) = (spis.initiator, spis.responder);
            log.ike_sa(&IkeKeyMaterial {
                initiator_spi,
                responder_spi,
                suite,
                sk_d,
                sk_ai,
                sk_ar,
                sk_ei,
                sk_er,
                sk_pi,
                sk_pr,
            });
        }
        Ok(IkeKeys {
            child_key_source: ChildKeySource { prf, sk_d: Secret::new(sk_d.to_vec()) },
            authentication: AuthenticationKeys {
                prf,
                sk_pi: Secret::new(sk_pi.to_vec()),
                sk_pr: Secret::new(sk_pr.to_vec()),
            },
            initiator: (SealingKey::new(suite, sk_ei, sk_ai)?, OpeningKey::new(suite, sk_ei, sk_ai)?),
            responder: (SealingKey::new(suite, sk_er, sk_ar)?, OpeningKey::new(suite, sk_er, sk_ar)?),
        })
    }
}

/// The keys of an IKE SA, each with its use.
pub(super) struct IkeKeys {
    pub(super) child_key_source: ChildKeySource,
    pub(super) authentication: AuthenticationKeys,
    /// Of messages that the initiator sends.
    pub(super) initiator: (SealingKey, OpeningKey),
    /// Of messages that the responder sends.
    pub(super) responder: (SealingKey, OpeningKey),
}

/// SK_pi and SK_pr, with which the identities are bound to the exchange (RFC 7296 2.15).
pub(super) struct AuthenticationKeys {
    prf: &'static PrfAlgorithm,
    sk_pi: Secret,
    sk_pr: Secret,
}

/// Pads the shared secret for one purpose (RFC 7296 2.15).
const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// Which end signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signer {
    Initiator,
    Responder,
}

impl AuthenticationKeys {
    /// The AUTH data of a pre-shared key: `prf(prf(PSK, "Key Pad for IKEv2"), message | nonce | prf(SK_p, ID'))`.
    ///
    /// `message` is the signer's own first message, `nonce` the other end's, `id_body` the signer's identification
    /// payload without its generic header.
    pub(super) fn shared_key_mac(
        &self,
        signer: Signer,
        psk: &Secret,
        message: &[u8],
        nonce: &[u8],
        id_body: &[u8],
    ) -> Secret {
        let sk_p = match signer {
            Signer::Initiator => &self.sk_pi,
            Signer::Responder => &self.sk_pr,
        };
        let maced_id = self.prf.prf(sk_p.as_bytes(), &[id_body]);
        let key = self.prf.prf(psk.as_bytes(), &[KEY_PAD]);
        self.prf.prf(key.as_bytes(), &[message, nonce, maced_id.as_bytes()])
    }
}

/// SK_d with its PRF: what keys of Child SAs and of replacing IKE SAs are derived from.
pub(super) struct ChildKeySource {
    prf: &'static PrfAlgorithm,
    sk_d: Secret,
}

impl ChildKeySource {
    /// `KEYMAT = prf+(SK_d, [g^ir (new) |] Ni | Nr)`, cut as RFC 7296 2.17 says: first the SA from the exchange's
    /// initiator to its responder, for each SA first the encryption key. Returns the keys in this order.
    pub(super) fn child_keys(&self, suite: Suite, nonces: Nonces<'_>, shared: Option<&Secret>) -> (SaKeys, SaKeys) {
        let (encryption, integrity) = (suite.encryption_key_len(), suite.integrity_key_len());
        let shared = shared.map_or(&[][..], Secret::as_bytes);
        let seed = [shared, nonces.initiator, nonces.responder];
        let stream = self.prf.prf_plus(self.sk_d.as_bytes(), &seed, 2 * (encryption + integrity));
        let mut cutter = Cutter(stream.as_bytes());
        let mut keys = || SaKeys {
            encryption_key: Secret::new(cutter.cut(encryption).to_vec()),
            integrity_key: Secret::new(cutter.cut(integrity).to_vec()),
        };
        let from_initiator = keys();
        (from_initiator, keys())
    }
}

/// Cuts a key stream from the front.
struct Cutter<'a>(&'a [u8]);

impl<'a> Cutter<'a> {
    fn cut(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(len.min(self.0.len()));
        self.0 = tail;
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{encryption, integ, prf};
    use crate::ike::message::{Payloads, id_body};
    use crate::wire::ike::{PayloadType, parse_message, parse_payloads, strip_padding};

    /// Two captured handshakes of strongSwan with their keys as its log gives them.
    const HANDSHAKES: [(&str, &str); 2] = [
        ("aes256gcm16", include_str!("../../tests/vectors/handshakes/aes256gcm16-prfsha256-x25519.txt")),
        ("aes128", include_str!("../../tests/vectors/handshakes/aes128-sha256-prfsha256-modp2048.txt")),
    ];
    const PSK: &[u8] = b"a captured secret";

    /// The values of one name, in order.
    fn values(text: &str, name: &str) -> Vec<Vec<u8>> {
        let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        values.map(|value| hex::decode(value).expect("hexadecimal digits")).collect()
    }

    #[test]
    fn captured_handshakes_are_derived_opened_and_authenticated() {
        for (name, text) in HANDSHAKES {
            let cipher = encryption::by_name(name).expect("an algorithm");
            let integrity = (!cipher.is_aead()).then_some(&integ::HMAC_SHA2_256_128);
            let suite = Suite::new(cipher, integrity).expect("a suite");
            let prf = &prf::HMAC_SHA2_256;
            let datagrams = values(text, "datagram");
            let [request, response] = [0, 1].map(|index| parse_message(&datagrams[index]).expect("a message"));
            let spis = Spis { initiator: response.header.initiator_spi, responder: response.header.responder_spi };
            let [ours, theirs] = [&request, &response].map(|message| Payloads::new(message.payloads.clone()));
            let nonces =
                Nonces { initiator: ours.nonce().expect("a nonce"), responder: theirs.nonce().expect("a nonce") };
            let shared = Secret::new(values(text, "shared_secret").remove(0));
            let skeyseed = Skeyseed::initial(prf, nonces, &shared);
            assert_eq!(skeyseed.0.as_bytes(), values(text, "skeyseed")[0]);
            let keys = skeyseed.expand(prf, suite, nonces, spis, None).expect("keys that fit");
            assert_eq!(keys.child_key_source.sk_d.as_bytes(), values(text, "sk_d")[0]);

            let (from_initiator, from_responder) = keys.child_key_source.child_keys(suite, nonces, None);
            assert_eq!(from_initiator.encryption_key.as_bytes(), values(text, "initiator_encryption_key")[0]);
            assert_eq!(from_responder.encryption_key.as_bytes(), values(text, "responder_encryption_key")[0]);

            let signers = [
                (
                    Signer::Initiator,
                    &keys.initiator.1,
                    &datagrams[0],
                    nonces.responder,
                    PayloadType::IDENTIFICATION_INITIATOR,
                ),
                (
                    Signer::Responder,
                    &keys.responder.1,
                    &datagrams[1],
                    nonces.initiator,
                    PayloadType::IDENTIFICATION_RESPONDER,
                ),
            ];
            for ((signer, opening, message, nonce, id_kind), datagram) in signers.into_iter().zip(&datagrams[2..]) {
                let parsed = parse_message(datagram).expect("a message");
                let encrypted = parsed.encrypted.expect("an encrypted payload");
                let mut copy = datagram.clone();
                let parts = encrypted.split(&mut copy, suite.iv_len(), suite.icv_len()).expect("the parts");
                opening.open(parts.before, parts.iv, parts.body, &[], parts.icv).expect("the right keys");
                let plain = strip_padding(parts.body).expect("padding");
                let payloads = Payloads::new(parse_payloads(encrypted.first_payload, plain).expect("payloads"));
                let id = id_body(encrypted.first_payload, plain, id_kind).expect("payloads").expect("an identity");
                let psk = Secret::new(PSK.to_vec());
                let mac = keys.authentication.shared_key_mac(signer, &psk, message, nonce, &id);
                assert_eq!(mac.as_bytes(), payloads.authentication().expect("AUTH").data, "{signer:?}");
            }
        }
    }
}
