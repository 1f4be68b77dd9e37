//! Devices that inner packets come from and go to. Each backend is a [`FrameSource`] and a [`PacketSink`].

pub mod faulty;
pub mod interface;
pub mod memory;
pub mod offload;
mod own_sources;
pub mod plain;
mod readiness;

use crate::dataplane::device::{FrameSource, PacketSink, Wait};
use offload::{OffloadDevice, OffloadSink, OffloadSource};
use plain::{PlainDevice, PlainSink, PlainSource};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

/// Which backend a TUN device gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// The offloading one where the kernel has it, otherwise the plain one.
    #[default]
    Auto,
    /// Super-packets: many packets a system call.
    Offload,
    /// One packet a system call.
    Plain,
}

/// A kernel TUN device of either backend. The interface is removed when the last handle is gone.
#[derive(Debug)]
pub enum Device {
    /// With super-packets.
    Offload(OffloadDevice),
    /// Without.
    Plain(PlainDevice),
}

impl Device {
    /// Makes a TUN interface in the network namespace of the calling thread; needs CAP_NET_ADMIN and /dev/net/tun. Says
    /// which backend it became.
    ///
    /// # Errors
    /// When the kernel refuses, for example because the name is taken, or cannot do what was asked for.
    pub fn open(name: &str, backend: Backend) -> io::Result<Self> {
        check_name(name)?;
        let device = match backend {
            Backend::Plain => Self::Plain(PlainDevice::open(name)?),
            Backend::Offload => Self::Offload(OffloadDevice::open(name)?),
            Backend::Auto => match OffloadDevice::open(name) {
                Ok(device) => Self::Offload(device),
                Err(error) if is_refusal(&error) => {
                    tracing::warn!("TUN device {name} without offloads, one packet a system call: {error}");
                    return Ok(Self::Plain(PlainDevice::open(name)?));
                }
                Err(error) => return Err(error),
            },
        };
        match &device {
            Self::Offload(offload) => {
                let udp = if offload.takes_udp() { "and UDP" } else { "but not UDP (the kernel is older than 6.2)" };
                tracing::info!("TUN device {name} with offloads: super-packets of TCP {udp}");
            }
            Self::Plain(_) => tracing::info!("TUN device {name} without offloads, as configured"),
        }
        Ok(device)
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Offload(device) => device.name(),
            Self::Plain(device) => device.name(),
        }
    }

    /// A descriptor of the device that can be waited for: it becomes readable when there is a packet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Offload(device) => device.as_fd().try_clone_to_owned(),
            Self::Plain(device) => device.as_fd().try_clone_to_owned(),
        }
    }

    /// The outbound loop's end. There must be only one.
    pub fn source(&self) -> Source {
        match self {
            Self::Offload(device) => Source::Offload(device.source()),
            Self::Plain(device) => Source::Plain(device.source()),
        }
    }

    /// An end to write to; any number of them.
    pub fn sink(&self) -> Sink {
        match self {
            Self::Offload(device) => Sink::Offload(device.sink()),
            Self::Plain(device) => Sink::Plain(device.sink()),
        }
    }
}

/// Whether the kernel does not know what it was asked for, rather than that the device cannot be had.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS))
        || error.kind() == io::ErrorKind::Unsupported
}

/// 15 bytes and a NUL are what an interface name has room for.
fn check_name(name: &str) -> io::Result<()> {
    if name.is_empty() || name.len() > 15 || name.contains(['/', '\0', ' ']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot name an interface")));
    }
    Ok(())
}

/// Reads packets.
#[derive(Debug)]
pub enum Source {
    /// With super-packets.
    Offload(OffloadSource),
    /// Without.
    Plain(PlainSource),
}

impl FrameSource for Source {
    fn read(&mut self, frame: &mut [u8], wait: Wait) -> io::Result<Option<usize>> {
        match self {
            Self::Offload(source) => source.read(frame, wait),
            Self::Plain(source) => source.read(frame, wait),
        }
    }
}

/// Writes packets.
#[derive(Debug)]
pub enum Sink {
    /// With super-packets.
    Offload(OffloadSink),
    /// Without.
    Plain(PlainSink),
}

impl PacketSink for Sink {
    fn deliver(&mut self, buffer: &mut [u8], packets: &[Range<usize>]) -> io::Result<usize> {
        match self {
            Self::Offload(sink) => sink.deliver(buffer, packets),
            Self::Plain(sink) => sink.deliver(buffer, packets),
        }
    }
}
