//! Childless initiation (RFC 6023): an IKE SA that is set up without a Child SA. Those that it is to have come by
//! CREATE_CHILD_SA.

use super::extension::{At, Extension, Point, Voice};
use super::negotiated::Negotiated;
use crate::ike::config::{Childless, Connection};
use crate::ike::failure::Failure;
use crate::ike::message::Payloads;
use crate::wire::ike::{Notify, NotifyType, Payload};

/// The row of childless initiation.
pub(super) struct ChildlessInitiation;

impl Extension for ChildlessInitiation {
    fn name(&self) -> &'static str {
        "childless"
    }

    fn is_on(&self, connection: &Connection) -> bool {
        connection.extensions.childless != Childless::Never
    }

    fn is_used(&self, negotiated: &Negotiated) -> bool {
        negotiated.childless
    }

    /// A responder that takes such requests says so, asked or not (RFC 6023 3).
    fn say(&self, at: At, _voice: &mut Voice<'_>, negotiated: &mut Negotiated) -> Vec<Payload> {
        if at.point != Point::InitResponse {
            return Vec::new();
        }
        negotiated.childless = true;
        vec![Payload::Notify(Notify::new(NotifyType::CHILDLESS_IKEV2_SUPPORTED, Vec::new()))]
    }

    fn hear(&self, at: At, payloads: &Payloads, negotiated: &mut Negotiated) {
        if at.point == Point::InitResponse {
            negotiated.childless = payloads.notify(NotifyType::CHILDLESS_IKEV2_SUPPORTED).is_some();
        }
    }

    fn refuses(&self, connection: &Connection, point: Point, payloads: &Payloads) -> Option<Failure> {
        match (point, connection.extensions.childless, payloads.security_association()) {
            (Point::AuthRequest, Childless::Never, None) => Some(Failure::ChildMissing),
            (Point::AuthRequest, Childless::Force, Some(_)) => Some(Failure::ChildTooEarly),
            _ => None,
        }
    }
}

/// The peer does not take a request without a Child SA, and the connection makes no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ike) struct Unsupported;

/// Whether an initiator asks for no Child SA in IKE_AUTH; `wants_child` says whether there is any to ask for.
pub(super) fn asks_for_no_child(
    connection: &Connection,
    negotiated: &Negotiated,
    wants_child: bool,
) -> Result<bool, Unsupported> {
    match connection.extensions.childless {
        Childless::Force if !negotiated.childless => Err(Unsupported),
        Childless::Force => Ok(true),
        Childless::Allow | Childless::Never => Ok(negotiated.childless && !wants_child),
    }
}
