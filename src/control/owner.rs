//! The complete set of connections and VPN routes that cend wants in a gatewayd: `PUT /v1/owners/cend`. How it changes:
//! [`OwnerChange`](super::owner_change::OwnerChange).
//!
//! The values are those of the cloud's API (`aes`, `sha1`, `group2`); gatewayd translates them and answers which it
//! refuses and why.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::route::Publication;
use crate::wire::cidr;

/// The body of `PUT /v1/owners/cend`. Idempotent: what is not in it, cend does not want.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerSet {
    /// Which run of cend counts the revision, a UUID (as `session_id`, RFC 8182); empty in a set made by hand.
    #[serde(default)]
    pub session: String,
    /// Revision of cend's store, which grows with every change there. gatewayd takes any revision, the newest set received
    /// counts.
    pub revision: u64,
    /// The connections that are to be there, with names that are unique in the set.
    #[serde(default)]
    pub connections: Vec<Arc<OwnerConnection>>,
    /// The VPN routes that are to be there.
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
    /// Its id in the cloud (`VpnConnectionId`), by which routes and status name it: up to 64 letters, digits, `-`, `_`
    /// and `.`.
    pub name: String,
    /// The customer gateway's address.
    pub peer: String,
    /// gatewayd's identity (`LocalId` of IkeConfig): an address or a name.
    pub local_id: String,
    /// The peer's identity (`RemoteId` of IkeConfig), likewise. Empty: its address.
    pub peer_id: String,
    /// The pre-shared key (`Psk` of IkeConfig).
    pub psk: PresharedKey,
    /// How the IKE SA is negotiated (IkeConfig).
    pub ike: OwnerIke,
    /// How the Child SAs are negotiated (IpsecConfig).
    pub esp: OwnerEsp,
    /// Networks on gatewayd's side (LocalSubnet), at least one, without host bits.
    #[serde(deserialize_with = "cidr::list")]
    pub local_subnets: Vec<IpNet>,
    /// Networks on the peer's side (RemoteSubnet), at least one, without host bits.
    #[serde(deserialize_with = "cidr::list")]
    pub peer_subnets: Vec<IpNet>,
    /// When gatewayd negotiates (EffectImmediately).
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
    /// At once, and again whenever the tunnel is lost.
    Now,
    /// When a packet needs the tunnel.
    OnTraffic,
    /// When the peer calls.
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
    /// As [`OwnerIke::encryption`].
    pub encryption: String,
    /// As [`OwnerIke::integrity`], for ESP's integrity only.
    pub integrity: String,
    /// `disabled` or a group as in [`OwnerIke::group`].
    pub pfs: String,
    /// Seconds.
    pub lifetime: u64,
}

/// A VPN route: destination-based (CreateVpnRouteEntry), or policy-based (CreateVpnPbrRouteEntry) if it has a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerRoute {
    /// The destination (`RouteDest`), without host bits.
    #[serde(deserialize_with = "cidr::one")]
    pub destination: IpNet,
    /// Where packets have to come from (`RouteSource`), without host bits. Such routes are asked before those without.
    #[serde(default, deserialize_with = "cidr::optional", skip_serializing_if = "Option::is_none")]
    pub source: Option<IpNet>,
    /// Among routes with a source the lower one is asked first (`Priority`): 1 to 100; 10 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The name of the connection in the same set that it leads into (`NextHop`).
    pub connection: String,
    /// 0 or 100.
    pub weight: u8,
    /// Whether the cloud publishes it to the VPC (`PublishVpc`).
    #[serde(default)]
    pub publication: Publication,
}

/// Publication state of one route of gatewayd.toml, which cend may publish but not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerPublication {
    /// The destination of a route of gatewayd.toml.
    #[serde(deserialize_with = "cidr::one")]
    pub destination: IpNet,
    /// The name of that route's connection in gatewayd.toml.
    pub connection: String,
    /// Whether the cloud publishes it to the VPC (PublishVpnRouteEntry).
    pub publication: Publication,
}

/// The answer to a set, and to `GET /v1/owners/cend`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerReply {
    /// Revision of the set in force; 0 while there is none.
    pub revision: u64,
    /// What of the set is not done, and why; empty when all of it is.
    #[serde(default)]
    pub refused: Vec<Refusal>,
}

/// One thing of a set that gatewayd does not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind of thing it is.
    pub kind: RefusedKind,
    /// The connection's name, or the route's destination.
    pub name: String,
    /// Why it is not done, for a person.
    pub reason: String,
}

/// The kinds of things in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedKind {
    /// One of `connections`.
    Connection,
    /// One of `routes`.
    Route,
    /// One of `publications`.
    Publication,
}

/// A pre-shared key on its way to gatewayd: erased when dropped, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey(Zeroizing<String>);

impl PresharedKey {
    /// The key as the API has it, always text.
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

/// The only place where a key is written: the bodies towards gatewayd and gatewayd's own state file.
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
     "routes":[{"destination":"10.1.1.0/24","connection":"vco-1","weight":100,"publication":"published"},
       {"destination":"10.1.2.0/24","source":"192.168.7.0/24","priority":20,"connection":"vco-1","weight":100}],
     "publications":[{"destination":"10.9.0.0/24","connection":"branch","publication":"published"}]}"#;

    #[test]
    fn the_documented_set_is_read_and_written_alike() {
        let set: OwnerSet = serde_json::from_str(DOCUMENTED).unwrap();
        assert_eq!(set.connections[0].start, OwnerStart::Now);
        assert_eq!((set.routes[0].publication, set.routes[0].source), (Publication::Published, None));
        assert_eq!((set.routes[1].source, set.routes[1].priority), ("192.168.7.0/24".parse().ok(), Some(20)));
        let again: OwnerSet = serde_json::from_str(&serde_json::to_string(&set).unwrap()).unwrap();
        assert_eq!(again, set);
    }

    #[test]
    fn a_block_with_leading_zeros_is_refused_at_every_place() {
        for block in ["192.168.0.0/16", "10.1.1.0/24", "10.1.2.0/24", "192.168.7.0/24", "10.9.0.0/24"] {
            let (address, length) = block.split_once('/').unwrap();
            for wrong in [format!("0{block}"), format!("{address}/0{length}")] {
                let set = DOCUMENTED.replacen(block, &wrong, 1);
                let error = serde_json::from_str::<OwnerSet>(&set).unwrap_err().to_string();
                assert!(error.contains(&wrong) && error.contains("without leading zeros"), "{error}");
            }
        }
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
