//! Both ends rekey the same SA at once (RFC 7296 2.8.1, 2.8.2): of two new SAs, the one made with the lowest of the
//! four nonces is redundant, and closed by the end that asked for it.
//!
//! ```text
//!  we                                         peer
//!  rekey X (Ni1)  ──────────╲   ╱──────────   rekey X (Ni2)
//!  answer (Nr2): rival pair  ╲ ╱              answer (Nr1)
//!                    ◄────────╳────────►
//!  min(Ni1, Nr1) < min(Ni2, Nr2): ours is redundant, we delete it; the peer deletes X
//!  otherwise:                     we delete X; the peer deletes its own
//! ```

use super::Exchange;
use crate::ike::channel::Opened;
use crate::ike::context::Context;
use crate::ike::event::Path;
use crate::ike::sa::Phase;
use crate::ike::state::established::Established;
use crate::ike::state::established::input::deletes_ike_sa;
use crate::wire::ike::{IkeSpi, ParsedMessage};

/// A pair that the peer made in place of the one that we are replacing too.
pub(in crate::ike) struct ChildRival {
    pub(in crate::ike) inbound_spi: u32,
    pub(in crate::ike) lowest_nonce: Vec<u8>,
}

/// An IKE SA that the peer made in place of the one that we are replacing too. It serves from when it is known which
/// of the two stays: by the answer to our own request, or because the peer goes on with its own.
pub(in crate::ike) struct IkeRival {
    pub(in crate::ike) established: Box<Established>,
    pub(in crate::ike) lowest_nonce: Vec<u8>,
}

/// The lower of two nonces, compared octet by octet; of two that begin alike, the shorter one.
pub(in crate::ike) fn lowest(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.min(other).to_vec()
}

impl Established {
    /// Notes a rival, if our exchange is about the same pair.
    pub(in crate::ike) fn rival_child(&mut self, replaced: u32, rival: ChildRival) {
        if let Some(Exchange::CreateChild(exchange)) = self.agenda_mut().exchange_mut()
            && exchange.replaces == Some(replaced)
        {
            exchange.rival = Some(rival);
        }
    }

    /// The peer's IKE SA with this SPI of ours, while it waits for a rekey of ours to end.
    pub(in crate::ike) fn rival_ike_sa(&self, local_spi: IkeSpi) -> Option<&Established> {
        match self.agenda().exchange() {
            Some(Exchange::RekeyIke(exchange)) => {
                exchange.rival().filter(|rival| rival.sa().channel().local_spi() == local_spi)
            }
            _ => None,
        }
    }

    /// Whether this SPI is of an IKE SA that a rekey under way makes.
    pub(in crate::ike) fn is_to_be_replaced_by(&self, local_spi: IkeSpi) -> bool {
        let asked = match self.agenda().exchange() {
            Some(Exchange::RekeyIke(exchange)) => exchange.spi() == local_spi,
            _ => false,
        };
        asked || self.rival_ike_sa(local_spi).is_some()
    }

    /// Whether this is an authentic request on an IKE SA that the peer goes on with. One that loses the comparison of
    /// nonces is only ever deleted by it.
    pub(in crate::ike) fn is_taken_up(&self, message: &ParsedMessage<'_>, path: Path) -> bool {
        match self.open(message, path) {
            Ok(Opened::Message(request)) => request.payloads().is_ok_and(|payloads| deletes_ike_sa(payloads).is_none()),
            // What deletes an IKE SA is never so long.
            Ok(Opened::Fragment(_)) => true,
            Ok(Opened::Repeated(_)) | Err(_) => false,
        }
    }

    /// The peer goes on with its IKE SA, so ours would be the redundant one. Its answer to our request, which may never
    /// come, is not waited for.
    pub(in crate::ike) fn yield_to_rival(&mut self, cx: &mut Context<'_>) {
        self.settle_for_rival(cx);
        if matches!(self.sa().phase(), Phase::Passive(_)) {
            self.sa_mut().channel_mut().answered();
        }
    }

    /// This IKE SA goes before a rekey of ours is answered: a rekey of the peer's takes over, if there is one.
    pub(in crate::ike) fn settle_for_rival(&mut self, cx: &mut Context<'_>) {
        match self.agenda_mut().take_exchange() {
            Some(Exchange::RekeyIke(exchange)) => {
                self.adopt_rival(*exchange, cx);
            }
            Some(other) => self.agenda_mut().begin(other),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::lowest;

    #[test]
    fn nonces_are_compared_octet_by_octet() {
        assert_eq!(lowest(&[1, 0xff], &[2, 0]), [1, 0xff]);
        assert_eq!(lowest(&[1, 2, 3], &[1, 2]), [1, 2]);
    }
}
