//! The kernel's routes, policy rules and links, through rtnetlink(7).
mod convert;
mod device;
mod error;
pub mod keeper;
pub mod kernel_watch;
mod link;
mod message;
mod mirror;
pub mod reconciler;
mod socket;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteMessage;
use rtnetlink::packet_core::Parseable;
use rtnetlink::{Handle, IpVersion};
use tokio::task::JoinHandle;

pub use error::NetlinkError;
pub use link::Link;
pub use watch::{Change, Changes, LinkState};

use self::message::{Message, RouteHead, kind};
use self::socket::{Dump, RouteSocket};
use crate::io::netns::Namespace;
use crate::routing::{Diff, KernelRoute, KernelRule, KernelState};

/// What one round of changes came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Routes and rules that were set.
    pub set: usize,
    /// Routes and rules that were removed.
    pub removed: usize,
    /// Wanted routes that stay out because somebody else's route holds their place.
    pub blocked: Vec<(KernelRoute, KernelRoute)>,
    /// Wanted routes that stay out because the kernel refused them, and its answers.
    pub refused: Vec<(KernelRoute, String)>,
    /// What else the kernel refused.
    pub failed: Vec<NetlinkError>,
    /// Something was there already, or gone already: the kernel was not as it was believed to be.
    pub surprised: bool,
}

/// A device that is meant by its name whatever it is called at the moment, and not another one that took the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedDevice {
    /// Its interface index, which it keeps for life.
    pub index: u32,
    /// The name by which it is meant.
    pub name: Arc<str>,
}

