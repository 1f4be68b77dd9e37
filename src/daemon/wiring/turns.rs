//! How many of many are looked at together, so that thousands do not take the time of the others.

/// So many are always looked at together;
const FEW: usize = 256;
/// of more, each look takes one part in this many.
const LOOKS_AROUND: usize = 10;

/// How many of `known` one look takes.
pub(super) fn at_once(known: usize) -> usize {
    known.min((known / LOOKS_AROUND).max(FEW))
}
