//! Tests in real network namespaces. They need root; without it each says loudly that it was skipped.
mod contract;
mod df;
mod fail_closed;
mod flood;
mod gatewayd;
mod gateways;
mod kernel;
mod lab;
mod path_mtu;
mod refused;
mod sdk;
