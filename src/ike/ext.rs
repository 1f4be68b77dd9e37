//! Optional capabilities of IKE, one per file.

pub(super) mod natd;
