//! The cloud's OpenAPI: signed calls in, JSON out.
pub mod rpc;
