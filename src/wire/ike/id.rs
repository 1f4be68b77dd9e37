//! Identification payloads (RFC 7296 section 3.5).

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::codes::{IdType, PayloadType};
use super::cursor::Cursor;
use super::malformed::Malformed;

/// Who an end of an IKE SA says it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identification {
    /// An IPv4 address (ID_IPV4_ADDR).
    Ipv4(Ipv4Addr),
    /// An IPv6 address (ID_IPV6_ADDR).
    Ipv6(Ipv6Addr),
    /// A domain name, without a final dot: printable ASCII without spaces.
    Fqdn(String),
    /// An e-mail address (ID_RFC822_ADDR): printable ASCII without spaces.
    UserFqdn(String),
    /// Bytes that only the two ends understand.
    KeyId(Vec<u8>),
    /// Any other type, or one of the above with contents that are not of its form.
    Other {
        /// The type as it was sent.
        id_type: IdType,
        /// The identification data field as it was sent.
        data: Vec<u8>,
    },
}

impl Identification {
    /// The identity that a type and its data stand for.
    pub fn from_wire(id_type: IdType, data: &[u8]) -> Self {
        let known = match id_type {
            IdType::IPV4_ADDR => <[u8; 4]>::try_from(data).ok().map(|octets| Self::Ipv4(octets.into())),
            IdType::IPV6_ADDR => <[u8; 16]>::try_from(data).ok().map(|octets| Self::Ipv6(octets.into())),
            IdType::FQDN => printable(data).map(Self::Fqdn),
            IdType::RFC822_ADDR => printable(data).map(Self::UserFqdn),
            IdType::KEY_ID => Some(Self::KeyId(data.to_vec())),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other { id_type, data: data.to_vec() })
    }

    /// The ID Type field that the payload carries.
    pub fn id_type(&self) -> IdType {
        match self {
            Self::Ipv4(_) => IdType::IPV4_ADDR,
            Self::Ipv6(_) => IdType::IPV6_ADDR,
            Self::Fqdn(_) => IdType::FQDN,
            Self::UserFqdn(_) => IdType::RFC822_ADDR,
            Self::KeyId(_) => IdType::KEY_ID,
            Self::Other { id_type, .. } => *id_type,
        }
    }

    /// The identification data field.
    pub fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Ipv4(address) => Cow::Owned(address.octets().to_vec()),
            Self::Ipv6(address) => Cow::Owned(address.octets().to_vec()),
            Self::Fqdn(name) | Self::UserFqdn(name) => Cow::Borrowed(name.as_bytes()),
            Self::KeyId(data) | Self::Other { data, .. } => Cow::Borrowed(data),
        }
    }

    /// The payload's body as this end sends it: what AUTH covers as RestOfInitIDPayload or RestOfRespIDPayload
    /// (RFC 7296 section 2.15). For a peer's identity use the body that it sent, whose reserved bytes count too.
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        encode(self, &mut body);
        body
    }
}

/// The text of a name that holds nothing but visible ASCII: what a log, a shell or a person can be shown as it is.
fn printable(data: &[u8]) -> Option<String> {
    let visible = !data.is_empty() && data.iter().all(u8::is_ascii_graphic);
    visible.then(|| String::from_utf8_lossy(data).into_owned())
}

pub(super) fn parse(payload: PayloadType, body: &[u8]) -> Result<Identification, Malformed> {
    let mut body = Cursor::new(body);
    let [id_type, _, _, _] = body.array().ok_or(Malformed::Payload { payload, reason: "truncated" })?;
    Ok(Identification::from_wire(IdType(id_type), body.rest()))
}

pub(super) fn encode(value: &Identification, out: &mut Vec<u8>) {
    out.extend([value.id_type().0, 0, 0, 0]);
    out.extend(value.data().as_ref());
}

/// The notation of strongSwan's configuration, without its wildcards: an address, `name@domain`, `domain` or
/// `@domain`, `keyid:` or `@#` and hexadecimal digits; anything else is shown as `{type}:` and digits.
impl fmt::Display for Identification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => write!(f, "{address}"),
            Self::Ipv6(address) => write!(f, "{address}"),
            // Without the @ a name such as "10.1.1.1" or "keyid:00" would be read back as something else.
            Self::Fqdn(name) if Self::from_str(name).as_ref() == Ok(self) => f.write_str(name),
            // @# begins a key ID.
            Self::Fqdn(name) if name.starts_with('#') => write!(f, "fqdn:{name}"),
            Self::Fqdn(name) => write!(f, "@{name}"),
            Self::UserFqdn(name) if Self::from_str(name).as_ref() == Ok(self) => f.write_str(name),
            Self::UserFqdn(name) => write!(f, "email:{name}"),
            Self::KeyId(data) => write!(f, "keyid:{}", hex::encode(data)),
            Self::Other { id_type, data } => write!(f, "{{{}}}:{}", id_type.0, hex::encode(data)),
        }
    }
}

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentification {
    /// The text is empty.
    #[error(
        "an identity is an address, a domain name, an e-mail address or keyid: and hexadecimal digits, not nothing"
    )]
    Empty,
    /// `keyid:`, `@#` or the braces of a type are not followed by pairs of hexadecimal digits alone.
    #[error("what follows keyid: must be pairs of hexadecimal digits")]
    Hexadecimal,
    /// A name has bytes other than visible ASCII, or none.
    #[error("an identity must be printable ASCII without spaces")]
    NotPrintable,
    /// The braces do not hold a number from 0 to 255, or no colon follows them.
    #[error("what stands in braces must be a number from 0 to 255, followed by a colon")]
    Type,
    /// RFC 7296 knows no other text form for which the bytes would be clear.
    #[error("{0:?} is not an address of the named kind")]
    Address(String),
}

