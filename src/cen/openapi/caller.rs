//! Who calls: `GetCallerIdentity` of Sts, which inventory tools and command-line clients ask first.

use serde_json::json;

use super::action::{Action, Answer, Context, STS};
use super::rpc::Parameters;
use super::vpc::OWNER;
use crate::cen::error::ApiError;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] =
    &[Action { version: STS, name: "GetCallerIdentity", parameters: &[], handler: get_caller_identity, busy: &[] }];

/// Every access key is one of the account itself: the simulated cloud has no users and no roles.
fn get_caller_identity(_: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    let owner = OWNER.to_string();
    Ok(Answer::Read(json!({
        "IdentityType": "Account",
        "AccountId": owner,
        "PrincipalId": owner,
        "UserId": owner,
        "Arn": format!("acs:ram::{owner}:root"),
    })))
}
