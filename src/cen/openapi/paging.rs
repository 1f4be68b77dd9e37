//! Long answers in pieces: by page number, or by a token that says where to go on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as TOKEN;
use serde_json::{Map, Value};

use super::rpc::Parameters;
use crate::cen::error::ApiError;

/// A page that a caller asked for with `PageNumber` and `PageSize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    number: usize,
    size: usize,
}

impl Page {
    /// Reads `PageNumber` (from 1, default 1) and `PageSize` (1 to `max_size`, default 10).
    ///
    /// # Errors
    /// `InvalidPageNumber`, `InvalidPageSize`.
    pub fn of(parameters: &Parameters, max_size: u16) -> Result<Self, ApiError> {
        let number = parameters.integer("PageNumber", 1..=i64::from(u32::MAX))?.unwrap_or(1);
        let size = parameters.integer("PageSize", 1..=i64::from(max_size))?.unwrap_or(10);
        let natural = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self { number: natural(number), size: natural(size) })
    }

    /// This page of `items` in the cloud's doubly wrapped form, `{"<outer>": {"<inner>": […]}}`, with `PageNumber`,
    /// `PageSize` and `TotalCount`.
    pub fn of_items(self, items: Vec<Value>, outer: &str, inner: &str) -> Value {
        let total = items.len();
        let start = (self.number - 1).saturating_mul(self.size);
        let piece: Vec<Value> = items.into_iter().skip(start).take(self.size).collect();
        let mut object = Map::new();
        object.insert("PageNumber".to_owned(), self.number.into());
        object.insert("PageSize".to_owned(), self.size.into());
        object.insert("TotalCount".to_owned(), total.into());
        object.insert(outer.to_owned(), wrapped(inner, piece));
        Value::Object(object)
    }
}

/// `{"<inner>": […]}`: how the cloud writes a list.
pub fn wrapped(inner: &str, items: Vec<Value>) -> Value {
    Value::Object(Map::from_iter([(inner.to_owned(), Value::Array(items))]))
}

/// A piece that a caller asked for with `MaxResult` and `NextToken`.
///
/// The token names the last item that was given, so that items which come or go between two calls neither hide nor
/// repeat others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    after: Option<String>,
    limit: usize,
}

impl Continuation {
    /// Reads `MaxResult` (1 to 100, default 10) and `NextToken`.
    ///
    /// # Errors
    /// `InvalidMaxResult`, `InvalidNextToken`.
    pub fn of(parameters: &Parameters) -> Result<Self, ApiError> {
        let limit = parameters.integer("MaxResult", 1..=100)?.unwrap_or(10);
        let decode = |token: &str| String::from_utf8(TOKEN.decode(token).ok()?).ok();
        let after = match parameters.text("NextToken") {
            Some(token) => Some(decode(token).ok_or_else(|| parameters.invalid("NextToken"))?),
            None => None,
        };
        Ok(Self { after, limit: usize::try_from(limit).unwrap_or(1) })
    }

    /// The piece of `items`, and the token for the next one (empty at the end). Each item has a key of its own; keys
    /// decide the order.
    pub fn of_items(self, mut items: Vec<(String, Value)>) -> (Vec<Value>, String) {
        items.sort_by(|left, right| left.0.cmp(&right.0));
        if let Some(after) = self.after {
            items.retain(|(key, _)| *key > after);
        }
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let token = items.last().filter(|_| more).map(|(key, _)| TOKEN.encode(key)).unwrap_or_default();
        (items.into_iter().map(|(_, item)| item).collect(), token)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::parse(query.as_bytes()).unwrap()
    }

    #[test]
    fn pages_count_from_one_and_echo_what_was_asked() {
        let items: Vec<Value> = (0..5).map(Value::from).collect();
        let page = |query| Page::of(&parameters(query), 50).unwrap().of_items(items.clone(), "Cens", "Cen");
        assert_eq!(
            page("PageNumber=2&PageSize=2"),
            json!({"PageNumber": 2, "PageSize": 2, "TotalCount": 5, "Cens": {"Cen": [2, 3]}})
        );
        assert_eq!(page("")["Cens"]["Cen"].as_array().unwrap().len(), 5);
        assert_eq!(page("PageNumber=4000000000&PageSize=50")["Cens"]["Cen"], json!([]));
    }

    #[test]
    fn page_limits_are_checked() {
        for (query, code) in [
            ("PageNumber=0", "InvalidPageNumber"),
            ("PageNumber=x", "InvalidPageNumber"),
            ("PageSize=51", "InvalidPageSize"),
            ("PageSize=0", "InvalidPageSize"),
        ] {
            assert_eq!(Page::of(&parameters(query), 50).unwrap_err().code, code);
        }
    }

    #[test]
    fn tokens_walk_through_everything_once_and_end_empty() {
        let items: Vec<(String, Value)> = (10..33).map(|n| (format!("rte-{n}"), Value::from(n))).collect();
        let mut seen = Vec::new();
        let mut query = String::new();
        loop {
            let (piece, token) = Continuation::of(&parameters(&query)).unwrap().of_items(items.clone());
            seen.extend(piece);
            if token.is_empty() {
                break;
            }
            query = format!("NextToken={token}");
        }
        assert_eq!(seen, (10..33).map(Value::from).collect::<Vec<_>>());
    }

    #[test]
    fn a_foreign_token_is_refused() {
        assert_eq!(Continuation::of(&parameters("NextToken=%21")).unwrap_err().code, "InvalidNextToken");
        assert_eq!(Continuation::of(&parameters("MaxResult=101")).unwrap_err().code, "InvalidMaxResult");
    }
}
