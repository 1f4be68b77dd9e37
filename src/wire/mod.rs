//! Bytes to values and back: no policy, no state, no I/O.
pub mod ike;
