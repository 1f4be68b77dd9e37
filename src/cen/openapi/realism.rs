//! How real the simulated cloud is, asked and changed while it runs: actions of cend's own, which the cloud has not. They are
//! signed as all are.

use serde_json::{Value, json};

use super::action::{Action, Answer, CEND, Context};
use super::parameter::Kind::{Fraction, Integer};
use super::parameter::optional;
use super::rpc::Parameters;
use crate::cen::error::ApiError;
use crate::cen::realism::{MAX_DELAY, Modification, Settings};

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action { version: CEND, name: "DescribeRealism", parameters: &[], handler: describe, busy: &[] },
    Action {
        version: CEND,
        name: "ModifyRealism",
        parameters: &[
            optional("Delay", Integer(0, MAX_DELAY.cast_signed())),
            optional("BusyFrequency", Fraction),
            optional("Seed", Integer(0, i64::MAX)),
            optional("CallsPerSecond", Integer(0, 1_000_000)),
        ],
        handler: modify,
        busy: &[],
    },
];

fn describe(_: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::Read(shown(context.realism.settings)))
}

/// What is not given stays as it is.
fn modify(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::Realism(Modification {
        delay: parameters.parsed("Delay")?,
        busy: parameters.parsed("BusyFrequency")?,
        seed: parameters.parsed("Seed")?,
        calls_per_second: parameters.parsed("CallsPerSecond")?,
    }))
}

/// The settings as both actions answer them.
pub(super) fn shown(Settings { delay, busy, seed, calls_per_second }: Settings) -> Value {
    json!({"Delay": delay, "BusyFrequency": busy, "Seed": seed, "CallsPerSecond": calls_per_second})
}
