//! Fields of 16 bits in network byte order.

use std::ops::Range;

/// Reads a field; zero where the bytes end before it.
pub fn word(bytes: &[u8], field: Range<usize>) -> u16 {
    match bytes.get(field) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    }
}

/// Writes a field.
///
/// # Panics
/// When the bytes end before it, a mistake of the caller.
pub fn set_word(bytes: &mut [u8], field: Range<usize>, value: u16) {
    bytes[field].copy_from_slice(&value.to_be_bytes());
}
