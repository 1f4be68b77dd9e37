//! Who is let in among the half-open IKE SAs, and who goes for it (RFC 7296 2.6).

use std::time::Instant;

use super::connections::Connections;
use super::ike_sas::IkeSaTable;
use crate::crypto::KeyExchangeAlgorithm;
use crate::ike::budget::Charge;
use crate::ike::ended::Ended;
use crate::ike::error::Discard;
use crate::ike::sa::Cause;
use crate::ike::source::Asker;
use crate::wire::ike::IkeSpi;

/// Lets one more half-open IKE SA in that keeps so many bytes, if its sender may cost so much. Where others are to make
/// room for it, they go.
pub(super) fn admit(
    connections: &mut Connections,
    asker: Asker,
    bytes: usize,
    method: &KeyExchangeAlgorithm,
    now: Instant,
) -> Result<Charge, Discard> {
    let room = |ike_sas: &IkeSaTable| ike_sas.half_open.room(asker, bytes, &ike_sas.config, now);
    room(&connections.ike_sas)?;
    let charge = connections.ike_sas.budget.key_exchange(asker, method, now).ok_or(Discard::KeyExchangeLimit)?;
    // Several may have to go, and those that are left hold no more than it would.
    make_room(connections, room, now).inspect_err(|_| connections.ike_sas.budget.refund(charge))?;
    Ok(charge)
}

/// Has half-open IKE SAs go until there is room.
pub(super) fn make_room(
    connections: &mut Connections,
    room: impl Fn(&IkeSaTable) -> Result<Option<IkeSpi>, Discard>,
    now: Instant,
) -> Result<(), Discard> {
    while let Some(oldest) = room(&connections.ike_sas)? {
        connections.with_ike_sa(oldest, now, |_, _| Err(Ended::new(Cause::NoAnswer, None)));
    }
    Ok(())
}
