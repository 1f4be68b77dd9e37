//! Published vectors for every row of every algorithm table, as data files: `<table>/<name of the row>.txt`.
//!
//! Each test loops over its table, so that a new row without a file does not pass.

mod curve;
mod encryption;
mod integrity;
mod key_exchange;
mod prf;
mod record;
