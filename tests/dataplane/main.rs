//! The packet path end to end: two gateways back to back, with the loops that the daemon runs.

mod commands;
mod faults;
mod gateway;
mod header_rules;
mod kernel;
mod lifetimes;
#[path = "../missing/mod.rs"]
mod missing;
mod offload;
mod offload_kernel;
mod packets;
mod passage;
mod path_mtu;
mod scapy;
mod streams;
