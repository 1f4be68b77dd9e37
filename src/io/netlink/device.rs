//! The state of one network device, and changing it.
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::Netlink;
use super::error::NetlinkError;
use super::link::Link;
use crate::routing::{ActualDevice, DeviceChange, Family};

impl Netlink {
    /// Index of a device.
    ///
    /// # Errors
    /// There is no such device, or the kernel refused to answer.
    pub async fn index(&self, name: &str) -> Result<u32, NetlinkError> {
        let found = self.handle.link().get().match_name(name).execute().try_next().await;
        let message = none_if_missing(found, || format!("looking for device {name}"))?;
        message.map(|message| message.header.index).ok_or_else(|| NetlinkError::NoDevice(name.into()))
    }

    /// The device of an index with its addresses; `None` if there is none in this namespace.
    ///
    /// # Errors
    /// The kernel refused to answer.
    pub async fn device(&self, index: u32) -> Result<Option<ActualDevice>, NetlinkError> {
        let found = self.handle.link().get().match_index(index).execute().try_next().await;
        let Some(message) = none_if_missing(found, || format!("looking for device {index}"))? else {
            return Ok(None);
        };
        let addresses = self.addresses(index).await?;
        Ok(device(&message, addresses))
    }

    async fn addresses(&self, index: u32) -> Result<Vec<IpNet>, NetlinkError> {
        let listed: Result<Vec<_>, _> =
            self.handle.address().get().set_link_index_filter(index).execute().try_collect().await;
        let messages = listed.map_err(|error| NetlinkError::refused("listing addresses", error))?;
        let (ipv4, ipv6): (Vec<IpNet>, Vec<IpNet>) =
            messages.iter().filter_map(address).partition(|address| Family::of(address) == Family::Ipv4);
        // IPv6 lists the newest address first.
        Ok(ipv4.into_iter().chain(ipv6.into_iter().rev()).collect())
    }

    /// Takes one step towards what a device should be.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn change_device(&self, index: u32, change: &DeviceChange) -> Result<(), NetlinkError> {
        let link = || LinkUnspec::new_with_index(index);
        let changed = match change {
            DeviceChange::Rename { to, .. } => self.rename(index, to).await,
            DeviceChange::StopGeneratingAddresses => self.set_link(link().append_extra_attribute(no_addresses())).await,
            DeviceChange::SetMtu { to, .. } => self.set_link(link().mtu(*to)).await,
            DeviceChange::SetQueueLength { to, .. } => self.set_link(link().txqueuelen(*to)).await,
            DeviceChange::SetCarrier => self.set_link(link().carrier(true)).await,
            DeviceChange::SetUp => self.set_link(link().up()).await,
            DeviceChange::RemoveAddress(address) => self.remove_address(index, *address).await,
            DeviceChange::AddAddress(address) => {
                let request = self.handle.address().add(index, address.addr(), address.prefix_len());
                request.replace().execute().await
            }
        };
        changed.map_err(|error| NetlinkError::refused(change.to_string(), error))
    }

    async fn set_link(&self, link: LinkMessageBuilder<LinkUnspec>) -> Result<(), rtnetlink::Error> {
        self.handle.link().set(link.build()).execute().await
    }

    /// Kernels before 6.2 rename only what is down; what follows a renaming brings it up again.
    async fn rename(&self, index: u32, name: &str) -> Result<(), rtnetlink::Error> {
        let link = || LinkUnspec::new_with_index(index);
        match self.set_link(link().name(name)).await {
            Err(rtnetlink::Error::NetlinkError(message)) if message.to_io().raw_os_error() == Some(libc::EBUSY) => {
                self.set_link(link().down()).await?;
                let renamed = self.set_link(link().name(name)).await;
                self.set_link(link().up()).await?;
                renamed
            }
            renamed => renamed,
        }
    }

    /// One that is gone already, because the kernel took it away with another, is no error.
    async fn remove_address(&self, index: u32, address: IpNet) -> Result<(), rtnetlink::Error> {
        let mut request = self.handle.address().add(index, address.addr(), address.prefix_len());
        let message = std::mem::take(request.message_mut());
        match self.handle.address().del(message).execute().await {
            Err(rtnetlink::Error::NetlinkError(message))
                if message.to_io().raw_os_error() == Some(libc::EADDRNOTAVAIL) =>
            {
                Ok(())
            }
            removed => removed,
        }
    }
}

/// IFLA_INET6_ADDR_GEN_MODE none.
fn no_addresses() -> LinkAttribute {
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])])
}

fn none_if_missing(
    found: Result<Option<LinkMessage>, rtnetlink::Error>,
    what: impl Fn() -> String,
) -> Result<Option<LinkMessage>, NetlinkError> {
    found.or_else(|error| {
        let error = NetlinkError::refused(what(), error);
        if error.errno() == Some(libc::ENODEV) { Ok(None) } else { Err(error) }
    })
}

fn device(message: &LinkMessage, addresses: Vec<IpNet>) -> Option<ActualDevice> {
    let Link { name, up } = Link::of(message)?;
    let mut device =
        ActualDevice { name, up, carrier: true, mtu: 0, queue_length: 0, generates_addresses: false, addresses };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
            LinkAttribute::TxQueueLen(length) => device.queue_length = *length,
            LinkAttribute::Carrier(carrier) => device.carrier = *carrier != 0,
            LinkAttribute::AfSpecUnspec(families) => device.generates_addresses = generates_addresses(families),
            _ => {}
        }
    }
    Some(device)
}

/// A device on which IPv6 is off has no mode, and generates nothing.
fn generates_addresses(families: &[AfSpecUnspec]) -> bool {
    let mut modes = families.iter().flat_map(|family| match family {
        AfSpecUnspec::Inet6(attributes) => attributes.as_slice(),
        _ => &[],
    });
    modes.any(|attribute| matches!(attribute, AfSpecInet6::AddrGenMode(mode) if *mode != In6AddrGenMode::None))
}

fn address(message: &AddressMessage) -> Option<IpNet> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address: Option<IpAddr> = local.or_else(|| {
        // A link with two ends has the other end's address in `Address`; IPv6 has no `Local`.
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    });
    IpNet::new(address?, message.header.prefix_len).ok()
}
