//! Composition of cend.
pub mod fabric_binding;
