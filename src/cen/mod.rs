//! The cloud's model: VPCs, VBRs, CEN instances and what they publish and learn.
pub mod error;
pub mod openapi;

pub use error::ApiError;
