//! Hearing of what others change.
use std::collections::VecDeque;
use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::MulticastGroup;

use super::error::NetlinkError;
use super::message::{AddressHead, LinkHead, Message, RouteHead, kind, messages};
use super::socket::RouteSocket;
use crate::io::netns::Namespace;

/// The changes of devices and of their addresses.
pub const OF_DEVICES: [MulticastGroup; 3] =
    [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
/// These, and the changes of routes and of policy rules.
pub const ALL: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
];

/// Something changed in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A route came or went.
    Route {
        /// Who made it.
        protocol: u8,
        /// Where it stands.
        table: u32,
        /// Where it leads.
        destination: IpNet,
    },
    /// A policy rule came or went.
    Rule,
    /// A device came, went, or changed.
    Link {
        /// Its index.
        device: u32,
        /// What it is now.
        state: LinkState,
    },
    /// An address of a device came, went, or changed. With the last IPv4 address of a device the kernel takes its routes
    /// away, and says nothing about them.
    Address {
        /// The device's index.
        device: u32,
        /// The address.
        address: IpAddr,
        /// It is there, and not only tried out (RFC 4862 section 5.4).
        usable: bool,
    },
}

/// What a device is after it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It was made just now, or came from another namespace, and no packets go through it yet.
    New,
    /// Packets go through it: it is up and has a carrier.
    Running,
    /// None do.
    Down,
    /// There is none of this index any more.
    Gone,
}

/// The changes in one namespace, in order.
pub struct Changes {
    socket: RouteSocket,
    /// Of the last datagram, which the kernel fills with one change as a rule.
    heard: VecDeque<Change>,
}

impl Changes {
    /// Starts to listen for all changes in `namespace`, on the runtime of the caller.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the socket not be opened.
    pub fn listen(namespace: &Namespace) -> Result<Self, NetlinkError> {
        Self::listen_to(namespace, &ALL)
    }

    /// Likewise, for those only that `groups` tell.
    ///
    /// # Errors
    /// The same.
    pub fn listen_to(namespace: &Namespace, groups: &[MulticastGroup]) -> Result<Self, NetlinkError> {
        Ok(Changes { socket: RouteSocket::open(namespace, groups)?, heard: VecDeque::new() })
    }

    /// The next change; `None` once the kernel has more news than the socket can hold, after which everything must be
    /// read again through a new `Changes`.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.heard.pop_front() {
                return Some(change);
            }
            let datagram = self.socket.receive().await.ok()?;
            self.heard.extend(messages(datagram).filter_map(|message| change(&message)));
        }
    }

    /// Forgets the changes that have already been heard.
    pub fn forget(&mut self) {
        self.heard.clear();
        while matches!(self.socket.take(), Ok(Some(_))) {}
    }
}

fn change(message: &Message<'_>) -> Option<Change> {
    match message.kind {
        kind::NEWROUTE | kind::DELROUTE => {
            let RouteHead { protocol, table, destination } = RouteHead::of(message.payload)?;
            Some(Change::Route { protocol, table, destination })
        }
        kind::NEWRULE | kind::DELRULE => Some(Change::Rule),
        kind::NEWLINK | kind::DELLINK => {
            let LinkHead { device, running, new } = LinkHead::of(message.payload)?;
            let state = match (message.kind, new, running) {
                (kind::DELLINK, ..) => LinkState::Gone,
                (_, _, true) => LinkState::Running,
                (_, true, false) => LinkState::New,
                (_, false, false) => LinkState::Down,
            };
            Some(Change::Link { device, state })
        }
        kind::NEWADDR | kind::DELADDR => {
            let AddressHead { device, address, tentative } = AddressHead::of(message.payload)?;
            Some(Change::Address { device, address, usable: message.kind == kind::NEWADDR && !tentative })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_came_running_runs() {
        let (up, running) = (libc::IFF_UP as u32, libc::IFF_RUNNING as u32);
        let state = |kind, flags: u32, changed: u32| {
            let payload = [[0; 4], 7_u32.to_ne_bytes(), flags.to_ne_bytes(), changed.to_ne_bytes()].concat();
            match change(&Message { kind, flags: 0, sequence: 0, payload: &payload }) {
                Some(Change::Link { device: 7, state }) => state,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(state(kind::NEWLINK, up | running, u32::MAX), LinkState::Running, "it came from another namespace");
        assert_eq!(state(kind::NEWLINK, up, u32::MAX), LinkState::New);
        assert_eq!(state(kind::NEWLINK, up, 0), LinkState::Down);
        assert_eq!(state(kind::NEWLINK, up | running, 0), LinkState::Running);
        assert_eq!(state(kind::DELLINK, up | running, u32::MAX), LinkState::Gone);
    }
}
