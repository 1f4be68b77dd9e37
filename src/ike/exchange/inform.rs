//! The request in which extensions say something (RFC 7296 1.4), such as a new token of quick crash detection.

use super::next::Next;
use crate::ike::context::Context;
use crate::ike::sa::Sa;
use crate::wire::ike::ExchangeType;

/// An INFORMATIONAL request with payloads of extensions. Of its response nothing matters but that it came.
pub(in crate::ike) struct Inform;

impl Inform {
    /// Says what there is to say.
    pub(in crate::ike) fn start(sa: &mut Sa, cx: &mut Context<'_>) -> Next<Self> {
        let payloads = sa.inform(cx);
        Next::send(ExchangeType::INFORMATIONAL, payloads, Self)
    }
}
