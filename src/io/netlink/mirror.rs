//! A picture of a namespace's routes, rules and devices, kept by what the kernel tells of each change.
//!
//! Of somebody else's routes it holds those that matter and looks at no other ([`Interest`]). What the kernel does without
//! telling, or tells in a way that leaves a doubt, makes it ask for what has to be read anew ([`Unread`]).
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use rtnetlink::packet_core::{NLM_F_REPLACE, Parseable};

use super::link::Link;
use super::message::{Message, RouteHead, family, kind, link};
use super::{PinnedDevice, convert, device_names};
use crate::routing::{
    Destinations, Interest, KernelRoute, KernelRule, PROTOCOL_GATEWAYD, PassedBy, Picture, RouteKind,
};

/// What of the picture may be wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// The devices.
    pub links: bool,
    /// The routes.
    pub routes: bool,
    /// The policy rules.
    pub rules: bool,
}

impl Unread {
    /// Everything.
    pub const ALL: Self = Unread { links: true, routes: true, rules: true };

    /// Whether there is anything to read.
    pub fn any(self) -> bool {
        self.links || self.routes || self.rules
    }
}

/// The picture.
pub struct Mirror {
    interest: Interest,
    pinned: Option<PinnedDevice>,
    links: HashMap<u32, Link>,
    /// What the devices are called in routes.
    names: HashMap<u32, Arc<str>>,
    picture: Picture,
    /// Somebody else's routes of which there may be two that look the same here: they differ by what is not held, such as
    /// the source address that they prefer.
    twins: BTreeSet<KernelRoute>,
    passed: PassedBy,
    /// Routes to these may have changed since this was taken last.
    pub told: Destinations,
    /// Something of somebody else's that matters, or the pinned device, has changed since this was taken last.
    pub news: bool,
    /// What has to be read anew.
    pub unread: Unread,
    /// How many routes were looked at beyond table, protocol and destination.
    pub examined: u64,
}

impl Mirror {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Mirror {
            interest: Interest::default(),
            pinned: None,
            links: HashMap::new(),
            names: HashMap::new(),
            picture: Picture::default(),
            twins: BTreeSet::new(),
            passed: PassedBy::default(),
            told: Destinations::All,
            news: true,
            unread: Unread::ALL,
            examined: 0,
        }
    }

    /// What there is, as far as it matters and is known.
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// The pinned device; `None` if it is not in the namespace.
    pub fn pinned_link(&self) -> Option<&Link> {
        self.links.get(&self.pinned.as_ref()?.index)
    }

    /// Pins a device: its name in a route means it.
    pub fn pin(&mut self, device: Option<PinnedDevice>) {
        if self.pinned != device {
            self.pinned = device;
            self.unread = Unread::ALL;
        }
    }

    /// From now on this matters, and nothing else. What did not matter before has to be read, if there is any.
    pub fn want(&mut self, interest: Interest) {
        if self.interest == interest {
            return;
        }
        self.unread.routes |= !self.unread.routes && interest.may_hold(&self.passed, &self.interest);
        let matters = |route: &KernelRoute| interest.holds(route.table, route.protocol, &route.destination);
        for gone in self.picture.rest.routes.extract_if(.., |route| !matters(route)) {
            self.passed.add(gone.table, &gone.destination);
        }
        self.interest = interest;
    }

    /// Takes what the kernel tells of a change.
    pub fn told(&mut self, message: &Message<'_>) {
        match message.kind {
            kind::NEWROUTE | kind::DELROUTE => self.told_route(message),
            kind::NEWRULE | kind::DELRULE => self.unread.rules = true,
            kind::NEWLINK | kind::DELLINK => self.told_link(message),
            // With an IPv4 address the kernel takes the routes that name it as their source away, with the last one those
            // of the device, and says nothing about them.
            kind::DELADDR => self.unread.routes |= family(message.payload) == Some(libc::AF_INET),
            // The same for the IPv4 routes of a next hop, where routes have next hops of their own (ip-nexthop(8)).
            kind::DELNEXTHOP => self.unread.routes = true,
            kind::NEWNEXTHOP => self.unread.routes |= message.flags & NLM_F_REPLACE != 0,
            _ => {}
        }
    }

    fn told_route(&mut self, message: &Message<'_>) {
        let Some(routes) = self.routes_of(message) else { return };
        // Two routes can differ by what is not held here, such as the type of service. None of ours has any.
        let Some((routes, 0)) = routes.map(|parsed| (convert::routes(&parsed, &self.names), parsed.header.tos)) else {
            return self.unread.routes = true;
        };
        let stands = message.kind == kind::NEWROUTE;
        let replaces = stands && message.flags & NLM_F_REPLACE != 0;
        if replaces {
            let Some(place) = routes.first().map(KernelRoute::place) else { return };
            let there: Vec<&KernelRoute> =
                self.picture.to(&place.1).filter(|route| route.place() == place).take(2).collect();
            match there[..] {
                // Which of several is replaced is not told.
                [_, _] => return self.unread.routes = true,
                [one] if self.twins.contains(one) => return self.unread.routes = true,
                [one] if !routes.contains(one) => {
                    let one = one.clone();
                    self.set(&one, false);
                }
                _ => {}
            }
        }
        for route in &routes {
            let there = self.picture.rest.routes.contains(route);
            if stands && !replaces && there {
                self.twins.insert(route.clone());
            }
            // One of two that look the same has gone, and which is not seen.
            self.unread.routes |= !stands && self.twins.contains(route);
            self.set(route, stands);
        }
    }

    /// The message about a route that matters; inside, none for what cannot be read.
    fn routes_of(&mut self, message: &Message<'_>) -> Option<Option<RouteMessage>> {
        let RouteHead { table, protocol, destination } = RouteHead::of(message.payload)?;
        if !self.interest.holds(table, protocol, &destination) {
            if message.kind == kind::NEWROUTE {
                self.passed.add(table, &destination);
            }
            return None;
        }
        self.examined += 1;
        Some(RouteMessage::parse(message.payload).ok())
    }

    fn set(&mut self, route: &KernelRoute, stands: bool) {
        let is_ours = is_ours(route);
        let routes = if is_ours { &mut self.picture.own } else { &mut self.picture.rest.routes };
        if if stands { routes.insert(route.clone()) } else { routes.remove(route) } {
            self.told.insert(route.destination);
            self.news |= !is_ours;
        }
    }

    fn told_link(&mut self, message: &Message<'_>) {
        let Some((index, link)) = link(message.payload) else { return };
        let link = (message.kind == kind::NEWLINK).then_some(link);
        let before = self.links.get(&index);
        if before == link.as_ref() {
            return;
        }
        let renamed = matches!((before, &link), (Some(before), Some(link)) if before.name != link.name);
        let ends = before.is_some_and(|before| before.up) && !link.as_ref().is_some_and(|link| link.up);
        // A device that goes down or away takes its IPv4 routes with it, of which the kernel tells nothing. A route may have
        // been read before its device was.
        self.unread.routes |= (renamed || ends) && self.has_routes_by(self.names.get(&index));
        self.unread.routes |= before.is_none() && self.has_routes_by(None);
        self.news |= self.pinned.as_ref().is_some_and(|pinned| pinned.index == index);
        match link {
            Some(link) => self.links.insert(index, link),
            None => self.links.remove(&index),
        };
        self.names = device_names(&self.links, self.pinned.as_ref());
    }

    /// Whether a route of the picture leads to the device of this name.
    fn has_routes_by(&self, name: Option<&Arc<str>>) -> bool {
        let Picture { own, rest } = &self.picture;
        let mut leading = own.iter().chain(&rest.routes).filter(|route| route.kind == RouteKind::Unicast);
        leading.any(|route| route.device.as_ref() == name)
    }
}

