//! Calls that are repeated: page after page, or until the answer is the one that is waited for.

use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use crate::cen::openapi::action::Action;
use crate::cen::openapi::parameter::{self, Kind};
use crate::cen::openapi::rpc::Parameters;
use crate::io::openapi_client::{CallAnswer, CallError, OpenApiClient, Product, Signing};

/// How often the answer is looked at while somebody waits for it.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most items of a page that are asked for.
const PAGE: i64 = 100;

/// A call, which can be made several times.
pub struct Call<'a> {
    pub client: &'a OpenApiClient,
    pub product: Product,
    pub name: &'a str,
    pub parameters: Parameters,
    pub signing: Signing,
}

impl Call<'_> {
    pub async fn once(&self) -> Result<CallAnswer, CallError> {
        self.client.call(self.product, self.name, &self.parameters, self.signing).await
    }
}

/// How an action hands out its list.
#[derive(Clone, Copy, Debug)]
pub enum Paging {
    /// `PageNumber`, `PageSize`, `TotalCount`.
    Number,
    /// `NextToken`.
    Token,
}

impl Paging {
    /// That of an action of which all pages are asked for.
    ///
    /// # Errors
    ///
    /// It has no pages, or the call names one of them; says what to leave out.
    pub fn of(action: &Action, call: &Parameters) -> Result<Self, String> {
        let takes = |name| parameter::row(action.parameters, name).is_some();
        let paging = match (takes("NextToken"), takes("PageNumber")) {
            (true, _) => Self::Token,
            (false, true) => Self::Number,
            (false, false) => return Err(format!("{} has no pages: leave --all-pages out", action.name)),
        };
        match call.text(paging.parameter()) {
            Some(_) => Err(format!("--{} asks for one page, --all-pages for all", paging.parameter())),
            None => Ok(paging),
        }
    }

    fn parameter(self) -> &'static str {
        match self {
            Self::Number => "PageNumber",
            Self::Token => "NextToken",
        }
    }
}

/// All pages as one answer, without what says which page it is. A refusal of any page is the answer.
pub async fn all_pages(
    mut call: Call<'_>,
    action: &Action,
    paging: Paging,
) -> Result<CallAnswer, Box<dyn std::error::Error>> {
    for name in ["PageSize", "MaxResult", "MaxResults"] {
        if let Some(Kind::Integer(_, most)) = parameter::row(action.parameters, name).map(|row| row.kind)
            && call.parameters.text(name).is_none()
        {
            call.parameters.insert(name, most.min(PAGE).to_string());
        }
    }
    let mut first: Option<CallAnswer> = None;
    for number in 2_u32.. {
        let mut answer = call.once().await?;
        if !answer.succeeded() {
            return Ok(answer);
        }
        let page = std::mem::take(list(&mut answer.body).ok_or("the answer holds no list: leave --all-pages out")?);
        let (token, total) = (text_at(&answer.body, "NextToken"), answer.body["TotalCount"].as_u64());
        let came = page.len();
        let all = first.get_or_insert(answer);
        let Some(items) = list(&mut all.body) else { break };
        items.extend(page);
        let more = match paging {
            Paging::Token => token.is_some(),
            Paging::Number => came > 0 && total.is_some_and(|total| (items.len() as u64) < total),
        };
        if !more {
            break;
        }
        call.parameters.insert(paging.parameter(), token.unwrap_or_else(|| number.to_string()));
    }
    let mut all = first.ok_or("there was no page")?;
    if let Some(object) = all.body.as_object_mut() {
        ["NextToken", "PageNumber", "PageSize", "MaxResult", "MaxResults"]
            .iter()
            .for_each(|name| _ = object.remove(*name));
    }
    Ok(all)
}

