//! Readers of single TOML values. Each error says what the value is and what is allowed.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::SignedDuration;
use toml::de::DeValue;

use super::hint;
use crate::wire::cidr;

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        other => format!("a {}", other.type_str()),
    }
}

fn unsuitable(value: &DeValue<'_>, allowed: &str) -> String {
    meant_by(value, None, allowed)
}

/// As [`unsuitable`], with what may have been meant.
fn meant_by(value: &DeValue<'_>, meant: Option<&str>, allowed: &str) -> String {
    format!("{} is not allowed here{}; allowed: {allowed}", found(value), hint::did_you_mean(meant))
}

pub fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value.as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(unsuitable(value, "a text in quotes, not empty")),
    }
}

pub fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| {
        let meant = value.as_str().and_then(|text| hint::value(text, &["true", "false"]));
        let hint = meant.map_or_else(String::new, |meant| format!(" (write {meant}, without quotes)"));
        format!("{} is not allowed here{hint}; allowed: true, false", found(value))
    })
}

/// A text that `T` can be made from; `allowed` describes such texts.
pub fn parsed<T: FromStr>(allowed: &str) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| unsuitable(value, allowed))
}

/// An address with a prefix length, neither of them with leading zeros; `allowed` describes such texts.
pub fn cidr(allowed: &str) -> impl Fn(&DeValue<'_>) -> Result<IpNet, String> {
    move |value| value.as_str().and_then(cidr::parse).ok_or_else(|| unsuitable(value, allowed))
}

/// The path of a file or folder from the root on.
pub fn absolute_path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(value)?);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("\"{}\" is no absolute path; allowed: /…", path.display()))
    }
}

/// A whole number in the range; decimal, `0x`, `0o` or `0b`.
pub fn integer(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<u64, String> {
    move |value| {
        value
            .as_integer()
            .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| unsuitable(value, &format!("a whole number from {} to {}", range.start(), range.end())))
    }
}

/// One word of a table.
pub fn one_of<T: Copy>(words: &[(&str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let word = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        word.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let allowed: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            meant_by(value, value.as_str().and_then(|text| hint::value(text, &known)), &allowed.join(", "))
        })
    }
}

/// A time such as `"90s"`, `"15m"`, `"4h"`, `"1d"`, or a number of seconds, within the range (in seconds).
pub fn duration(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<Duration, String> {
    move |value| {
        let seconds = match value {
            DeValue::String(text) => seconds(text),
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        seconds.filter(|seconds| range.contains(seconds)).map(Duration::from_secs).ok_or_else(|| {
            let allowed = format!(
                "a time from {} to {}, such as \"30s\", \"15m\" or \"4h\"",
                in_words(*range.start()),
                in_words(*range.end())
            );
            // Such as strongSwan's "1h30m".
            let other = value.as_str().and_then(|text| text.parse::<SignedDuration>().ok());
            let meant = other.and_then(|time| u64::try_from(time.as_secs()).ok()).filter(|time| range.contains(time));
            meant_by(value, meant.map(in_words).as_deref(), &allowed)
        })
    }
}

/// Like [`duration`], or `"off"`.
pub fn duration_or_off(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<Option<Duration>, String> {
    let duration = duration(range);
    move |value| match value.as_str() {
        Some("off") => Ok(None),
        _ => duration(value).map(Some).map_err(|message| format!("{message}, or \"off\"")),
    }
}

fn seconds(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

fn in_words(seconds: u64) -> String {
    match seconds {
        s if s >= 86_400 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s >= 3600 && s % 3600 == 0 => format!("{}h", s / 3600),
        s if s >= 60 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> toml::Spanned<DeValue<'_>> {
        DeValue::parse(text).unwrap()
    }

    #[test]
    fn durations_have_units() {
        for (text, expected) in
            [("\"90s\"", 90), ("\"15m\"", 900), ("\"4h\"", 14_400), ("\"1d\"", 86_400), ("7200", 7200)]
        {
            assert_eq!(duration(60..=86_400)(value(text).get_ref()), Ok(Duration::from_secs(expected)), "{text}");
        }
    }

    #[test]
    fn a_wrong_duration_is_told_what_is_right() {
        for text in ["\"4 hours\"", "\"-3s\"", "\"59s\"", "\"99999999999999999999d\"", "true"] {
            let error = duration(60..=86_400)(value(text).get_ref()).unwrap_err();
            assert!(error.contains("allowed: a time from 1m to 1d"), "{error}");
        }
    }

    #[test]
    fn networks_have_no_leading_zeros() {
        let read = |text: &str| cidr("a network")(value(text).get_ref());
        assert_eq!(read("\"10.1.1.0/24\""), Ok("10.1.1.0/24".parse().unwrap()));
        for text in ["\"010.1.1.0/24\"", "\"10.1.1.0/024\"", "\"10.1.1.0\"", "24"] {
            assert_eq!(read(text), Err(format!("{text} is not allowed here; allowed: a network")));
        }
    }

    #[test]
    fn a_time_of_two_units_is_told_in_one() {
        let error = duration(60..=86_400)(value("\"1h30m\"").get_ref()).unwrap_err();
        assert!(error.starts_with("\"1h30m\" is not allowed here (did you mean \"90m\"?); allowed: a time"), "{error}");
    }

    #[test]
    fn what_may_be_meant_is_told() {
        let start = |text| one_of(&[("now", 1), ("on-traffic", 2), ("wait", 3)])(value(text).get_ref()).unwrap_err();
        assert!(start("\"trap\"").contains("(did you mean \"on-traffic\"?)"), "{}", start("\"trap\""));
        assert!(start("\"on-trafic\"").contains("(did you mean \"on-traffic\"?)"));
        assert!(!start("\"never\"").contains("did you mean"));
        let error = boolean(value("\"yes\"").get_ref()).unwrap_err();
        assert!(error.contains("(write true, without quotes)"), "{error}");
    }

    #[test]
    fn integers_may_be_hexadecimal() {
        assert_eq!(integer(1..=u64::from(u32::MAX))(value("0x4947_0001").get_ref()), Ok(0x4947_0001));
        assert!(integer(1..=10)(value("11").get_ref()).unwrap_err().contains("from 1 to 10"));
        assert!(integer(1..=10)(value("-1").get_ref()).is_err());
    }
}
