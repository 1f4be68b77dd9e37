//! The simulated cloud's model, pure: what exists, what is published and what each network has learned.
//!
//! A [`Command`](command::Command) goes through [`plan`](plan::plan), where every rule of the cloud stands, and
//! becomes a list of [`Change`](change::Change)s. These are stored, then carried out by [`apply`](apply::apply).
//! What a network has learned is never stored: [`learned_routes`](learn::learned_routes) derives it.

pub mod apply;
pub mod bandwidth;
pub mod change;
pub mod client_token;
pub mod command;
pub mod conflict;
pub mod error;
pub mod gateway_routes;
pub mod grant;
mod horizon;
pub mod identifier;
pub mod index;
pub mod learn;
pub mod network;
pub mod nonce;
mod on_demand;
pub mod openapi;
pub mod passage;
pub mod plan;
pub mod propagation;
pub mod publish;
pub mod realism;
pub mod resource;
pub mod route;
pub mod route_map;
pub mod shared;
pub mod state;
pub mod vpn;

pub use error::ApiError;
