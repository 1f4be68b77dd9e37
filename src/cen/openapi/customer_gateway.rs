//! Customer gateways: the customers' own VPN devices, as the cloud knows them.

use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::field::{self, label, tags, tags_json, tags_row};
use super::paging::{PAGE_NUMBER, Page, page_size};
use super::parameter::Kind::{Label, RegionId, Text};
use super::parameter::{optional, refused, required};
use super::region;
use super::rpc::Parameters;
use crate::cen::command::{Command, CreateCustomerGateway};
use crate::cen::error::ApiError;
use crate::cen::identifier::CustomerGatewayId;
use crate::cen::realism::{OPERATION_CONFLICT, VPN_GATEWAY};
use crate::cen::resource::ResourceId;
use crate::cen::state::State;
use crate::cen::vpn::CustomerGateway;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "CreateCustomerGateway",
        parameters: &[
            required("IpAddress", Text),
            required("RegionId", RegionId),
            optional("Asn", Text),
            optional("Name", Label(100)),
            optional("Description", Label(100)),
            tags_row("Tags"),
            // It would protect a BGP session.
            refused("AuthKey"),
            optional("ResourceGroupId", Text),
        ],
        handler: create,
        busy: &[OPERATION_CONFLICT],
    },
    Action {
        version: VPC,
        name: "DescribeCustomerGateway",
        parameters: &[required("RegionId", RegionId), required("CustomerGatewayId", Text)],
        handler: describe_one,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DescribeCustomerGateways",
        parameters: &[
            required("RegionId", RegionId),
            PAGE_NUMBER,
            page_size(50),
            optional("CustomerGatewayId", Text),
            tags_row("Tag"),
            optional("ResourceGroupId", Text),
        ],
        handler: describe,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "ModifyCustomerGatewayAttribute",
        parameters: &[
            required("RegionId", RegionId),
            required("CustomerGatewayId", Text),
            optional("Name", Label(100)),
            optional("Description", Label(100)),
            refused("AuthKey"),
        ],
        handler: modify,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DeleteCustomerGateway",
        parameters: &[required("RegionId", RegionId), required("CustomerGatewayId", Text)],
        handler: delete,
        busy: &[VPN_GATEWAY],
    },
];

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let address = parameters.required("IpAddress")?.parse().map_err(|_| {
        ApiError::bad_request("InvalidIpAddress.WrongFormat", "The specified ip address is not a valid IPv4 address.")
    })?;
    let create = CreateCustomerGateway {
        id: CustomerGatewayId::generate(&context.seed()),
        region: region::of(parameters)?.to_owned(),
        address,
        asn: parameters.text("Asn").map(|text| asn(text).ok_or_else(|| parameters.invalid("Asn"))).transpose()?,
        name: label(parameters, "Name"),
        description: label(parameters, "Description"),
        tags: tags(parameters, "Tags")?,
        resource_group: label(parameters, "ResourceGroupId"),
    };
    let response = json!({
        "CustomerGatewayId": create.id.as_str(),
        "IpAddress": create.address.to_string(),
        "Name": create.name,
        "Description": create.description,
        "CreateTime": context.now.0,
    });
    Ok(Answer::Write { command: Command::CreateCustomerGateway(create), response })
}

/// An AS number: `65530`, or its halves as `1.5`.
fn asn(text: &str) -> Option<u32> {
    match text.split_once('.') {
        None => text.parse().ok(),
        Some((high, low)) => Some(u32::from(high.parse::<u16>().ok()?) << 16 | u32::from(low.parse::<u16>().ok()?)),
    }
}

fn describe_one(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let region = region::of(parameters)?;
    let gateway = context.state.customer_gateways.get(parameters.required("CustomerGatewayId")?);
    let gateway = gateway.filter(|gateway| gateway.region == region).ok_or_else(not_found)?;
    Ok(Answer::Read(shown(context.state, gateway)))
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (region, page) = (region::of(parameters)?, Page::of(parameters)?);
    let asked_tags = tags(parameters, "Tag")?;
    let asked = |gateway: &&CustomerGateway| {
        gateway.region == region
            && field::is_asked(parameters, "CustomerGatewayId", gateway.id.as_str())
            && field::is_asked(parameters, "ResourceGroupId", context.state.resource_group(gateway.id.as_str()))
            && field::has_tags(&gateway.tags, &asked_tags)
    };
    let gateways =
        context.state.customer_gateways.values().filter(asked).map(|gateway| shown(context.state, gateway)).collect();
    Ok(Answer::Read(page.of_items(gateways, "CustomerGateways", "CustomerGateway")))
}

fn modify(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let region = region::of(parameters)?;
    let gateway = context.state.customer_gateways.get(parameters.required("CustomerGatewayId")?);
    let mut new = gateway.filter(|gateway| gateway.region == region).ok_or_else(not_found)?.clone();
    let command = field::modify_attributes(parameters, ResourceId::CustomerGateway(new.id.clone()), "Name");
    field::optional_label(parameters, "Name").inspect(|name| new.name.clone_from(name));
    field::optional_label(parameters, "Description").inspect(|text| new.description.clone_from(text));
    Ok(Answer::Write { command, response: shown(context.state, &new) })
}

fn delete(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let region = region::of(parameters)?;
    let customer_gateway = CustomerGatewayId::from(parameters.required("CustomerGatewayId")?);
    if context.state.customer_gateways.get(&customer_gateway).is_some_and(|present| present.region != region) {
        return Err(not_found());
    }
    Ok(Answer::Write { command: Command::DeleteCustomerGateway { customer_gateway }, response: json!({}) })
}

fn not_found() -> ApiError {
    let message = "The specified customer gateway instance id does not exist.";
    ApiError::not_found("InvalidCustomerGatewayInstanceId.NotFound", message)
}

fn shown(state: &State, gateway: &CustomerGateway) -> Value {
    json!({
        "CustomerGatewayId": gateway.id.as_str(),
        "IpAddress": gateway.address.to_string(),
        "Asn": gateway.asn,
        "Name": gateway.name,
        "Description": gateway.description,
        "CreateTime": gateway.created.0,
        "ResourceGroupId": state.resource_group(gateway.id.as_str()),
        "Tags": tags_json(&gateway.tags),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_numbers_have_two_forms() {
        assert_eq!(asn("65530"), Some(65530));
        assert_eq!(asn("1.5"), Some(65541));
        assert_eq!(asn("1.65536"), None);
        assert_eq!(asn("x"), None);
    }
}
