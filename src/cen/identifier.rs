//! Identifiers of the cloud's resources, one type each so that no two kinds can be confused.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Defines identifier types: each is the text that the API shows, and can be looked up by `&str`.
macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A new identifier: the prefix and 20 characters drawn from `seed`.
            pub fn generate(seed: &[u8; 32]) -> Self {
                Self(format!("{}{}", $prefix, suffix(seed)))
            }

            /// The text as the API shows it, prefix included.
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
    /// A CEN instance.
    CenId = "cen-";
    /// A VPC.
    VpcId = "vpc-";
    /// A VPC's virtual router.
    VRouterId = "vrt-";
    /// A vSwitch.
    VSwitchId = "vsw-";
    /// A route table of a VPC or VBR.
    RouteTableId = "vtb-";
    /// One entry of a route table.
    RouteEntryId = "rte-";
    /// A virtual border router.
    VbrId = "vbr-";
    /// An ECS instance.
    InstanceId = "i-";
    /// A high-availability virtual IP address.
    HaVipId = "havip-";
    /// A VPN gateway.
    VpnGatewayId = "vpn-";
    /// A route map of a CEN instance.
    RouteMapId = "cenrmap-";
    /// A bandwidth package of a CEN instance.
    BandwidthPackageId = "cenbwp-";
    /// A customer gateway.
    CustomerGatewayId = "cgw-";
    /// An IPsec-VPN connection.
    VpnConnectionId = "vco-";
}

/// The characters after an identifier's prefix, drawn from `seed`.
fn suffix(seed: &[u8; 32]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    seed.iter().take(20).map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_identifiers_have_the_prefix_of_their_kind_and_differ_by_seed() {
        let seed: [u8; 32] = std::array::from_fn(|index| u8::try_from(index * 7).unwrap_or(0));
        let id = CenId::generate(&seed);
        assert_eq!((id.as_str().len(), &id.as_str()[..4]), (24, "cen-"));
        assert!(id.as_str()[4..].bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        assert_ne!(id, CenId::generate(&[1; 32]));
    }
}
