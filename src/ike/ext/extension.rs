//! What an extension is to the rest of IKE: whether a connection wants it, and the points at which it takes part.
//!
//! A point that no row uses yet (IKE_INTERMEDIATE, CREATE_CHILD_SA, a question to somebody outside) comes with the first
//! one that does: a variant of [`Point`], and a call of the table where such a message is made and read.

use std::time::Instant;

use super::negotiated::Negotiated;
use crate::crypto::{Entropy, Secret};
use crate::ike::config::Connection;
use crate::ike::context::Context;
use crate::ike::event::{Deadline, Path};
use crate::ike::failure::Failure;
use crate::ike::keys::Spis;
use crate::ike::message::Payloads;
use crate::wire::ike::Payload;

/// The messages in which extensions have their say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ike) enum Point {
    /// Of IKE_SA_INIT.
    InitRequest,
    InitResponse,
    /// Of IKE_AUTH.
    AuthRequest,
    AuthResponse,
    /// An INFORMATIONAL request.
    Inform,
}

/// Which message it is, of which IKE SA.
#[derive(Debug, Clone, Copy)]
pub(in crate::ike) struct At {
    pub(in crate::ike) point: Point,
    /// As in the header of the message: in the first request the responder's is still zero.
    pub(in crate::ike) spis: Spis,
    /// How it goes or came.
    pub(in crate::ike) path: Path,
    /// We initiated the IKE SA.
    pub(in crate::ike) initiator: bool,
}

/// What a row may need to say something.
pub(in crate::ike) struct Voice<'a> {
    /// The connection; while a responder does not know it, the first one that it may be.
    pub(in crate::ike) connection: &'a Connection,
    pub(in crate::ike) entropy: &'a mut dyn Entropy,
    /// What the tokens of quick crash detection are made with.
    pub(in crate::ike) token_secret: Option<&'a Secret>,
}

/// One row of the table. Every point that it does not use does nothing.
pub(in crate::ike) trait Extension: Sync {
    /// What a status calls it.
    fn name(&self) -> &'static str;

    /// Whether a connection wants it. If not, nothing is said of it, and what the peer says of it is not heard.
    fn is_on(&self, connection: &Connection) -> bool;

    /// Whether an IKE SA has it.
    fn is_used(&self, negotiated: &Negotiated) -> bool;

    /// The payloads that it adds to a message of ours.
    fn say(&self, at: At, voice: &mut Voice<'_>, negotiated: &mut Negotiated) -> Vec<Payload>;

    /// What the peer's message means to it.
    fn hear(&self, at: At, payloads: &Payloads, negotiated: &mut Negotiated);

    /// What is wrong with a request of the peer's; it is refused. Asked of rows that are off, too.
    fn refuses(&self, _connection: &Connection, _point: Point, _payloads: &Payloads) -> Option<Failure> {
        None
    }

    /// Whether it has something to say in an INFORMATIONAL request of its own.
    fn owes(&self, _has_token_secret: bool, _negotiated: &Negotiated) -> bool {
        false
    }

    /// Another IKE SA takes over what this one has negotiated: what hangs on the SPIs begins anew.
    fn renew(&self, _negotiated: &mut Negotiated) {}

    /// What is said in the clear to who sends on an IKE SA that does not exist.
    fn disown(&self, _at: At, _token_secret: Option<&Secret>) -> Vec<Payload> {
        Vec::new()
    }

    /// Whether something in the clear proves that the peer has lost the IKE SA.
    fn is_disowned(&self, _payloads: &Payloads, _negotiated: &Negotiated) -> bool {
        false
    }

    /// It is known now which connection the IKE SA belongs to; not only its own may have wanted the row.
    fn settle(&self, _connection: &Connection, _negotiated: &mut Negotiated) {}

    /// The IKE SA is established.
    fn begin(&self, _connection: &Connection, _negotiated: &mut Negotiated, _now: Instant) {}

    /// The way that an initiator's messages take after IKE_SA_INIT.
    fn path(&self, path: Path, _nat_port: u16, _negotiated: &Negotiated) -> Path {
        path
    }

    /// Whether a peer that sends on another path than before is answered, and sent to, on that path from now on.
    fn follows(&self, _from: Path, _to: Path, _negotiated: &Negotiated) -> bool {
        false
    }

    /// When it wants to be called.
    fn deadline(&self, _negotiated: &Negotiated) -> Option<Deadline> {
        None
    }

    /// Time has passed.
    fn timeout(&self, _connection: &Connection, _path: Path, _negotiated: &mut Negotiated, _cx: &mut Context<'_>) {}
}
