//! What the tunnel device should be in the kernel, and what brings it there.
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::reconcile::Family;

/// The tunnel device as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedDevice {
    /// Name of the interface.
    pub name: Arc<str>,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Packets that may wait in the kernel for gatewayd (txqueuelen); `None`: as many as there may now.
    pub queue_length: Option<u32>,
    /// Inner addresses in the order in which they are set; of IPv4 the kernel prefers the first as a source.
    pub addresses: Vec<IpNet>,
}

/// The tunnel device as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActualDevice {
    /// Name of the interface.
    pub name: Arc<str>,
    /// Whether it is administratively up (IFF_UP).
    pub up: bool,
    /// Whether it has a carrier (IFLA_CARRIER); without one the kernel's queue takes no packet.
    pub carrier: bool,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Packets that may wait in the kernel for gatewayd (txqueuelen); with none, every packet is dropped.
    pub queue_length: u32,
    /// Whether the kernel gives it IPv6 addresses by itself (IFLA_INET6_ADDR_GEN_MODE is not `none`).
    pub generates_addresses: bool,
    /// Its addresses of both families, those that were added first before the others.
    pub addresses: Vec<IpNet>,
}

/// One step from what is to what should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChange {
    /// Give it its name back.
    Rename {
        /// What it is called now.
        from: Arc<str>,
        /// What it should be called.
        to: Arc<str>,
    },
    /// Keep the kernel from giving it IPv6 addresses, which it would announce and solicit through the tunnel.
    StopGeneratingAddresses,
    /// Set the MTU.
    SetMtu {
        /// What it is now, in bytes.
        from: u32,
        /// What it should be, in bytes.
        to: u32,
    },
    /// Set the length of its queue.
    SetQueueLength {
        /// What it is now, in packets.
        from: u32,
        /// What it should be, in packets.
        to: u32,
    },
    /// Give it its carrier back.
    SetCarrier,
    /// Bring it up.
    SetUp,
    /// Take an inner address away; only ever followed by its return in its right place.
    RemoveAddress(IpNet),
    /// Give it an inner address.
    AddAddress(IpNet),
}

impl fmt::Display for DeviceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rename { from, to } => write!(f, "renaming it from {from} to {to}"),
            Self::StopGeneratingAddresses => f.write_str("keeping the kernel's own IPv6 addresses off it"),
            Self::SetMtu { from, to } => write!(f, "setting its MTU from {from} to {to}"),
            Self::SetQueueLength { from, to } => write!(f, "setting its queue length from {from} to {to}"),
            Self::SetCarrier => f.write_str("giving it its carrier back"),
            Self::SetUp => f.write_str("bringing it up"),
            Self::RemoveAddress(address) => write!(f, "moving its address {address}"),
            Self::AddAddress(address) => write!(f, "adding its address {address}"),
        }
    }
}

/// The steps from `actual` to `wanted`, in an order that the kernel takes: the MTU comes before the addresses, because
/// below 1280 a device has no IPv6, and so does being up, because IPv6 addresses leave a device that goes down.
///
/// Addresses that are not wanted are somebody else's, and stay.
pub fn device_changes(wanted: &WantedDevice, actual: &ActualDevice) -> Vec<DeviceChange> {
    let mut changes = Vec::new();
    if actual.name != wanted.name {
        changes.push(DeviceChange::Rename { from: Arc::clone(&actual.name), to: Arc::clone(&wanted.name) });
    }
    if actual.generates_addresses {
        changes.push(DeviceChange::StopGeneratingAddresses);
    }
    if actual.mtu != wanted.mtu {
        changes.push(DeviceChange::SetMtu { from: actual.mtu, to: wanted.mtu });
    }
    if let Some(to) = wanted.queue_length.filter(|length| actual.queue_length != *length) {
        changes.push(DeviceChange::SetQueueLength { from: actual.queue_length, to });
    }
    if !actual.carrier {
        changes.push(DeviceChange::SetCarrier);
    }
    if !actual.up {
        changes.push(DeviceChange::SetUp);
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let of_family =
            |list: &[IpNet]| list.iter().copied().filter(|net| Family::of(net) == family).collect::<Vec<_>>();
        address_changes(&of_family(&wanted.addresses), &of_family(&actual.addresses), &mut changes);
    }
    changes
}

/// Which addresses of one family have to be set. The kernel puts a new address behind those that are there, so an
/// address that comes back takes those along that belong behind it.
fn address_changes(wanted: &[IpNet], actual: &[IpNet], changes: &mut Vec<DeviceChange>) {
    let (ours, foreign): (Vec<IpNet>, Vec<IpNet>) =
        actual.iter().partition(|present| wanted.iter().any(|address| same_place(address, present)));
    if wanted.iter().all(|address| ours.contains(address)) {
        // The order alone is no reason: the kernel has one of its own for scopes and secondary addresses.
        return;
    }
    let in_place = wanted.iter().zip(&ours).take_while(|(wanted, present)| wanted == present).count();
    let out_of_place = &ours[in_place..];
    // The kernel takes the other addresses of an IPv4 subnet away together with the first one, so one that has a foreign
    // one beside it is left where it is, and the order with it.
    let stuck = out_of_place.iter().any(|address| foreign.iter().any(|other| is_secondary_of(other, address)));
    let moved = if stuck { &[] } else { out_of_place };
    changes.extend(moved.iter().copied().map(DeviceChange::RemoveAddress));
    let missing = wanted[in_place..].iter().filter(|address| moved.contains(address) || !ours.contains(address));
    changes.extend(missing.copied().map(DeviceChange::AddAddress));
}

