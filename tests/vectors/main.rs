//! Published vectors for every row of every algorithm table, as data files: `<table>/<name of the row>.txt`.
//! Beside them, in `handshakes/`, whole exchanges of another implementation with their keys.
//!
//! Each test loops over its table, so that a new row without a file does not pass.

mod curve;
mod encryption;
mod handshake;
mod integrity;
mod key_exchange;
mod prf;
mod record;
