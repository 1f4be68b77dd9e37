//! The table of extensions, and what happens to all of them at each point.

use std::time::Instant;

use super::childless::{self, ChildlessInitiation};
use super::extension::Extension;
use super::fragmentation::Fragmentation;
use super::natd::NatDetection;
use super::negotiated::Negotiated;
use super::quick_crash_detection::QuickCrashDetection;
use crate::crypto::Secret;
use crate::ike::config::Connection;
use crate::ike::context::Context;
use crate::ike::event::{Deadline, Path};
use crate::ike::failure::Failure;
use crate::ike::message::Payloads;
use crate::wire::ike::Payload;

pub(in crate::ike) use super::childless::Unsupported;
pub(in crate::ike) use super::extension::{At, Point, Voice};

/// A row of the table.
pub(in crate::ike) type Row = &'static dyn Extension;

/// Every extension. Their payloads stand in messages in this order.
pub(in crate::ike) static ALL: &[Row] = &[&NatDetection, &Fragmentation, &ChildlessInitiation, &QuickCrashDetection];

/// The rows that a connection wants, as bits in the order of the table.
pub(in crate::ike) fn wanted(connection: &Connection) -> u32 {
    ALL.iter().enumerate().fold(0, |bits, (place, row)| bits | u32::from(row.is_on(connection)) << place)
}

/// The rows of these bits.
pub(in crate::ike) fn rows(bits: u32) -> Vec<Row> {
    ALL.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1).map(|(_, row)| *row).collect()
}

/// The rows that a connection wants.
pub(in crate::ike) fn rows_of(connection: &Connection) -> Vec<Row> {
    rows(wanted(connection))
}

/// What these rows add to a message of ours.
pub(in crate::ike) fn say(rows: &[Row], at: At, mut voice: Voice<'_>, negotiated: &mut Negotiated) -> Vec<Payload> {
    rows.iter().flat_map(|row| row.say(at, &mut voice, negotiated)).collect()
}

/// Lets these rows read a message of the peer's.
pub(in crate::ike) fn hear(rows: &[Row], at: At, payloads: &Payloads, negotiated: &mut Negotiated) {
    rows.iter().for_each(|row| row.hear(at, payloads, negotiated));
}

/// What is wrong with a request of the peer's; it is refused.
pub(in crate::ike) fn refuses(connection: &Connection, point: Point, payloads: &Payloads) -> Option<Failure> {
    ALL.iter().find_map(|row| row.refuses(connection, point, payloads))
}

/// Whether an initiator asks for no Child SA in IKE_AUTH; `wants_child` says whether there is any to ask for.
///
/// # Errors
/// The peer does not take such a request, and the connection makes no other.
pub(in crate::ike) fn asks_for_no_child(
    connection: &Connection,
    negotiated: &Negotiated,
    wants_child: bool,
) -> Result<bool, Unsupported> {
    childless::asks_for_no_child(connection, negotiated, wants_child)
}

/// Whether something is to be said in an INFORMATIONAL request of its own.
pub(in crate::ike) fn owes(connection: &Connection, has_token_secret: bool, negotiated: &Negotiated) -> bool {
    ALL.iter().any(|row| row.is_on(connection) && row.owes(has_token_secret, negotiated))
}

/// Another IKE SA takes over what this one has negotiated.
pub(in crate::ike) fn renew(negotiated: &mut Negotiated) {
    ALL.iter().for_each(|row| row.renew(negotiated));
}

/// What is said in the clear to who sends on an IKE SA that does not exist.
pub(in crate::ike) fn disown(rows: &[Row], at: At, token_secret: Option<&Secret>) -> Vec<Payload> {
    rows.iter().flat_map(|row| row.disown(at, token_secret)).collect()
}

/// Whether something in the clear proves that the peer has lost the IKE SA.
pub(in crate::ike) fn is_disowned(connection: &Connection, payloads: &Payloads, negotiated: &Negotiated) -> bool {
    ALL.iter().any(|row| row.is_on(connection) && row.is_disowned(payloads, negotiated))
}

/// It is known now which connection the IKE SA belongs to.
pub(in crate::ike) fn settle(connection: &Connection, negotiated: &mut Negotiated) {
    ALL.iter().for_each(|row| row.settle(connection, negotiated));
}

/// The IKE SA is established.
pub(in crate::ike) fn begin(connection: &Connection, negotiated: &mut Negotiated, now: Instant) {
    ALL.iter().for_each(|row| row.begin(connection, negotiated, now));
}

/// The way that an initiator's messages take after IKE_SA_INIT.
pub(in crate::ike) fn path(path: Path, nat_port: u16, negotiated: &Negotiated) -> Path {
    ALL.iter().fold(path, |path, row| row.path(path, nat_port, negotiated))
}

/// Whether a peer that sends on another path than before is followed there.
pub(in crate::ike) fn follows(from: Path, to: Path, negotiated: &Negotiated) -> bool {
    from != to && ALL.iter().any(|row| row.follows(from, to, negotiated))
}

/// When the rows want to be called.
pub(in crate::ike) fn deadlines(negotiated: &Negotiated) -> impl Iterator<Item = Deadline> {
    ALL.iter().filter_map(|row| row.deadline(negotiated))
}

/// Time has passed.
pub(in crate::ike) fn timeout(connection: &Connection, path: Path, negotiated: &mut Negotiated, cx: &mut Context<'_>) {
    ALL.iter().for_each(|row| row.timeout(connection, path, negotiated, cx));
}

/// What a status calls the extensions that an IKE SA has.
pub(in crate::ike) fn names(negotiated: &Negotiated) -> Vec<&'static str> {
    ALL.iter().filter(|row| row.is_used(negotiated)).map(|row| row.name()).collect()
}