/// A text that is not empty.
fn text_at(body: &Value, name: &str) -> Option<String> {
    body[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The list of an answer: a field's own, or that of the one object in which the cloud wraps it. What counts others
/// (`VpnRouteCounts`) goes with each page as a whole.
fn list(body: &mut Value) -> Option<&mut Vec<Value>> {
    body.as_object_mut()?.iter_mut().filter(|(name, _)| !name.ends_with("Counts")).find_map(|(_, field)| match field {
        Value::Array(items) => Some(items),
        Value::Object(wrapped) if wrapped.len() == 1 => wrapped.values_mut().next().and_then(Value::as_array_mut),
        _ => None,
    })
}

/// A field of an answer and the value that is waited for.
#[derive(Clone, Debug)]
pub struct Condition {
    field: String,
    value: String,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((field, value)) if !field.is_empty() => Ok(Self { field: field.to_owned(), value: value.to_owned() }),
            _ => Err("write FIELD=VALUE, such as Status=active or Vpcs.Vpc.0.Status=Available".to_owned()),
        }
    }
}

impl Condition {
    /// The field's value, a text without quotes; `None` where the answer has none.
    fn shown(&self, body: &Value) -> Option<String> {
        let field = self.field.split('.').try_fold(body, |value, part| match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            _ => value.get(part),
        })?;
        Some(field.as_str().map_or_else(|| field.to_string(), str::to_owned))
    }
}

/// What came of waiting.
pub enum Waited {
    /// An answer in which the field has the value,
    Reached(CallAnswer),
    /// or a refusal that ends the waiting.
    Refused(CallAnswer),
    /// The time is over; says what was there last.
    TimeOut(String),
}

/// Repeats the call until the field has the value, for so long. A refusal may be what is waited for (`Code=…`); another one
/// ends it, unless it only says that the cloud is busy.
pub async fn wait_until(call: &Call<'_>, condition: &Condition, limit: Duration) -> Result<Waited, CallError> {
    let end = Instant::now() + limit;
    let mut last = format!("no answer came to {}", call.name);
    loop {
        let Ok(answer) = timeout_at(end, call.once()).await else { break };
        let answer = answer?;
        let shown = condition.shown(&answer.body);
        if shown.as_ref() == Some(&condition.value) {
            return Ok(Waited::Reached(answer));
        }
        if !answer.succeeded() && !answer.is_busy() {
            return Ok(Waited::Refused(answer));
        }
        last = match shown {
            Some(shown) => format!("{} is {shown}", condition.field),
            None => format!("the answer has no {}", condition.field),
        };
        if timeout_at(end, sleep(INTERVAL)).await.is_err() {
            break;
        }
    }
    Ok(Waited::TimeOut(format!("waited {} s for {}={}; {last}", limit.as_secs(), condition.field, condition.value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_by_its_path() {
        let body = json!({"Status": "active", "TotalCount": 0, "Vpcs": {"Vpc": [{"Status": "Available", "IsDefault": false}]}});
        let shown = |text: &str| text.parse::<Condition>().unwrap().shown(&body);
        assert_eq!(shown("Status=x").as_deref(), Some("active"));
        assert_eq!(shown("TotalCount=x").as_deref(), Some("0"));
        assert_eq!(shown("Vpcs.Vpc.0.Status=x").as_deref(), Some("Available"));
        assert_eq!(shown("Vpcs.Vpc.0.IsDefault=x").as_deref(), Some("false"));
        for absent in ["Vpcs.Vpc.1.Status=x", "Vpcs.Vpc.Status=x", "State=x", "Status.0=x"] {
            assert_eq!(shown(absent), None, "{absent}");
        }
        assert!("Status".parse::<Condition>().is_err() && "=x".parse::<Condition>().is_err());
    }

    #[test]
    fn the_list_of_an_answer_is_found() {
        let found = |mut body: Value| list(&mut body).map(|items| items.len());
        assert_eq!(found(json!({"PageSize": 2, "Vpcs": {"Vpc": [1, 2]}, "RequestId": "x"})), Some(2));
        assert_eq!(found(json!({"NextToken": "", "RouteEntries": [1]})), Some(1));
        let counted =
            json!({"VpnRouteCounts": {"VpnRouteCount": [1]}, "VpnRouteEntries": {"VpnRouteEntry": [1, 2, 3]}});
        assert_eq!(found(counted), Some(3));
        assert_eq!(found(json!({"Status": "active", "Attributes": {"CidrBlock": "x"}})), None);
    }
}
