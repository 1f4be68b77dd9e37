//! Bytes to values and back: no policy, no state, no I/O.
pub mod checksum;
pub mod esp;
pub mod field;
pub mod icmp;
pub mod ike;
pub mod ip;
pub mod natt;
pub mod quoted;
pub mod tcp;
pub mod udp;
pub mod virtio_net;
