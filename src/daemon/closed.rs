//! What stays closed when gatewayd ends, or cannot start.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use tracing::{error, info, warn};

use super::threads::{IKE_PORT, NAT_PORT};
use crate::io::forwarding::{self, Forwarding, ForwardingSettings, Released};
use crate::io::kept_policy::KeptPolicy;
use crate::io::netns::Namespace;
use crate::io::nftables::OuterPorts;

/// How many prefixes the last line names.
const NAMED: usize = 12;

/// What an end of gatewayd leaves in the kernel.
#[derive(Debug)]
pub enum End {
    /// It changed nothing: another gatewayd runs here, or nothing was ever protected.
    Untouched,
    /// Blackholes and filter stay for what the policy protects.
    Closed(Box<KeptPolicy>),
    /// Not even that could be set; why.
    NotClosed(String),
    /// `on_stop = "open"` took everything away.
    Open(Released),
}

impl End {
    /// The last line of the log: what stays closed, and how to open it.
    pub fn tell(&self) {
        match self {
            End::Untouched => info!("gatewayd has ended; it changed nothing in the kernel"),
            End::Closed(policy) => {
                let protect = policy.policy().protect;
                if protect.is_empty() {
                    info!("gatewayd has ended; nothing was protected, so nothing stays closed");
                } else {
                    info!("gatewayd has ended; closed stays: {}. `gatewayctl release` opens it", named(&protect));
                }
            }
            End::NotClosed(reason) => error!("gatewayd has ended, and what it protects may be OPEN: {reason}"),
            End::Open(Released { routes, rules, tables }) => warn!(
                routes,
                rules,
                tables = tables.len(),
                "gatewayd has ended; on_stop = \"open\" took blackholes and filter away: nothing is protected"
            ),
        }
    }
}

fn named(prefixes: &BTreeSet<IpNet>) -> String {
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

/// Closes what `policy` protects, before there is a device or a socket.
pub async fn close(forwarding: &Forwarding, policy: KeptPolicy) -> End {
    match forwarding.close(policy.clone()).await {
        Ok(()) => End::Closed(Box::new(policy)),
        // Without the filter the blackholes hold what goes out; the log says so.
        Err(forwarding::ForwardingError::Filter(_)) => End::Closed(Box::new(policy)),
        Err(error) => End::NotClosed(error.to_string()),
    }
}

/// Closes what was protected last, for a start whose configuration cannot be read. The kept prefixes count only then.
pub async fn close_what_was_kept(state: &Path) -> End {
    match KeptPolicy::read(state) {
        Ok(Some(kept)) => {
            let forwarding = forward(None, &kept);
            let end = close(&forwarding, kept).await;
            forwarding.end().await;
            end
        }
        Ok(None) => End::Untouched,
        Err(error) => End::NotClosed(format!("what was protected last cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_prefixes_are_counted() {
        let nets =
            |count: u8| (0..count).map(|n| format!("10.{n}.0.0/16").parse().unwrap()).collect::<BTreeSet<IpNet>>();
        assert_eq!(named(&nets(2)), "10.0.0.0/16, 10.1.0.0/16");
        assert!(named(&nets(12)).ends_with("10.11.0.0/16"));
        assert!(named(&nets(14)).ends_with("10.11.0.0/16 and 2 more"));
    }
}
