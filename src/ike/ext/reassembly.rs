//! Fragments of one message, until all are there (RFC 7383 2.6). Only what was verified comes here, so that a forged
//! fragment takes no room and no other's place.

use std::collections::BTreeMap;

use crate::ike::error::Discard;
use crate::ike::event::Path;
use crate::ike::window::Digest;
use crate::wire::ike::{Fragment, Header, PayloadType};

/// Fragments that one message has at most.
const MAX_FRAGMENTS: u16 = 255;

/// A fragment whose integrity was verified.
pub(in crate::ike) struct VerifiedFragment {
    pub(in crate::ike) header: Header,
    pub(in crate::ike) fragment: Fragment,
    /// What the payloads of the whole begin with; only the first fragment tells.
    pub(in crate::ike) first_payload: PayloadType,
    /// Without padding.
    pub(in crate::ike) plaintext: Vec<u8>,
    /// Of the datagram.
    pub(in crate::ike) digest: Digest,
    pub(in crate::ike) path: Path,
}

/// What the fragments of a message are together.
pub(in crate::ike) struct Whole {
    pub(in crate::ike) header: Header,
    pub(in crate::ike) first_payload: PayloadType,
    /// The payloads.
    pub(in crate::ike) plaintext: Vec<u8>,
    /// Of the datagram with the first fragment, by which a repetition is known.
    pub(in crate::ike) digest: Digest,
    /// How the last one came.
    pub(in crate::ike) path: Path,
}

/// What has come of one message.
pub(in crate::ike) struct Reassembly {
    message_id: u32,
    total: u16,
    parts: BTreeMap<u16, Vec<u8>>,
    /// Of all parts.
    bytes: usize,
    /// From the first fragment.
    first: Option<(PayloadType, Digest)>,
}

impl Reassembly {
    fn new(message_id: u32, total: u16) -> Self {
        Self { message_id, total, parts: BTreeMap::new(), bytes: 0, first: None }
    }

    /// Bytes of all fragments that are there.
    pub(in crate::ike) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a fragment of this message is worth being verified, beside what is there.
    pub(in crate::ike) fn wants(present: Option<&Self>, message_id: u32, fragment: Fragment) -> Result<(), Discard> {
        let present = present.filter(|present| present.message_id == message_id);
        let superfluous = present.is_some_and(|present| {
            let smaller = fragment.total < present.total;
            smaller || (fragment.total == present.total && present.parts.contains_key(&fragment.number))
        });
        if superfluous || fragment.total > MAX_FRAGMENTS { Err(Discard::Fragment) } else { Ok(()) }
    }

    /// Whether so many bytes more are within the limit.
    pub(in crate::ike) fn fits(
        present: Option<&Self>,
        message_id: u32,
        more: usize,
        limit: usize,
    ) -> Result<(), Discard> {
        let bytes = present.filter(|present| present.message_id == message_id).map_or(0, |present| present.bytes);
        if bytes + more <= limit { Ok(()) } else { Err(Discard::Fragment) }
    }

