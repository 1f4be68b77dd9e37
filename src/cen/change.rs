//! One step of the cloud's state. A command becomes a list of these, which is stored and then applied as a whole.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::identifier::{
    CenId, CustomerGatewayId, RouteEntryId, RouteTableId, VSwitchId, VbrId, VpcId, VpnConnectionId, VpnGatewayId,
};
use super::network::{Declarations, NetworkId, UnixMillis, VSwitch, Vbr, Vpc};
use super::route::{RouteEntry, RouteTable};
use super::state::{Cen, ClientTokenRecord};
use super::vpn::{CustomerGateway, VpnConnection, VpnGateway, VpnRoute, VpnRouteKey};

/// `…Set` creates a resource or replaces it whole, `…Removed` takes it away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    CenSet(Cen),
    CenRemoved(CenId),
    Attached { network: NetworkId, cen: CenId, at: UnixMillis },
    Detached { network: NetworkId },
    Published { network: NetworkId, destination: Ipv4Net, order: u64 },
    Withdrawn { network: NetworkId, destination: Ipv4Net },
    VpcSet(Vpc),
    VpcRemoved(VpcId),
    VSwitchSet(VSwitch),
    VSwitchRemoved(VSwitchId),
    VbrSet(Vbr),
    VbrRemoved(VbrId),
    RouteTableSet(RouteTable),
    RouteTableRemoved(RouteTableId),
    RouteEntrySet { table: RouteTableId, entry: RouteEntry },
    RouteEntryRemoved { table: RouteTableId, entry: RouteEntryId },
    VpnGatewaySet(VpnGateway),
    VpnGatewayRemoved(VpnGatewayId),
    CustomerGatewaySet(CustomerGateway),
    CustomerGatewayRemoved(CustomerGatewayId),
    VpnConnectionSet(Box<VpnConnection>),
    VpnConnectionRemoved(VpnConnectionId),
    VpnRouteSet(VpnRoute),
    VpnRouteRemoved(VpnRouteKey),
    ClientTokenUsed { key: String, record: ClientTokenRecord },
    Declared(Box<Declarations>),
}
