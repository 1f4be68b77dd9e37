//! A call's parameters: where they come from, how they are read, and what the cloud answers when they cannot be.
//!
//! Parameters are text. They come from the query and from an `application/x-www-form-urlencoded` body, decoded; lists
//! are numbered from 1 (`Filter.1.Value.2`), booleans are `true` or `True`, and a few parameters hold JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use zeroize::Zeroize;

use crate::cen::error::ApiError;

/// The most parameters that one call may carry.
const MAX_PARAMETERS: usize = 1000;

/// Decoded parameters, in byte order of their names. Values are wiped when dropped, because some are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    values: BTreeMap<String, String>,
    /// What stands before each name in the call as it was sent; only for messages.
    prefix: String,
}

impl Parameters {
    /// Reads form-encoded text.
    ///
    /// # Errors
    /// `InvalidParameter` when there are more than 1000, or one occurs twice: which of the two is meant cannot be told.
    pub fn parse(encoded: &[u8]) -> Result<Self, ApiError> {
        let mut parameters = Self::default();
        parameters.extend(encoded)?;
        Ok(parameters)
    }

    /// Adds the parameters of form-encoded text.
    ///
    /// # Errors
    /// As [`Self::parse`], those already there included.
    pub fn extend(&mut self, encoded: &[u8]) -> Result<(), ApiError> {
        for (name, value) in form_urlencoded::parse(encoded) {
            if self.values.contains_key(name.as_ref()) {
                let shown: String = name.chars().take(64).collect();
                let message = format!("The request carries the parameter {shown} more than once.");
                return Err(ApiError::bad_request("InvalidParameter", message));
            }
            if self.values.len() >= MAX_PARAMETERS {
                return Err(ApiError::bad_request("InvalidParameter", "The request carries too many parameters."));
            }
            self.insert(name.into_owned(), value.into_owned());
        }
        Ok(())
    }

    /// Sets one parameter.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        if let Some(mut old) = self.values.insert(name.into(), value.into()) {
            old.zeroize();
        }
    }

    /// Takes one parameter out.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    /// Keeps the parameters whose names are wanted.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.values.retain(|name, value| {
            let keep = wanted(name);
            if !keep {
                value.zeroize();
            }
            keep
        });
    }

    /// Names and values, in byte order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value as it was sent, which may be empty.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value, or nothing when it is absent or empty: SDKs send an empty value for what was not set.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// Whether something stands under `name.`.
    pub fn has_under(&self, name: &str) -> bool {
        self.under(name).any(|(_, value)| !value.is_empty())
    }

    /// The value of a mandatory parameter.
    ///
    /// # Errors
    /// `Missing<Name>`.
    pub fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name).ok_or_else(|| self.missing(name))
    }

    /// `true` or `false` in any case: Python's SDKs write `True`.
    ///
    /// # Errors
    /// `Invalid<Name>`.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name) {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(self.invalid(name)),
        }
    }

    /// A mandatory boolean.
    ///
    /// # Errors
    /// `Missing<Name>` or `Invalid<Name>`.
    pub fn required_boolean(&self, name: &str) -> Result<bool, ApiError> {
        self.boolean(name)?.ok_or_else(|| self.missing(name))
    }

    /// Anything that parses from text.
    ///
    /// # Errors
    /// `Invalid<Name>`.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        match self.text(name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| self.invalid(name)),
        }
    }

    /// The numbered list `name.1`, `name.2`, …, in numeric order; empty values are left out.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let mut found: Vec<(u32, &str)> = self
            .under(name)
            .filter_map(|(rest, value)| Some((index(rest)?, value)))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        found.sort_by_key(|(position, _)| *position);
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// The numbered structures `name.1.Field`, `name.2.Field`, …, each with its own fields, in numeric order.
    pub fn structures(&self, name: &str) -> Vec<Parameters> {
        let mut found: BTreeMap<u32, Parameters> = BTreeMap::new();
        for (rest, value) in self.under(name) {
            let Some((position, field)) = rest.split_once('.') else { continue };
            let Some(position) = index(position) else { continue };
            let empty = || self.below(&format!("{name}.{position}"));
            found.entry(position).or_insert_with(empty).insert(field, value);
        }
        found.into_values().collect()
    }

    /// The structure whose fields are `name.Field`.
    pub fn structure(&self, name: &str) -> Parameters {
        let mut fields = self.below(name);
        for (field, value) in self.under(name) {
            fields.insert(field, value);
        }
        fields
    }

    /// The JSON object that one parameter holds as text; numbers and booleans become text again, nulls are absent.
    ///
    /// # Errors
    /// `Invalid<Name>` when it is not one flat JSON object.
    pub fn json(&self, name: &str) -> Result<Option<Parameters>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text) else {
            return Err(self.invalid(name));
        };
        let mut fields = self.below(name);
        for (field, value) in object {
            match value {
                Value::Null => {}
                Value::String(text) => fields.insert(field, text),
                Value::Bool(flag) => fields.insert(field, flag.to_string()),
                Value::Number(number) => fields.insert(field, number.to_string()),
                Value::Array(_) | Value::Object(_) => return Err(self.invalid(name)),
            }
        }
        Ok(Some(fields))
    }

    /// `Missing<Name>` with the name as the caller writes it, structures included.
    pub fn missing(&self, name: &str) -> ApiError {
        ApiError::missing(&self.full(name))
    }

    /// `Invalid<Name>` with the name as the caller wrote it, structures included.
    pub fn invalid(&self, name: &str) -> ApiError {
        ApiError::invalid(&self.full(name))
    }

    /// No parameters yet, of a structure with this name.
    fn below(&self, name: &str) -> Self {
        Self { values: BTreeMap::new(), prefix: format!("{}{name}.", self.prefix) }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What stands under `name.`, without that prefix.
    fn under<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let prefix = format!("{name}.");
        self.values
            .range(prefix.clone()..)
            .map_while(move |(key, value)| Some((key.strip_prefix(prefix.as_str())?, value.as_str())))
    }
}

/// A position in a numbered list: 1 to 1000, without leading zeros.
fn index(text: &str) -> Option<u32> {
    let position: u32 = text.parse().ok()?;
    (1..=1000).contains(&position).then_some(position).filter(|position| position.to_string() == text)
}

impl Drop for Parameters {
    fn drop(&mut self) {
        self.values.values_mut().for_each(Zeroize::zeroize);
    }
}

/// Names only: a value may be a pre-shared key.
impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}
