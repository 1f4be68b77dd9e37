//! Regions and their zones: `DescribeRegions` and `DescribeZones`, and the check of every `RegionId`.

use serde_json::{Value, json};

use super::action::{Action, Answer, CBN, Context, VPC};
use super::paging::wrapped;
use super::parameter::Kind::{RegionId, Text, Word};
use super::parameter::{ignored, optional, required};
use super::rpc::Parameters;
use crate::cen::error::ApiError;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "DescribeRegions",
        parameters: &[ignored("AcceptLanguage", Text), ignored("ProductType", Text)],
        handler: describe_regions,
        busy: &[],
    },
    Action {
        version: CBN,
        name: "DescribeChildInstanceRegions",
        parameters: &[optional("ProductType", Word(&["VPC", "VBR", "CCN"])), ignored("AcceptLanguage", Text)],
        handler: describe_child_regions,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DescribeZones",
        parameters: &[required("RegionId", RegionId), ignored("AcceptLanguage", Text), ignored("ZoneType", Text)],
        handler: describe_zones,
        busy: &[],
    },
];

/// A region of the cloud.
#[derive(Debug)]
pub struct Region {
    /// For example `cn-hangzhou`.
    pub id: &'static str,
    /// For people, in English.
    pub local_name: &'static str,
    /// Last letters of the zones' ids.
    zones: &'static str,
}

const fn region(id: &'static str, local_name: &'static str, zones: &'static str) -> Region {
    Region { id, local_name, zones }
}

/// The regions of the simulated cloud, mainland China first.
pub static REGIONS: &[Region] = &[
    region("cn-qingdao", "China (Qingdao)", "bc"),
    region("cn-beijing", "China (Beijing)", "abcdefghijkl"),
    region("cn-zhangjiakou", "China (Zhangjiakou)", "abc"),
    region("cn-huhehaote", "China (Hohhot)", "ab"),
    region("cn-wulanchabu", "China (Ulanqab)", "abc"),
    region("cn-hangzhou", "China (Hangzhou)", "abcdefghijk"),
    region("cn-shanghai", "China (Shanghai)", "abcdefgklmn"),
    region("cn-shenzhen", "China (Shenzhen)", "abcdef"),
    region("cn-heyuan", "China (Heyuan)", "ab"),
    region("cn-guangzhou", "China (Guangzhou)", "ab"),
    region("cn-chengdu", "China (Chengdu)", "ab"),
    region("cn-hongkong", "China (Hong Kong)", "abcd"),
    region("ap-southeast-1", "Singapore", "abc"),
    region("ap-southeast-3", "Malaysia (Kuala Lumpur)", "ab"),
    region("ap-southeast-5", "Indonesia (Jakarta)", "abc"),
    region("ap-southeast-6", "Philippines (Manila)", "a"),
    region("ap-southeast-7", "Thailand (Bangkok)", "a"),
    region("ap-northeast-1", "Japan (Tokyo)", "abc"),
    region("ap-northeast-2", "South Korea (Seoul)", "a"),
    region("us-west-1", "US (Silicon Valley)", "ab"),
    region("us-east-1", "US (Virginia)", "ab"),
    region("eu-central-1", "Germany (Frankfurt)", "abc"),
    region("eu-west-1", "UK (London)", "ab"),
    region("me-east-1", "UAE (Dubai)", "a"),
];

impl Region {
    /// The region of this id.
    pub fn by_id(id: &str) -> Option<&'static Self> {
        REGIONS.iter().find(|region| region.id == id)
    }

    /// Ids of the region's zones: `cn-hangzhou-b`, but `us-west-1a`.
    pub fn zones(&self) -> impl Iterator<Item = String> + '_ {
        let dash = if self.id.ends_with(|last: char| last.is_ascii_digit()) { "" } else { "-" };
        self.zones.chars().map(move |letter| format!("{}{dash}{letter}", self.id))
    }
}

/// The mandatory `RegionId`.
///
/// # Errors
/// `MissingRegionId`, `InvalidRegionId.NotFound`.
pub fn of(parameters: &Parameters) -> Result<&'static str, ApiError> {
    named(parameters, "RegionId")?.ok_or_else(|| parameters.missing("RegionId"))
}

