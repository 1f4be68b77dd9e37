//! Two endpoints, a seeded clock and a network that loses, delays, duplicates, reorders and rewrites addresses.
//!
//! `world` holds both ends, the packets in flight and the invariants; `schedules` drives it by seed; `bugs` plants
//! faults that the invariants must find; `ladders` are collisions drawn message by message; `nat`, `flood` and `hints` have a
//! theme each.

mod bugs;
mod end;
mod flood;
mod hints;
mod ladders;
mod nat;
mod network;
mod schedules;
mod world;
