//! Memory for frames that wait: places of three sizes, allocated once.

use super::device::MAX_FRAME;
use std::ops::Range;

/// What a place has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A single packet of an ordinary network.
    Small,
    /// A large packet, or a super-packet of a sender that paces.
    Medium,
    /// Any frame.
    Large,
}

/// How many kinds there are.
pub const KINDS: usize = 3;
/// Places of each kind: at 8 Gbit/s 64 large frames are 4 ms.
const COUNTS: [usize; KINDS] = [1024, 256, 64];
/// Bytes of each.
const SIZES: [usize; KINDS] = [2048, 16 * 1024, MAX_FRAME];
/// All places.
pub const PLACES: usize = COUNTS[0] + COUNTS[1] + COUNTS[2];

impl Kind {
    const ALL: [Self; KINDS] = [Self::Small, Self::Medium, Self::Large];

    /// The kind of place that a frame of this many bytes needs.
    pub fn for_len(len: usize) -> Self {
        Self::ALL.into_iter().find(|kind| len <= SIZES[*kind as usize]).unwrap_or(Self::Large)
    }

    /// The number of its first place.
    fn first(self) -> usize {
        COUNTS[..self as usize].iter().sum()
    }

    fn places(self) -> Range<usize> {
        self.first()..self.first() + COUNTS[self as usize]
    }
}

/// A place for one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u16);

impl Place {
    /// Counted from 0 up to [`PLACES`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// What it has room for.
    pub fn kind(self) -> Kind {
        Kind::ALL.into_iter().find(|kind| kind.places().contains(&self.index())).unwrap_or(Kind::Large)
    }

    /// Where it lies in the memory of its kind.
    fn range(self) -> Range<usize> {
        let (kind, size) = (self.kind(), SIZES[self.kind() as usize]);
        let start = (self.index() - kind.first()) * size;
        start..start + size
    }
}

/// The memory of all places, and which of them are free.
#[derive(Debug)]
pub struct FramePool {
    /// By kind.
    bytes: [Box<[u8]>; KINDS],
    /// By kind. The one that was given back last is taken next: its memory is still in a near cache.
    free: [Vec<Place>; KINDS],
}

impl FramePool {
    /// The places, and a large one that is taken already.
    pub fn with_landing() -> (Self, Place) {
        let bytes = Kind::ALL.map(|kind| vec![0; COUNTS[kind as usize] * SIZES[kind as usize]].into());
        let free = Kind::ALL
            .map(|kind| kind.places().skip(usize::from(kind == Kind::Large)).map(|n| Place(n as u16)).collect());
        (Self { bytes, free }, Place(Kind::Large.first() as u16))
    }

    /// A free place, if there is one of this kind.
    pub fn take(&mut self, kind: Kind) -> Option<Place> {
        self.free[kind as usize].pop()
    }

    /// How many places are free.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.free.iter().map(Vec::len).sum()
    }

    /// Gives a place back, once for each time that it was taken.
    pub fn give_back(&mut self, place: Place) {
        self.free[place.kind() as usize].push(place);
    }

    /// The bytes of a place.
    pub fn bytes(&mut self, place: Place) -> &mut [u8] {
        &mut self.bytes[place.kind() as usize][place.range()]
    }

    /// Copies the first `len` bytes of a large place to one of another kind.
    pub fn copy(&mut self, from: Place, to: Place, len: usize) {
        let [small, medium, large] = &mut self.bytes;
        let to_bytes = match to.kind() {
            Kind::Small => small,
            Kind::Medium => medium,
            Kind::Large => return,
        };
        to_bytes[to.range()][..len].copy_from_slice(&large[from.range()][..len]);
    }
}
