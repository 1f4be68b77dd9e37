use super::*;
use crate::cen::openapi::ACTIONS;
use crate::cen::openapi::parameter::optional;
use crate::cen::openapi::reference::all_fields;

fn parameters(values: &[(String, String)]) -> Parameters {
    let mut parameters = Parameters::default();
    values.iter().for_each(|(name, value)| parameters.insert(name, value));
    parameters
}

/// A value that a kind takes.
fn good(kind: Kind) -> String {
    match kind {
        Kind::Text | Kind::List | Kind::Label(_) => "x".to_owned(),
        Kind::Boolean => "False".to_owned(),
        Kind::Always(side) => side.to_string(),
        Kind::Integer(least, _) => least.to_string(),
        Kind::Fraction => "0.25".to_owned(),
        Kind::Word(words) | Kind::Offered(words, _) => words[0].to_owned(),
        Kind::Cidr => "10.0.0.0/8".to_owned(),
        Kind::Cidrs => "10.0.0.0/8,10.1.0.1".to_owned(),
        Kind::RegionId => "cn-hangzhou".to_owned(),
        Kind::Json(_) => "{}".to_owned(),
        Kind::Structures(..) | Kind::Structure(_) => unreachable!("its fields have values"),
    }
}

/// Values that a kind refuses, and the code, where that is not `Invalid<Name>`.
fn bad(kind: Kind) -> Vec<(String, Option<&'static str>)> {
    let text = |values: &[&str]| values.iter().map(|value| ((*value).to_owned(), None)).collect::<Vec<_>>();
    match kind {
        Kind::Text | Kind::List | Kind::Structures(..) | Kind::Structure(_) => Vec::new(),
        Kind::Label(longest) => vec![("x".repeat(longest + 1), None), ("http://x".to_owned(), None)],
        Kind::Boolean => text(&["yes", "1"]),
        Kind::Always(side) => vec![((!side).to_string(), None), ("no".to_owned(), None)],
        Kind::Integer(least, most) => vec![
            ((least - 1).to_string(), None),
            ((i128::from(most) + 1).to_string(), None),
            ("x".to_owned(), None),
            ("1.0".to_owned(), None),
        ],
        Kind::Fraction => text(&["-0.1", "1.01", "NaN", "inf", "x"]),
        Kind::Word(_) => text(&["no such word"]),
        Kind::Offered(_, lacking) => text(lacking).into_iter().chain(text(&["no such word"])).collect(),
        Kind::Cidr => vec![
            ("10.0.0.0/33".to_owned(), Some("InvalidCidrBlock.Malformed")),
            ("010.0.0.0/8".to_owned(), Some("InvalidCidrBlock.Malformed")),
        ],
        Kind::Cidrs => text(&["10.0.0.0/8,", "10.0.0.0/08"]),
        Kind::RegionId => vec![("mars-1".to_owned(), Some("InvalidRegionId.NotFound"))],
        Kind::Json(_) => text(&["{", "[]", "{\"NoSuchField\": 1}", "{\"a\": {}}"]),
    }
}

/// What a call must carry at least, with the fields of structures only where they are mandatory.
fn least(rows: &'static [Parameter]) -> Vec<(String, String)> {
    let required = rows.iter().filter(|row| row.presence == Presence::Required);
    let values = |row: &'static Parameter| match row.kind {
        Kind::Structures(fields, _) => {
            least(fields).into_iter().map(|(field, value)| (format!("{}.1.{field}", row.name), value)).collect()
        }
        kind => vec![(row.name.to_owned(), good(kind))],
    };
    required.flat_map(values).collect()
}

fn with(least: &[(String, String)], name: &str, value: &str) -> Parameters {
    let mut parameters = parameters(least);
    parameters.insert(name, value);
    parameters
}

fn code(rows: &[Parameter], mut parameters: Parameters) -> Option<String> {
    check(rows, &mut parameters).err().map(|error| error.code.into_owned())
}

