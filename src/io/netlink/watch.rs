//! Hearing of what others change.
use futures_util::StreamExt;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::NetlinkError;
use crate::io::netns::Namespace;

const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
];

/// How many changes may wait to be read. When more come, one is lost and the reader is told to look at everything.
const QUEUE: usize = 1024;

/// Something changed in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A route came or went.
    Route {
        /// Who made it.
        protocol: u8,
        /// Where it stands.
        table: u32,
    },
    /// A policy rule came or went.
    Rule,
    /// A device came, went, or changed.
    Link,
    /// An address of a device came, went, or changed. With the last IPv4 address of a device the kernel takes its routes
    /// away, and says nothing about them.
    Address,
}

/// The changes in one namespace, in order.
pub struct Changes {
    receiver: mpsc::Receiver<Change>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Changes {
    /// Starts to listen in `namespace`, on the runtime of the caller.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the socket not be opened.
    pub fn listen(namespace: &Namespace) -> Result<Self, NetlinkError> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, mut messages) = namespace.run(|| {
            let _inside = runtime.enter();
            rtnetlink::new_multicast_connection(&GROUPS)
        })??;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let forward = async move {
            // The connection ends when nobody holds its handle.
            let _handle = handle;
            while let Some((message, _)) = messages.next().await {
                if let Some(change) = change(&message) {
                    // A full queue already holds more than enough reasons to look again.
                    if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(change) {
                        return;
                    }
                }
            }
        };
        Ok(Changes { receiver, tasks: [runtime.spawn(connection), runtime.spawn(forward)] })
    }

    /// The next change; `None` once the kernel has more news than the socket can hold, after which everything must be
    /// read again through a new `Changes`.
    pub async fn next(&mut self) -> Option<Change> {
        self.receiver.recv().await
    }

    /// Forgets the changes that have already been heard.
    pub fn forget(&mut self) {
        while self.receiver.try_recv().is_ok() {}
    }
}

fn change(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<Change> {
    let NetlinkPayload::InnerMessage(inner) = &message.payload else { return None };
    match inner {
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
            Some(Change::Route { protocol: route.header.protocol.into(), table: table(route) })
        }
        RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_) => Some(Change::Rule),
        RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_) => Some(Change::Link),
        RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => Some(Change::Address),
        _ => None,
    }
}

fn table(route: &RouteMessage) -> u32 {
    let long = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    long.unwrap_or(u32::from(route.header.table))
}
