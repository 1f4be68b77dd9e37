//! What an API action is: a row of a table, with a handler that reads the state and says what should change.

use serde_json::Value;

use super::rpc::Parameters;
use crate::cen::ApiError;
use crate::cen::command::Command;
use crate::cen::state::State;
use crate::crypto::random::Entropy;

/// The Cbn product's only version.
pub const CBN: &str = "2017-09-12";
/// The Vpc product's only version.
pub const VPC: &str = "2016-04-28";

/// One action of the API.
///
/// A handler is pure but for the entropy of its context: it never writes. What should change leaves as a command, which
/// the caller plans, commits and applies before it answers.
#[derive(Clone, Copy)]
pub struct Action {
    /// The product's version, which also tells the product: [`CBN`] or [`VPC`].
    pub version: &'static str,
    /// For example `CreateVpc`.
    pub name: &'static str,
    /// Reads the parameters, answers or asks for a change.
    pub handler: fn(&Parameters, &mut Context<'_>) -> Result<Answer, ApiError>,
}

/// What a handler wants.
#[derive(Debug)]
pub enum Answer {
    /// Nothing changes; answer this object.
    Read(Value),
    /// Plan, commit and apply the command; answer `response` when that is durable.
    Write {
        /// What should change.
        command: Command,
        /// The object to answer then. `RequestId` is added on the way out.
        response: Value,
    },
}

/// What a handler may look at.
pub struct Context<'a> {
    /// The cloud as it is.
    pub state: &'a State,
    /// What bound gateways say about themselves.
    pub live: &'a dyn LiveGateways,
    /// Wall-clock time, seconds since 1970.
    pub now: u64,
    /// For identifiers and generated pre-shared keys.
    pub entropy: &'a mut dyn Entropy,
}

impl Context<'_> {
    /// A fresh identifier: the prefix, a dash, and 20 random letters and digits.
    pub fn fresh_id(&mut self, prefix: &str) -> String {
        format!("{prefix}-{}", self.random_text(20, b"abcdefghijklmnopqrstuvwxyz0123456789"))
    }

    /// Random text over an alphabet of at most 256 characters, every character equally likely.
    pub fn random_text(&mut self, length: usize, alphabet: &[u8]) -> String {
        let usable = 256 - 256 % alphabet.len().max(1);
        let mut text = String::with_capacity(length);
        let mut bytes = [0; 32];
        while text.len() < length {
            self.entropy.fill(&mut bytes);
            let fair = bytes.iter().filter(|byte| usize::from(**byte) < usable);
            let drawn = fair.filter_map(|byte| alphabet.get(usize::from(*byte) % alphabet.len()));
            text.extend(drawn.take(length - text.len()).map(|letter| char::from(*letter)));
        }
        text
    }
}

/// `Status` of an IPsec-VPN connection, in the API's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelStatus {
    /// No IKE SA, or nobody who could say.
    IkeSaNotEstablished,
    /// An IKE SA, no word yet of a Child SA.
    IkeSaEstablished,
    /// An IKE SA, and its Child SA failed.
    IpsecSaNotEstablished,
    /// Both.
    IpsecSaEstablished,
}

impl TunnelStatus {
    /// The API's spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::IkeSaNotEstablished => "ike_sa_not_established",
            Self::IkeSaEstablished => "ike_sa_established",
            Self::IpsecSaNotEstablished => "ipsec_sa_not_established",
            Self::IpsecSaEstablished => "ipsec_sa_established",
        }
    }
}

/// A VPN route that a gateway's own configuration file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRoute {
    /// Where it leads.
    pub destination: ipnet::IpNet,
    /// The gateway's name for the connection.
    pub connection: String,
    /// 0 or 100.
    pub weight: u8,
    /// Seconds since 1970.
    pub created: u64,
}

/// What running gateways say about themselves; never stored.
pub trait LiveGateways: Send + Sync {
    /// The state of a connection's SAs; `None` when no gateway is bound, it cannot be reached, or it does not know the
    /// connection.
    fn tunnel_status(&self, vpn_gateway_id: &str, connection: &str) -> Option<TunnelStatus>;

    /// The VPN routes that the gateway's own file names; empty when no gateway is bound or it cannot be reached.
    fn file_routes(&self, vpn_gateway_id: &str) -> Vec<FileRoute>;
}

/// A cloud without gateways: a pure simulation of the API.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGateways;

impl LiveGateways for NoGateways {
    fn tunnel_status(&self, _vpn_gateway_id: &str, _connection: &str) -> Option<TunnelStatus> {
        None
    }

    fn file_routes(&self, _vpn_gateway_id: &str) -> Vec<FileRoute> {
        Vec::new()
    }
}
