//! CIDR blocks as text (RFC 4632 section 3.1, RFC 4291 section 2.3): the one reader of all that people and programs write.

use std::net::IpAddr;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Reads `10.1.1.0/24` or `2001:db8::/32`; host bits may be set. Decimal numbers with leading zeros are none, since some
/// readers take them for octal: `010.0.0.0/8` is 8.0.0.0/8 to these. `N` is one of ipnet's types; `None` also for a block of a
/// family that it does not have.
pub fn parse<N: FromStr>(text: &str) -> Option<N> {
    let (address, length) = text.split_once('/')?;
    // The standard library's addresses have no leading zeros, ipnet's have.
    address.parse::<IpAddr>().ok()?;
    if length.len() > 1 && length.starts_with('0') { None } else { text.parse().ok() }
}

/// A block that is read by [`parse`] where files and messages are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr<N>(pub N);

impl<'d, N: FromStr> Deserialize<'d> for Cidr<N> {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Self).ok_or_else(|| D::Error::custom(not_a_block(&text)))
    }
}

/// Of a text that [`parse`] refuses, for a person.
fn not_a_block(text: &str) -> String {
    let shown: String = text.chars().take(64).collect();
    format!("{shown:?} is not allowed here; allowed: a CIDR block without leading zeros, such as \"10.1.1.0/24\"")
}

/// For `#[serde(deserialize_with)]`: one block.
///
/// # Errors
/// It is none.
pub fn one<'d, N: FromStr, D: Deserializer<'d>>(deserializer: D) -> Result<N, D::Error> {
    Cidr::deserialize(deserializer).map(|Cidr(block)| block)
}

/// For `#[serde(default, deserialize_with)]`: one block or none.
///
/// # Errors
/// There is something that is no block.
pub fn optional<'d, N: FromStr, D: Deserializer<'d>>(deserializer: D) -> Result<Option<N>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(|Cidr(block)| block))
}

/// For `#[serde(deserialize_with)]`: a list of blocks.
///
/// # Errors
/// One of them is none.
pub fn list<'d, N: FromStr, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<N>, D::Error> {
    Ok(Vec::deserialize(deserializer)?.into_iter().map(|Cidr(block)| block).collect())
}

#[cfg(test)]
mod tests {
    use ipnet::{IpNet, Ipv4Net};

    use super::*;

    #[test]
    fn blocks_are_read_strictly() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "10.1.1.7/24", "::/0", "2001:db8::/32", "2001:0db8::/32"] {
            assert_eq!(parse::<IpNet>(text), text.parse().ok(), "{text}");
        }
        for text in [
            "010.0.0.0/8",
            "10.00.0.0/8",
            "10.0.0.0/08",
            "10.0.0.0/00",
            "2001:db8::/032",
            "::ffff:010.0.0.0/96",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            " 10.0.0.0/8",
            "10.0.0.0/8 ",
            "10.0.0/8",
            "/8",
            "",
        ] {
            assert_eq!(parse::<IpNet>(text), None, "{text}");
        }
        assert_eq!(parse::<Ipv4Net>("::/0"), None);
    }

    #[test]
    fn what_is_no_block_is_told_with_what_one_is() {
        let error = serde_json::from_str::<Cidr<IpNet>>("\"010.0.0.0/8\"").unwrap_err().to_string();
        assert!(
            error.starts_with("\"010.0.0.0/8\" is not allowed here; allowed: a CIDR block without leading"),
            "{error}"
        );
    }
}
