//! The sans-IO IKEv2 endpoint (RFC 7296).