/// Whether the kernel has room for one of the two only: an IPv6 address stands on a device once, whatever its prefix.
fn same_place(one: &IpNet, other: &IpNet) -> bool {
    if one.addr().is_ipv6() { one.addr() == other.addr() } else { one == other }
}

fn is_secondary_of(address: &IpNet, primary: &IpNet) -> bool {
    primary.addr().is_ipv4() && address.trunc() == primary.trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|text| text.parse().expect("an address with its prefix")).collect()
    }

    fn wanted(addresses: &[&str]) -> WantedDevice {
        WantedDevice { name: "gwd0".into(), mtu: 1400, queue_length: Some(1000), addresses: nets(addresses) }
    }

    fn actual(addresses: &[&str]) -> ActualDevice {
        ActualDevice {
            name: "gwd0".into(),
            up: true,
            carrier: true,
            mtu: 1400,
            queue_length: 1000,
            generates_addresses: false,
            addresses: nets(addresses),
        }
    }

    fn shown(wanted: &[&str], present: &[&str]) -> Vec<String> {
        let changes = device_changes(&self::wanted(wanted), &actual(present));
        let one = |change: DeviceChange| match change {
            DeviceChange::RemoveAddress(address) => format!("-{address}"),
            DeviceChange::AddAddress(address) => format!("+{address}"),
            other => panic!("{other} is no change of addresses"),
        };
        changes.into_iter().map(one).collect()
    }

    #[test]
    fn a_device_as_it_should_be_needs_nothing() {
        let addresses = ["10.1.0.1/32", "fd00::1/128"];
        assert_eq!(device_changes(&wanted(&addresses), &actual(&addresses)), []);
        assert_eq!(shown(&addresses, &["10.9.9.9/24", "fe80::1/64", "fd00::1/128", "10.1.0.1/32"]), [""; 0]);
    }

    #[test]
    fn everything_at_once_comes_in_an_order_that_the_kernel_takes() {
        let found = ActualDevice {
            name: "foo".into(),
            up: false,
            carrier: false,
            mtu: 1000,
            queue_length: 0,
            generates_addresses: true,
            addresses: Vec::new(),
        };
        let wanted = wanted(&["fd00::1/128"]);
        assert_eq!(
            device_changes(&wanted, &found),
            [
                DeviceChange::Rename { from: "foo".into(), to: "gwd0".into() },
                DeviceChange::StopGeneratingAddresses,
                DeviceChange::SetMtu { from: 1000, to: 1400 },
                DeviceChange::SetQueueLength { from: 0, to: 1000 },
                DeviceChange::SetCarrier,
                DeviceChange::SetUp,
                DeviceChange::AddAddress(wanted.addresses[0]),
            ]
        );
    }

    /// Each row: what is wanted, what is there, what is done.
    #[test]
    fn addresses_come_back_in_order_and_foreign_ones_stay() {
        type Row = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);
        let rows: &[Row] = &[
            (
                "flushed",
                &["10.1.0.1/32", "10.1.0.2/32", "fd00::1/128"],
                &[],
                &["+10.1.0.1/32", "+10.1.0.2/32", "+fd00::1/128"],
            ),
            ("flushed, with a foreign one", &["10.1.0.1/32"], &["10.9.0.1/24"], &["+10.1.0.1/32"]),
            ("the last one is gone", &["10.1.0.1/32", "10.1.0.2/32"], &["10.1.0.1/32"], &["+10.1.0.2/32"]),
            (
                "the first one is gone",
                &["10.1.0.1/32", "10.1.0.2/32"],
                &["10.1.0.2/32"],
                &["-10.1.0.2/32", "+10.1.0.1/32", "+10.1.0.2/32"],
            ),
            ("an order that the kernel made", &["fd00::1/128", "fe80::1/64"], &["fe80::1/64", "fd00::1/128"], &[]),
            ("another prefix of IPv4", &["10.1.0.1/32"], &["10.1.0.1/24"], &["+10.1.0.1/32"]),
            ("another prefix of IPv6", &["fd00::1/128"], &["fd00::1/64"], &["-fd00::1/64", "+fd00::1/128"]),
            (
                "a foreign one would go along",
                &["10.1.0.1/32", "10.2.0.1/24"],
                &["10.2.0.1/24", "10.2.0.9/24"],
                &["+10.1.0.1/32"],
            ),
            (
                "and nothing can be done about the order",
                &["10.1.0.1/32", "10.2.0.1/24"],
                &["10.2.0.1/24", "10.2.0.9/24", "10.1.0.1/32"],
                &[],
            ),
        ];
        for (what, wanted, present, expected) in rows {
            assert_eq!(shown(wanted, present), *expected, "{what}");
        }
    }
}
