//! Secondary CIDR blocks of VPCs.

use ipnet::Ipv4Net;
use serde_json::json;

use super::action::{Action, Answer, Context, VPC};
use super::field;
use super::parameter::Kind::{Cidr, Offered, RegionId, Text};
use super::parameter::{ignored, optional, refused, required};
use super::rpc::Parameters;
use super::vpc;
use crate::cen::command::{Command, SecondaryCidr};
use crate::cen::error::ApiError;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "AssociateVpcCidrBlock",
        parameters: &[
            optional("RegionId", RegionId),
            required("VpcId", Text),
            optional("SecondaryCidrBlock", Cidr),
            optional("IpVersion", Offered(&[IPV4, "ipv4"], &["IPV6", "ipv6"])),
            ignored("Ipv6Isp", Text),
            refused("IPv6CidrBlock"),
            refused("Ipv6CidrMask"),
            refused("IpamPoolId"),
            refused("SecondaryCidrMask"),
        ],
        handler: associate,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "UnassociateVpcCidrBlock",
        parameters: &[
            optional("RegionId", RegionId),
            required("VpcId", Text),
            optional("SecondaryCidrBlock", Cidr),
            refused("IPv6CidrBlock"),
        ],
        handler: unassociate,
        busy: &[],
    },
];

const IPV4: &str = "IPV4";

fn associate(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let vpc = vpc::here(parameters, context.state)?;
    let cidr = secondary(parameters)?;
    let response = json!({"CidrBlock": cidr.to_string(), "IpVersion": IPV4});
    Ok(Answer::Write { command: Command::AssociateCidr(SecondaryCidr { vpc, cidr }), response })
}

fn unassociate(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let vpc = vpc::here(parameters, context.state)?;
    let cidr = secondary(parameters)?;
    Ok(Answer::Write { command: Command::UnassociateCidr(SecondaryCidr { vpc, cidr }), response: json!({}) })
}

/// Not mandatory in the cloud, which has IPv6 blocks too; without one there is a code of its own.
fn secondary(parameters: &Parameters) -> Result<Ipv4Net, ApiError> {
    field::cidr(parameters, "SecondaryCidrBlock")?.ok_or_else(|| {
        let message = "Either SecondaryCidrBlock or Ipv6CidrBlock must be specified.";
        ApiError::bad_request("MissingParam.SecondaryCidrBlockOrIpv6CidrBlock", message)
    })
}
