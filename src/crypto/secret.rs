//! Key material in memory.

use std::fmt;
use std::sync::OnceLock;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Who is told where keys stand in memory, by address and length in bytes.
static KEEPER: OnceLock<fn(usize, usize)> = OnceLock::new();

/// Tells `keeper` where each key stands that is made from now on, so that it can be kept out of the swap. The first one is
/// told, for the life of the process.
pub fn tell_places(keeper: fn(usize, usize)) {
    let _ = KEEPER.set(keeper);
}

/// A value made of keys has come to the place where it stays.
pub(super) fn placed<T: ?Sized>(value: &T) {
    if let Some(keeper) = KEEPER.get() {
        keeper(std::ptr::from_ref(value).addr(), size_of_val(value));
    }
}

/// Secret bytes: erased when dropped, never shown, compared in constant time.
///
/// Not `Clone`: a copy of a secret is made by name, with [`Secret::duplicate`].
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over without a copy, so that no other one is left behind.
    pub fn new(bytes: Vec<u8>) -> Self {
        placed(&*bytes);
        Self(Zeroizing::new(bytes))
    }

    /// The secret itself, for computing with it; nothing that shows bytes may get them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes, as the integrity key of an AEAD.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A second copy of the same secret.
    pub fn duplicate(&self) -> Self {
        Self::new(self.0.to_vec())
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }
}

/// Constant time in the bytes; the lengths are not secret.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_nothing_of_the_bytes() {
        let secret = Secret::new(b"open sesame".to_vec());
        assert_eq!(format!("{secret:?}"), "Secret(redacted)");
    }

    #[test]
    fn equality_is_by_content_and_length() {
        let secret = Secret::new(vec![1, 2, 3]);
        assert_eq!(secret, secret.duplicate());
        assert_ne!(secret, Secret::new(vec![1, 2, 4]));
        assert_ne!(secret, Secret::new(vec![1, 2]));
    }
}
