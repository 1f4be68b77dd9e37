//! Reading and writing fields in order, without an index that could panic or a length that could wrap.

/// A value does not fit the field that must carry its length or its count, or the message one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} {what}")]
pub struct TooLong {
    /// What there is too much of, in the plural.
    pub what: &'static str,
    /// The most of it that fits.
    pub limit: usize,
}

/// Reads big-endian fields from the front of a slice; every method says `None` when too little is left.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// Appends a length or a count of 8 bits.
pub(super) fn put_u8_length(out: &mut Vec<u8>, length: usize, what: &'static str) -> Result<(), TooLong> {
    out.push(u8::try_from(length).map_err(|_| TooLong { what, limit: u8::MAX.into() })?);
    Ok(())
}

/// Appends a length or a count of 16 bits.
pub(super) fn put_u16_length(out: &mut Vec<u8>, length: usize, what: &'static str) -> Result<(), TooLong> {
    out.extend(u16::try_from(length).map_err(|_| TooLong { what, limit: u16::MAX.into() })?.to_be_bytes());
    Ok(())
}

/// Writes the distance from `start` to the end of `out` as a 16-bit length at `start + at`.
///
/// Every substructure of IKE that has a 16-bit length counts its own header in, and the length field is known only
/// once the substructure is written: `start` is where it began, `at` where its length field lies in it.
pub(super) fn set_u16_length(out: &mut [u8], start: usize, at: usize, what: &'static str) -> Result<(), TooLong> {
    let length = u16::try_from(out.len() - start).map_err(|_| TooLong { what, limit: u16::MAX.into() })?;
    if let Some(field) = out.get_mut(start + at..start + at + 2) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
