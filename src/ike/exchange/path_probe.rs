//! Probes of the path MTU (RFC 8899): does an outer packet of a certain size reach the peer?
//!
//! An INFORMATIONAL request is filled up to the size with a notification of a private status type, which every peer ignores
//! and answers (RFC 7296 3.10.1, 1.4). It is sent once with DF. If no answer comes, it is repeated as every request is,
//! and may then be fragmented; with each repetition goes an empty request of the same message ID, for paths that take no
//! fragments either. So the exchange ends whatever the path takes, and what the answer tells is when it comes.
//!
//! ```text
//!  request, DF, padded to size ──────────► ╳ too large for the path       ──────────► arrives
//!  PATIENCE later: the same, without DF,
//!  and an empty one ─────────────────────► one of them arrives            ◄────────── response: the size passes
//!                                        ◄ response: it does not
//! ```

use std::time::Duration;

use super::{Exchange, Task};
use crate::ike::config::Retransmission;
use crate::ike::context::Context;
use crate::ike::event::Event;
use crate::ike::state::established::Established;

/// How long the first answer is waited for: longer than a packet takes there and back.
const PATIENCE: Duration = Duration::from_secs(1);

impl Established {
    /// Somebody wants to know whether outer packets of this size reach the peer.
    pub(in crate::ike) fn probe_path(&mut self, size: u16, cx: &mut Context<'_>) {
        self.agenda_mut().queue(Task::PathProbe(size));
        self.advance(cx);
    }

    pub(in crate::ike) fn start_path_probe(&mut self, size: u16, cx: &mut Context<'_>) {
        if !self.sa().is_active() {
            return;
        }
        // One transmission more, so that the peer has as long to answer as to any other request.
        let usual = cx.config.retransmission;
        let policy = Retransmission { initial: PATIENCE, tries: usual.tries + 1, ..usual };
        if let Some(sent) = self.sa_mut().channel_mut().probe(size, policy, cx) {
            self.agenda_mut().begin(Exchange::PathProbe { asked: size, sent });
        }
    }

    pub(in crate::ike) fn path_probed(&mut self, asked: u16, sent: u16, in_time: bool, cx: &mut Context<'_>) {
        let peer = self.sa().channel().path().peer.ip();
        cx.event(Event::PathProbed { peer, asked, sent, in_time });
    }
}
