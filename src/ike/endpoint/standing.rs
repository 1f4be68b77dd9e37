//! What is known of a datagram's sender before the datagram is handled, so that whoever lets datagrams wait knows whom to
//! serve first.

use std::time::Instant;

use super::Endpoint;
use crate::ike::config::Peer;
use crate::ike::cookie::Initiator;
use crate::ike::event::Path;
use crate::ike::message::Payloads;
use crate::ike::own_spi;
use crate::ike::state::IkeSa;
use crate::wire::ike::{ExchangeType, Header, NotifyType, PayloadType, parse_message};

/// How much the sender of a datagram has shown of itself, the most first. Nothing of it is authenticated yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The datagram names an IKE SA that is established, or that we are negotiating as its initiator: its SPI is known to
    /// its peer, and to who reads the peer's packets.
    Known,
    /// A configured peer that receives at its address: the datagram comes from there, and names an IKE SA that waits for
    /// its IKE_AUTH request, returns a cookie (RFC 7296 section 2.6), or names an SPI that we made for that address and have
    /// lost.
    Expected,
    /// The source address is that of a configured peer; anybody may have forged it.
    Configured,
    /// Somebody else who receives at its address, for the same reasons.
    Returned,
    /// None of these.
    Stranger,
}

impl Standing {
    /// The standing of who sent a datagram, its non-ESP marker stripped, on this path. No IKE SA changes. It takes one look
    /// at a table, and reads the message only if that says that it begins with a cookie.
    pub fn of(endpoint: &mut Endpoint, datagram: &[u8], path: Path, now: Instant) -> Self {
        let Ok(header) = Header::parse(datagram) else { return Standing::Stranger };
        let ours = &if header.flags.initiator { header.responder_spi } else { header.initiator_spi };
        let ike_sas = &endpoint.connections.ike_sas;
        let configured = ike_sas.directory.knows(Peer::Address(path.peer.ip()));
        let returned = match ike_sas.get(ours) {
            Some(IkeSa::Established(_) | IkeSa::InitSent(_) | IkeSa::AuthSent(_)) => return Standing::Known,
            // Anybody can name its SPI. Only its initiator has been told it at this address; the port changes with NAT traversal.
            Some(IkeSa::AwaitingAuth(state)) => state.source().ip() == path.peer.ip(),
            Some(IkeSa::Lingering(_)) => false,
            None if own_spi::was_made_for(path.peer.ip(), ours, ike_sas.token_secret.as_ref()) => true,
            None => returns_cookie(endpoint, &header, datagram, path, now),
        };
        match (configured, returned) {
            (true, true) => Standing::Expected,
            (true, false) => Standing::Configured,
            (false, true) => Standing::Returned,
            (false, false) => Standing::Stranger,
        }
    }
}

/// Whether a request brings a cookie of ours, which is its first payload (RFC 7296 section 2.6).
fn returns_cookie(endpoint: &mut Endpoint, header: &Header, datagram: &[u8], path: Path, now: Instant) -> bool {
    let asks = header.exchange_type == ExchangeType::IKE_SA_INIT && !header.flags.response;
    if !asks || header.next_payload != PayloadType::NOTIFY {
        return false;
    }
    let Ok(message) = parse_message(datagram) else { return false };
    let payloads = Payloads::new(message.payloads);
    let (Some(nonce), Some(cookie)) = (payloads.nonce(), payloads.notify(NotifyType::COOKIE)) else { return false };
    let initiator = Initiator { nonce, source: path.peer, spi: header.initiator_spi };
    endpoint.cookies.accepts(&cookie.data, &initiator, &mut *endpoint.connections.ike_sas.entropy, now)
}
