//! How far the kernel is as the policy asks.
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::absence::{Absence, lines};
use crate::routing::policy::Exemption;
use crate::routing::{Closed, Family, SharedSet};

/// How things stand in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Protected destinations that no route leads into the tunnel, and why; their packets are dropped.
    pub uncarried: BTreeMap<IpNet, Absence>,
    /// What is exempt inside protected prefixes.
    pub exemptions: BTreeSet<Exemption>,
    /// Local subnets that only the default route leads to.
    pub one_armed: BTreeSet<IpNet>,
    /// Connected networks that a protected prefix takes, with it.
    pub taken: BTreeSet<(IpNet, IpNet)>,
    /// Local subnets that are closed behind their routes, each with the prefix that is.
    pub closed: Closed,
    /// Policy rules of somebody else that are asked before the VPN routes: family and priority.
    pub preceding: BTreeSet<(Family, u32)>,
    /// Protected destinations whose blackholes stand: the others are open without the tunnel.
    pub shut: SharedSet<IpNet>,
    /// What could not be done.
    pub trouble: Option<String>,
    /// Why the policy cannot be kept in the state directory.
    pub unkept: Option<String>,
}

impl Standing {
    /// Lines for a person about what is dropped for want of a route.
    pub fn dropped(&self) -> Vec<String> {
        lines(&self.uncarried)
    }
}
