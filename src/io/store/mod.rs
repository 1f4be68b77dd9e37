//! Durable storage of the cloud's state.
