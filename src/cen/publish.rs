//! What a network publishes to its CEN instance.
//!
//! [`KINDS`](super::route::KINDS) says which kinds of routes are published by default and which may be published and
//! withdrawn by a call. What is published at this moment stands in the network's
//! [`Attachment`](super::state::Attachment):
//! - attaching a network publishes its default-published entries, and so does adding such an entry later;
//! - withdrawing takes any published entry out of CEN, also one that was published by default;
//! - an entry that is deleted from its table leaves CEN too, and comes back as if it had never been there;
//! - detaching forgets everything, so that a network that is attached again begins with the defaults.

use super::network::NetworkId;
use super::route::{RouteEntry, RouteTable};
use super::state::State;

/// `PublishStatus` of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishStatus {
    /// The network's CEN instance has the route.
    Published,
    /// Only the network's own table has the route.
    NonPublished,
}

impl PublishStatus {
    /// The API's spelling.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::Published => "Published",
            Self::NonPublished => "NonPublished",
        }
    }
}

/// Whether an entry of the network's table is published to the CEN instance that the network is attached to.
pub fn publish_status(state: &State, network: &NetworkId, entry: &RouteEntry) -> PublishStatus {
    let published = state
        .attachments
        .get(network)
        .is_some_and(|attachment| attachment.publications.contains_key(&entry.destination));
    if published { PublishStatus::Published } else { PublishStatus::NonPublished }
}

/// The same of an entry of any table: what stands in a custom one is never published.
pub fn status_in_table(state: &State, table: &RouteTable, entry: &RouteEntry) -> PublishStatus {
    if state.is_custom(table) { PublishStatus::NonPublished } else { publish_status(state, &table.network, entry) }
}
