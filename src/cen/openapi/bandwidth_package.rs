//! Bandwidth packages of CEN instances, and the areas that they join.

use serde_json::{Value, json};

use super::action::{Action, Answer, CBN, Context};
use super::field::{has_tags, is_asked, label, optional_label, tags, tags_json, tags_row, time_in_minutes};
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{Boolean, Integer, Label, List, Structures, Text, Word};
use super::parameter::{Parameter, ignored, optional, required};
use super::rpc::Parameters;
use crate::cen::bandwidth::{AREAS, Area, BandwidthPackage, pair};
use crate::cen::command::{BandwidthCommand, Command};
use crate::cen::error::ApiError;
use crate::cen::identifier::{BandwidthPackageId, CenId};
use crate::cen::network::UnixMillis;
use crate::cen::plan::attachment::cen;
use crate::cen::realism::{BLOCKING, CEN_STATUS};
use crate::cen::state::State;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: CBN,
        name: "CreateCenBandwidthPackage",
        parameters: &[
            required("Bandwidth", Integer(2, 10_000)),
            required("GeographicRegionAId", Text),
            required("GeographicRegionBId", Text),
            optional("Name", Label(128)),
            optional("Description", Label(256)),
            optional("BandwidthPackageChargeType", Word(&["PREPAY"])),
            optional("Period", Integer(1, 12)),
            optional("PricingCycle", Word(&["Month", "Year"])),
            ignored("AutoPay", Boolean),
            ignored("AutoRenew", Boolean),
            ignored("AutoRenewDuration", Integer(0, 2_147_483_647)),
            tags_row("Tag"),
        ],
        handler: create,
        busy: &[],
    },
    Action {
        version: CBN,
        name: "AssociateCenBandwidthPackage",
        parameters: BOTH,
        handler: associate,
        busy: &[CEN_STATUS, BLOCKING],
    },
    Action {
        version: CBN,
        name: "UnassociateCenBandwidthPackage",
        parameters: BOTH,
        handler: unassociate,
        busy: &[CEN_STATUS, BLOCKING],
    },
    Action {
        version: CBN,
        name: "ModifyCenBandwidthPackageAttribute",
        parameters: &[PACKAGE, optional("Name", Label(128)), optional("Description", Label(256))],
        handler: modify,
        busy: &[],
    },
    Action {
        version: CBN,
        name: "ModifyCenBandwidthPackageSpec",
        parameters: &[PACKAGE, required("Bandwidth", Integer(2, 10_000))],
        handler: modify,
        busy: &[],
    },
    Action { version: CBN, name: "DeleteCenBandwidthPackage", parameters: &[PACKAGE], handler: delete, busy: &[] },
    Action {
        version: CBN,
        name: "DescribeCenBandwidthPackages",
        parameters: &[
            PAGE_NUMBER,
            page_size(50),
            optional("Filter", Structures(FILTER, 5)),
            optional("IsOrKey", Boolean),
            ignored("IncludeReservationData", Boolean),
            ignored("ResourceGroupId", Text),
            tags_row("Tag"),
        ],
        handler: describe,
        busy: &[],
    },
    Action {
        version: CBN,
        name: "DescribeCenGeographicSpans",
        parameters: &[PAGE_NUMBER, page_size(50), optional("GeographicSpanId", Text)],
        handler: describe_spans,
        busy: &[],
    },
    Action {
        version: CBN,
        name: "DescribeCenGeographicSpanRemainingBandwidth",
        parameters: &[
            ignored("PageNumber", Integer(1, u32::MAX as i64)),
            ignored("PageSize", Integer(1, 50)),
            required("CenId", Text),
            required("GeographicRegionAId", Text),
            required("GeographicRegionBId", Text),
        ],
        handler: describe_remaining,
        busy: &[],
    },
];

