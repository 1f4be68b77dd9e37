//! The nonces of signed requests: each may be used once, and is kept until the clock window alone refuses a replay.

use std::collections::BTreeSet;

use super::error::ApiError;
use crate::crypto::digest::sha256;

/// A nonce that an accepted request has used. A nonce may be any text: its digest is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedNonce {
    /// SHA-256 of the access key's id and the nonce.
    pub digest: [u8; 32],
    /// When the request came, in seconds since 1970.
    pub used: i64,
    /// The last second in which the request would still be accepted, likewise.
    pub expires: i64,
}

impl UsedNonce {
    /// The nonce of a request that came at `used` and whose time allows it until `expires`, in seconds since 1970.
    pub fn new(access_key_id: &str, nonce: &str, used: i64, expires: i64) -> Self {
        // With the id's length in front no other id and nonce make the same text.
        let digest = sha256(format!("{}:{access_key_id}{nonce}", access_key_id.len()).as_bytes());
        Self { digest, used, expires }
    }
}

/// The nonces of accepted requests that have not expired.
#[derive(Debug)]
pub struct NonceMemory {
    limit: usize,
    known: BTreeSet<[u8; 32]>,
    by_expiry: BTreeSet<(i64, [u8; 32])>,
}

impl NonceMemory {
    /// Remembers at most `limit` nonces. When as many requests were accepted within the clock window, further ones are
    /// refused until the oldest expire: forgetting one early would let it be replayed.
    pub fn new(limit: usize) -> Self {
        Self { limit, known: BTreeSet::new(), by_expiry: BTreeSet::new() }
    }

    /// Takes in what an earlier process has kept; that is bounded by what it accepted.
    pub fn recall(&mut self, nonces: impl IntoIterator<Item = UsedNonce>) {
        nonces.into_iter().for_each(|nonce| self.remember(&nonce));
    }

    /// Uses a nonce, and forgets those that have expired by then.
    ///
    /// # Errors
    /// `SignatureNonceUsed`, or `Throttling.User` when there is no room.
    pub fn insert(&mut self, nonce: &UsedNonce) -> Result<(), ApiError> {
        while let Some(oldest) = self.by_expiry.first().copied().filter(|(expires, _)| *expires < nonce.used) {
            self.by_expiry.remove(&oldest);
            self.known.remove(&oldest.1);
        }
        if self.known.contains(&nonce.digest) {
            let message = "Specified signature nonce was used already.";
            return Err(ApiError::bad_request("SignatureNonceUsed", message));
        }
        if self.known.len() >= self.limit {
            return Err(ApiError::bad_request("Throttling.User", "Request was denied due to user flow control."));
        }
        self.remember(nonce);
        Ok(())
    }

    fn remember(&mut self, nonce: &UsedNonce) {
        if self.known.insert(nonce.digest) {
            self.by_expiry.insert((nonce.expires, nonce.digest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(text: &str, used: i64, expires: i64) -> UsedNonce {
        UsedNonce::new("k", text, used, expires)
    }

    #[test]
    fn the_memory_is_bounded_and_frees_what_has_expired() {
        let mut memory = NonceMemory::new(2);
        memory.insert(&nonce("1", 0, 10)).unwrap();
        memory.insert(&nonce("2", 0, 20)).unwrap();
        assert_eq!(memory.insert(&nonce("3", 10, 20)).unwrap_err().code, "Throttling.User");
        memory.insert(&nonce("3", 11, 20)).unwrap();
        assert_eq!(memory.insert(&nonce("2", 11, 20)).unwrap_err().code, "SignatureNonceUsed");
        assert_eq!((memory.known.len(), memory.by_expiry.len()), (2, 2));
    }

    #[test]
    fn what_was_kept_is_known_until_it_expires_and_refuses_nobody_else() {
        let mut memory = NonceMemory::new(2);
        memory.recall([nonce("1", 0, 10), nonce("2", 0, 10), nonce("1", 0, 10)]);
        assert_eq!(memory.insert(&nonce("1", 5, 900)).unwrap_err().code, "SignatureNonceUsed");
        memory.insert(&nonce("3", 11, 900)).unwrap();
        memory.insert(&nonce("1", 11, 900)).unwrap();
        assert_eq!((memory.known.len(), memory.by_expiry.len()), (2, 2));
    }

    #[test]
    fn two_keys_may_use_one_nonce() {
        assert_ne!(UsedNonce::new("k", "1n", 0, 0).digest, UsedNonce::new("k1", "n", 0, 0).digest);
    }
}
