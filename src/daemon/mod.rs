//! gatewayd: configuration, threads, wiring.
pub mod config;
pub mod owner_set;
