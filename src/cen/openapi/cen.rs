//! CEN instances.

use serde_json::{Value, json};

use super::action::{Action, Answer, CBN, Context};
use super::field::{has_tags, is_asked, label, optional_label, tags, tags_json, tags_row, time_in_minutes};
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{Label, List, Structures, Text, Word};
use super::parameter::{Parameter, optional, required};
use super::rpc::Parameters;
use crate::cen::command::{Command, CreateCen, ModifyCen};
use crate::cen::error::ApiError;
use crate::cen::identifier::CenId;
use crate::cen::realism::{BLOCKING, CEN_STATUS, Kind};
use crate::cen::state::Cen;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: CBN,
        name: "CreateCen",
        parameters: &[
            optional("Name", Label(128)),
            optional("Description", Label(256)),
            optional("ProtectionLevel", Text),
            tags_row("Tag"),
        ],
        handler: create,
        busy: &[BLOCKING],
    },
    Action {
        version: CBN,
        name: "DescribeCens",
        parameters: &[
            PAGE_NUMBER,
            page_size(50),
            optional("Filter", Structures(FILTER, FILTERS)),
            tags_row("Tag"),
            optional("ResourceGroupId", Text),
        ],
        handler: describe,
        busy: &[],
    },
    Action {
        version: CBN,
        name: "ModifyCenAttribute",
        parameters: &[
            required("CenId", Text),
            optional("Name", Label(128)),
            optional("Description", Label(256)),
            optional("ProtectionLevel", Text),
        ],
        handler: modify,
        busy: &[],
    },
    Action {
        version: CBN,
        name: "DeleteCen",
        parameters: &[required("CenId", Text)],
        handler: delete,
        busy: &[CEN_STATUS, BLOCKING],
    },
];

/// Filters of one call at most.
const FILTERS: usize = 5;

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let create = CreateCen {
        id: CenId::generate(&context.seed()),
        name: label(parameters, "Name"),
        description: label(parameters, "Description"),
        protection_level: parameters.text("ProtectionLevel").map(str::to_owned),
        tags: tags(parameters, "Tag")?,
    };
    let response = json!({"CenId": create.id.as_str()});
    Ok(Answer::Write { command: Command::CreateCen(create), response })
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let page = Page::of(parameters)?;
    let filters = parameters.structures("Filter");
    let asked_tags = tags(parameters, "Tag")?;
    let asked = |cen: &&Cen| {
        filters.iter().all(|filter| matches(filter, cen))
            && has_tags(&cen.tags, &asked_tags)
            && is_asked(parameters, "ResourceGroupId", context.state.resource_group(cen.id.as_str()))
    };
    let cens = context.state.cens.values().filter(asked);
    Ok(Answer::Read(page.of_each(cens, |cen| shown(context, cen), "Cens", "Cen")))
}

fn shown(context: &Context<'_>, cen: &Cen) -> Value {
    let state = context.state;
    let packages = state.bandwidth_packages_of(&cen.id).map(|package| package.id.as_str().into()).collect();
    json!({
        "CenId": cen.id.as_str(),
        "Name": cen.name,
        "Description": cen.description,
        "Status": context.realism.status(Kind::Cen, cen.id.as_str(), "Active"),
        "ProtectionLevel": cen.protection_level,
        "CreationTime": time_in_minutes(cen.created),
        "Ipv6Level": "DISABLED",
        "ResourceGroupId": state.resource_group(cen.id.as_str()),
        "CenBandwidthPackageIds": wrapped("CenBandwidthPackageId", packages),
        "Tags": tags_json(&cen.tags),
    })
}

/// `Filter.1.Key` with `Filter.1.Value.1`, …: one of the values must be there.
const FILTER: &[Parameter] = &[required("Key", Word(&["CenId", "Name"])), optional("Value", List)];

fn matches(filter: &Parameters, cen: &Cen) -> bool {
    let value = if filter.text("Key") == Some("CenId") { cen.id.as_str() } else { cen.name.as_str() };
    filter.list("Value").contains(&value)
}

fn modify(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    let modify = ModifyCen {
        cen: parameters.required("CenId")?.into(),
        name: optional_label(parameters, "Name").filter(|name| !name.is_empty()),
        description: optional_label(parameters, "Description").filter(|text| !text.is_empty()),
        protection_level: parameters.text("ProtectionLevel").map(str::to_owned),
    };
    Ok(Answer::Write { command: Command::ModifyCen(modify), response: json!({}) })
}

fn delete(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    let command = Command::DeleteCen { cen: parameters.required("CenId")?.into() };
    Ok(Answer::Write { command, response: json!({}) })
}