fn is_ours(route: &KernelRoute) -> bool {
    route.protocol == PROTOCOL_GATEWAYD
}

/// What is being read anew, before it takes the place of what was known.
#[derive(Default)]
pub struct Reading {
    links: HashMap<u32, Link>,
    own: BTreeSet<KernelRoute>,
    others: BTreeSet<KernelRoute>,
    twins: BTreeSet<KernelRoute>,
    rules: BTreeSet<KernelRule>,
}

impl Reading {
    /// Takes a device of a list.
    pub fn link(&mut self, message: &Message<'_>) {
        self.links.extend(link(message.payload).filter(|_| message.kind == kind::NEWLINK));
    }

    /// Takes a policy rule of a list.
    pub fn rule(&mut self, message: &Message<'_>) {
        let rule = RuleMessage::parse(message.payload).ok().filter(|_| message.kind == kind::NEWRULE);
        self.rules.extend(rule.as_ref().and_then(convert::rule));
    }
}

impl Mirror {
    /// All devices have been read.
    pub fn links_are_read(&mut self, reading: Reading) {
        let pinned = self.pinned_link().cloned();
        self.links = reading.links;
        self.names = device_names(&self.links, self.pinned.as_ref());
        self.news |= self.pinned_link() != pinned.as_ref();
        self.unread.links = false;
    }

    /// All routes are read from now on.
    pub fn reads_routes(&mut self) {
        self.passed = PassedBy::default();
    }

    /// Takes a route of a list, if it matters.
    pub fn read_route(&mut self, reading: &mut Reading, message: &Message<'_>) {
        if let (kind::NEWROUTE, Some(Some(route))) = (message.kind, self.routes_of(message)) {
            for route in convert::routes(&route, &self.names) {
                if is_ours(&route) {
                    reading.own.insert(route);
                } else if let Some(twin) = reading.others.replace(route) {
                    reading.twins.insert(twin);
                }
            }
        }
    }

    /// All routes have been read.
    pub fn routes_are_read(&mut self, reading: Reading) {
        let Reading { own, others, twins, .. } = reading;
        self.unread.routes = false;
        self.twins = twins;
        if self.picture.own != own {
            (self.picture.own, self.told) = (own, Destinations::All);
        }
        if self.picture.rest.routes != others {
            (self.picture.rest.routes, self.told, self.news) = (others, Destinations::All, true);
        }
    }

    /// All policy rules have been read.
    pub fn rules_are_read(&mut self, reading: Reading) {
        self.unread.rules = false;
        if self.picture.rest.rules != reading.rules {
            (self.picture.rest.rules, self.told, self.news) = (reading.rules, Destinations::All, true);
        }
    }
}

#[cfg(test)]
mod tests;
