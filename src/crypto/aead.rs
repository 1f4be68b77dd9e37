//! AEAD keys: ring's primitives with the salted nonce of ESP and IKE (RFC 4106 4, RFC 5282 4, RFC 7634 2).

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Bytes of the salt at the end of the key material.
pub(super) const SALT_LEN: usize = 4;

/// A cipher key with its salt. ring offers no way to erase its expanded key on drop.
pub(super) struct AeadKey {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl AeadKey {
    /// `None` when `key` is not as long as the cipher's key and the salt.
    pub(super) fn new(algorithm: &'static ring::aead::Algorithm, key: &[u8]) -> Option<Self> {
        let (key, salt) = key.split_last_chunk()?;
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Self { key, salt: *salt })
    }

    /// The nonce is the salt and the IV; `None` when the IV has not 8 bytes.
    fn nonce(&self, iv: &[u8]) -> Option<Nonce> {
        let mut nonce = [0; NONCE_LEN];
        let (salt, rest) = nonce.split_at_mut(SALT_LEN);
        if iv.len() != rest.len() {
            return None;
        }
        salt.copy_from_slice(&self.salt);
        rest.copy_from_slice(iv);
        Some(Nonce::assume_unique_for_key(nonce))
    }

    /// Encrypts `body` in place and returns the ICV; `None` when a length is impossible.
    pub(super) fn seal(&self, aad: &[u8], iv: &[u8], body: &mut [u8]) -> Option<[u8; 16]> {
        let tag = self.key.seal_in_place_separate_tag(self.nonce(iv)?, Aad::from(aad), body).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Verifies, and decrypts `body` in place; `None` leaves `body` unusable.
    pub(super) fn open(&self, aad: &[u8], iv: &[u8], body: &mut [u8], icv: &[u8]) -> Option<()> {
        let tag = icv.try_into().ok()?;
        self.key.open_in_place_separate_tag(self.nonce(iv)?, Aad::from(aad), tag, body, 0..).ok()?;
        Some(())
    }
}
