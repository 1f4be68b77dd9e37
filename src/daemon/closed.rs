//! What stays closed when gatewayd ends, or cannot start.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::threads::{IKE_PORT, NAT_PORT};
use crate::io::forwarding::{self, Forwarding, ForwardingSettings, Released, Standing};
use crate::io::kept_policy::KeptPolicy;
use crate::io::netns::Namespace;
use crate::io::nftables::OuterPorts;
use crate::routing::SharedSet;

/// How many prefixes the last line names.
const NAMED: usize = 12;
/// How long a release may take when gatewayd stops.
const RELEASE: Duration = Duration::from_secs(3);

/// What an end of gatewayd leaves in the kernel.
#[derive(Debug)]
pub enum End {
    /// It changed nothing.
    Untouched,
    /// There was nothing that could have been closed; why.
    NothingKnown(String),
    /// Blackholes stay as they were found to stand, and the filter unless something is said to be the matter.
    Closed {
        /// What is to be closed, without host bits.
        protect: SharedSet<IpNet>,
        /// How the kernel's side stands.
        standing: Box<Standing>,
    },
    /// `on_stop = "open"` took everything away.
    Open(Released),
    /// `on_stop = "open"` failed; why.
    HalfOpen(String),
}

impl End {
    /// The last line of the log: what stays closed, and how to open it.
    pub fn tell(&self) {
        match self {
            End::Untouched => info!(
                "gatewayd has ended and changed nothing in the kernel: what was closed stays closed. `gatewayctl release` opens it"
            ),
            End::NothingKnown(reason) => error!(
                "gatewayd has ended, and what it should protect is not known, so nothing new was closed: {reason}. \
                 `gatewayctl release` opens what stays closed from before"
            ),
            End::Closed { protect, standing } => tell_closed(protect, standing),
            End::Open(Released { routes, rules, tables, trouble: None }) => warn!(
                routes,
                rules,
                tables = tables.len(),
                "gatewayd has ended; on_stop = \"open\" took blackholes and filter away: nothing is protected"
            ),
            End::Open(Released { trouble: Some(trouble), .. }) | End::HalfOpen(trouble) => error!(
                "gatewayd has ended; on_stop = \"open\" could not take everything away: {trouble}. `gatewayctl release` tries again"
            ),
        }
    }
}

fn tell_closed(protect: &SharedSet<IpNet>, standing: &Standing) {
    let Standing { closed, shut, trouble, .. } = standing;
    let mut stays: Vec<String> = Vec::new();
    let open: Vec<IpNet> = protect.without(shut).copied().collect();
    if !shut.is_empty() {
        stays.push(named(&shut.iter().copied().collect::<Vec<_>>()));
    }
    if !closed.is_empty() {
        let subnets: Vec<IpNet> = closed.keys().copied().collect();
        stays.push(format!("the local subnets {} behind their own links", named(&subnets)));
    }
    let trouble = trouble.as_ref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
    let stays = stays.join(", and ");
    if !open.is_empty() {
        let stays = if stays.is_empty() { String::new() } else { format!("; closed stays: {stays}") };
        error!(
            "gatewayd has ended, and OPEN is: {}{trouble}{stays}. `gatewayctl release` opens the rest",
            named(&open)
        );
    } else if stays.is_empty() {
        info!("gatewayd has ended; nothing was protected, so nothing stays closed");
    } else {
        info!("gatewayd has ended; closed stays: {stays}{trouble}. `gatewayctl release` opens it");
    }
}

fn named(prefixes: &[IpNet]) -> String {
    let mut text = prefixes.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Some(more) = prefixes.len().checked_sub(NAMED).filter(|more| *more > 0) {
        let _ = write!(text, " and {more} more");
    }
    text
}

/// The task that keeps the kernel of this namespace as a policy asks; `kept` names device and mark. The policy in force is
/// kept in the folder `state`.
pub fn forward(state: Option<PathBuf>, kept: &KeptPolicy) -> Forwarding {
    let ports = OuterPorts { ike: IKE_PORT, nat: NAT_PORT };
    Forwarding::start(ForwardingSettings { namespace: Namespace::Own, ports, state }, kept)
}

/// Ends the task; what it last saw in the kernel stays.
pub async fn end(forwarding: Forwarding, protect: SharedSet<IpNet>) -> End {
    End::Closed { protect, standing: Box::new(forwarding.end().await) }
}

/// Ends the task and takes everything away.
pub async fn open(forwarding: Forwarding) -> End {
    forwarding.end().await;
    match timeout(RELEASE, forwarding::release(Namespace::Own)).await {
        Ok(Ok(released)) => End::Open(released),
        Ok(Err(error)) => End::HalfOpen(error.to_string()),
        Err(_) => End::HalfOpen(format!("the kernel or nft did not answer within {} s", RELEASE.as_secs())),
    }
}

/// Closes what was protected last, for a start whose configuration cannot be read. The kept prefixes count only then.
pub async fn close_what_was_kept(state: &Path) -> End {
    match KeptPolicy::read(state) {
        Ok(Some(kept)) => {
            let forwarding = forward(None, &kept);
            let protect = kept.policy().protect;
            // What is the matter stands in the last line.
            let _ = forwarding.close(kept).await;
            end(forwarding, protect).await
        }
        Ok(None) => End::NothingKnown(format!("{} has no policy of a former run", state.display())),
        Err(error) => End::NothingKnown(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_prefixes_are_counted() {
        let nets = |count: u8| (0..count).map(|n| format!("10.{n}.0.0/16").parse().unwrap()).collect::<Vec<IpNet>>();
        assert_eq!(named(&nets(2)), "10.0.0.0/16, 10.1.0.0/16");
        assert!(named(&nets(12)).ends_with("10.11.0.0/16"));
        assert!(named(&nets(14)).ends_with("10.11.0.0/16 and 2 more"));
    }
}