const PACKAGE: Parameter = required("CenBandwidthPackageId", Text);
const BOTH: &[Parameter] = &[required("CenId", Text), PACKAGE];
/// `Filter.1.Key` with `Filter.1.Value.1`, …: one of the values must be there.
const FILTER: &[Parameter] =
    &[required("Key", Word(&["CenId", "Status", "CenBandwidthPackageId", "Name"])), optional("Value", List)];
/// How long a month of a subscription is, in milliseconds: thirty days.
const MONTH: u64 = 30 * 24 * 60 * 60 * 1000;

fn write(command: BandwidthCommand) -> Result<Answer, ApiError> {
    Ok(Answer::Write { command: Command::Bandwidth(command), response: json!({}) })
}

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let id = BandwidthPackageId::generate(&context.seed());
    let per_period = if parameters.text("PricingCycle") == Some("Year") { 12 } else { 1 };
    let package = BandwidthPackage {
        id: id.clone(),
        name: label(parameters, "Name"),
        description: label(parameters, "Description"),
        bandwidth: parameters.parsed("Bandwidth")?.ok_or_else(|| parameters.missing("Bandwidth"))?,
        areas: areas(parameters)?,
        serves: None,
        months: parameters.parsed::<u32>("Period")?.unwrap_or(1) * per_period,
        created: context.now,
        tags: tags(parameters, "Tag")?,
    };
    let response = json!({"CenBandwidthPackageId": id.as_str(), "CenBandwidthPackageOrderId": order_number(&id)});
    Ok(Answer::Write { command: Command::Bandwidth(BandwidthCommand::Create(Box::new(package))), response })
}

/// Nothing is ordered: the same number for the same package.
fn order_number(id: &BandwidthPackageId) -> String {
    id.as_str().bytes().fold(0_u64, |number, byte| number.wrapping_mul(31) + u64::from(byte)).to_string()
}

fn areas(parameters: &Parameters) -> Result<(String, String), ApiError> {
    let area = |name: &str| {
        let area = Area::by_id(parameters.required(name)?);
        area.map(|area| area.id.to_owned()).ok_or_else(|| parameters.invalid(name))
    };
    Ok(pair(area("GeographicRegionAId")?, area("GeographicRegionBId")?))
}

fn package(parameters: &Parameters) -> Result<BandwidthPackageId, ApiError> {
    parameters.required("CenBandwidthPackageId").map(BandwidthPackageId::from)
}

fn associate(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    write(BandwidthCommand::Associate { cen: parameters.required("CenId")?.into(), id: package(parameters)? })
}

fn unassociate(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    write(BandwidthCommand::Unassociate { cen: parameters.required("CenId")?.into(), id: package(parameters)? })
}

fn modify(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    write(BandwidthCommand::Modify {
        id: package(parameters)?,
        name: optional_label(parameters, "Name"),
        description: optional_label(parameters, "Description"),
        bandwidth: parameters.parsed("Bandwidth")?,
    })
}

fn delete(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    write(BandwidthCommand::Delete { id: package(parameters)? })
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (state, page) = (context.state, Page::of(parameters)?);
    let (filters, asked_tags) = (parameters.structures("Filter"), tags(parameters, "Tag")?);
    let any = parameters.boolean("IsOrKey")?.unwrap_or(false);
    let asked = |package: &&BandwidthPackage| {
        let mut matching = filters.iter().map(|filter| matches(filter, package));
        let filtered = if any && !filters.is_empty() { matching.any(|one| one) } else { matching.all(|one| one) };
        filtered && has_tags(&package.tags, &asked_tags)
    };
    let packages = state.bandwidth_packages.values().filter(asked);
    Ok(Answer::Read(page.of_each(packages, |one| shown(state, one), "CenBandwidthPackages", "CenBandwidthPackage")))
}

fn matches(filter: &Parameters, package: &BandwidthPackage) -> bool {
    let value = match filter.text("Key") {
        Some("CenId") => package.serves.as_ref().map_or("", |(cen, _)| cen.as_str()),
        Some("Status") => status(package),
        Some("Name") => package.name.as_str(),
        _ => package.id.as_str(),
    };
    filter.list("Value").contains(&value)
}

