//! The simulated cloud against a naive reference, real cend processes that are killed, and what a gatewayd is told.

mod crowd;
mod gateway_changes;
mod gateway_link;
mod kill;
mod kill_all;
mod model;
mod vpn_world;