#[test]
fn every_row_of_every_action_is_checked() {
    let mut checked = 0;
    for action in ACTIONS.iter().copied().flatten() {
        let rows = action.parameters;
        let least = least(rows);
        assert_eq!(code(rows, parameters(&least)), None, "{}", action.name);
        for row in rows {
            let name = row.name;
            let about = format!("{} {name}", action.name);
            match row.presence {
                Presence::Required => {
                    let is_it = |other: &str| other == name || other.starts_with(&format!("{name}."));
                    let others: Vec<_> = least.iter().filter(|(other, _)| !is_it(other)).cloned().collect();
                    assert_eq!(code(rows, parameters(&others)), Some(format!("Missing{name}")), "{about}");
                    assert_eq!(code(rows, with(&others, name, "")), Some(format!("Missing{name}")), "{about}, empty");
                }
                Presence::Refused => {
                    for form in [name.to_owned(), format!("{name}.1"), format!("{name}.1.Field")] {
                        assert_eq!(code(rows, with(&least, &form, "x")), Some(format!("Invalid{name}")), "{about}");
                    }
                }
                Presence::Optional | Presence::Ignored => {}
            }
            if row.presence != Presence::Refused && !row.kind.has_fields() {
                assert_eq!(code(rows, with(&least, name, &good(row.kind))), None, "{about}");
            }
            for (value, told) in bad(row.kind) {
                let refused = code(rows, with(&least, name, &value)).unwrap_or_default();
                let expected = told.map_or(format!("Invalid{name}"), str::to_owned);
                assert!(refused.starts_with(&expected), "{about}={value}: {refused}");
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn fields_of_structures_are_checked_by_their_whole_names() {
    let row = |name: &str| ACTIONS.iter().copied().flatten().find(|row| row.name == name).unwrap().parameters;
    let connection = &row("ModifyVpnConnectionAttribute")[2..];
    let tunnel = "TunnelOptionsSpecification.1.TunnelIkeConfig";
    for (rows, name, value, told) in [
        (row("DescribeCens"), "Filter.1.Key", "Colour", "InvalidFilter.1.Key"),
        (row("DescribeCens"), "Filter.1.Value.1", "x", "MissingFilter.1.Key"),
        (row("CreateCen"), "Tag.1.Value", "x", "MissingTag.1.Key"),
        (connection, &format!("{tunnel}.Pskk"), "x", &format!("Invalid{tunnel}.Pskk")),
        (connection, "IkeConfig", "{\"Pskk\": \"x\"}", "InvalidIkeConfig.Pskk"),
        (connection, "BgpConfig", "{\"EnableBgp\": \"true\"}", "InvalidBgpConfig.EnableBgp"),
    ] {
        assert_eq!(code(rows, with(&[], name, value)).as_deref(), Some(told), "{name}");
    }
    let filters: Vec<_> = (1..=6).map(|n| (format!("Filter.{n}.Key"), "Name".to_owned())).collect();
    assert_eq!(code(row("DescribeCens"), parameters(&filters)).as_deref(), Some("InvalidFilter"), "one too many");
}

#[test]
fn what_no_row_names_is_ignored_and_unseen() {
    let rows = &[optional("Name", Kind::Text), optional("Filter", Kind::List)];
    let values = [("Name", "x"), ("Other", "x"), ("Name.1", "x"), ("Filter.1", "x"), ("Filters.1", "x")];
    let mut parameters = parameters(&values.map(|(name, value)| (name.to_owned(), value.to_owned())));
    check(rows, &mut parameters).unwrap();
    assert_eq!(parameters.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["Filter.1", "Name"]);
}

#[test]
fn every_kind_tells_a_person_what_it_takes() {
    for action in ACTIONS.iter().copied().flatten() {
        for (name, row) in all_fields("", action.parameters) {
            assert!(!row.kind.to_string().is_empty(), "{} {name}", action.name);
        }
    }
    assert_eq!(Kind::Integer(1, 50).to_string(), "a number from 1 to 50");
    assert_eq!(Kind::Always(false).to_string(), "false; true is not simulated");
}
