//! The exchange that asks a peer for a sign of life: an empty request (RFC 7296 1.4, 2.4). What leads to it is in
//! [`crate::ike::liveness`].

use super::next::Next;
use crate::ike::context::Context;
use crate::ike::sa::Sa;
use crate::wire::ike::ExchangeType;

/// An INFORMATIONAL request without payloads. Its retransmissions decide on the peer's life; what is heard from the peer
/// meanwhile lets them start over.
pub(in crate::ike) struct Liveness;

impl Liveness {
    /// Asks for an empty answer, of which nothing matters but that it came; and in time, whatever the question came of.
    pub(in crate::ike) fn start(sa: &mut Sa, cx: &Context<'_>) -> Next<Self> {
        if !sa.is_active() {
            return Next::Done;
        }
        sa.liveness_mut().await_answer(cx.now);
        Next::send(ExchangeType::INFORMATIONAL, Vec::new(), Self)
    }
}
