//! TUN devices behind one pair of traits.
