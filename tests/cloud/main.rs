//! The simulated cloud against a naive reference, and real cend processes that are killed.

mod kill;
mod model;
