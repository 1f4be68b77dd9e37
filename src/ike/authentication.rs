//! Who the peer is: identities and the pre-shared key (RFC 7296 2.15).

use std::net::IpAddr;
use std::sync::Arc;

use super::config::{Connection, Peer};
use super::directory::Candidates;
use super::keys::{AuthenticationKeys, Signer};
use super::negotiate::IkeAlgorithms;
use crate::crypto::Secret;
use crate::crypto::digest::constant_time_eq;
use crate::wire::ike::{AuthMethod, Authentication, Identification, Payload};

/// The identity that an address stands for.
pub(super) fn address_id(address: IpAddr) -> Identification {
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

/// Whether two identities are the same one.
pub(super) fn same_identity(one: &Identification, other: &Identification) -> bool {
    match (one, other) {
        (Identification::Fqdn(one), Identification::Fqdn(other))
        | (Identification::UserFqdn(one), Identification::UserFqdn(other)) => one.eq_ignore_ascii_case(other),
        _ => one == other,
    }
}

/// What one end signs: its own first message, the other end's nonce, and its identification payload's body.
pub(super) struct SignedOctets<'a> {
    pub(super) signer: Signer,
    pub(super) message: &'a [u8],
    pub(super) nonce: &'a [u8],
    pub(super) id_body: &'a [u8],
}

impl SignedOctets<'_> {
    fn mac(&self, keys: &AuthenticationKeys, psk: &Secret) -> Secret {
        keys.shared_key_mac(self.signer, psk, self.message, self.nonce, self.id_body)
    }

    /// Our AUTH payload.
    pub(super) fn sign(&self, keys: &AuthenticationKeys, psk: &Secret) -> Payload {
        Payload::Authentication(Authentication {
            method: AuthMethod::SHARED_KEY,
            data: self.mac(keys, psk).as_bytes().to_vec(),
        })
    }

    /// Whether the peer's AUTH payload proves that it knows the key.
    pub(super) fn verify(&self, keys: &AuthenticationKeys, psk: &Secret, auth: &Authentication) -> bool {
        let right = constant_time_eq(self.mac(keys, psk).as_bytes(), &auth.data);
        right & (auth.method == AuthMethod::SHARED_KEY)
    }
}

/// Why a peer was not authenticated, for a person; the peer is told nothing but that it was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AuthenticationError {
    UnknownIdentity { claimed: Identification, expected: Vec<String> },
    WrongKey { connection: Arc<str>, claimed: Identification },
    OtherMethod { claimed: Identification, method: AuthMethod },
    NoAuth,
}

impl AuthenticationError {
    /// The connection that the peer meant, if that is clear.
    pub(super) fn connection(&self) -> Option<Arc<str>> {
        match self {
            Self::WrongKey { connection, .. } => Some(connection.clone()),
            Self::UnknownIdentity { .. } | Self::OtherMethod { .. } | Self::NoAuth => None,
        }
    }
}

impl std::fmt::Display for AuthenticationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownIdentity { claimed, expected } if expected.is_empty() => {
                write!(f, "the peer calls itself {claimed}; no connection for its address expects that")
            }
            Self::UnknownIdentity { claimed, expected } => write!(
                f,
                "the peer calls itself {claimed}, but {} is expected; compare its local ID with our peer ID",
                expected.join(" or ")
            ),
            Self::WrongKey { connection, claimed } => write!(
                f,
                "the pre-shared key of {claimed} does not match that of connection {connection}; compare them on both sides"
            ),
            Self::OtherMethod { claimed, method } => {
                write!(f, "{claimed} authenticates by {method}, which is not a pre-shared key")
            }
            Self::NoAuth => f.write_str("the peer sent no AUTH payload (EAP is not supported)"),
        }
    }
}

/// Finds the connection that a peer belongs to, among those that fit its addresses.
///
/// `psk_of` a connection verifies; when none expects the identity, a key that nobody has is tried, so that an unknown
/// identity costs the same time as a wrong key. Of several that fit, all are returned, the first ones first.
pub(super) fn authenticate<'a>(
    candidates: &'a Candidates,
    algorithms: &'a IkeAlgorithms,
    octets: &SignedOctets<'_>,
    keys: &AuthenticationKeys,
    claimed: &'a Identification,
    wanted: Option<&Identification>,
    auth: Option<&Authentication>,
) -> Result<Vec<&'a Arc<Connection>>, AuthenticationError> {
    let auth = auth.ok_or(AuthenticationError::NoAuth)?;
    let fitting: Vec<_> = candidates.fitting(claimed, algorithms).collect();
    let addressed: Vec<_> = fitting
        .iter()
        .copied()
        .filter(|connection| wanted.is_none_or(|wanted| same_identity(&connection.local_id, wanted)))
        .collect();
    // Who asks for an identity that we don't have gets the one that we do, and decides (RFC 7296 3.5).
    let fitting = if addressed.is_empty() { fitting } else { addressed };
    let Some(first) = fitting.first() else {
        octets.verify(keys, &Secret::new(vec![0; 32]), auth);
        let expected = candidates.expected(algorithms);
        return Err(AuthenticationError::UnknownIdentity { claimed: claimed.clone(), expected });
    };
    if auth.method != AuthMethod::SHARED_KEY {
        return Err(AuthenticationError::OtherMethod { claimed: claimed.clone(), method: auth.method });
    }
    let proven: Vec<_> =
        fitting.iter().copied().filter(|connection| octets.verify(keys, &connection.pre_shared_key, auth)).collect();
    if proven.is_empty() {
        return Err(AuthenticationError::WrongKey { connection: first.name.clone(), claimed: claimed.clone() });
    }
    Ok(proven)
}
