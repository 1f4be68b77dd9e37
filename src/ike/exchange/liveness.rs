//! Liveness: whether the peer is still there (RFC 7296 2.4).

use super::Exchange;
use crate::ike::context::Context;
use crate::ike::state::established::Established;
use crate::wire::ike::ExchangeType;

impl Established {
    /// Asks for an empty answer. Its retransmissions decide on the peer's life; a packet of a Child SA that comes
    /// meanwhile postpones the next question, not this one.
    pub(in crate::ike) fn start_liveness(&mut self, cx: &mut Context<'_>) {
        if self.is_active() {
            self.send(ExchangeType::INFORMATIONAL, &[], Exchange::Liveness, cx);
        }
    }
}