impl FromStr for Identification {
    type Err = InvalidIdentification;

    fn from_str(text: &str) -> Result<Self, InvalidIdentification> {
        let named = |text: &str| printable(text.as_bytes()).ok_or(InvalidIdentification::NotPrintable);
        let digits = |text: &str| hex::decode(text).map_err(|_| InvalidIdentification::Hexadecimal);
        if text.is_empty() {
            return Err(InvalidIdentification::Empty);
        }
        if let Some(rest) = text.strip_prefix("keyid:").or_else(|| text.strip_prefix("@#")) {
            return digits(rest).map(Self::KeyId);
        }
        if let Some(rest) = text.strip_prefix("fqdn:").or_else(|| text.strip_prefix('@')) {
            return named(rest).map(Self::Fqdn);
        }
        if let Some(rest) = text.strip_prefix("email:").or_else(|| text.strip_prefix("rfc822:")) {
            return named(rest).map(Self::UserFqdn);
        }
        if let Some(rest) = text.strip_prefix("ipv4:") {
            return rest.parse().map(Self::Ipv4).map_err(|_| InvalidIdentification::Address(text.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("ipv6:") {
            return rest.parse().map(Self::Ipv6).map_err(|_| InvalidIdentification::Address(text.to_owned()));
        }
        if let Some(rest) = text.strip_prefix('{') {
            let (id_type, data) = rest.split_once("}:").ok_or(InvalidIdentification::Type)?;
            let id_type = id_type.parse().map_err(|_| InvalidIdentification::Type)?;
            return Ok(Self::from_wire(IdType(id_type), &digits(data)?));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ipv4(address));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ipv6(address));
        }
        let name = named(text)?;
        Ok(if name.contains('@') { Self::UserFqdn(name) } else { Self::Fqdn(name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_are_read_and_shown() {
        let cases = [
            ("192.0.2.1", Identification::Ipv4(Ipv4Addr::new(192, 0, 2, 1)), "192.0.2.1"),
            ("2001:db8::1", Identification::Ipv6("2001:db8::1".parse().unwrap()), "2001:db8::1"),
            ("gw.example.com", Identification::Fqdn("gw.example.com".into()), "gw.example.com"),
            ("@gw.example.com", Identification::Fqdn("gw.example.com".into()), "gw.example.com"),
            ("fqdn:gw", Identification::Fqdn("gw".into()), "gw"),
            ("@192.0.2.1", Identification::Fqdn("192.0.2.1".into()), "@192.0.2.1"),
            ("@a@b", Identification::Fqdn("a@b".into()), "@a@b"),
            ("me@example.com", Identification::UserFqdn("me@example.com".into()), "me@example.com"),
            ("email:gw", Identification::UserFqdn("gw".into()), "email:gw"),
            ("keyid:00Ff", Identification::KeyId(vec![0, 255]), "keyid:00ff"),
            ("@#00ff", Identification::KeyId(vec![0, 255]), "keyid:00ff"),
            ("{9}:3000", Identification::Other { id_type: IdType::DER_ASN1_DN, data: vec![0x30, 0] }, "{9}:3000"),
        ];
        for (text, identity, shown) in cases {
            assert_eq!(text.parse(), Ok(identity.clone()), "{text}");
            assert_eq!(identity.to_string(), shown);
            assert_eq!(shown.parse(), Ok(identity), "{shown}");
        }
    }

    #[test]
    fn texts_that_are_no_identity_are_refused() {
        for text in ["", "keyid:0", "keyid:xy", "two words", "@", "ü.example", "{300}:00", "{9}00", "ipv4:gw"] {
            assert!(text.parse::<Identification>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn contents_that_are_not_of_their_type_stay_bytes() {
        let cases: &[(IdType, &[u8])] = &[
            (IdType::IPV4_ADDR, &[1, 2, 3]),
            (IdType::IPV6_ADDR, &[1; 4]),
            (IdType::FQDN, b"a\0b"),
            (IdType::FQDN, b""),
            (IdType::RFC822_ADDR, b"a\nb"),
            (IdType(200), b"x"),
        ];
        for (id_type, data) in cases {
            let identity = Identification::from_wire(*id_type, data);
            assert_eq!(identity, Identification::Other { id_type: *id_type, data: data.to_vec() });
            assert_eq!(parse(PayloadType::IDENTIFICATION_INITIATOR, &identity.body()), Ok(identity));
        }
    }
}
