//! Bytes to values and back. No policy, no state, no I/O.

pub mod checksum;
pub mod ike;
pub mod ip;
