//! What an action takes: a row for each parameter, by which a call is checked before its handler sees it, and from which
//! `gatewayctl cloud` and `docs/api.md` tell what there is.

use std::fmt;

/// A parameter of an action, or a field of one that is a structure.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// As the API writes it, for example `RegionId`.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Whether a call has to carry it, and what becomes of it.
    pub presence: Presence,
}

/// Whether a call has to carry a parameter. One that is empty counts as absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A call without it is refused: `Missing<Name>`.
    Required,
    /// Whoever leaves it out gets what the action's documents say.
    Optional,
    /// Checked, and without effect: what it asks for makes no difference in a simulated cloud.
    Ignored,
    /// It asks for something that is not simulated, and is refused with any value.
    Refused,
}

/// What a parameter's values are. A value of another kind is refused with `Invalid<Name>`, unless something else is said.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text. What else is true of it, the handler checks.
    Text,
    /// A name or a description: at most so many characters, none of them a control character, not beginning like a URL.
    Label(usize),
    /// `true` or `false`, in any case.
    Boolean,
    /// A switch that is at this side here: the other one is not simulated.
    Always(bool),
    /// A decimal number from the first to the second.
    Integer(i64, i64),
    /// A decimal number from 0 to 1.
    Fraction,
    /// One of these words, exactly as written.
    Word(&'static [&'static str]),
    /// One of the first words; the second ones ask for what is not simulated.
    Offered(&'static [&'static str], &'static [&'static str]),
    /// An IPv4 CIDR block, or an address, which stands for itself alone. Else `InvalidCidrBlock.Malformed`.
    Cidr,
    /// A comma-separated list of IPv4 CIDR blocks.
    Cidrs,
    /// A region's id. Else `InvalidRegionId.NotFound`.
    RegionId,
    /// `<Name>.1`, `<Name>.2`, …: texts.
    List,
    /// `<Name>.1.<Field>`, `<Name>.2.<Field>`, …: structures, at most so many. Other fields are ignored.
    Structures(&'static [Parameter], usize),
    /// `<Name>.<Field>`: one structure. Other fields are refused: one that is misspelt would leave a default in force.
    Structure(&'static [Parameter]),
    /// A flat JSON object as text, with these fields. Other fields are refused.
    Json(&'static [Parameter]),
}

/// A row of a parameter that a call must carry.
pub const fn required(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, presence: Presence::Required }
}

/// A row of a parameter that a call may carry.
pub const fn optional(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, presence: Presence::Optional }
}

/// A row of a parameter without effect.
pub const fn ignored(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, presence: Presence::Ignored }
}

/// A row of a parameter that asks for what is not simulated.
pub const fn refused(name: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Text, presence: Presence::Refused }
}

/// What every call may carry beside its action's rows: who signs it and how, what is asked for, and what older clients add.
pub const COMMON: &[&str] = &[
    "Action",
    "Version",
    "Format",
    "AccessKeyId",
    "SecurityToken",
    "Signature",
    "SignatureMethod",
    "SignatureNonce",
    "SignatureType",
    "SignatureVersion",
    "Timestamp",
    "ClientToken",
    "DryRun",
    "OwnerAccount",
    "OwnerId",
    "RegionId",
    "ResourceOwnerAccount",
    "ResourceOwnerId",
    "SourceIp",
    "SecureTransport",
];

/// The row of this name.
pub fn row<'a>(rows: &'a [Parameter], name: &str) -> Option<&'a Parameter> {
    rows.iter().find(|row| row.name == name)
}

impl Parameter {
    /// Whether its values may stand under names of their own. What is refused is refused in every form.
    pub fn has_fields(&self) -> bool {
        self.presence == Presence::Refused || self.kind.has_fields()
    }
}

impl Kind {
    /// Its values stand under names of their own.
    pub fn has_fields(&self) -> bool {
        matches!(self, Self::List | Self::Structures(..) | Self::Structure(_))
    }

    /// Its values are numbered: `<Name>.1`, `<Name>.2`, ….
    pub fn is_list(&self) -> bool {
        matches!(self, Self::List | Self::Structures(..))
    }

    /// The rows of its fields.
    pub fn fields(&self) -> &'static [Parameter] {
        match self {
            Self::Structures(fields, _) | Self::Structure(fields) | Self::Json(fields) => fields,
            _ => &[],
        }
    }
}

/// For a person: `true or false`, `a number from 1 to 50`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Label(longest) => write!(f, "text of at most {longest} characters, not beginning like a URL"),
            Self::Boolean => f.write_str("true or false"),
            Self::Always(side) => write!(f, "{side}; {} is not simulated", !side),
            Self::Integer(least, most) => write!(f, "a number from {least} to {most}"),
            Self::Fraction => f.write_str("a number from 0 to 1"),
            Self::Word(words) => f.write_str(&words.join(", ")),
            Self::Offered(words, lacking) => {
                let verb = if lacking.len() == 1 { "is" } else { "are" };
                write!(f, "{}; {} {verb} not simulated", words.join(", "), lacking.join(", "))
            }
            Self::Cidr => f.write_str("an IPv4 CIDR block"),
            Self::Cidrs => f.write_str("IPv4 CIDR blocks with commas between them"),
            Self::RegionId => f.write_str("a region's id"),
            Self::List => f.write_str("a list"),
            Self::Structures(_, most) => write!(f, "a list of at most {most} structures"),
            Self::Structure(_) => f.write_str("a structure"),
            Self::Json(_) => f.write_str("a JSON object as text"),
        }
    }
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "required",
            Self::Optional => "",
            Self::Ignored => "ignored",
            Self::Refused => "refused: not simulated",
        })
    }
}
