//! What runs, as `GET /v1/status` and `GET /v1/connections` tell it. No field here can hold a key.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Owner;
use super::route::Route;

/// gatewayd as a whole: the reply to `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// gatewayd's version.
    pub version: String,
    /// Seconds since gatewayd started.
    pub uptime_seconds: u64,
    /// The name of the TUN device.
    pub device: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Revision of cend's last complete set; absent while cend never sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cend_revision: Option<u64>,
    /// The connections, those of gatewayd.toml first, in the order of the configuration.
    pub connections: Vec<Connection>,
    /// The VPN gateway's route table.
    pub routes: Vec<Route>,
    /// Packets dropped since the start, by reason. Reasons that never occurred are absent, and so is what exists only to
    /// be discarded: keepalives, dummies, and what the kernel says to the link of the TUN. `plaintext` are packets that
    /// came from or would have left for a protected address outside the tunnel; it counts on after a crash.
    pub drops: BTreeMap<String, u64>,
    /// Packets marked "congestion experienced" since the start (RFC 3168): their flow's queue stood, and where they had not
    /// been ECN-capable, some would have been dropped as `queue-stands`.
    #[serde(default)]
    pub congestion_marks: u64,
    /// What an operator should change, such as a weak algorithm that a connection names, and what is wrong at the moment,
    /// such as a device that cannot be kept as it should be; that goes when it is mended.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What is not protected although the destination of a route holds it.
    #[serde(default)]
    pub exemptions: Vec<Exemption>,
    /// Local subnets whose packets are dropped while no route but the default route leads to them, because an inner device
    /// has led there before.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub closed_local_subnets: Vec<IpNet>,
}

/// A prefix whose packets go their own way, past the tunnel, although a route's destination holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exemption {
    /// What is exempt, without host bits.
    #[schemars(with = "String")]
    pub prefix: IpNet,
    /// The destination that holds it.
    #[schemars(with = "String")]
    pub within: IpNet,
    /// `local subnet`, `connected network of a local subnet`, `bypass` or `more specific route`.
    pub reason: String,
    /// The device that it leads to, if a route of the main table is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// How a connection stands. Written as [`ConnectionState::name`] in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionState {
    /// At least one Child SA carries traffic.
    Established,
    /// An exchange with the peer is under way.
    Connecting,
    /// Waits for traffic or for the peer, as its `start` says.
    Waiting,
    /// Failed, or was taken down; `last_error` and `next_attempt_seconds` say more.
    Down,
}

impl ConnectionState {
    /// The word that JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Connecting => "connecting",
            Self::Waiting => "waiting",
            Self::Down => "down",
        }
    }
}

/// State of the IKE SA in the cloud's words (the Status of DescribeVpnConnection).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IkeState {
    /// There is no authenticated IKE SA.
    IkeSaNotEstablished,
    /// There is one.
    IkeSaEstablished,
}

/// State of the Child SAs in the cloud's words; established when every child of the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChildState {
    /// A child of the connection has no Child SA to send on.
    IpsecSaNotEstablished,
    /// Every child has one.
    IpsecSaEstablished,
}

/// One connection: an element of the reply to `GET /v1/connections`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// Its name, unique among the connections of both owners.
    pub name: String,
    /// What gatewayd.toml notes about it, one line of up to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who defined it.
    pub owner: Owner,
    /// How it stands.
    pub state: ConnectionState,
    /// How its IKE SA stands, in the cloud's words.
    pub ike_state: IkeState,
    /// How its Child SAs stand, in the cloud's words.
    pub child_state: ChildState,
    /// The peer as configured: an address, a name, or `any`.
    pub peer: String,
    /// The addresses in use, while there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<SocketAddr>,
    /// gatewayd's outer address and port in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_address: Option<SocketAddr>,
    /// What the path to the peer takes in one outer IP packet, in bytes, while there are addresses in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u16>,
    /// gatewayd's identity (RFC 7296 section 3.5), as configured or its address.
    pub local_id: String,
    /// The peer's identity: what it authenticated as, else what is configured, else its address.
    pub peer_id: String,
    /// `now`, `on-traffic` or `wait`.
    pub start: String,
    /// The connection with each authenticated peer, the eldest first: several only if it takes any peer.
    #[serde(default)]
    pub associations: Vec<Association>,
    /// The IKE SA, once it is established. Absent while there are several associations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ike_sa: Option<IkeSa>,
    /// Child SAs of all associations, those being replaced included.
    pub child_sas: Vec<ChildSa>,
    /// What the peer left out of the children's traffic when it narrowed their Child SAs (RFC 7296 section 2.9), while
    /// there are any: `child: local selector === peer selector`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// What came from the peer since gatewayd knows the connection, through SAs that are gone too: it never falls.
    #[serde(default)]
    pub inbound: Traffic,
    /// What went to the peer, likewise.
    #[serde(default)]
    pub outbound: Traffic,
    /// What went wrong last, for a person; absent when nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Seconds until gatewayd tries again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_seconds: Option<u64>,
}

