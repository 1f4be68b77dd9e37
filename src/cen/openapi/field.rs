//! Fields that many resources share, from parameters and to JSON: names, tags, CIDR blocks, times.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::paging::wrapped;
use super::parameter::{Kind, Parameter, optional, required};
use super::rpc::Parameters;
use crate::cen::command::Command;
use crate::cen::error::ApiError;
use crate::cen::network::{Tag, UnixMillis};
use crate::cen::resource::{ModifyAttributes, ResourceId};
use crate::wire::cidr;

/// Whether a name or description may be one: at most `longest` characters, not beginning like a URL.
///
/// # Errors
/// `Invalid<Name>`.
pub fn check_label(parameters: &Parameters, name: &str, longest: usize) -> Result<(), ApiError> {
    let text = parameters.raw(name).unwrap_or_default();
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    if is_url || text.chars().count() > longest || text.chars().any(char::is_control) {
        return Err(parameters.invalid(name));
    }
    Ok(())
}

/// A name or description as it was given; empty when absent.
pub fn label(parameters: &Parameters, name: &str) -> String {
    parameters.raw(name).unwrap_or_default().to_owned()
}

/// As [`label`], telling an absent one from an empty one.
pub fn optional_label(parameters: &Parameters, name: &str) -> Option<String> {
    parameters.raw(name).map(str::to_owned)
}

/// The change of what a resource is called, whose name the action calls `name`.
pub fn modify_attributes(parameters: &Parameters, resource: ResourceId, name: &str) -> Command {
    Command::ModifyAttributes(ModifyAttributes {
        resource,
        name: optional_label(parameters, name),
        description: optional_label(parameters, "Description"),
        auto_propagate: None,
        route_propagation: None,
    })
}

/// The mandatory CIDR block of a parameter; an address without a mask stands for itself alone.
///
/// # Errors
/// `Missing<Name>`, `InvalidCidrBlock.Malformed`.
pub fn required_cidr(parameters: &Parameters, name: &str) -> Result<Ipv4Net, ApiError> {
    cidr(parameters, name)?.ok_or_else(|| ApiError::missing(name))
}

/// As [`required_cidr`], for one that may be absent.
///
/// # Errors
/// `InvalidCidrBlock.Malformed`.
pub fn cidr(parameters: &Parameters, name: &str) -> Result<Option<Ipv4Net>, ApiError> {
    parameters.text(name).map(|text| parse_cidr(text).ok_or_else(|| malformed_cidr(text))).transpose()
}

/// Reads `10.1.1.0/24`, or `10.1.1.1` as `10.1.1.1/32`.
pub fn parse_cidr(text: &str) -> Option<Ipv4Net> {
    if text.contains('/') { cidr::parse(text) } else { text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from) }
}

fn malformed_cidr(text: &str) -> ApiError {
    let shown: String = text.chars().take(64).collect();
    ApiError::bad_request("InvalidCidrBlock.Malformed", format!("Specified CIDR block {shown} is not valid."))
}

/// A comma-separated list of CIDR blocks; empty when absent.
///
/// # Errors
/// `Invalid<Name>`.
pub fn cidrs(parameters: &Parameters, name: &str) -> Result<Vec<Ipv4Net>, ApiError> {
    let Some(text) = parameters.text(name) else { return Ok(Vec::new()) };
    text.split(',').map(|part| parse_cidr(part.trim()).ok_or_else(|| parameters.invalid(name))).collect()
}

/// CIDR blocks as the API writes a list of them.
pub fn joined(cidrs: &[Ipv4Net]) -> String {
    cidrs.iter().map(Ipv4Net::to_string).collect::<Vec<_>>().join(",")
}

/// The most tags of a resource, and of a call.
pub const TAGS: usize = 20;
/// The fields of a tag.
const TAG: &[Parameter] = &[required("Key", Kind::Label(128)), optional("Value", Kind::Label(128))];

/// The row of a call's tags, whose name differs between actions.
pub const fn tags_row(name: &'static str) -> Parameter {
    optional(name, Kind::Structures(TAG, TAGS))
}

/// `<name>.1.Key` and `<name>.1.Value`, with different keys.
///
/// # Errors
/// `Invalid<Name>`.
pub fn tags(parameters: &Parameters, name: &str) -> Result<Vec<Tag>, ApiError> {
    let mut tags: Vec<Tag> = Vec::new();
    for fields in parameters.structures(name) {
        let key = fields.required("Key")?.to_owned();
        if tags.iter().any(|tag| tag.key == key) {
            return Err(parameters.invalid(name));
        }
        tags.push(Tag { key, value: fields.raw("Value").unwrap_or_default().to_owned() });
    }
    Ok(tags)
}

