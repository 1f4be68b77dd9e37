//! Optional capabilities of IKE: one file each, and the table of them all. The rest of `ike` calls the table, never a row.

mod extension;
mod natd;
pub(super) mod negotiated;
pub(super) mod table;
