//! The network interface behind a TUN descriptor: what it is called now, and which offloads it has.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Socket, Type};

use crate::io::netns::Namespace;

nix::ioctl_read_bad!(
    /// Writes the name and the flags of the interface behind a TUN descriptor to the `ifreq` (`TUNGETIFF`,
    /// linux/if_tun.h).
    tun_get_interface,
    libc::TUNGETIFF,
    libc::ifreq
);
nix::ioctl_readwrite_bad!(
    /// Runs the ethtool command whose structure `ifr_data` points to, on the interface that the `ifreq` names
    /// (`SIOCETHTOOL`, linux/ethtool.h).
    ethtool,
    libc::SIOCETHTOOL,
    libc::ifreq
);

/// Room for 128 offloads; Linux has fewer than 96.
const WORDS: usize = 4;
/// `ETHTOOL_GFEATURES` and `ETHTOOL_SFEATURES` (linux/ethtool.h).
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;

/// Offloads as ethtool(8) lists them, by the kernel's own numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// How many words of 32 the kernel has.
    words: u32,
    on: [u32; WORDS],
}

impl Offloads {
    /// Those of `self` that are off in `now`; `None` if there are none.
    pub fn missing(&self, now: &Offloads) -> Option<Offloads> {
        let mut missing = Offloads { words: now.words, on: self.on };
        missing.on.iter_mut().zip(now.on).for_each(|(missing, on)| *missing &= !on);
        missing.on.iter().any(|word| *word != 0).then_some(missing)
    }
}

/// `struct ethtool_gfeatures` of linux/ethtool.h.
#[repr(C)]
#[derive(Default)]
struct GetFeatures {
    command: u32,
    words: u32,
    features: [FeatureBlock; WORDS],
}

/// `struct ethtool_get_features_block`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FeatureBlock {
    available: u32,
    requested: u32,
    active: u32,
    never_changed: u32,
}

/// `struct ethtool_sfeatures`.
#[repr(C)]
#[derive(Default)]
struct SetFeatures {
    command: u32,
    words: u32,
    features: [SetBlock; WORDS],
}

/// `struct ethtool_set_features_block`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SetBlock {
    valid: u32,
    requested: u32,
}

/// A structure that SIOCETHTOOL takes: it begins with its own command and the number of its words, of which it has
/// [`WORDS`].
trait EthtoolStructure {}
impl EthtoolStructure for GetFeatures {}
impl EthtoolStructure for SetFeatures {}

/// The name that the interface behind a TUN descriptor has at the moment, also in another namespace.
///
/// # Errors
/// EBADFD when the interface has been deleted.
pub fn name_of(descriptor: impl AsFd) -> io::Result<String> {
    // SAFETY: an ifreq is plain data, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // SAFETY: the descriptor is open for the whole call, and TUNGETIFF writes one ifreq to the pointer.
    unsafe { tun_get_interface(descriptor.as_fd().as_raw_fd(), &raw mut request) }?;
    let name: Vec<u8> = request.ifr_name.iter().take_while(|c| **c != 0).map(|c| c.cast_unsigned()).collect();
    String::from_utf8(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The offloads of an interface that are on and could be turned off.
///
/// # Errors
/// There is no interface of this name, or the kernel cannot tell.
pub fn offloads(namespace: &Namespace, name: &str) -> io::Result<Offloads> {
    let mut features = GetFeatures { command: GET_FEATURES, words: WORDS as u32, ..GetFeatures::default() };
    ask(namespace, name, &mut features)?;
    let mut offloads = Offloads { words: features.words.min(WORDS as u32), on: [0; WORDS] };
    for (on, block) in offloads.on.iter_mut().zip(features.features) {
        *on = block.available & block.active;
    }
    Ok(offloads)
}

/// Turns offloads of an interface on.
///
/// # Errors
/// There is no interface of this name, or the kernel refused.
pub fn turn_on(namespace: &Namespace, name: &str, wanted: &Offloads) -> io::Result<()> {
    let mut features = SetFeatures { command: SET_FEATURES, words: wanted.words, ..SetFeatures::default() };
    for (block, on) in features.features.iter_mut().zip(wanted.on) {
        *block = SetBlock { valid: on, requested: on };
    }
    ask(namespace, name, &mut features)
}

fn ask<T: EthtoolStructure>(namespace: &Namespace, name: &str, structure: &mut T) -> io::Result<()> {
    let socket = namespace.run(|| Socket::new(Domain::IPV4, Type::DGRAM, None))??;
    // SAFETY: an ifreq is plain data, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last byte stays the NUL that ends the name.
    let room = request.ifr_name.len() - 1;
    for (place, byte) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(structure).cast();
    // SAFETY: both structures are alive and ours alone for the whole call, and the kernel writes no more words than the
    // inner one has.
    unsafe { ethtool(socket.as_raw_fd(), &raw mut request) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_turned_off_is_missing() {
        let before = Offloads { words: 2, on: [0b1011, 1, 0, 0] };
        assert_eq!(before.missing(&before), None);
        assert_eq!(before.missing(&Offloads { words: 2, on: [0b1111, 3, 0, 0] }), None, "what was added stays");
        let now = Offloads { words: 2, on: [0b0110, 1, 0, 0] };
        assert_eq!(before.missing(&now), Some(Offloads { words: 2, on: [0b1001, 0, 0, 0] }));
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        let error = offloads(&Namespace::Own, "ig-none").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn the_loopback_device_tells_its_offloads() {
        let found = offloads(&Namespace::Own, "lo").unwrap();
        assert!(found.words >= 2 && found.on.iter().any(|word| *word != 0), "{found:?}");
    }
}