/// A connection with one authenticated peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Association {
    /// Its number; its Child SAs and events name it.
    pub id: u64,
    /// The peer's authenticated identity.
    pub peer_id: String,
    /// The peer's outer address.
    pub peer_address: SocketAddr,
    /// Seconds since the peer was authenticated first, through all rekeys and reauthentications since.
    pub age_seconds: u64,
    /// Its IKE SAs, the newest last: several only for a moment, and none but another connection's with the same peer where
    /// the peer has put the Child SAs of both into that one.
    pub ike_sas: Vec<IkeSa>,
    /// What came from this peer, through Child SAs that are gone too: it never falls.
    pub inbound: Traffic,
    /// What went to it, likewise.
    pub outbound: Traffic,
}

/// Which end began an IKE SA (RFC 7296 section 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// gatewayd sent the first request.
    Initiator,
    /// The peer did.
    Responder,
}

/// An established IKE SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IkeSa {
    /// SPIs in hexadecimal, 16 digits each.
    pub initiator_spi: String,
    /// See `initiator_spi`.
    pub responder_spi: String,
    /// The connection that it was set up for, if that is another one with the same peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_connection: Option<String>,
    /// Which end gatewayd is.
    pub role: Role,
    /// The proposal in force, in the keyword style: `aes128gcm16-prfsha256-x25519`.
    pub algorithms: String,
    /// The extensions that both ends use: `nat-detection`, `fragmentation`, `childless`, `quick-crash-detection`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Seconds since it was established or, after a rekey, since it took over.
    pub age_seconds: u64,
    /// Seconds until gatewayd rekeys it; 0 when that is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekey_seconds: Option<u64>,
    /// Seconds since the peer's last sign of life, while its path does not answer: the IKE SA and its Child SAs stay, others
    /// are preferred, and another IKE SA is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_seconds: Option<u64>,
}

/// One pair of Child SAs (RFC 7296 section 1.1): one receives, one sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChildSa {
    /// The name of the child in the configuration.
    pub name: String,
    /// The number of the association that it belongs to.
    #[serde(default)]
    pub association: u64,
    /// SPIs in hexadecimal, 8 digits each; inbound is the one that gatewayd chose.
    pub inbound_spi: String,
    /// The SPI that the peer chose.
    pub outbound_spi: String,
    /// The suite in force, in the keyword style: `aes128gcm16`, `aes128-sha256`.
    pub algorithms: String,
    /// `udp` (RFC 3948) or `none` (IP protocol 50).
    pub encapsulation: String,
    /// The agreed traffic selectors of gatewayd's side (RFC 7296 section 2.9).
    pub local_selectors: Vec<String>,
    /// Those of the peer's side.
    pub peer_selectors: Vec<String>,
    /// Whether gatewayd sends on it; during a rekey two SAs receive.
    pub sending: bool,
    /// Seconds since it was set up.
    pub age_seconds: u64,
    /// Seconds until gatewayd rekeys it; absent for one that is being replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekey_seconds: Option<u64>,
    /// What came in through it.
    pub inbound: Traffic,
    /// What went out through it.
    pub outbound: Traffic,
}

/// What an SA or a connection carried in one direction: inner packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Inner packets.
    pub packets: u64,
    /// Bytes of inner packets, their IP headers included.
    pub bytes: u64,
    /// Packets that were dropped on an SA or because of it: replayed, forged, outside its selectors, past its hard limit,
    /// or too large for it.
    #[serde(default)]
    pub errors: u64,
    /// Seconds since the last packet; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_the_words_of_the_cloud() {
        assert_eq!(serde_json::to_value(IkeState::IkeSaEstablished).unwrap(), "ike_sa_established");
        assert_eq!(serde_json::to_value(ChildState::IpsecSaNotEstablished).unwrap(), "ipsec_sa_not_established");
        assert_eq!(serde_json::to_value(ConnectionState::Established).unwrap(), "established");
    }
}
