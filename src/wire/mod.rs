//! Bytes to values and back, and the one text that all layers read: no policy, no state, no I/O.
pub mod checksum;
pub mod cidr;
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
