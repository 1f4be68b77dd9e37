//! What gatewayd protected last, kept in the state directory, so that a start without a readable configuration can close it.
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::private_file;
use crate::routing::{Closed, Policy, RoutePolicy, SharedSet};

/// Name of the file in the state directory.
pub const FILE: &str = "policy.json";
/// The largest file that is written, and read back, in bytes; as for cend's set.
const LIMIT: u64 = 128 << 20;

/// What one owner's connections and routes make of the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Destinations of its VPN routes, also of those that are refused for another reason than their destination.
    pub protect: SharedSet<IpNet>,
    /// Local subnets of its connections.
    pub local: BTreeSet<IpNet>,
    /// Its policy-based routes, which stay closed one by one while their owner's set is lost; only the cloud's can be.
    #[serde(default)]
    pub policies: SharedSet<KeptRoute>,
}

/// A policy-based route, without what it takes to carry packets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeptRoute {
    /// Its destination.
    pub destination: IpNet,
    /// Its source and priority.
    pub policy: RoutePolicy,
    /// The name of its connection.
    pub connection: Arc<str>,
}

/// The policy in force, by owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPolicy {
    /// Name of the tunnel device.
    pub device: String,
    /// Firewall mark of gatewayd's sockets.
    pub mark: u32,
    /// Outer addresses of this gateway.
    #[serde(default)]
    pub outer_addresses: BTreeSet<IpAddr>,
    /// Outer addresses of the peers, as configured and as seen.
    #[serde(default)]
    pub outer_peers: SharedSet<IpAddr>,
    /// What the configuration lets pass by.
    #[serde(default)]
    pub bypass: BTreeSet<IpNet>,
    /// Of gatewayd.toml.
    #[serde(default)]
    pub file: Share,
    /// Of the cloud.
    #[serde(default)]
    pub cend: Share,
    /// Local subnets that an inner device has led to.
    #[serde(default, with = "pairs")]
    pub closed: Closed,
}

impl KeptPolicy {
    /// Reads what was kept; none if there never was anything.
    ///
    /// # Errors
    /// The file cannot be read, others may read it, or it is damaged.
    pub fn read(folder: &Path) -> Result<Option<Self>, String> {
        let path = folder.join(FILE);
        if !path.try_exists().map_err(|error| format!("{}: {error}", path.display()))? {
            return Ok(None);
        }
        let text = private_file::read(&path, LIMIT).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map(Some).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Puts a file that cannot be read aside, so that the next one does not take its place. Answers its new name.
    ///
    /// # Errors
    /// The folder is not writable.
    pub fn put_aside(folder: &Path) -> io::Result<String> {
        let aside = folder.join(format!("{FILE}.unreadable"));
        std::fs::rename(folder.join(FILE), &aside)?;
        Ok(aside.display().to_string())
    }

    /// Keeps it: after a crash there is the old file or the new one.
    ///
    /// # Errors
    /// The disk is full, the folder is not writable, or it is larger than what is read back.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        private_file::replace(&folder.join(FILE), &self.encoded(LIMIT)?)
    }

    fn encoded(&self, limit: u64) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        if json.len() as u64 > limit {
            let text = format!("the policy takes {} bytes in {FILE}; allowed: up to {limit}", json.len());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(json)
    }

    /// The policy of both owners together.
    pub fn policy(&self) -> Policy {
        let Self { file, cend, bypass, .. } = self;
        Policy {
            protect: file.protect.union(&cend.protect),
            local: file.local.union(&cend.local).copied().collect(),
            bypass: bypass.clone(),
        }
    }
}

/// JSON's objects have texts as keys only, so a map of prefixes is a list of pairs.
mod pairs {
    use super::{Closed, Deserialize, IpNet, Serialize};

    pub fn serialize<S: serde::Serializer>(closed: &Closed, serializer: S) -> Result<S::Ok, S::Error> {
        closed.iter().collect::<Vec<(&IpNet, &IpNet)>>().serialize(serializer)
    }

    pub fn deserialize<'d, D: serde::Deserializer<'d>>(deserializer: D) -> Result<Closed, D::Error> {
        Ok(Vec::<(IpNet, IpNet)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(KeptPolicy::read(folder.path()), Ok(None));
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let policy = KeptRoute {
            destination: net("10.3.0.0/24"),
            policy: RoutePolicy { priority: 7, source: net("10.1.0.0/24") },
            connection: "vco-1".into(),
        };
        let kept = KeptPolicy {
            device: "gwd0".into(),
            mark: 7,
            file: Share {
                protect: [net("10.2.0.0/24"), net("::/0")].into(),
                local: [net("10.1.0.0/24")].into(),
                ..Share::default()
            },
            cend: Share { protect: [net("10.3.0.0/24")].into(), policies: [policy].into(), ..Share::default() },
            closed: [(net("10.1.0.0/24"), net("10.1.0.0/16"))].into(),
            ..KeptPolicy::default()
        };
        kept.write(folder.path()).unwrap();
        assert_eq!(KeptPolicy::read(folder.path()), Ok(Some(kept.clone())));
        assert_eq!(kept.policy().protect.len(), 3);
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(KeptPolicy::read(folder.path()).is_err());
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let length = KeptPolicy::default().encoded(LIMIT).unwrap().len() as u64;
        assert!(KeptPolicy::default().encoded(length).is_ok());
        let refused = KeptPolicy::default().encoded(length - 1).unwrap_err().to_string();
        assert!(refused.contains(&format!("{length} bytes")), "{refused}");
    }
}
