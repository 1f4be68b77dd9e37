//! Composition of cend.
