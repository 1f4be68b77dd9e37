//! Random values against their properties, and against another implementation.

mod ike_codec;
#[path = "../missing/mod.rs"]
mod missing;
mod scapy;