fn status(package: &BandwidthPackage) -> &'static str {
    if package.serves.is_some() { "InUse" } else { "Idle" }
}

/// `china_europe`: the areas of a package in one word.
pub(super) fn span(a: &str, b: &str) -> String {
    let shown = |area: &str| Area::by_id(area).map_or("", |area| area.shown);
    format!("{}_{}", shown(a), shown(b))
}

fn shown(state: &State, package: &BandwidthPackage) -> Value {
    let BandwidthPackage { id, name, description, bandwidth, areas: (a, b), serves, months, created, tags } = package;
    let cens = serves.iter().map(|(cen, _)| cen.as_str().into()).collect();
    let limits = state.bandwidth_limits.iter().filter(|limit| {
        serves.as_ref().is_some_and(|(cen, _)| *cen == limit.cen) && limit.areas() == Some((a.as_str(), b.as_str()))
    });
    let limits = limits.map(|limit| {
        let (local, opposite) = &limit.regions;
        json!({"LocalRegionId": local, "OppositeRegionId": opposite, "BandwidthLimit": limit.limit.to_string()})
    });
    json!({
        "CenBandwidthPackageId": id.as_str(),
        "Name": name,
        "Description": description,
        "Bandwidth": bandwidth,
        "BandwidthPackageChargeType": "PREPAY",
        "BusinessStatus": "Normal",
        "CenIds": wrapped("CenId", cens),
        "CreationTime": time_in_minutes(*created),
        "ExpiredTime": time_in_minutes(UnixMillis(created.0.saturating_add(u64::from(*months) * MONTH))),
        "GeographicRegionAId": Area::by_id(a).map_or("", |area| area.shown),
        "GeographicRegionBId": Area::by_id(b).map_or("", |area| area.shown),
        "GeographicSpanId": span(a, b),
        "HasReservationData": "false",
        "IsCrossBorder": (a == "China") != (b == "China"),
        "OrginInterRegionBandwidthLimits": wrapped("OrginInterRegionBandwidthLimit", limits.collect()),
        "ReservationActiveTime": "",
        "ReservationBandwidth": "",
        "ReservationInternetChargeType": "",
        "ReservationOrderType": "",
        "ResourceGroupId": "",
        "Status": status(package),
        "Tags": tags_json(tags),
    })
}

fn describe_spans(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    let page = Page::of(parameters)?;
    let mut pairs = Vec::new();
    for (place, first) in AREAS.iter().enumerate() {
        pairs.extend(AREAS[place..].iter().map(|second| pair(first.id, second.id)));
    }
    pairs.sort_unstable();
    let asked = pairs.into_iter().filter(|(a, b)| is_asked(parameters, "GeographicSpanId", &span(a, b)));
    let shown = |(a, b): (&str, &str)| {
        let shown = |area| Area::by_id(area).map_or("", |area| area.shown);
        json!({"GeographicSpanId": span(a, b), "LocalGeoRegionId": shown(a), "OppositeGeoRegionId": shown(b)})
    };
    Ok(Answer::Read(page.of_each(asked, shown, "GeographicSpanModels", "GeographicSpanModel")))
}

/// What no limit has taken of the package between two areas; 0 without a package.
fn describe_remaining(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let id = CenId::from(parameters.required("CenId")?);
    cen(context.state, &id)?;
    let areas = areas(parameters)?;
    let total = context.state.bandwidth_packages_of(&id).find(|package| package.areas == areas);
    let within = context
        .state
        .bandwidth_limits
        .iter()
        .filter(|limit| limit.cen == id && limit.areas() == Some((areas.0.as_str(), areas.1.as_str())));
    let used = within.map(|limit| limit.limit).fold(0, u32::saturating_add);
    let remaining = total.map_or(0, |package| package.bandwidth).saturating_sub(used);
    Ok(Answer::Read(json!({"RemainingBandwidth": remaining})))
}
