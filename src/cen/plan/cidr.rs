//! Rules for CIDR blocks.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::cen::error::ApiError;

/// Where the cloud's own services are: every VPC has a system route to it.
pub(in crate::cen) const SERVICE_NETWORK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// Loopback, link-local and everything from multicast up: no network of the cloud may lie there.
const UNUSABLE: [Ipv4Net; 4] = [
    SERVICE_NETWORK,
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3),
];

pub(super) fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// 400 `InvalidCidrBlock`.
pub(super) fn invalid() -> ApiError {
    ApiError::bad_request("InvalidCidrBlock", "Specified CIDR block is not valid.")
}

/// A block must begin at its own first address.
pub(super) fn check_aligned(cidr: Ipv4Net) -> Result<(), ApiError> {
    if cidr == cidr.trunc() {
        return Ok(());
    }
    let message = format!("Specified CIDR block is not valid: {cidr} should be {}.", cidr.trunc());
    Err(ApiError::bad_request("InvalidCidrBlock.Malformed", message))
}

/// A block that a VPC may have: /8 to /28 outside the special networks.
pub(super) fn check_vpc(cidr: Ipv4Net) -> Result<(), ApiError> {
    check_aligned(cidr)?;
    if !(8..=28).contains(&cidr.prefix_len()) || UNUSABLE.iter().any(|special| overlap(*special, cidr)) {
        return Err(invalid());
    }
    Ok(())
}

/// A destination that a custom entry may have: anything that is not 100.64.0.0/10 or inside it.
pub(super) fn check_destination(cidr: Ipv4Net) -> Result<(), ApiError> {
    check_aligned(cidr)?;
    if SERVICE_NETWORK.contains(&cidr) { Err(invalid()) } else { Ok(()) }
}

/// A destination that a VPN gateway may have: apart from the default route nothing that touches 100.64.0.0/10, which
/// the gateway's own status checks use.
pub(super) fn check_vpn_destination(cidr: Ipv4Net) -> Result<(), ApiError> {
    check_aligned(cidr)?;
    if cidr.prefix_len() > 0 && overlap(cidr, SERVICE_NETWORK) { Err(invalid()) } else { Ok(()) }
}

/// The address of a customer gateway: a host somewhere on the internet.
pub(super) fn is_public_host(address: Ipv4Addr) -> bool {
    !address.is_unspecified() && !UNUSABLE.iter().any(|special| special.contains(&address))
}