/// True when the resource has every tag of the filter; one without a value asks for the key alone.
pub fn has_tags(present: &[Tag], filter: &[Tag]) -> bool {
    let matches = |tag: &Tag, asked: &Tag| tag.key == asked.key && (asked.value.is_empty() || tag.value == asked.value);
    filter.iter().all(|asked| present.iter().any(|tag| matches(tag, asked)))
}

/// `{"Tag": [{"Key", "Value"}]}`.
pub fn tags_json(tags: &[Tag]) -> Value {
    wrapped("Tag", tags.iter().map(|tag| json!({"Key": tag.key, "Value": tag.value})).collect())
}

/// `2026-11-22T20:16:32Z`.
pub fn time_in_seconds(time: UnixMillis) -> String {
    formatted(time, "%Y-%m-%dT%H:%M:%SZ")
}

/// `2026-11-22T20:16Z`.
pub fn time_in_minutes(time: UnixMillis) -> String {
    formatted(time, "%Y-%m-%dT%H:%MZ")
}

fn formatted(time: UnixMillis, format: &str) -> String {
    let millisecond = i64::try_from(time.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millisecond).unwrap_or(jiff::Timestamp::MAX).strftime(format).to_string()
}

/// True when a filter parameter is absent or equals the value.
pub fn is_asked(parameters: &Parameters, name: &str, value: &str) -> bool {
    parameters.text(name).is_none_or(|asked| asked == value)
}

/// True when a filter parameter is absent or its comma-separated list holds the value.
pub fn is_listed(parameters: &Parameters, name: &str, value: &str) -> bool {
    parameters.text(name).is_none_or(|asked| asked.split(',').any(|part| part.trim() == value))
}

/// A valid request for something that this cloud does not have.
pub fn unsupported(parameters: &Parameters, name: &str) -> ApiError {
    let invalid = parameters.invalid(name);
    ApiError { message: format!("{} This cloud does not support it.", invalid.message).into(), ..invalid }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::parse(query.as_bytes()).unwrap()
    }

    #[test]
    fn a_cidr_block_without_a_mask_is_one_address() {
        assert_eq!(required_cidr(&parameters("C=10.1.1.1"), "C").unwrap().to_string(), "10.1.1.1/32");
        assert_eq!(cidr(&parameters("C=10.1.1.0/33"), "C").unwrap_err().code, "InvalidCidrBlock.Malformed");
        assert_eq!(required_cidr(&parameters(""), "C").unwrap_err().code, "MissingC");
    }

    #[test]
    fn subnets_are_a_comma_list() {
        let subnets = cidrs(&parameters("S=10.0.0.0/8, 172.16.0.0/12"), "S").unwrap();
        assert_eq!(joined(&subnets), "10.0.0.0/8,172.16.0.0/12");
        assert_eq!(cidrs(&parameters("S=10.0.0.0/8,,"), "S").unwrap_err().code, "InvalidS");
    }

    #[test]
    fn times_have_the_two_forms_of_the_api() {
        let time = UnixMillis(1_795_378_592_123);
        assert_eq!(time_in_seconds(time), "2026-11-22T20:16:32Z");
        assert_eq!(time_in_minutes(time), "2026-11-22T20:16Z");
        assert!(!time_in_seconds(UnixMillis(u64::MAX)).is_empty());
    }

    #[test]
    fn labels_are_short_and_no_urls() {
        assert!(check_label(&parameters("Name=x"), "Name", 1).is_ok());
        assert_eq!(label(&parameters(""), "Name"), "");
        for bad in ["Name=xx", "Name=http://x", "Name=%00"] {
            assert_eq!(check_label(&parameters(bad), "Name", 1).unwrap_err().code, "InvalidName");
        }
    }

    #[test]
    fn numbers_of_a_cidr_block_have_no_leading_zeros() {
        for bad in
            ["010.0.0.0/8", "10.0.0.0/08", "10.0.0.0/+8", "10.0.0.00/8", "010.0.0.1", "10.0.0.0/", "10.0.0.0/8/8"]
        {
            assert_eq!(parse_cidr(bad), None, "{bad}");
        }
        assert_eq!(parse_cidr("0.0.0.0/0").unwrap().to_string(), "0.0.0.0/0");
    }

    #[test]
    fn tags_filter_by_key_and_value() {
        let have = tags(&parameters("Tag.1.Key=a&Tag.1.Value=1&Tag.2.Key=b"), "Tag").unwrap();
        let asks = |query| has_tags(&have, &tags(&parameters(query), "Tag").unwrap());
        assert!(asks("Tag.1.Key=a&Tag.1.Value=1"));
        assert!(asks("Tag.1.Key=a"));
        assert!(!asks("Tag.1.Key=a&Tag.1.Value=2"));
        assert_eq!(tags(&parameters("Tag.1.Value=1"), "Tag").unwrap_err().code, "MissingTag.1.Key");
    }
}
