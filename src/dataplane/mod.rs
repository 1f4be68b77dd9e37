//! Packets to SAs and back: the policy, the batches, the two loops. Knows ESP; never IKE, never a socket.
//!
//! ```text
//!  PacketSource ─► OutboundLoop: Fib → connection → Child SA by selectors → OutboundSa::seal ─► DatagramSink
//!  DatagramSource ─► InboundLoop: SPI → InboundSa::open → selectors, ECN, MSS ─► PacketSink
//!                        └ non-ESP marker ─► IkeQueue (bounded)
//!  commands fall through rings that a loop drains after every read; facts rise as relaxed atomics, written once a batch
//! ```
//!
//! A loop is the only owner of its SAs, so nothing on a packet locks. Each loop is driven by `run_once`, by the
//! daemon's threads (`daemon::data_threads`) and by a test alike.

pub mod acquire;
mod batch;
pub mod coalesce;
mod codel;
pub mod command;
pub mod device;
pub mod drop;
pub mod facts;
mod fair_queue;
pub mod fair_source;
pub mod fib;
mod fragment;
mod frame;
mod frame_pool;
mod host_limit;
pub mod ike_queue;
pub mod inbound;
mod mss;
pub mod outbound;
pub mod outer_header;
mod own_link;
pub mod parameters;
pub mod path_mtu;
pub mod policy;
pub mod refusal;
pub mod sadb;
pub mod segment;
mod selection;
mod slab;
mod spi_map;
mod too_big;

pub use inbound::{InboundLoop, InboundPorts};
pub use outbound::{OutboundLoop, OutboundPorts, Progress};