/// A netlink socket in one namespace. It stays there, however long it lives.
pub struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
    namespace: Namespace,
    identity: u64,
    pinned: Option<PinnedDevice>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// Opens a socket in `namespace`; its tasks run on the runtime of the caller.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the socket not be opened.
    pub fn open(namespace: &Namespace) -> Result<Self, NetlinkError> {
        let runtime = tokio::runtime::Handle::current();
        let identity = namespace.identity()?;
        let (connection, handle, _) = namespace.run(|| {
            let _inside = runtime.enter();
            rtnetlink::new_connection()
        })??;
        let (connection, namespace) = (runtime.spawn(connection), namespace.clone());
        Ok(Netlink { handle, connection, namespace, identity, pinned: None })
    }

    /// The same socket, for which a device is pinned: in every route that is read or set, its name means that device.
    #[must_use]
    pub fn with_pinned(mut self, device: Option<PinnedDevice>) -> Self {
        self.pinned = device;
        self
    }

    /// Whether `namespace` still is the one that the socket was opened in.
    pub fn is_in(&self, namespace: &Namespace) -> bool {
        namespace.identity().is_ok_and(|identity| identity == self.identity)
    }

    /// Every unicast route and rule in the namespace, whoever made it.
    ///
    /// # Errors
    /// The kernel refused to answer.
    pub async fn state(&self) -> Result<KernelState, NetlinkError> {
        self.state_of(|_| true).await
    }

    /// The rules in the namespace, and the routes that matter.
    async fn state_of(&self, matters: impl Fn(&RouteHead) -> bool) -> Result<KernelState, NetlinkError> {
        let names = device_names(&self.links().await?, self.pinned.as_ref());
        let mut state = KernelState::default();
        let mut socket = RouteSocket::open(&self.namespace, &[])?;
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let each = |message: Message<'_>| {
                if message.kind == kind::NEWROUTE && RouteHead::of(message.payload).is_some_and(|head| matters(&head)) {
                    let route = RouteMessage::parse(message.payload);
                    state.routes.extend(route.iter().flat_map(|route| convert::routes(route, &names)));
                }
            };
            let dumped = socket.dump(Dump::Routes(family), each).await;
            dumped.map_err(|error| NetlinkError::Refused { what: "listing routes".to_owned(), error })?;
        }
        for version in [IpVersion::V4, IpVersion::V6] {
            let answer: Result<Vec<_>, _> = self.handle.rule().get(version).execute().try_collect().await;
            let rules = absent_family_is_empty(answer).map_err(|e| NetlinkError::refused("listing rules", e))?;
            state.rules.extend(rules.iter().filter_map(convert::rule));
        }
        Ok(state)
    }

    /// Every device in the namespace by its index.
    async fn links(&self) -> Result<HashMap<u32, Link>, NetlinkError> {
        let mut messages = self.handle.link().get().execute();
        let mut links = HashMap::new();
        while let Some(message) = messages.try_next().await.map_err(|e| NetlinkError::refused("listing devices", e))? {
            links.extend(Link::of(&message).map(|link| (message.header.index, link)));
        }
        Ok(links)
    }

    /// Does what `diff` says, in its order. A refusal does not stop the rest, but while a rule is refused none is removed, nor a
    /// route of the tables that those lead to: its packets may be the ones that would miss them.
    ///
    /// # Errors
    /// The devices could not be listed; nothing was changed.
    pub async fn apply(&self, diff: Diff) -> Result<Outcome, NetlinkError> {
        let names = device_names(&self.links().await?, self.pinned.as_ref());
        let indices: HashMap<Arc<str>, u32> = names.into_iter().map(|(index, name)| (name, index)).collect();
        let Diff { add, replace, add_rules, remove_rules, remove, blocked } = diff;
        let mut outcome = Outcome { blocked, ..Outcome::default() };
        for route in &add {
            let set = self.set_route(route, false, &indices).await;
            outcome.count_route(route, set);
        }
        for (_, route) in &replace {
            let set = self.set_route(route, true, &indices).await;
            outcome.count_route(route, set);
        }
        for rule in &add_rules {
            outcome.count_rule(self.add_rule(rule).await);
        }
        let (remove_rules, kept_rules) =
            if outcome.failed.is_empty() { (remove_rules, Vec::new()) } else { (Vec::new(), remove_rules) };
        for rule in &remove_rules {
            outcome.count_removed(self.remove_rule(rule).await);
        }
        let is_led_to = |route: &&KernelRoute| kept_rules.iter().any(|rule| rule.table == route.table);
        for route in remove.iter().filter(|route| !is_led_to(route)) {
            outcome.count_removed(self.remove_route(route, &indices).await);
        }
        Ok(outcome)
    }

    async fn set_route(
        &self,
        route: &KernelRoute,
        replace: bool,
        indices: &HashMap<Arc<str>, u32>,
    ) -> Result<(), NetlinkError> {
        let request = self.handle.route().add(convert::route_message(route, indices)?);
        let request = if replace { request.replace() } else { request };
        request.execute().await.map_err(|e| NetlinkError::refused(format!("setting {}", convert::shown(route)), e))
    }

    async fn remove_route(&self, route: &KernelRoute, indices: &HashMap<Arc<str>, u32>) -> Result<(), NetlinkError> {
        let message = convert::removed_route_message(route, indices)?;
        let removed = self.handle.route().del(message).execute().await;
        removed.map_err(|e| NetlinkError::refused(format!("removing {}", convert::shown(route)), e))
    }

    async fn add_rule(&self, rule: &KernelRule) -> Result<(), NetlinkError> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = convert::rule_message(rule);
        request.execute().await.map_err(|e| NetlinkError::refused(format!("setting rule {}", rule.priority), e))
    }

    async fn remove_rule(&self, rule: &KernelRule) -> Result<(), NetlinkError> {
        let removed = self.handle.rule().del(convert::rule_message(rule)).execute().await;
        removed.map_err(|e| NetlinkError::refused(format!("removing rule {}", rule.priority), e))
    }
}