/// The region whose endpoint a host name is: `vpc.cn-hangzhou.aliyuncs.com`, with a port or without, stands for its region.
/// Other names and addresses stand for none.
pub fn of_host(host: &str) -> Option<&'static str> {
    let name = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let (_product, region) = name.strip_suffix(".aliyuncs.com")?.split_once('.')?;
    Region::by_id(region).map(|region| region.id)
}

/// An optional region by another name or where it need not be given.
///
/// # Errors
/// `InvalidRegionId.NotFound`.
pub fn named(parameters: &Parameters, parameter: &str) -> Result<Option<&'static str>, ApiError> {
    let Some(id) = parameters.text(parameter) else { return Ok(None) };
    let missing = || ApiError::not_found("InvalidRegionId.NotFound", "The specified region does not exist.");
    Region::by_id(id).map(|region| Some(region.id)).ok_or_else(missing)
}

/// True when no `RegionId` is given or it is this one. What stands elsewhere is not found, as in the cloud, where each
/// region answers for itself.
///
/// # Errors
/// `InvalidRegionId.NotFound`.
pub fn is_here(parameters: &Parameters, region: &str) -> Result<bool, ApiError> {
    Ok(named(parameters, "RegionId")?.is_none_or(|asked| asked == region))
}

fn describe_regions(_: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    let regions = REGIONS.iter().map(|region| {
        let endpoint = format!("vpc.{}.aliyuncs.com", region.id);
        json!({"RegionId": region.id, "LocalName": region.local_name, "RegionEndpoint": endpoint})
    });
    Ok(Answer::Read(json!({"Regions": wrapped("Region", regions.collect())})))
}

/// Where networks can be attached: everywhere, but that there is no CCN.
fn describe_child_regions(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    let kind = parameters.text("ProductType");
    let regions = REGIONS.iter().filter(|_| kind != Some("CCN"));
    let regions = regions.map(|region| json!({"RegionId": region.id, "LocalName": region.local_name}));
    Ok(Answer::Read(json!({"Regions": wrapped("Region", regions.collect())})))
}

fn describe_zones(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    let id = of(parameters)?;
    let zones: Vec<Value> = Region::by_id(id).into_iter().flat_map(Region::zones).map(zone).collect();
    Ok(Answer::Read(json!({"Zones": wrapped("Zone", zones)})))
}

fn zone(id: String) -> Value {
    let letter = id.chars().last().map(|letter| letter.to_ascii_uppercase()).unwrap_or_default();
    json!({"ZoneId": id, "LocalName": format!("Zone {letter}"), "ZoneType": "AvailabilityZone"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_a_dash_unless_the_region_ends_with_a_digit() {
        let first = |id| Region::by_id(id).and_then(|region| region.zones().next());
        assert_eq!(first("cn-hangzhou").as_deref(), Some("cn-hangzhou-a"));
        assert_eq!(first("us-west-1").as_deref(), Some("us-west-1a"));
    }

    #[test]
    fn a_regional_endpoint_tells_the_region() {
        assert_eq!(of_host("vpc.cn-hangzhou.aliyuncs.com"), Some("cn-hangzhou"));
        assert_eq!(of_host("VPC.eu-central-1.aliyuncs.com:8443"), Some("eu-central-1"));
        for none in
            ["vpc.aliyuncs.com", "cbn.aliyuncs.com", "127.0.0.1:8080", "vpc.mars-1.aliyuncs.com", "cn-hangzhou", ""]
        {
            assert_eq!(of_host(none), None, "{none}");
        }
    }

    #[test]
    fn regions_are_checked() {
        let asked = |query: &str| of(&Parameters::parse(query.as_bytes()).unwrap()).map_err(|error| error.code);
        assert_eq!(asked("RegionId=cn-hongkong").unwrap(), "cn-hongkong");
        assert_eq!(asked("RegionId=").unwrap_err(), "MissingRegionId");
        assert_eq!(asked("RegionId=mars-1").unwrap_err(), "InvalidRegionId.NotFound");
    }
}
