//! The answer to a request that was answered last, for repetitions of it: by the window alone, without keys.

use super::error::Discard;
use super::event::{Path, Transmit};
use super::keys::Spis;
use super::window::{Requested, Window};
use crate::crypto::digest::sha256;
use crate::wire::ike::ParsedMessage;

/// The answer once more, if the message is the last request once more, byte for byte.
pub(super) fn repetition(window: &Window, message: &ParsedMessage<'_>, path: Path) -> Result<Vec<Transmit>, Discard> {
    match window.check_request(message.header.message_id, &sha256(message.bytes))? {
        Requested::Repeated(response) => Ok(on_path(path, response)),
        Requested::New => Err(Discard::UnexpectedExchange),
    }
}

/// Datagrams to send on this path.
pub(super) fn on_path(path: Path, datagrams: &[Vec<u8>]) -> Vec<Transmit> {
    datagrams.iter().map(|datagram| Transmit::new(path, datagram.clone())).collect()
}

/// What is left of a channel that is closed: the answer to the peer's last request, for repetitions of it.
pub(super) struct Echo {
    pub(super) spis: Spis,
    /// We initiated the IKE SA.
    pub(super) initiator: bool,
    pub(super) window: Window,
}

impl Echo {
    /// The answer once more, if the message is the last request once more.
    pub(super) fn answer(&self, message: &ParsedMessage<'_>, path: Path) -> Result<Vec<Transmit>, Discard> {
        let header = message.header;
        let spis = Spis { initiator: header.initiator_spi, responder: header.responder_spi };
        if spis != self.spis || header.flags.initiator == self.initiator {
            return Err(Discard::WrongDirection);
        }
        if header.flags.response {
            return Err(Discard::UnexpectedResponse);
        }
        repetition(&self.window, message, path)
    }
}
