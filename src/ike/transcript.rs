//! What both ends have said before IKE_AUTH: each signs its own message, and the other's nonce (RFC 7296 2.15).

use super::authentication::SignedOctets;
use super::keys::{Nonces, Signer};

/// What IKE_SA_INIT exchanged, as AUTH covers it.
pub(super) struct Transcript {
    pub(super) request: Vec<u8>,
    pub(super) response: Vec<u8>,
    pub(super) initiator_nonce: Vec<u8>,
    pub(super) responder_nonce: Vec<u8>,
}

impl Transcript {
    pub(super) fn nonces(&self) -> Nonces<'_> {
        Nonces { initiator: &self.initiator_nonce, responder: &self.responder_nonce }
    }

    /// What one end signs with this identification payload.
    pub(super) fn signed_by<'a>(&'a self, signer: Signer, id_body: &'a [u8]) -> SignedOctets<'a> {
        let (message, nonce) = match signer {
            Signer::Initiator => (&self.request, &self.responder_nonce),
            Signer::Responder => (&self.response, &self.initiator_nonce),
        };
        SignedOctets { signer, message, nonce, id_body }
    }
}
