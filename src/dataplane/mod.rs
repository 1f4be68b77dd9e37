//! Packets to security associations and back, in batches and in place.
