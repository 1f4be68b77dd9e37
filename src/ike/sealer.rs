//! Sealing the messages of one IKE SA (RFC 7296 3.14, RFC 7383 2.5).

use super::error::Unsendable;
use super::keys::Spis;
use crate::crypto::{Entropy, SealingKey};
use crate::wire::ike::{EncryptedShape, ExchangeType, Flags, Header, Payload, Sealable, encode_fragments};

/// What the messages of ours begin with and are sealed with.
pub(super) struct Sealer {
    pub(super) spis: Spis,
    /// We initiated this IKE SA.
    pub(super) initiator: bool,
    key: SealingKey,
    messages_sealed: u64,
}

impl Sealer {
    pub(super) fn new(spis: Spis, initiator: bool, key: SealingKey) -> Self {
        Self { spis, initiator, key, messages_sealed: 0 }
    }

    /// The header of a message of ours.
    pub(super) fn header(&self, exchange: ExchangeType, response: bool, message_id: u32) -> Header {
        let flags = Flags { initiator: self.initiator, version: false, response };
        Header::new(self.spis.initiator, self.spis.responder, exchange, flags, message_id)
    }

    /// Bytes that protection takes.
    pub(super) fn shape(&self) -> EncryptedShape {
        let suite = self.key.suite();
        EncryptedShape { iv_len: suite.iv_len(), block_len: suite.block_len(), icv_len: suite.icv_len() }
    }

    /// The datagrams of a message: one, or its fragments if it has more than `limit` bytes.
    pub(super) fn seal(
        &mut self,
        exchange: ExchangeType,
        response: bool,
        message_id: u32,
        payloads: &[Payload],
        limit: usize,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<Vec<u8>>, Unsendable> {
        let (header, shape) = (self.header(exchange, response, message_id), self.shape());
        let unsendable = |too_long| Unsendable { exchange, response, too_long };
        let sealables = encode_fragments(&header, payloads, shape, limit).map_err(unsendable)?;
        Ok(sealables.into_iter().map(|sealable| self.seal_one(sealable, entropy)).collect())
    }

    fn seal_one(&mut self, mut sealable: Sealable, entropy: &mut dyn Entropy) -> Vec<u8> {
        let parts = sealable.parts();
        self.messages_sealed += 1;
        match parts.iv.last_chunk_mut::<8>() {
            // An AEAD needs an IV that never repeats (RFC 5282 3.1), CBC one that can't be predicted (RFC 7296 3.14).
            Some(iv) if self.key.suite().encryption.is_aead() => *iv = self.messages_sealed.to_be_bytes(),
            _ => entropy.fill(parts.iv),
        }
        self.key.seal(parts.before, parts.iv, parts.body, &[], parts.icv);
        sealable.message
    }
}
