//! Pre-shared keys as people write them: the only reader of such a text, and its writer.
//!
//! | text | key |
//! |---|---|
//! | `hex:` or `0x`, then hexadecimal digits | the bytes, two digits each |
//! | `base64:` or `0s`, then base64 (RFC 4648 4), padded or not | the bytes |
//! | anything else | the text's own bytes, in UTF-8 |
//!
//! `0x` and `0s` are strongSwan's; a prefix counts in capitals too, as there. Line ends at the end of the text are the
//! editor's, never the key's; all other blanks belong to the key.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::secret::Secret;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where a text comes from, which decides whether a prefix means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// gatewayd.toml, the files that it names, and `gatewayctl export`: a prefix may announce binary.
    Prefixed,
    /// `Psk` of the cloud's API, which knows text only.
    Text,
}

/// Why a text is no key. Its words never show the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PskError {
    /// The text, or what follows its prefix, has no bytes.
    #[error("holds no key")]
    Empty,
    /// What follows this prefix is not pairs of hexadecimal digits alone.
    #[error(
        "begins with {0}, so pairs of hexadecimal digits must follow and nothing else; a key that is a text and begins \
         like this has to be written in hexadecimal itself"
    )]
    NotHexadecimal(&'static str),
    /// What follows this prefix is not base64 (RFC 4648 4) alone.
    #[error(
        "begins with {0}, so base64 must follow and nothing else; a key that is a text and begins like this has to be \
         written in base64 itself"
    )]
    NotBase64(&'static str),
}

/// How what follows a prefix is written.
#[derive(Clone, Copy)]
enum Digits {
    Hexadecimal,
    Base64,
}

const PREFIXES: &[(&str, Digits)] =
    &[("hex:", Digits::Hexadecimal), ("0x", Digits::Hexadecimal), ("base64:", Digits::Base64), ("0s", Digits::Base64)];

/// Reads a key; the table of this module says how.
///
/// # Errors
/// There is no key, or what follows a prefix is not what the prefix announces.
pub fn read(text: &str, notation: Notation) -> Result<Secret, PskError> {
    let text = text.trim_end_matches(['\r', '\n']);
    let announced = match notation {
        Notation::Prefixed => PREFIXES.iter().find_map(|(prefix, digits)| {
            let (head, rest) = text.split_at_checked(prefix.len())?;
            head.eq_ignore_ascii_case(prefix).then_some((*prefix, *digits, rest))
        }),
        Notation::Text => None,
    };
    let key = match announced {
        None => text.as_bytes().to_vec(),
        Some((prefix, Digits::Hexadecimal, rest)) => hex::decode(rest).map_err(|_| PskError::NotHexadecimal(prefix))?,
        Some((prefix, Digits::Base64, rest)) => BASE64.decode(rest).map_err(|_| PskError::NotBase64(prefix))?,
    };
    let key = Secret::new(key);
    if key.is_empty() { Err(PskError::Empty) } else { Ok(key) }
}

/// The text that [`read`] makes the same key of: the key itself where it is a printable text, hexadecimal otherwise.
pub fn write(key: &Secret) -> Zeroizing<String> {
    let text = std::str::from_utf8(key.as_bytes()).ok().filter(|text| !text.contains(char::is_control));
    match text.filter(|text| read(text, Notation::Prefixed).is_ok_and(|read| read == *key)) {
        Some(text) => Zeroizing::new(text.to_owned()),
        None => Zeroizing::new(format!("hex:{}", *Zeroizing::new(hex::encode(key.as_bytes())))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixed(text: &str) -> Result<Vec<u8>, PskError> {
        read(text, Notation::Prefixed).map(|key| key.as_bytes().to_vec())
    }

    #[test]
    fn line_ends_at_the_end_are_not_the_key_s() {
        for end in ["", "\n", "\r\n", "\n\n", "\r\n\r\n", "\n\r", "\r"] {
            assert_eq!(prefixed(&format!("sword fish{end}")).unwrap(), b"sword fish", "{end:?}");
            assert_eq!(prefixed(&format!("hex:00ff{end}")).unwrap(), [0, 255], "{end:?}");
            assert_eq!(prefixed(&format!("0sAP8={end}")).unwrap(), [0, 255], "{end:?}");
        }
        assert_eq!(prefixed("\nsword\nfish \t\n").unwrap(), b"\nsword\nfish \t", "only at the end, only line ends");
    }

    #[test]
    fn a_prefix_announces_binary_in_our_files_only() {
        for text in ["hex:00FFfe", "0x00ffFE", "HEX:00fffe", "0X00fffe", "base64:AP/+", "0sAP/+", "0SAP/+"] {
            assert_eq!(prefixed(text).unwrap(), [0, 255, 254], "{text}");
            let verbatim = read(text, Notation::Text).unwrap();
            assert_eq!(verbatim.as_bytes(), text.as_bytes(), "the cloud's keys are text");
        }
        assert_eq!(prefixed("0sAA").unwrap(), [0], "padding may be left out");
        assert_eq!(prefixed("hexadecimal").unwrap(), b"hexadecimal");
        assert_eq!(prefixed("é0x").unwrap(), "é0x".as_bytes());
    }

    #[test]
    fn what_a_prefix_does_not_announce_is_refused_without_showing_it() {
        for text in ["hex:secre", "hex:abc", "0xsecret", "0x ab", "base64:secret!", "0sAP/+AA=secret", "0s A"] {
            let error = prefixed(text).unwrap_err().to_string();
            assert!(error.starts_with("begins with ") && !error.contains("secre"), "{text}: {error}");
        }
        for text in ["", "\n", "\r\n\r\n", "hex:", "0x\n", "base64:", "0s"] {
            assert_eq!(prefixed(text).unwrap_err(), PskError::Empty, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_reads_as_the_same_key() {
        for key in ["swordfish", "sword\"fish\\", "0x00", "0swordfish", "HEX:abc", "base64:x", "é", "a\n", "\r\n", "\t"]
        {
            let key = Secret::from(key.as_bytes());
            assert_eq!(read(&write(&key), Notation::Prefixed).unwrap(), key);
        }
        assert_eq!(*write(&Secret::from(&b"sword fish"[..])), "sword fish");
        assert_eq!(*write(&Secret::from(&b"0x00"[..])), "hex:30783030");
        assert_eq!(*write(&Secret::from(&[0, 255, 128][..])), "hex:00ff80");
    }
}
