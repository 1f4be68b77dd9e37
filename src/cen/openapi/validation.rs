//! A call's parameters against the rows of its action.

use super::field;
use super::parameter::{Kind, Parameter, Presence, row};
use super::region;
use super::rpc::Parameters;
use crate::cen::error::ApiError;

/// Checks a call's parameters against the rows of its action, in their order, and takes out those that no row names, so
/// that no handler reads what is not said to be read.
///
/// # Errors
/// `Missing<Name>`, `Invalid<Name>`, and what the kinds say.
pub fn check(rows: &[Parameter], parameters: &mut Parameters) -> Result<(), ApiError> {
    parameters.retain(|name| {
        let first = name.split('.').next().unwrap_or_default();
        row(rows, first).is_some_and(|row| first == name || row.has_fields())
    });
    check_each(rows, parameters)
}

fn check_each(rows: &[Parameter], parameters: &Parameters) -> Result<(), ApiError> {
    rows.iter().try_for_each(|row| check_one(row, parameters))
}

/// Refuses fields that no row names.
fn check_known(rows: &[Parameter], fields: &Parameters) -> Result<(), ApiError> {
    let unknown = fields.iter().find(|(name, value)| {
        let first = name.split('.').next().unwrap_or_default();
        !value.is_empty() && row(rows, first).is_none()
    });
    unknown.map_or(Ok(()), |(name, _)| Err(fields.invalid(name)))
}

/// Checks a parameter.
fn check_one(row: &Parameter, parameters: &Parameters) -> Result<(), ApiError> {
    let name = row.name;
    let present = parameters.text(name).is_some() || row.has_fields() && parameters.has_under(name);
    match row.presence {
        Presence::Required if !present => return Err(parameters.missing(name)),
        Presence::Refused if present => return Err(field::unsupported(parameters, name)),
        _ => {}
    }
    check_value(row.kind, name, parameters)
}

/// Checks a value, or what stands under its name.
fn check_value(kind: Kind, name: &str, parameters: &Parameters) -> Result<(), ApiError> {
    match kind {
        Kind::Text | Kind::List => Ok(()),
        Kind::Label(longest) => field::check_label(parameters, name, longest),
        Kind::Boolean => parameters.boolean(name).map(drop),
        Kind::Always(side) => match parameters.boolean(name)? {
            Some(asked) if asked != side => Err(field::unsupported(parameters, name)),
            _ => Ok(()),
        },
        Kind::Fraction => match parameters.parsed::<f64>(name)? {
            Some(number) if !(0.0..=1.0).contains(&number) => Err(parameters.invalid(name)),
            _ => Ok(()),
        },
        Kind::Integer(least, most) => match parameters.parsed::<i64>(name)? {
            Some(number) if !(least..=most).contains(&number) => Err(parameters.invalid(name)),
            _ => Ok(()),
        },
        Kind::Word(words) => one_of(words, &[], name, parameters),
        Kind::Offered(words, lacking) => one_of(words, lacking, name, parameters),
        Kind::Cidr => field::cidr(parameters, name).map(drop),
        Kind::Cidrs => field::cidrs(parameters, name).map(drop),
        Kind::RegionId => region::named(parameters, name).map(drop),
        Kind::Structures(fields, most) => {
            let structures = parameters.structures(name);
            if structures.len() > most {
                return Err(parameters.invalid(name));
            }
            structures.iter().try_for_each(|structure| check_each(fields, structure))
        }
        Kind::Structure(fields) => {
            let structure = parameters.structure(name);
            check_known(fields, &structure)?;
            check_each(fields, &structure)
        }
        Kind::Json(fields) => {
            let Some(object) = parameters.json(name)? else { return Ok(()) };
            check_known(fields, &object)?;
            check_each(fields, &object)
        }
    }
}

fn one_of(words: &[&str], lacking: &[&str], name: &str, parameters: &Parameters) -> Result<(), ApiError> {
    match parameters.text(name) {
        Some(word) if lacking.contains(&word) => Err(field::unsupported(parameters, name)),
        Some(word) if !words.contains(&word) => {
            let refusal = parameters.invalid(name);
            let message = format!("{} It may be {}.", refusal.message, words.join(", "));
            Err(ApiError { message: message.into(), ..refusal })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
