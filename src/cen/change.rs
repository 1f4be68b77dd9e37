//! One step of the cloud's state. A command becomes a list of these, which is stored and then applied as a whole.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::bandwidth::{BandwidthLimit, BandwidthPackage};
use super::client_token::ClientTokenRecord;
use super::grant::Grant;
use super::identifier::{
    BandwidthPackageId, CenId, CustomerGatewayId, RouteEntryId, RouteMapId, RouteTableId, VSwitchId, VbrId, VpcId,
    VpnConnectionId, VpnGatewayId,
};
use super::network::{Declarations, NetworkId, UnixMillis, VSwitch, Vbr, Vpc};
use super::route::{RouteEntry, RouteTable};
use super::route_map::RouteMap;
use super::state::Cen;
use super::vpn::{CustomerGateway, VpnConnection, VpnGateway, VpnRoute, VpnRouteKey};

/// `…Set` creates a resource or replaces it whole, `…Removed` takes it away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A CEN instance is created or gets new attributes (`CreateCen`, `ModifyCenAttribute`).
    CenSet(Cen),
    /// The CEN instance of this id is gone (`DeleteCen`); nothing was attached to it any more.
    CenRemoved(CenId),
    /// A network becomes a child instance of a CEN instance, with nothing published yet (`AttachCenChildInstance`).
    Attached {
        /// The VPC or VBR that is attached (`ChildInstanceId`).
        network: NetworkId,
        /// The CEN instance that it joins (`CenId`).
        cen: CenId,
        /// When it joined, shown as `ChildInstanceAttachTime`.
        at: UnixMillis,
    },
    /// A network leaves its CEN instance, which forgets what it published (`DetachCenChildInstance`).
    Detached {
        /// The VPC or VBR that leaves (`ChildInstanceId`).
        network: NetworkId,
    },
    /// A destination of a network's route table enters the network's CEN instance, by a call or by default.
    Published {
        /// The VPC or VBR whose entry it is.
        network: NetworkId,
        /// Destination of the entry, exactly as the route table has it (`DestinationCidrBlock`).
        destination: Ipv4Net,
        /// Place in the order of publication: of two publishers of one destination the one with the smaller place wins.
        order: u64,
    },
    /// A destination leaves CEN, by a call or because its entry goes; the publisher's own table does not change.
    Withdrawn {
        /// The VPC or VBR that had published it.
        network: NetworkId,
        /// Destination of the entry, exactly as the route table has it (`DestinationCidrBlock`).
        destination: Ipv4Net,
    },
    /// A route map is created or gets new attributes (`CreateCenRouteMap`, `ModifyCenRouteMap`).
    RouteMapSet(Box<RouteMap>),
    /// The route map of this id is gone (`DeleteCenRouteMap`, `DeleteCen`).
    RouteMapRemoved(RouteMapId),
    /// A bandwidth package is created or changed (`CreateCenBandwidthPackage`, `Modify…`, `Associate…`, `Unassociate…`).
    BandwidthPackageSet(Box<BandwidthPackage>),
    /// The bandwidth package of this id is gone (`DeleteCenBandwidthPackage`).
    BandwidthPackageRemoved(BandwidthPackageId),
    /// Two regions get so much bandwidth (`SetCenInterRegionBandwidthLimit`); 0: none.
    BandwidthLimitSet(BandwidthLimit),
    /// A VPC is created (`CreateVpc`) or gets new attributes; its route table comes by [`Change::RouteTableSet`].
    VpcSet(Vpc),
    /// The VPC of this id is gone (`DeleteVpc`); its route table goes by [`Change::RouteTableRemoved`].
    VpcRemoved(VpcId),
    /// A vSwitch is created (`CreateVSwitch`) or gets new attributes, or another route table (`AssociateRouteTable`,
    /// `UnassociateRouteTable`); its system routes come by [`Change::RouteEntrySet`].
    VSwitchSet(VSwitch),
    /// The vSwitch of this id is gone (`DeleteVSwitch`); its system routes go by [`Change::RouteEntryRemoved`].
    VSwitchRemoved(VSwitchId),
    /// The configuration declares a VBR, or declares it otherwise than before.
    VbrSet(Vbr),
    /// The configuration no longer declares the VBR of this id.
    VbrRemoved(VbrId),
    /// A route table with all of its entries, made together with its VPC or VBR or by `CreateRouteTable`, or with new
    /// attributes.
    RouteTableSet(RouteTable),
    /// The route table of this id is gone together with its VPC or VBR or by `DeleteRouteTable`, and so are its entries.
    RouteTableRemoved(RouteTableId),
    /// A route table gets an entry, in place of one with the same id.
    RouteEntrySet {
        /// The table that holds the entry.
        table: RouteTableId,
        /// The entry as it is from now on.
        entry: RouteEntry,
    },
    /// A route table loses an entry; a [`Change::Withdrawn`] takes it out of CEN.
    RouteEntryRemoved {
        /// The table that held the entry.
        table: RouteTableId,
        /// The entry's `RouteEntryId`.
        entry: RouteEntryId,
    },
    /// A resource goes to another resource group (`MoveResourceGroup`, `MoveVpnResourceGroup`, or at its creation).
    ResourceGroupSet {
        /// The resource's id.
        resource: String,
        /// `NewResourceGroupId`; empty for the default group.
        group: String,
    },
    /// A network permits a CEN instance to attach it (`GrantInstanceToCen`).
    Granted(Grant),
    /// A network permits it no more (`RevokeInstanceFromCen`, or with the network or the CEN instance).
    Revoked {
        /// The VPC or VBR.
        network: NetworkId,
        /// The CEN instance.
        cen: CenId,
    },
    /// A VPN gateway is created (`CreateVpnGateway`).
    VpnGatewaySet(VpnGateway),
    /// The VPN gateway of this id is gone (`DeleteVpnGateway`); no connection and no entry of its VPC named it any
    /// more.
    VpnGatewayRemoved(VpnGatewayId),
    /// A customer gateway is created (`CreateCustomerGateway`).
    CustomerGatewaySet(CustomerGateway),
    /// The customer gateway of this id is gone (`DeleteCustomerGateway`); no connection named it any more.
    CustomerGatewayRemoved(CustomerGatewayId),
    /// An IPsec-VPN connection is created or gets new attributes (`CreateVpnConnection`,
    /// `ModifyVpnConnectionAttribute`).
    VpnConnectionSet(Box<VpnConnection>),
    /// The IPsec-VPN connection of this id is gone (`DeleteVpnConnection`); its routes go by
    /// [`Change::VpnRouteRemoved`].
    VpnConnectionRemoved(VpnConnectionId),
    /// A VPN gateway gets a route, or one of its routes gets another weight, priority or publication
    /// (`CreateVpnRouteEntry`, `CreateVpnPbrRouteEntry`, `PublishVpnRouteEntry`).
    VpnRouteSet(VpnRoute),
    /// A VPN gateway loses a route (`DeleteVpnRouteEntry`, `DeleteVpnPbrRouteEntry`, or with its connection or gateway).
    VpnRouteRemoved(VpnRouteKey),
    /// A call with a `ClientToken` succeeds, so that its repetition will change nothing.
    ClientTokenUsed {
        /// [`ClientToken::key`](super::client_token::ClientToken::key).
        key: String,
        /// Which call the token stands for, what it was answered, and when.
        record: ClientTokenRecord,
    },
    /// What the configuration of the simulator declares, in place of all that it declared before.
    Declared(Box<Declarations>),
}
