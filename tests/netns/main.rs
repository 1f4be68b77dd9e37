//! Tests in real network namespaces. They need root; without it each is skipped.
#![expect(clippy::disallowed_methods, reason = "a test waits on a thread of its own")]

mod contract;
mod control;
mod device;
mod df;
mod fail_closed;
mod filter;
mod flood;
mod gatewayd;
mod gateways;
mod keeper;
mod kernel;
mod lab;
#[path = "../missing/mod.rs"]
mod missing;
mod path_mtu;
mod refused;
mod route_tables;
mod sdk;
mod secrets;
