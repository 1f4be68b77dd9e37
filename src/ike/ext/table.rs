//! The table of extensions, and what happens to all of them at each point.

use std::time::Instant;

use super::extension::Extension;
use super::natd::NatDetection;
use super::negotiated::Negotiated;
use crate::ike::config::Connection;
use crate::ike::context::Context;
use crate::ike::event::{Deadline, Path};
use crate::ike::message::Payloads;
use crate::wire::ike::Payload;

pub(in crate::ike) use super::extension::{At, Point, Voice};

/// A row of the table.
pub(in crate::ike) type Row = &'static dyn Extension;

/// Every extension. Their payloads stand in messages in this order.
pub(in crate::ike) static ALL: &[Row] = &[&NatDetection];

/// The rows that a connection wants.
pub(in crate::ike) fn rows_of(connection: &Connection) -> Vec<Row> {
    ALL.iter().copied().filter(|row| row.is_on(connection)).collect()
}

/// What these rows add to a message of ours.
pub(in crate::ike) fn say(rows: &[Row], at: At, mut voice: Voice<'_>, negotiated: &mut Negotiated) -> Vec<Payload> {
    rows.iter().flat_map(|row| row.say(at, &mut voice, negotiated)).collect()
}

/// Lets these rows read a message of the peer's.
pub(in crate::ike) fn hear(rows: &[Row], at: At, payloads: &Payloads, negotiated: &mut Negotiated) {
    rows.iter().for_each(|row| row.hear(at, payloads, negotiated));
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
