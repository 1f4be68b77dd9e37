//! Composition of gatewayd.
