//! The cloud's OpenAPI: signed calls in, JSON out.
pub mod authentication;
pub mod request;
pub mod rpc;
pub mod signature;
