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
    pub initiator_spi: IkeSpi,
    pub responder_spi: IkeSpi,
    pub suite: Suite,
    pub sk_d: &'a [u8],
    /// Empty with an AEAD, as is `sk_ar`.
    pub sk_ai: &'a [u8],
    pub sk_ar: &'a [u8],
    /// With the salt at its end if the algorithm has one, as `sk_er`.
    pub sk_ei: &'a [u8],
    pub sk_er: &'a [u8],
    pub sk_pi: &'a [u8],
    pub sk_pr: &'a [u8],
}
