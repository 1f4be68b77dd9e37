//! Composition of cend.
//!
//! The simulated cloud's API in front of one writer of its state; behind it the real networks that cend is bound to.

pub mod config;
pub mod fabric;
pub mod fabric_binding;
pub mod fabric_routes;
pub mod gateway;
pub mod gateway_pace;
pub mod gateway_session;
pub mod gateway_set;
pub mod recent_changes;
pub mod wiring;
pub mod workers;
pub mod writer;
