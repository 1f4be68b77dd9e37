//! Tests in real network namespaces. They need root; without it each says loudly that it was skipped.
mod contract;
mod flood;
mod gatewayd;
mod gateways;
mod kernel;
mod lab;
mod sdk;
mod secrets;
