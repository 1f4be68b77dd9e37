//! Where the keys of SAs are told as they are made, for whoever wants to read a capture. Usually nowhere.

use super::event::ChildSa;
use crate::crypto::Suite;
use crate::wire::ike::IkeSpi;

/// Somebody who is shown every key. It may not keep what it is shown.
pub trait KeyLog: Send {
    /// An IKE SA has keys; nobody has been authenticated with them yet.
    fn ike_sa(&self, keys: &IkeKeyMaterial<'_>);

    /// A pair of Child SAs is about to be installed.
    fn child_sa(&self, pair: &ChildSa);
}

/// The keys of an IKE SA (RFC 7296 2.14), `i` for what the initiator sends, `r` for the responder.
pub struct IkeKeyMaterial<'a> {
    /// SPI of the initiator; with the responder's it finds the IKE SA in a capture.
    pub initiator_spi: IkeSpi,
    /// SPI of the responder.
    pub responder_spi: IkeSpi,
    /// What the messages are encrypted and protected with.
    pub suite: Suite,
    /// The key that the keys of Child SAs and of a successor are derived from.
    pub sk_d: &'a [u8],
    /// Integrity key of what the initiator sends; empty with an AEAD.
    pub sk_ai: &'a [u8],
    /// Integrity key of what the responder sends; empty with an AEAD.
    pub sk_ar: &'a [u8],
    /// Encryption key of what the initiator sends, with the salt at its end if the algorithm has one.
    pub sk_ei: &'a [u8],
    /// Encryption key of what the responder sends, with the salt at its end if the algorithm has one.
    pub sk_er: &'a [u8],
    /// The key that ties the initiator's identity to its AUTH (RFC 7296 2.15).
    pub sk_pi: &'a [u8],
    /// The key that ties the responder's identity to its AUTH (RFC 7296 2.15).
    pub sk_pr: &'a [u8],
}
