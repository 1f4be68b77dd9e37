//! Tags of all kinds of resources.

use serde_json::{Value, json};

use super::action::{Action, Answer, CBN, Context, VPC};
use super::field::{has_tags, tags, tags_row};
use super::paging::{Continuation, NEXT_TOKEN, page_size, wrapped};
use super::parameter::Kind::{Boolean, Integer, List, RegionId, Text};
use super::parameter::{Parameter, optional, required};
use super::region;
use super::rpc::Parameters;
use crate::cen::command::Command;
use crate::cen::error::ApiError;
use crate::cen::resource::{KINDS, OfText, ResourceId, TagResources, UntagResources};
use crate::cen::state::State;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action { version: CBN, name: "TagResources", parameters: TAG, handler: tag, busy: &[] },
    Action { version: CBN, name: "UntagResources", parameters: UNTAG, handler: untag, busy: &[] },
    Action { version: CBN, name: "ListTagResources", parameters: LIST_OF_CEN, handler: list_of_cen, busy: &[] },
    // The two products write this one differently: UntagResources, UnTagResources.
    Action { version: VPC, name: "TagResources", parameters: TAG, handler: tag, busy: &[] },
    Action { version: VPC, name: "UnTagResources", parameters: UNTAG, handler: untag, busy: &[] },
    Action { version: VPC, name: "ListTagResources", parameters: LIST, handler: list, busy: &[] },
];

const REGION: Parameter = optional("RegionId", RegionId);
const TYPE: Parameter = required("ResourceType", Text);
const TAG: &[Parameter] = &[REGION, TYPE, required("ResourceId", List), tags_row("Tag")];
const UNTAG: &[Parameter] =
    &[REGION, TYPE, required("ResourceId", List), optional("TagKey", List), optional("All", Boolean)];
const LIST: &[Parameter] =
    &[REGION, TYPE, optional("ResourceId", List), tags_row("Tag"), optional("MaxResults", Integer(1, 50)), NEXT_TOKEN];
const LIST_OF_CEN: &[Parameter] =
    &[REGION, TYPE, optional("ResourceId", List), tags_row("Tag"), page_size(50), NEXT_TOKEN];

/// Resources that one call names at most.
const RESOURCES: usize = 50;

fn tag(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let tags = tags(parameters, "Tag")?;
    if tags.is_empty() {
        return Err(parameters.missing("Tag"));
    }
    let command = Command::TagResources(TagResources { resources: named(parameters, context.state)?, tags });
    Ok(Answer::Write { command, response: json!({}) })
}

/// Without keys nothing is taken away, unless all of them are to go.
fn untag(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let keys: Vec<String> = parameters.list("TagKey").into_iter().map(str::to_owned).collect();
    let all = keys.is_empty() && parameters.boolean("All")?.unwrap_or(false);
    let resources = named(parameters, context.state)?;
    let command = Command::UntagResources(UntagResources { resources, keys: (!all).then_some(keys) });
    Ok(Answer::Write { command, response: json!({}) })
}

fn list(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    listed(parameters, context.state, Continuation::with_limit(parameters, "MaxResults", 50)?)
}

fn list_of_cen(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    listed(parameters, context.state, Continuation::with_limit(parameters, "PageSize", 10)?)
}

fn listed(parameters: &Parameters, state: &State, continuation: Continuation) -> Result<Answer, ApiError> {
    let (kind, of_text) = kind(parameters)?;
    let asked = tags(parameters, "Tag")?;
    let ids = parameters.list("ResourceId");
    if ids.is_empty() && asked.is_empty() {
        return Err(parameters.missing("ResourceId"));
    }
    let ids: Vec<&str> = if ids.is_empty() { all(kind, state) } else { ids };
    let mut items: Vec<(String, Value)> = Vec::new();
    for resource in ids.into_iter().map(of_text) {
        let is_here =
            resource.region(state).is_some_and(|at| region::is_here(parameters, at) == Ok(true) || at.is_empty());
        let tags = resource.tags(state);
        if !is_here || !has_tags(tags, &asked) {
            continue;
        }
        let id = resource.as_str();
        items.extend(tags.iter().map(|tag| {
            let shown = json!({"ResourceId": id, "ResourceType": kind, "TagKey": tag.key, "TagValue": tag.value});
            (format!("{id} {}", tag.key), shown)
        }));
    }
    let (items, token) = continuation.of_items(items);
    Ok(Answer::Read(json!({"NextToken": token, "TagResources": wrapped("TagResource", items)})))
}

/// The ids of all resources of a kind.
fn all<'a>(kind: &str, state: &'a State) -> Vec<&'a str> {
    match kind {
        "CEN" => state.cens.keys().map(|id| id.as_str()).collect(),
        "VPC" => state.vpcs.keys().map(|id| id.as_str()).collect(),
        "VSWITCH" => state.vswitches.keys().map(|id| id.as_str()).collect(),
        "ROUTETABLE" => state.route_tables.keys().map(|id| id.as_str()).collect(),
        "VPNGATEWAY" => state.vpn_gateways.keys().map(|id| id.as_str()).collect(),
        "CUSTOMERGATEWAY" => state.customer_gateways.keys().map(|id| id.as_str()).collect(),
        _ => state.vpn_connections.keys().map(|id| id.as_str()).collect(),
    }
}

/// The kind of resource, in any case: clients write it in several.
fn kind(parameters: &Parameters) -> Result<(&'static str, OfText), ApiError> {
    let asked = parameters.required("ResourceType")?;
    let kind = KINDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(asked));
    kind.copied().ok_or_else(|| {
        ApiError::not_found("InvalidResourceType.NotFound", "The ResourceType provided does not exist in our records.")
    })
}

/// The resources that a call names, all of which have to be there.
fn named(parameters: &Parameters, state: &State) -> Result<Vec<ResourceId>, ApiError> {
    let (_, of_text) = kind(parameters)?;
    let ids = parameters.list("ResourceId");
    if ids.len() > RESOURCES {
        return Err(parameters.invalid("ResourceId"));
    }
    let mut resources = Vec::with_capacity(ids.len());
    for resource in ids.into_iter().map(of_text) {
        let here = match resource.region(state) {
            Some("") => true,
            Some(at) => region::is_here(parameters, at)?,
            None => false,
        };
        if !here {
            let message = format!("The specified resource {} does not exist.", resource.as_str());
            return Err(ApiError::not_found("InvalidResourceId.NotFound", message));
        }
        if !resources.contains(&resource) {
            resources.push(resource);
        }
    }
    Ok(resources)
}
