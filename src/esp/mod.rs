//! Security associations of ESP in tunnel mode (RFC 4303), without I/O: direction is a type, a sequence number cannot be
//! used twice, and the replay window moves only after the tag held.

pub mod lifetime;
mod overhead;
pub mod replay;

pub use lifetime::Limits;
pub use overhead::Overhead;
