//! Long answers in pieces: by page number, or by a token that says where to go on.

use std::num::NonZeroUsize;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as TOKEN;
use serde_json::{Map, Value};

use super::parameter::{Kind, Parameter, optional};
use super::rpc::Parameters;
use crate::cen::error::ApiError;

/// A page that a caller asked for with `PageNumber` and `PageSize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    number: usize,
    size: usize,
}

/// The row of `PageNumber`, which counts from 1, the default.
pub const PAGE_NUMBER: Parameter = optional("PageNumber", Kind::Integer(1, u32::MAX as i64));

/// The row of `PageSize`: 10 unless it is given.
pub const fn page_size(most: i64) -> Parameter {
    optional("PageSize", Kind::Integer(1, most))
}

/// The row of `MaxResult`: 10 unless it is given.
pub const MAX_RESULT: Parameter = optional("MaxResult", Kind::Integer(1, 100));
/// The row of `NextToken`.
pub const NEXT_TOKEN: Parameter = optional("NextToken", Kind::Text);

impl Page {
    /// Reads `PageNumber` and `PageSize`.
    ///
    /// # Errors
    /// `InvalidPageNumber`, `InvalidPageSize`.
    pub fn of(parameters: &Parameters) -> Result<Self, ApiError> {
        let natural = |name, default| parameters.parsed::<NonZeroUsize>(name).map(|n| n.map_or(default, usize::from));
        Ok(Self { number: natural("PageNumber", 1)?, size: natural("PageSize", 10)? })
    }

    /// This page of `items` in the cloud's doubly wrapped form, `{"<outer>": {"<inner>": […]}}`, with `PageNumber`,
    /// `PageSize` and `TotalCount`.
    pub fn of_items(self, items: Vec<Value>, outer: &str, inner: &str) -> Value {
        self.of_each(items, |item| item, outer, inner)
    }

    /// As [`of_items`](Self::of_items), of items of which only those of this page are to be written out.
    pub fn of_each<T>(
        self,
        items: impl IntoIterator<Item = T>,
        shown: impl FnMut(T) -> Value,
        outer: &str,
        inner: &str,
    ) -> Value {
        let mut items = items.into_iter();
        let skipped = items.by_ref().take(self.start()).count();
        let page: Vec<T> = items.by_ref().take(self.size).collect();
        let total = skipped + page.len() + items.count();
        self.of_total(total, page.into_iter().map(shown).collect(), outer, inner)
    }

    /// As [`of_items`](Self::of_items), of items in groups whose sizes are known without them: only the groups that reach into
    /// this page are made.
    pub fn of_groups<G>(
        self,
        groups: impl IntoIterator<Item = G>,
        size: impl Fn(&G) -> usize,
        items: impl Fn(&G) -> Vec<Value>,
        outer: &str,
        inner: &str,
    ) -> Value {
        let (mut total, mut piece) = (0, Vec::new());
        for group in groups {
            let before = total;
            total += size(&group);
            if total > self.start().max(before) && piece.len() < self.size {
                let shown = items(&group).into_iter().skip(self.start().saturating_sub(before));
                piece.extend(shown.take(self.size - piece.len()));
            }
        }
        self.of_total(total, piece, outer, inner)
    }

    /// How many items stand on the pages before this one.
    pub fn start(self) -> usize {
        (self.number - 1).saturating_mul(self.size)
    }

    /// How many items this page holds at most.
    pub fn size(self) -> usize {
        self.size
    }

    /// As [`of_items`](Self::of_items), of the items of this page and the number of all.
    pub fn of_total(self, total: usize, piece: Vec<Value>, outer: &str, inner: &str) -> Value {
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
    /// Reads `MaxResult` and `NextToken`.
    ///
    /// # Errors
    /// `InvalidMaxResult`, `InvalidNextToken`.
    pub fn of(parameters: &Parameters) -> Result<Self, ApiError> {
        Self::with_limit(parameters, "MaxResult", 10)
    }

    /// As [`Self::of`], where the limit has another name and default.
    ///
    /// # Errors
    /// `Invalid<Name>`, `InvalidNextToken`.
    pub fn with_limit(parameters: &Parameters, name: &str, default: usize) -> Result<Self, ApiError> {
        let limit = parameters.parsed(name)?.unwrap_or(default);
        let decode = |token: &str| String::from_utf8(TOKEN.decode(token).ok()?).ok();
        let after = match parameters.text("NextToken") {
            Some(token) => Some(decode(token).ok_or_else(|| parameters.invalid("NextToken"))?),
            None => None,
        };
        Ok(Self { after, limit })
    }

    /// The most items of the piece.
    pub fn limit(&self) -> usize {
        self.limit
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

    use super::super::validation::check;
    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::parse(query.as_bytes()).unwrap()
    }

    #[test]
    fn pages_count_from_one_and_echo_what_was_asked() {
        let items: Vec<Value> = (0..5).map(Value::from).collect();
        let page = |query| Page::of(&parameters(query)).unwrap().of_items(items.clone(), "Cens", "Cen");
        assert_eq!(
            page("PageNumber=2&PageSize=2"),
            json!({"PageNumber": 2, "PageSize": 2, "TotalCount": 5, "Cens": {"Cen": [2, 3]}})
        );
        assert_eq!(page("")["Cens"]["Cen"].as_array().unwrap().len(), 5);
        assert_eq!(page("PageNumber=4000000000&PageSize=50")["Cens"]["Cen"], json!([]));
    }

    #[test]
    fn of_groups_only_those_of_the_page_are_made() {
        let groups = [0..3, 3..3, 3..5, 5..9, 9..12];
        for (query, made) in [
            ("PageSize=2", 1),
            ("PageNumber=2&PageSize=3", 2),
            ("PageNumber=3&PageSize=3", 1),
            ("PageSize=50", 4),
            ("PageNumber=9&PageSize=2", 0),
        ] {
            let page = Page::of(&parameters(query)).unwrap();
            let count = std::cell::Cell::new(0);
            let items = |group: &std::ops::Range<i32>| {
                count.set(count.get() + 1);
                group.clone().map(Value::from).collect()
            };
            let shown = page.of_groups(groups.clone(), ExactSizeIterator::len, items, "Cens", "Cen");
            assert_eq!(shown, page.of_items((0..12).map(Value::from).collect(), "Cens", "Cen"), "{query}");
            assert_eq!(count.get(), made, "{query}");
        }
    }

    #[test]
    fn page_limits_are_checked() {
        for (query, code) in [
            ("PageNumber=0", "InvalidPageNumber"),
            ("PageNumber=x", "InvalidPageNumber"),
            ("PageSize=51", "InvalidPageSize"),
            ("PageSize=0", "InvalidPageSize"),
        ] {
            let checked = check(&[PAGE_NUMBER, page_size(50)], &mut parameters(query));
            assert_eq!(checked.unwrap_err().code, code);
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
        let checked = check(&[MAX_RESULT], &mut parameters("MaxResult=101"));
        assert_eq!(checked.unwrap_err().code, "InvalidMaxResult");
    }
}
