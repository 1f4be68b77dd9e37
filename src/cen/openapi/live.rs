//! What running gateways say about themselves. It is asked for at each call and never stored.

use ipnet::IpNet;

use crate::cen::identifier::VpnGatewayId;
use crate::cen::network::UnixMillis;

/// `Status` of an IPsec-VPN connection, in the API's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelStatus {
    /// No IKE SA, or nobody who could say.
    IkeSaNotEstablished,
    /// An IKE SA, no word yet of a Child SA.
    IkeSaEstablished,
    /// An IKE SA, and no Child SA: its negotiation failed.
    IpsecSaNotEstablished,
    /// Both.
    IpsecSaEstablished,
}

impl TunnelStatus {
    /// The API's spelling.
    pub fn api_name(self) -> &'static str {
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
    pub destination: IpNet,
    /// The connection's name in that file.
    pub connection: String,
    /// 0 or 100.
    pub weight: u8,
    /// When the gateway first had it.
    pub created: UnixMillis,
}

/// What is known of running gateways at this moment.
pub trait LiveGateways: Send + Sync {
    /// The state of a connection's SAs; `None` when no gateway is bound, it cannot be reached, or it does not know the
    /// connection. `connection` is the connection's id, which is its name at the gateway.
    fn tunnel_status(&self, gateway: &VpnGatewayId, connection: &str) -> Option<TunnelStatus>;

    /// The VPN routes that the gateway's own file names; empty when no gateway is bound or it cannot be reached.
    fn file_routes(&self, gateway: &VpnGatewayId) -> Vec<FileRoute>;
}

/// A cloud without gateways: a pure simulation of the API.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGateways;

impl LiveGateways for NoGateways {
    fn tunnel_status(&self, _: &VpnGatewayId, _: &str) -> Option<TunnelStatus> {
        None
    }

    fn file_routes(&self, _: &VpnGatewayId) -> Vec<FileRoute> {
        Vec::new()
    }
}
