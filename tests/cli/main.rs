//! What a person or a script sees of the three programs, without privileges: gatewayctl asks a gatewayd that only answers.
#![expect(clippy::disallowed_methods, reason = "a test waits on a thread of its own")]

mod actions;
mod check;
mod closed_pipe;
mod cloud;
mod environment;
mod gatewayd;
mod names;
