//! Identifiers of the cloud's resources, one type each so that no two kinds can be confused.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Defines identifier types: each is the text that the API shows, and can be looked up by `&str`.
macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

identifiers! {
    /// A CEN instance: `cen-…`.
    CenId;
    /// A VPC: `vpc-…`.
    VpcId;
    /// A VPC's virtual router: `vrt-…`.
    VRouterId;
    /// A vSwitch: `vsw-…`.
    VSwitchId;
    /// A route table of a VPC or VBR: `vtb-…`.
    RouteTableId;
    /// One entry of a route table: `rte-…`.
    RouteEntryId;
    /// A virtual border router: `vbr-…`.
    VbrId;
    /// An ECS instance: `i-…`.
    InstanceId;
    /// A high-availability virtual IP address: `havip-…`.
    HaVipId;
    /// A VPN gateway: `vpn-…`.
    VpnGatewayId;
    /// A customer gateway: `cgw-…`.
    CustomerGatewayId;
    /// An IPsec-VPN connection: `vco-…`.
    VpnConnectionId;
}
