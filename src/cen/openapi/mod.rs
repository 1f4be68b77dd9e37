//! The cloud's OpenAPI: signed calls in, JSON out.
//!
//! A [`Request`](request::Request) is authenticated ([`authentication`], [`signature`]), its parameters are read
//! ([`rpc`]), and its row in [`ACTIONS`] answers it ([`service`]). Each resource has a file with its rows.

pub mod action;
pub mod authentication;
pub mod live;
pub mod paging;
pub mod request;
pub mod rpc;
pub mod service;
pub mod signature;

use action::Action;

/// Every action that is served, by resource.
pub static ACTIONS: &[&[Action]] = &[];
