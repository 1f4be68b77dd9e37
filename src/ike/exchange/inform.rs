//! The request in which extensions say something (RFC 7296 1.4), such as a new token of quick crash detection.

use super::next::Next;
use crate::ike::context::Context;
use crate::ike::ext::table::{self, Point};
use crate::ike::message::Payloads;
use crate::ike::sa::Sa;
use crate::wire::ike::ExchangeType;

/// An INFORMATIONAL request with payloads of extensions. Of its response nothing matters but that it came.
pub(in crate::ike) struct Inform;

impl Inform {
    /// Says what there is to say.
    pub(in crate::ike) fn start(sa: &mut Sa, cx: &mut Context<'_>) -> Next<Self> {
        let (connection, secured) = sa.extensions();
        let payloads = secured.say(connection, Point::Inform, cx);
        Next::send(ExchangeType::INFORMATIONAL, payloads, Self)
    }
}

/// Whether extensions have something to say in a request of its own.
pub(in crate::ike) fn is_due(sa: &Sa, cx: &Context<'_>) -> bool {
    let may = sa.is_active() && !sa.is_unconfirmed();
    may && table::owes(sa.connection(), cx.token_secret.is_some(), sa.negotiated())
}

/// Whether something in the clear proves that the peer has lost this IKE SA.
pub(in crate::ike) fn is_disowned(sa: &Sa, payloads: &Payloads) -> bool {
    table::is_disowned(sa.connection(), payloads, sa.negotiated())
}

/// The peer's INFORMATIONAL request: what it says to extensions.
pub(in crate::ike) fn requested(payloads: &Payloads, sa: &mut Sa) {
    let (connection, secured) = sa.extensions();
    secured.hear(connection, Point::Inform, payloads);
}
