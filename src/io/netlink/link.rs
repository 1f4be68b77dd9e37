//! What there is to know of any network device.
use std::sync::Arc;

use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

/// What routes need to know of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name at the moment.
    pub name: Arc<str>,
    /// Whether it is administratively up; the kernel refuses routes to one that is not.
    pub up: bool,
}

impl Link {
    /// The device of a message; `None` for one without a name.
    pub(super) fn of(message: &LinkMessage) -> Option<Self> {
        let name = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(Arc::from(name.as_str())),
            _ => None,
        });
        Some(Link { name: name?, up: message.header.flags.contains(LinkFlags::Up) })
    }
}
