//! Who a peer must be, and when two identities are the same (RFC 7296 3.5).

use std::net::IpAddr;

use super::config::{Connection, Peer};
use crate::wire::ike::Identification;

/// The identity that an address stands for.
fn address_id(address: IpAddr) -> Identification {
    match address {
        IpAddr::V4(address) => Identification::Ipv4(address),
        IpAddr::V6(address) => Identification::Ipv6(address),
    }
}

/// The identity that the peer of a connection must have; `None`: any.
pub(super) fn expected_id(connection: &Connection) -> Option<Identification> {
    match (&connection.peer_id, connection.peer) {
        (Some(id), _) => Some(id.clone()),
        (None, Peer::Address(address)) => Some(address_id(address)),
        (None, Peer::Any) => None,
    }
}

/// Whether a connection expects this identity. Names are compared without regard to case.
pub(super) fn expects(connection: &Connection, id: &Identification) -> bool {
    expected_id(connection).is_none_or(|expected| same_identity(&expected, id))
}

/// The same for identities that are the same one.
pub(super) fn canonical(id: &Identification) -> Identification {
    match id {
        Identification::Fqdn(name) => Identification::Fqdn(name.to_ascii_lowercase()),
        Identification::UserFqdn(name) => Identification::UserFqdn(name.to_ascii_lowercase()),
        other => other.clone(),
    }
}

/// Whether two identities are the same one.
pub(super) fn same_identity(one: &Identification, other: &Identification) -> bool {
    match (one, other) {
        (Identification::Fqdn(one), Identification::Fqdn(other))
        | (Identification::UserFqdn(one), Identification::UserFqdn(other)) => one.eq_ignore_ascii_case(other),
        _ => one == other,
    }
}
