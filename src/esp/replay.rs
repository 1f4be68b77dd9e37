//! The replay window (RFC 4303 section 3.4.3): a ring of words, so that moving it never shifts a bit (the idea of RFC 6479).

use std::fmt;

const WORD_BITS: u64 = u64::BITS as u64;

/// Sequence numbers seen, from the highest authenticated one back over the window. Numbers are the whole 64 bits.
#[derive(Clone)]
pub struct ReplayWindow {
    /// A power of two of words, at least one more than the window spans: the word of the highest number is never full
    /// of numbers that left the window.
    ring: Box<[u64]>,
    window: u64,
    highest: u64,
}

/// A sequence number that was not seen before. Proof for [`ReplayWindow::accept`]; not `Copy`, so it is spent once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a fresh number is accepted once the tag held, or dropped"]
pub struct Fresh(u64);

/// Why a sequence number is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Replayed {
    /// It was accepted before.
    #[error("the sequence number was seen before")]
    Seen,
    /// It is older than the window remembers, or zero, which is never sent.
    #[error("the sequence number lies before the replay window")]
    BeforeWindow,
}

impl Fresh {
    /// The number.
    pub fn sequence(&self) -> u64 {
        self.0
    }
}

impl ReplayWindow {
    /// The smallest and the largest window.
    pub const SIZES: std::ops::RangeInclusive<u32> = 64..=65_536;

    /// A window of this many packets: brought into [`SIZES`](Self::SIZES) and up to whole words.
    pub fn new(packets: u32) -> Self {
        let window = u64::from(packets.clamp(*Self::SIZES.start(), *Self::SIZES.end())).next_multiple_of(WORD_BITS);
        let words = (window / WORD_BITS + 1).next_power_of_two();
        Self { ring: vec![0; words as usize].into(), window, highest: 0 }
    }

    /// How many packets it spans.
    pub fn size(&self) -> u64 {
        self.window
    }

    /// The highest sequence number accepted; 0 before the first.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    fn word(&self, sequence: u64) -> usize {
        (sequence / WORD_BITS) as usize & (self.ring.len() - 1)
    }

    /// Whether a number may still come. Changes nothing: the packet is not authenticated yet.
    ///
    /// # Errors
    /// When the number was seen, or is too old to tell.
    pub fn check(&self, sequence: u64) -> Result<Fresh, Replayed> {
        if sequence > self.highest {
            return Ok(Fresh(sequence));
        }
        if sequence == 0 || self.highest - sequence >= self.window {
            return Err(Replayed::BeforeWindow);
        }
        match self.ring[self.word(sequence)] >> (sequence % WORD_BITS) & 1 {
            0 => Ok(Fresh(sequence)),
            _ => Err(Replayed::Seen),
        }
    }

    /// Marks a number as seen. To be called only after the packet's tag held. Says whether it is the highest yet.
    pub fn accept(&mut self, fresh: Fresh) -> bool {
        let Fresh(sequence) = fresh;
        let newest = sequence > self.highest;
        if newest {
            let passed = (sequence / WORD_BITS - self.highest / WORD_BITS).min(self.ring.len() as u64);
            for step in 0..passed {
                let word = self.word(sequence - step * WORD_BITS);
                self.ring[word] = 0;
            }
            self.highest = sequence;
        }
        let word = self.word(sequence);
        self.ring[word] |= 1 << (sequence % WORD_BITS);
        newest
    }

    /// The whole sequence number of a received low half, for extended numbers (RFC 4303 appendix A2.2): the one that
    /// lies in the window, or else the next one right of it.
    pub fn extend(&self, low: u32) -> u64 {
        let (top_high, top_low) = (self.highest >> 32, self.highest as u32);
        let span = (self.window - 1) as u32;
        let high = if top_low >= span {
            // Case A: the window lies within one subspace of 2^32 numbers.
            if low >= top_low - span { top_high } else { top_high.wrapping_add(1) }
        } else {
            // Case B: the window reaches back into the subspace before, which the first subspace does not have.
            if low >= top_low.wrapping_sub(span) { top_high.saturating_sub(1) } else { top_high }
        };
        // After the last subspace there is none: such a number fails its tag.
        high << 32 | u64::from(low)
    }
}

impl fmt::Debug for ReplayWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayWindow").field("window", &self.window).field("highest", &self.highest).finish()
    }
}

#[cfg(test)]
mod tests;
