//! Probes of the path MTU (RFC 8899): does an outer packet of a certain size reach the peer?
//!
//! An INFORMATIONAL request is filled up to the size with a notification of a private status type, which every peer ignores
//! and answers (RFC 7296 3.10.1, 1.4). It is sent once with DF. If no answer comes, it is repeated as every request is,
//! and may then be fragmented; with each repetition goes an empty request of the same message ID, for paths that take no
//! fragments either. So the exchange ends whatever the path takes, and what the answer tells is when it comes.
//!
//! ```text
//!  request, DF, padded to size ──────────► ╳ too large for the path       ──────────► arrives
//!  FIRST_WAIT later: the same, without DF,
//!  and an empty one ─────────────────────► one of them arrives            ◄────────── response: the size passes
//!                                        ◄ response: it does not
//! ```

use std::time::Duration;

use super::next::Next;
use crate::ike::config::Retransmission;
use crate::ike::context::Context;
use crate::ike::event::Event;
use crate::ike::sa::Sa;

/// How long the first answer is waited for: longer than a packet takes there and back.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// An INFORMATIONAL request of a certain size.
pub(in crate::ike) struct PathProbe {
    /// Bytes of the whole outer packet that was asked for,
    asked: u16,
    /// and of the one that was sent.
    sent: u16,
}

impl PathProbe {
    /// Sends a probe of an outer packet of this size, if there is room in it for a message at all.
    pub(in crate::ike) fn start(asked: u16, sa: &mut Sa, cx: &mut Context<'_>) -> Next<Self> {
        if !sa.is_active() {
            return Next::Done;
        }
        let policy = Retransmission { initial: FIRST_WAIT, ..cx.config.retransmission };
        let sent = sa.channel_mut().probe(asked, policy, cx);
        sent.map_or(Next::Done, |sent| Next::Sent(Self { asked, sent }))
    }

    /// It was answered: before it was repeated, if `in_time`.
    pub(in crate::ike) fn reply(self, in_time: bool, sa: &Sa, cx: &mut Context<'_>) {
        let Self { asked, sent } = self;
        cx.event(Event::PathProbed { peer: sa.channel().path().peer.ip(), asked, sent, in_time });
    }
}
