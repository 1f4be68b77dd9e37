//! CEN instances.

use serde_json::{Value, json};

use super::action::{Action, Answer, CBN, Context};
use super::field::{label, optional_label, tags, tags_json, time_in_minutes};
use super::paging::{Page, wrapped};
use super::rpc::Parameters;
use crate::cen::command::{Command, CreateCen, ModifyCen};
use crate::cen::error::ApiError;
use crate::cen::identifier::CenId;
use crate::cen::state::Cen;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action { version: CBN, name: "CreateCen", handler: create },
    Action { version: CBN, name: "DescribeCens", handler: describe },
    Action { version: CBN, name: "ModifyCenAttribute", handler: modify },
    Action { version: CBN, name: "DeleteCen", handler: delete },
];

/// Filters of one call at most.
const FILTERS: usize = 5;

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let create = CreateCen {
        id: CenId::generate(&context.seed()),
        name: label(parameters, "Name", 128)?,
        description: label(parameters, "Description", 256)?,
        protection_level: parameters.text("ProtectionLevel").map(str::to_owned),
        tags: tags(parameters, "Tag")?,
    };
    let response = json!({"CenId": create.id.as_str()});
    Ok(Answer::Write { command: Command::CreateCen(create), response })
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let page = Page::of(parameters, 50)?;
    let filters = filters(parameters)?;
    let asked_tags = tags(parameters, "Tag")?;
    let cens = context.state.cens.values().filter(|cen| {
        filters.iter().all(|filter| filter.matches(cen)) && super::field::has_tags(&cen.tags, &asked_tags)
    });
    Ok(Answer::Read(page.of_items(cens.map(shown).collect(), "Cens", "Cen")))
}

fn shown(cen: &Cen) -> Value {
    json!({
        "CenId": cen.id.as_str(),
        "Name": cen.name,
        "Description": cen.description,
        "Status": "Active",
        "ProtectionLevel": cen.protection_level,
        "CreationTime": time_in_minutes(cen.created),
        "Ipv6Level": "DISABLED",
        "ResourceGroupId": "",
        "CenBandwidthPackageIds": wrapped("CenBandwidthPackageId", Vec::new()),
        "Tags": tags_json(&cen.tags),
    })
}

/// `Filter.1.Key` with `Filter.1.Value.1`, …: one of the values must be there.
struct Filter<'a> {
    by_id: bool,
    values: Vec<&'a str>,
}

impl Filter<'_> {
    fn matches(&self, cen: &Cen) -> bool {
        let value = if self.by_id { cen.id.as_str() } else { cen.name.as_str() };
        self.values.contains(&value)
    }
}

fn filters(parameters: &Parameters) -> Result<Vec<Filter<'_>>, ApiError> {
    let mut filters = Vec::new();
    // Past the last one there are none: a gap would hide a filter, so the names are looked for, not counted.
    for number in 1..=FILTERS + 1 {
        let (key, list) = (format!("Filter.{number}.Key"), format!("Filter.{number}.Value"));
        let by_id = match parameters.text(&key) {
            None => continue,
            Some("CenId") => true,
            Some("Name") => false,
            Some(_) => return Err(parameters.invalid(&key)),
        };
        filters.push(Filter { by_id, values: parameters.list(&list) });
    }
    if filters.len() > FILTERS { Err(parameters.invalid("Filter")) } else { Ok(filters) }
}

fn modify(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    let modify = ModifyCen {
        cen: parameters.required("CenId")?.into(),
        name: optional_label(parameters, "Name", 128)?.filter(|name| !name.is_empty()),
        description: optional_label(parameters, "Description", 256)?.filter(|text| !text.is_empty()),
        protection_level: parameters.text("ProtectionLevel").map(str::to_owned),
    };
    Ok(Answer::Write { command: Command::ModifyCen(modify), response: json!({}) })
}

fn delete(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    let command = Command::DeleteCen { cen: parameters.required("CenId")?.into() };
    Ok(Answer::Write { command, response: json!({}) })
}
