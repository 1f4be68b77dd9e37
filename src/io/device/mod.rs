//! Devices that inner packets come from and go to. Each backend is a [`PacketSource`] and a [`PacketSink`].
//!
//! [`PacketSource`]: crate::dataplane::device::PacketSource
//! [`PacketSink`]: crate::dataplane::device::PacketSink

pub mod faulty;
pub mod memory;
pub mod plain;
