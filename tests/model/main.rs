//! Random values against their properties, and against another implementation.

mod ike_codec;
mod scapy;
