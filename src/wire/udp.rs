//! UDP datagrams (RFC 768): where their fields stand.

use std::ops::Range;

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Where the length stands.
pub const LENGTH: Range<usize> = 4..6;
/// Where the checksum stands. Zero means none.
pub const CHECKSUM: Range<usize> = 6..8;
