//! Tests in real network namespaces. They need root; without it each says loudly that it was skipped.
mod gateways;
mod kernel;
mod lab;
