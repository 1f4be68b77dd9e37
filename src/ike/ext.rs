//! Optional capabilities of IKE: one file each, and the table of them all. The rest of `ike` calls the table, never a row.

mod childless;
mod extension;
mod fragmentation;
mod natd;
pub(super) mod negotiated;
mod quick_crash_detection;
pub(super) mod reassembly;
pub(super) mod table;