    /// Takes a fragment; gives the whole when it was the last one. Those of another message, or of the same in fewer
    /// parts, make room for it. What would have more than `limit` bytes together is not kept.
    pub(in crate::ike) fn take(
        slot: &mut Option<Box<Self>>,
        fragment: VerifiedFragment,
        limit: usize,
    ) -> Result<Option<Whole>, Discard> {
        let VerifiedFragment { header, fragment: Fragment { number, total }, first_payload, plaintext, digest, path } =
            fragment;
        let goes_on = |present: &Self| present.message_id == header.message_id && present.total >= total;
        let mut present = match slot.take().filter(|present| goes_on(present)) {
            Some(present) => present,
            None => Box::new(Self::new(header.message_id, total)),
        };
        let fits = present.bytes + plaintext.len() <= limit;
        if !fits || present.total != total || present.parts.contains_key(&number) {
            *slot = Some(present);
            return Err(Discard::Fragment);
        }
        present.bytes += plaintext.len();
        present.parts.insert(number, plaintext);
        if number == 1 {
            present.first = Some((first_payload, digest));
        }
        match present.first.filter(|_| present.parts.len() == usize::from(total)) {
            Some((first_payload, digest)) => {
                let plaintext = present.parts.into_values().collect::<Vec<_>>().concat();
                Ok(Some(Whole { header, first_payload, plaintext, digest, path }))
            }
            None => {
                *slot = Some(present);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::wire::ike::{ExchangeType, Flags, IkeSpi};

    fn fragment(message_id: u32, number: u16, total: u16, plaintext: &[u8]) -> VerifiedFragment {
        let exchange = ExchangeType::IKE_AUTH;
        let anywhere = SocketAddr::from(([192, 0, 2, 1], 500));
        VerifiedFragment {
            header: Header::new(IkeSpi([1; 8]), IkeSpi([2; 8]), exchange, Flags::default(), message_id),
            fragment: Fragment { number, total },
            first_payload: if number == 1 { PayloadType::NOTIFY } else { PayloadType::NONE },
            plaintext: plaintext.to_vec(),
            digest: [number as u8; 32],
            path: Path { local: anywhere, peer: anywhere, non_esp_marker: false },
        }
    }

    /// The whole's plaintext, if it is there.
    fn take(slot: &mut Option<Box<Reassembly>>, fragment: VerifiedFragment) -> Result<Option<Vec<u8>>, Discard> {
        let whole = Reassembly::take(slot, fragment, 10)?;
        Ok(whole.map(|whole| {
            assert_eq!((whole.first_payload, whole.digest), (PayloadType::NOTIFY, [1; 32]));
            whole.plaintext
        }))
    }

    #[test]
    fn fragments_in_any_order_become_the_whole_once() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
            let mut slot = None;
            for (count, number) in order.into_iter().enumerate() {
                let whole = take(&mut slot, fragment(7, number, 3, &[number as u8]));
                assert_eq!(whole, Ok((count == 2).then(|| vec![1, 2, 3])), "{order:?}");
                if slot.is_some() {
                    assert_eq!(take(&mut slot, fragment(7, number, 3, &[9])), Err(Discard::Fragment));
                }
            }
            assert!(slot.is_none());
        }
    }

    #[test]
    fn a_finer_division_starts_over_and_a_coarser_one_is_dropped() {
        let mut slot = None;
        assert_eq!(take(&mut slot, fragment(7, 1, 2, &[1])), Ok(None));
        assert_eq!(take(&mut slot, fragment(7, 3, 3, &[3])), Ok(None));
        assert_eq!(take(&mut slot, fragment(7, 2, 2, &[8])), Err(Discard::Fragment));
        assert_eq!(take(&mut slot, fragment(7, 2, 3, &[2])), Ok(None));
        assert_eq!(take(&mut slot, fragment(7, 1, 3, &[1])), Ok(Some(vec![1, 2, 3])));
    }

    #[test]
    fn one_message_at_a_time_is_kept_within_its_limits() {
        let mut slot = None;
        assert_eq!(take(&mut slot, fragment(7, 1, 3, &[1; 4])), Ok(None));
        assert_eq!(take(&mut slot, fragment(7, 2, 3, &[2; 7])), Err(Discard::Fragment), "11 bytes");
        assert_eq!(take(&mut slot, fragment(7, 2, 3, &[2; 6])), Ok(None));
        assert_eq!(take(&mut slot, fragment(8, 2, 2, &[2])), Ok(None), "the next message");
        assert_eq!(take(&mut slot, fragment(8, 1, 2, &[1])), Ok(Some(vec![1, 2])));
        let many = Fragment { number: 1, total: MAX_FRAGMENTS + 1 };
        assert_eq!(Reassembly::wants(None, 9, many), Err(Discard::Fragment));
    }
}
