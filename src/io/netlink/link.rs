//! Network devices: finding one, its addresses and MTU.
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use rtnetlink::LinkUnspec;

use super::{Netlink, NetlinkError};

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
}

impl Netlink {
    /// Finds a device by name.
    ///
    /// # Errors
    /// There is none, or the kernel refused to answer.
    pub async fn link(&self, name: &str) -> Result<Link, NetlinkError> {
        let found = self.handle.link().get().match_name(name).execute().try_next().await;
        let message = match found {
            Ok(Some(message)) => message,
            Ok(None) => return Err(NetlinkError::NoDevice(name.into())),
            Err(error) => {
                let error = NetlinkError::refused(format!("looking for device {name}"), error);
                let missing = error.errno() == Some(libc::ENODEV);
                return Err(if missing { NetlinkError::NoDevice(name.into()) } else { error });
            }
        };
        let mtu = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
        Ok(Link {
            index: message.header.index,
            mtu: mtu.unwrap_or_default(),
            up: message.header.flags.contains(LinkFlags::Up),
        })
    }

    /// Sets a device's MTU and brings it up.
    ///
    /// # Errors
    /// There is no such device, or the kernel refused.
    pub async fn bring_up(&self, name: &str, mtu: u32) -> Result<Link, NetlinkError> {
        let index = self.link(name).await?.index;
        let message = LinkUnspec::new_with_index(index).mtu(mtu).up().build();
        let set = self.handle.link().set(message).execute().await;
        set.map_err(|error| NetlinkError::refused(format!("bringing up {name} with MTU {mtu}"), error))?;
        self.link(name).await
    }

    /// Gives a device an address; one that it has already is no error.
    ///
    /// # Errors
    /// There is no such device, or the kernel refused.
    pub async fn add_address(&self, name: &str, address: IpNet) -> Result<(), NetlinkError> {
        let index = self.link(name).await?.index;
        let request = self.handle.address().add(index, address.addr(), address.prefix_len());
        let added = request.replace().execute().await;
        added.map_err(|error| NetlinkError::refused(format!("adding {address} to {name}"), error))
    }

    /// Every address in the namespace, with its prefix length and device index.
    ///
    /// # Errors
    /// The kernel refused to answer.
    pub async fn addresses(&self) -> Result<Vec<(u32, IpNet)>, NetlinkError> {
        let listed: Result<Vec<_>, _> = self.handle.address().get().execute().try_collect().await;
        let messages = listed.map_err(|error| NetlinkError::refused("listing addresses", error))?;
        let address = |attributes: &[AddressAttribute]| -> Option<IpAddr> {
            let local = attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
            // A link with two ends has the other end's address in `Address`; IPv6 has no `Local`.
            local.or_else(|| {
                attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Address(address) => Some(*address),
                    _ => None,
                })
            })
        };
        let one = |message: &netlink_packet_route::address::AddressMessage| {
            let address = address(&message.attributes)?;
            Some((message.header.index, IpNet::new(address, message.header.prefix_len).ok()?))
        };
        Ok(messages.iter().filter_map(one).collect())
    }

    /// Index of a device, for callers that hold a name only.
    ///
    /// # Errors
    /// There is no such device, or the kernel refused to answer.
    pub async fn index(&self, name: &Arc<str>) -> Result<u32, NetlinkError> {
        Ok(self.link(name).await?.index)
    }
}
