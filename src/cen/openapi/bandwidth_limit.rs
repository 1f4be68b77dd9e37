//! Bandwidth between two regions of a CEN instance.

use serde_json::{Value, json};

use super::action::{Action, Answer, CBN, Context};
use super::bandwidth_package::span;
use super::paging::{PAGE_NUMBER, Page, page_size};
use super::parameter::Kind::{Integer, Offered, RegionId, Text};
use super::parameter::{optional, required};
use super::rpc::Parameters;
use crate::cen::bandwidth::BandwidthLimit;
use crate::cen::command::{BandwidthCommand, Command};
use crate::cen::error::ApiError;
use crate::cen::plan::attachment::cen;
use crate::cen::realism::CEN_STATUS;
use crate::cen::state::State;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: CBN,
        name: "SetCenInterRegionBandwidthLimit",
        parameters: &[
            required("CenId", Text),
            required("LocalRegionId", RegionId),
            required("OppositeRegionId", RegionId),
            required("BandwidthLimit", Integer(0, 10_000)),
            optional("BandwidthType", Offered(&["BandwidthPackage"], &["DataTransfer"])),
        ],
        handler: set,
        busy: &[CEN_STATUS],
    },
    Action {
        version: CBN,
        name: "DescribeCenInterRegionBandwidthLimits",
        parameters: &[PAGE_NUMBER, page_size(50), optional("CenId", Text), optional("TrRegionId", RegionId)],
        handler: describe,
        busy: &[],
    },
];

fn set(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    let command = BandwidthCommand::SetLimit {
        cen: parameters.required("CenId")?.into(),
        regions: (
            parameters.required("LocalRegionId")?.to_owned(),
            parameters.required("OppositeRegionId")?.to_owned(),
        ),
        limit: parameters.parsed("BandwidthLimit")?.ok_or_else(|| parameters.missing("BandwidthLimit"))?,
    };
    Ok(Answer::Write { command: Command::Bandwidth(command), response: json!({}) })
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (state, page) = (context.state, Page::of(parameters)?);
    let id = parameters.text("CenId");
    if let Some(id) = id {
        cen(state, &id.into())?;
    }
    let region = parameters.text("TrRegionId");
    let asked = |limit: &&BandwidthLimit| {
        let (local, opposite) = &limit.regions;
        id.is_none_or(|id| id == limit.cen.as_str())
            && region.is_none_or(|region| [local, opposite].iter().any(|one| *one == region))
    };
    let limits = state.bandwidth_limits.iter().filter(asked);
    let (outer, inner) = ("CenInterRegionBandwidthLimits", "CenInterRegionBandwidthLimit");
    Ok(Answer::Read(page.of_each(limits, |limit| shown(state, limit), outer, inner)))
}

fn shown(state: &State, limit: &BandwidthLimit) -> Value {
    let (local, opposite) = &limit.regions;
    let areas = limit.areas();
    let serves = |areas: (&str, &str)| {
        let mut packages = state.bandwidth_packages_of(&limit.cen);
        packages.find(|package| (package.areas.0.as_str(), package.areas.1.as_str()) == areas)
    };
    json!({
        "CenId": limit.cen.as_str(),
        "LocalRegionId": local,
        "OppositeRegionId": opposite,
        "BandwidthLimit": limit.limit,
        "BandwidthPackageId": areas.and_then(serves).map_or("", |package| package.id.as_str()),
        "BandwidthType": "BandwidthPackage",
        "GeographicSpanId": areas.map(|(a, b)| span(a, b)).unwrap_or_default(),
        "Status": "Active",
    })
}
