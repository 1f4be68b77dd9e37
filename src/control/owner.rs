//! The complete set of connections and VPN routes that cend wants in a gatewayd: `PUT /v1/owners/cend`.
//!
//! The values are those of the cloud's API (`aes`, `sha1`, `group2`); gatewayd translates them and answers which it
//! refuses and why.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::route::Publication;

/// The body of `PUT /v1/owners/cend`. Idempotent: what is not in it, cend does not want.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerSet {
    /// Grows with every change at cend. gatewayd takes any revision, the newest set received counts.
    pub revision: u64,
    #[serde(default)]
    pub connections: Vec<OwnerConnection>,
    #[serde(default)]
    pub routes: Vec<OwnerRoute>,
    /// Publication state of routes that gatewayd.toml names.
    #[serde(default)]
    pub publications: Vec<OwnerPublication>,
}

/// One IPsec-VPN connection of the cloud (CreateVpnConnection).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerConnection {
    pub name: String,
    /// The customer gateway's address.
    pub peer: String,
    pub local_id: String,
    pub peer_id: String,
    pub psk: PresharedKey,
    pub ike: OwnerIke,
    pub esp: OwnerEsp,
    pub local_subnets: Vec<IpNet>,
    pub peer_subnets: Vec<IpNet>,
    pub start: OwnerStart,
    /// EnableDpd.
    pub liveness: bool,
    /// EnableNatTraversal.
    pub nat_traversal: bool,
}

/// When to negotiate: EffectImmediately true is `now`, false is `on-traffic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnerStart {
    Now,
    OnTraffic,
    Wait,
}

/// IkeConfig in the cloud's values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerIke {
    /// `ikev2`; `ikev1` is refused.
    pub version: String,
    /// `main` or `aggressive`; means something to IKEv1 only.
    pub mode: String,
    /// `aes`, `aes256`; `aes192`, `des` and `3des` are refused.
    pub encryption: String,
    /// `sha1`, `sha256`, `sha384`, `sha512`, as PRF and as integrity; `md5` is refused.
    pub integrity: String,
    /// `group2`, `group5`, `group14`; `group1` is refused.
    pub group: String,
    /// Seconds.
    pub lifetime: u64,
}

/// IpsecConfig in the cloud's values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerEsp {
    pub encryption: String,
    pub integrity: String,
    /// `disabled` or a group as in [`OwnerIke::group`].
    pub pfs: String,
    /// Seconds.
    pub lifetime: u64,
}

/// A destination-based VPN route (CreateVpnRouteEntry).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerRoute {
    pub destination: IpNet,
    pub connection: String,
    /// 0 or 100.
    pub weight: u8,
    #[serde(default)]
    pub publication: Publication,
}

/// Publication state of one route of gatewayd.toml, which cend may publish but not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerPublication {
    pub destination: IpNet,
    pub connection: String,
    pub publication: Publication,
}

/// The answer to a set, and to `GET /v1/owners/cend`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerReply {
    /// Revision of the set in force; 0 while there is none.
    pub revision: u64,
    #[serde(default)]
    pub refused: Vec<Refusal>,
}

/// One thing of a set that gatewayd does not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub kind: RefusedKind,
    /// The connection's name, or the route's destination.
    pub name: String,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedKind {
    Connection,
    Route,
    Publication,
}

/// A pre-shared key on its way to gatewayd: erased when dropped, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey(Zeroizing<String>);

impl PresharedKey {
    pub fn new(key: impl Into<String>) -> Self {
        Self(Zeroizing::new(key.into()))
    }

    /// As the cloud's API has it: always text, whatever it begins with.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(..)")
    }
}

/// The only place where a key is written: the body towards gatewayd and gatewayd's own state file.
impl Serialize for PresharedKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PresharedKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|key| Self(Zeroizing::new(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = r#"{"revision":17,
     "connections":[{"name":"vco-1","peer":"203.0.113.2","local_id":"203.0.113.1","peer_id":"203.0.113.2","psk":"swordfish",
       "ike":{"version":"ikev2","mode":"main","encryption":"aes","integrity":"sha256","group":"group14","lifetime":86400},
       "esp":{"encryption":"aes","integrity":"sha256","pfs":"group14","lifetime":86400},
       "local_subnets":["192.168.0.0/16"],"peer_subnets":["10.1.1.0/24"],
       "start":"now","liveness":true,"nat_traversal":true}],
     "routes":[{"destination":"10.1.1.0/24","connection":"vco-1","weight":100,"publication":"published"}],
     "publications":[{"destination":"10.9.0.0/24","connection":"branch","publication":"published"}]}"#;

    #[test]
    fn the_documented_set_is_read_and_written_alike() {
        let set: OwnerSet = serde_json::from_str(DOCUMENTED).unwrap();
        assert_eq!(set.connections[0].start, OwnerStart::Now);
        assert_eq!(set.routes[0].publication, Publication::Published);
        let again: OwnerSet = serde_json::from_str(&serde_json::to_string(&set).unwrap()).unwrap();
        assert_eq!(again, set);
    }

    #[test]
    fn debug_never_shows_the_key() {
        let set: OwnerSet = serde_json::from_str(DOCUMENTED).unwrap();
        assert!(!format!("{set:?}").contains("swordfish"));
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let error = serde_json::from_str::<OwnerSet>(r#"{"revision":1,"tunnels":[]}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `tunnels`"), "{error}");
    }
}
