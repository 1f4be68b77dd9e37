//! Whether the peer is who it says: the pre-shared key (RFC 7296 2.15). Identities are in [`super::identity`].

use super::directory::{Alike, Candidates};
use super::failure::AuthenticationError;
use super::identity::same_identity;
use super::keys::{AuthenticationKeys, Signer};
use super::negotiate::IkeAlgorithms;
use crate::crypto::Secret;
use crate::crypto::digest::constant_time_eq;
use crate::wire::ike::{AuthMethod, Authentication, Identification, Payload};

/// What one end signs: its own first message, the other end's nonce, and its identification payload's body.
pub(super) struct SignedOctets<'a> {
    pub(super) signer: Signer,
    pub(super) message: &'a [u8],
    pub(super) nonce: &'a [u8],
    pub(super) id_body: &'a [u8],
}

impl SignedOctets<'_> {
    fn mac(&self, keys: &AuthenticationKeys, psk: &Secret) -> Secret {
        keys.shared_key_mac(self.signer, psk, self.message, self.nonce, self.id_body)
    }

    /// Our AUTH payload.
    pub(super) fn sign(&self, keys: &AuthenticationKeys, psk: &Secret) -> Payload {
        Payload::Authentication(Authentication {
            method: AuthMethod::SHARED_KEY,
            data: self.mac(keys, psk).as_bytes().to_vec(),
        })
    }

    /// Whether the peer's AUTH payload proves that it knows the key. One of another method than a shared key never does.
    pub(super) fn verify(&self, keys: &AuthenticationKeys, psk: &Secret, auth: &Authentication) -> bool {
        let right = constant_time_eq(self.mac(keys, psk).as_bytes(), &auth.data);
        right & (auth.method == AuthMethod::SHARED_KEY)
    }
}

/// Finds the connections that a peer may belong to, among those that fit its addresses.
///
/// When none expects the identity, a key that nobody has is tried, so that an unknown identity costs the same time as a
/// wrong key. Of several that fit, all are returned, the first ones first. A key that thousands have is tried once.
///
/// # Errors
/// What the peer did not prove. That it uses another method comes before everything else: it is wrong for whatever
/// connection, and says nothing of the key.
pub(super) fn authenticate<'a>(
    candidates: &'a Candidates,
    algorithms: &IkeAlgorithms,
    octets: &SignedOctets<'_>,
    keys: &AuthenticationKeys,
    claimed: &Identification,
    wanted: Option<&Identification>,
    auth: Option<&Authentication>,
) -> Result<Vec<Alike<'a>>, AuthenticationError> {
    let auth = auth.ok_or(AuthenticationError::NoAuth)?;
    let fitting = candidates.fitting(claimed, algorithms);
    let is_addressed = |alike: &Alike<'_>| wanted.is_none_or(|wanted| same_identity(&alike.first().local_id, wanted));
    let addressed: Vec<_> = fitting.iter().copied().filter(is_addressed).collect();
    // Who asks for an identity that we don't have gets the one that we do, and decides (RFC 7296 3.5).
    let fitting = if addressed.is_empty() { fitting } else { addressed };
    if auth.method != AuthMethod::SHARED_KEY {
        let connection = fitting.first().map(|first| first.first().name.clone());
        return Err(AuthenticationError::OtherMethod { connection, claimed: claimed.clone(), method: auth.method });
    }
    let Some(first) = fitting.first().map(|alike| alike.first()) else {
        octets.verify(keys, &Secret::new(vec![0; 32]), auth);
        let expected = candidates.expected(algorithms);
        return Err(AuthenticationError::UnknownIdentity { claimed: claimed.clone(), expected });
    };
    let proves = |alike: &Alike<'_>| octets.verify(keys, &alike.first().pre_shared_key, auth);
    let proven: Vec<_> = fitting.iter().copied().filter(proves).collect();
    if proven.is_empty() {
        return Err(AuthenticationError::WrongKey { connection: first.name.clone(), claimed: claimed.clone() });
    }
    Ok(proven)
}
