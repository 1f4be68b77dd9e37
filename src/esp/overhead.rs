//! What ESP adds to a packet.

use crate::crypto::Suite;
use crate::wire::esp::{HEADER_LEN, TRAILER_LEN};

/// The layout of a suite's packets: `SPI | sequence number | IV | packet | padding | pad length | next header | ICV`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overhead {
    iv_len: usize,
    /// The ciphertext is a multiple of this: the cipher's block, but at least 4 (RFC 4303 section 2.4).
    alignment: usize,
    icv_len: usize,
}

impl Overhead {
    /// The most bytes that a suite adds to a packet: an IV and blocks of 16 bytes, an ICV of 32 (HMAC_SHA2_512_256).
    pub const MOST: usize = HEADER_LEN + 16 + 16 - 1 + TRAILER_LEN + 32;

    /// The layout for a cipher with an IV, blocks and an ICV of these many bytes.
    pub fn new(iv_len: usize, block_len: usize, icv_len: usize) -> Self {
        Self { iv_len, alignment: block_len.max(4), icv_len }
    }

    /// The layout of a suite.
    pub fn of(suite: Suite) -> Self {
        Self::new(suite.iv_len(), suite.block_len(), suite.icv_len())
    }

    /// Bytes before the inner packet.
    pub fn header_len(self) -> usize {
        HEADER_LEN + self.iv_len
    }

    /// Bytes of the IV.
    pub fn iv_len(self) -> usize {
        self.iv_len
    }

    /// Bytes of the ICV.
    pub fn icv_len(self) -> usize {
        self.icv_len
    }

    /// What the length of the ciphertext is a multiple of.
    pub fn alignment(self) -> usize {
        self.alignment
    }

    /// The most bytes that may follow the inner packet.
    pub fn trailer_max(self) -> usize {
        self.alignment - 1 + TRAILER_LEN + self.icv_len
    }

    /// Bytes of the ESP packet that holds an inner packet of this length.
    pub fn sealed_len(self, inner: usize) -> usize {
        HEADER_LEN + self.iv_len + (inner + TRAILER_LEN).next_multiple_of(self.alignment) + self.icv_len
    }

    /// The largest inner packet whose ESP packet has at most this many bytes; 0 when none has.
    pub fn largest_inner(self, sealed: usize) -> usize {
        let body = sealed.saturating_sub(HEADER_LEN + self.iv_len + self.icv_len);
        (body - body % self.alignment).saturating_sub(TRAILER_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GCM: (usize, usize, usize) = (8, 1, 16);
    const CBC_SHA256: (usize, usize, usize) = (16, 16, 16);

    fn overhead((iv, block, icv): (usize, usize, usize)) -> Overhead {
        Overhead::new(iv, block, icv)
    }

    #[test]
    fn gcm_in_udp_over_ipv4_leaves_1438_of_1500() {
        assert_eq!(overhead(GCM).largest_inner(1500 - 28), 1438);
        assert_eq!(overhead(GCM).sealed_len(1438), 1472);
    }

    #[test]
    fn the_largest_inner_packet_is_the_largest() {
        for suite in [GCM, CBC_SHA256, (16, 16, 32), (16, 16, 12)] {
            let overhead = overhead(suite);
            for sealed in 80..1600 {
                let inner = overhead.largest_inner(sealed);
                assert!(overhead.sealed_len(inner) <= sealed, "{suite:?} {sealed}");
                assert!(overhead.sealed_len(inner + 1) > sealed, "{suite:?} {sealed}");
            }
        }
    }

    #[test]
    fn no_suite_adds_more_than_the_most() {
        for encryption in crate::crypto::encryption::TABLE {
            let with = crate::crypto::integ::TABLE.iter().copied().map(Some).chain([None]);
            for suite in with.filter_map(|integrity| Suite::new(encryption, integrity)) {
                let overhead = Overhead::of(suite);
                assert!((0..64).all(|inner| overhead.sealed_len(inner) - inner <= Overhead::MOST), "{suite:?}");
                assert!(overhead.header_len() + overhead.trailer_max() <= Overhead::MOST, "{suite:?}");
            }
        }
    }

    #[test]
    fn trailers_never_exceed_their_bound() {
        for suite in [GCM, CBC_SHA256] {
            let overhead = overhead(suite);
            for inner in 0..200 {
                let trailer = overhead.sealed_len(inner) - overhead.header_len() - inner;
                assert!(trailer <= overhead.trailer_max());
            }
        }
    }

    #[test]
    fn nothing_fits_where_the_headers_do_not() {
        assert_eq!(overhead(GCM).largest_inner(20), 0);
    }
}
