//! A userspace IPsec VPN gateway and a simulated cloud.
//!
//! ```text
//!    data centre (IDC)                  the cloud (one region each)
//!  ┌──────────────────┐  IKEv2 + ESP  ┌──────────────────────────┐  publish / withdraw   ┌─────────────────────────┐
//!  │ strongSwan, FRR, │◄═════════════►│ gatewayd  (VPC Hangzhou) │ ────────────────────► │ cend: VPC route tables, │
//!  │ any IPsec router │ UDP 500/4500, │ IKE · ESP · TUN · routes │ ◄──── connections ─── │ CEN instances, OpenAPI  │
//!  └──────────────────┘ IP protocol 50└────────────▲─────────────┘                       └──────────┬──────────────┘
//!                                                  │ unix socket                                    │ kernel routes
//!                                             gatewayctl                        VPC Beijing · Shanghai · Hong Kong · VBR
//! ```
//!
//! Modules stand in layer order: each uses only those above it in this list. `tests/layering` enforces it.

#![warn(missing_docs)]

pub mod wire;

pub mod crypto;

pub mod esp;
pub mod ike;

pub mod dataplane;

pub mod routing;

pub mod cen;

pub mod control;

pub mod io;

pub mod cloud;
pub mod daemon;

pub mod cli;

#[cfg(test)]
#[path = "../tests/missing/mod.rs"]
mod missing;
