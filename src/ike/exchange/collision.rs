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

use super::delete::of_ike_sa;
use crate::ike::channel::Opened;
use crate::ike::event::Path;
use crate::ike::sa::Sa;
use crate::wire::ike::ParsedMessage;

/// A pair that the peer made in place of the one that we are replacing too.
pub(in crate::ike) struct ChildRival {
    /// The pair that both replace.
    pub(in crate::ike) replaced: u32,
    /// The peer's.
    pub(in crate::ike) inbound_spi: u32,
    pub(in crate::ike) lowest_nonce: Vec<u8>,
}

/// An IKE SA that the peer made in place of the one that we are replacing too. It serves from when it is known which
/// of the two stays: by the answer to our own request, or because the peer goes on with its own. Until then it has no
/// Child SAs and nothing to do.
pub(in crate::ike) struct IkeRival {
    pub(in crate::ike) sa: Sa,
    pub(in crate::ike) lowest_nonce: Vec<u8>,
}

impl IkeRival {
    /// Whether this is an authentic request on an IKE SA that the peer goes on with. One that loses the comparison of
    /// nonces is only ever deleted by it.
    pub(in crate::ike) fn is_taken_up(&self, message: &ParsedMessage<'_>, path: Path) -> bool {
        match self.sa.channel().open(message, path) {
            Ok(Opened::Message(request)) => request.payloads().is_ok_and(|payloads| of_ike_sa(payloads).is_none()),
            // What deletes an IKE SA is never so long.
            Ok(Opened::Fragment(_)) => true,
            Ok(Opened::Repeated(_)) | Err(_) => false,
        }
    }
}

/// The lower of two nonces, compared octet by octet; of two that begin alike, the shorter one.
pub(in crate::ike) fn lowest(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.min(other).to_vec()
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
