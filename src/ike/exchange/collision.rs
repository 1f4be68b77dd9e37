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
use crate::ike::state::established::Established;

/// A pair that the peer made in place of the one that we are replacing too.
pub(in crate::ike) struct ChildRival {
    pub(in crate::ike) inbound_spi: u32,
    pub(in crate::ike) lowest_nonce: Vec<u8>,
}

/// An IKE SA that the peer made in place of the one that we are replacing too. It serves from when it is known which
/// of the two stays; until then the peer's messages on it find nobody and are repeated.
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
        if let Some(Exchange::CreateChild(exchange)) = self.exchange_mut()
            && exchange.replaces == Some(replaced)
        {
            exchange.rival = Some(rival);
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
