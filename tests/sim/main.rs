//! Two endpoints or more, a seeded clock and a network that loses, delays, duplicates, reorders and rewrites addresses.
//!
//! `setup` says how the ends are configured; `world` holds them, the packets in flight and what must hold after every
//! step; `agreement` is what the ends of a tunnel must come to, and `isolation` what peers of one end must not do to each
//! other. `schedules` drives a world by seed; `bugs` plants faults that the invariants must find; `ladders` are collisions
//! drawn message by message; `nat`, `warriors`, `flood`, `floods`, `hints`, `outages` and `extensions` have a theme
//! each, and `forger` is somebody on the way.

mod agreement;
mod bugs;
mod crowds;
mod end;
mod extensions;
mod flood;
mod floods;
mod forger;
mod hints;
mod isolation;
mod ladders;
mod nat;
mod network;
mod outages;
mod pair;
mod schedules;
mod setup;
mod tunnel;
mod warriors;
mod world;