impl Outcome {
    fn count_route(&mut self, route: &KernelRoute, result: Result<(), NetlinkError>) {
        match result {
            Ok(()) => self.set += 1,
            // Somebody, perhaps ourselves a moment ago, was faster.
            Err(error) if error.errno() == Some(libc::EEXIST) => self.surprised = true,
            Err(NetlinkError::Refused { error, .. }) => self.refused.push((route.clone(), error.to_string())),
            Err(error) => self.refused.push((route.clone(), error.to_string())),
        }
    }

    /// Every refusal, in a line each.
    pub fn refusals(&self) -> Vec<String> {
        let routes = self.refused.iter().map(|(route, answer)| format!("setting {}: {answer}", convert::shown(route)));
        routes.chain(self.failed.iter().map(ToString::to_string)).collect()
    }

    /// Whether the kernel refused nothing. What is in the way is not refused: the kernel tells when it goes.
    pub fn is_complete(&self) -> bool {
        self.refused.is_empty() && self.failed.is_empty()
    }

    /// Whatever keeps the kernel from being as it should be, in a line each: refusals, and what is in the way.
    pub fn complaints(&self) -> impl Iterator<Item = String> {
        let blocked = self.blocked.iter().map(|(wanted, present)| {
            format!(
                "route {} in table {} stays out: a route of protocol {} with the same metric is there",
                wanted.destination, wanted.table, present.protocol
            )
        });
        blocked.chain(self.refusals())
    }

    fn count_rule(&mut self, result: Result<(), NetlinkError>) {
        match result {
            Ok(()) => self.set += 1,
            Err(error) if error.errno() == Some(libc::EEXIST) => self.surprised = true,
            Err(error) => self.failed.push(error),
        }
    }

    fn count_removed(&mut self, result: Result<(), NetlinkError>) {
        match result {
            Ok(()) => self.removed += 1,
            Err(error) if matches!(error.errno(), Some(libc::ESRCH | libc::ENOENT)) => {
                self.surprised = true;
            }
            // The kernel takes a route away together with its device.
            Err(NetlinkError::NoDevice(_)) => {}
            Err(error) => self.failed.push(error),
        }
    }
}

/// The name of each device. A pinned one has its own, and another that took it has none that any route names.
fn device_names(links: &HashMap<u32, Link>, pinned: Option<&PinnedDevice>) -> HashMap<u32, Arc<str>> {
    let name = |index: u32, link: &Link| match pinned {
        Some(pinned) if pinned.index == index => Arc::clone(&pinned.name),
        Some(pinned) if pinned.name == link.name => format!("{} with index {index}", link.name).into(),
        _ => Arc::clone(&link.name),
    };
    links.iter().map(|(index, link)| (*index, name(*index, link))).collect()
}

/// A kernel without IPv6 has none of its routes and rules.
fn absent_family_is_empty<T>(answer: Result<Vec<T>, rtnetlink::Error>) -> Result<Vec<T>, rtnetlink::Error> {
    match answer {
        Err(rtnetlink::Error::NetlinkError(message))
            if matches!(message.to_io().raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) =>
        {
            Ok(Vec::new())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_name_means_its_device_and_no_other() {
        let link = |name: &str| Link { name: name.into(), up: true };
        let pinned = PinnedDevice { index: 2, name: "gwd0".into() };
        let named = |links: &[(u32, Link)]| {
            let names = device_names(&links.iter().cloned().collect(), Some(&pinned));
            let mut names: Vec<(u32, String)> =
                names.into_iter().map(|(index, name)| (index, name.to_string())).collect();
            names.sort_unstable();
            names
        };
        let expected = |third: &str| vec![(1, "lo".to_owned()), (2, "gwd0".to_owned()), (3, third.to_owned())];
        assert_eq!(named(&[(1, link("lo")), (2, link("gwd0")), (3, link("wan"))]), expected("wan"));
        assert_eq!(named(&[(1, link("lo")), (2, link("foo")), (3, link("gwd0"))]), expected("gwd0 with index 3"));
        assert_eq!(named(&[(3, link("gwd0"))]), vec![(3, "gwd0 with index 3".to_owned())]);
    }
}
