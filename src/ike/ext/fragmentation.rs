//! IKE fragmentation (RFC 7383): a message that is protected and would not fit a packet goes in parts, each protected by
//! itself, because networks drop IP fragments.

use super::extension::{At, Extension, Point, Voice};
use super::negotiated::{Fragments, Negotiated};
use crate::ike::config::Connection;
use crate::ike::message::Payloads;
use crate::wire::ike::{Notify, NotifyType, Payload};

/// The row of fragmentation.
pub(super) struct Fragmentation;

impl Extension for Fragmentation {
    fn name(&self) -> &'static str {
        "fragmentation"
    }

    fn is_on(&self, connection: &Connection) -> bool {
        connection.extensions.fragment_size.is_some()
    }

    fn is_used(&self, negotiated: &Negotiated) -> bool {
        negotiated.fragments.accepted
    }

    /// A responder answers who has asked (RFC 7383 2.3).
    fn say(&self, at: At, _voice: &mut Voice<'_>, negotiated: &mut Negotiated) -> Vec<Payload> {
        match at.point {
            Point::InitRequest => {}
            Point::InitResponse if negotiated.fragments.accepted => {}
            _ => return Vec::new(),
        }
        vec![Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Vec::new()))]
    }

    fn hear(&self, at: At, payloads: &Payloads, negotiated: &mut Negotiated) {
        if let Point::InitRequest | Point::InitResponse = at.point {
            let supported = payloads.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).is_some();
            negotiated.fragments = Fragments { accepted: supported, size: None };
        }
    }

    fn settle(&self, connection: &Connection, negotiated: &mut Negotiated) {
        let accepted = negotiated.fragments.accepted;
        negotiated.fragments.size = connection.extensions.fragment_size.filter(|_| accepted);
    }
}
