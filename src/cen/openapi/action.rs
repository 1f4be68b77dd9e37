//! What an API action is: a row of a table, with a handler that reads the state and says what should change.

use serde_json::Value;

use super::live::LiveGateways;
use super::parameter::Parameter;
use super::rpc::Parameters;
use crate::cen::command::Command;
use crate::cen::error::ApiError;
use crate::cen::network::UnixMillis;
use crate::cen::realism::{Busy, Modification, View};
use crate::cen::state::State;
use crate::crypto::random::Entropy;

/// The Cbn product's only version.
pub const CBN: &str = "2017-09-12";
/// The Vpc product's only version.
pub const VPC: &str = "2016-04-28";
/// The only version of Sts, the product that says who calls.
pub const STS: &str = "2015-04-01";
/// The only version of cend's own actions, which the cloud does not have.
pub const CEND: &str = "2026-11-27";

/// One action of the API.
///
/// A handler never writes. What should change leaves as a command, which the caller plans, commits and applies before
/// it answers.
#[derive(Clone, Copy, Debug)]
pub struct Action {
    /// The product's version, which also tells the product: [`CBN`], [`VPC`], [`STS`] or [`CEND`].
    pub version: &'static str,
    /// For example `CreateVpc`.
    pub name: &'static str,
    /// What it takes, beside what [every call](super::parameter::COMMON) may carry, in the order in which it is checked.
    pub parameters: &'static [Parameter],
    /// Reads the parameters, answers or asks for a change.
    pub handler: Handler,
    /// The codes by which the cloud refuses it for now; none: it is never kept waiting. See [`realism`](crate::cen::realism).
    pub busy: &'static [Busy],
}

/// What a call of an action is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It only asks.
    Read,
    /// It may change something.
    Write,
}

/// How the names of actions begin that only ask.
const ASKS: [&str; 5] = ["Describe", "List", "Get", "Check", "Download"];

impl Purpose {
    /// What calls of the action with this name are for, as it says.
    pub fn of(name: &str) -> Self {
        match ASKS.iter().any(|verb| name.starts_with(verb)) {
            true => Self::Read,
            false => Self::Write,
        }
    }
}

impl Action {
    /// What calls of it are for.
    pub fn purpose(&self) -> Purpose {
        Purpose::of(self.name)
    }
}

/// See [`Action`].
pub type Handler = fn(&Parameters, &mut Context<'_>) -> Result<Answer, ApiError>;

/// What a handler wants.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per call, handed on at once")]
pub enum Answer {
    /// Nothing changes; answer this object.
    Read(Value),
    /// Plan, commit and apply the command; answer `response` when that is durable.
    Write {
        /// What should change.
        command: Command,
        /// The object to answer then. `RequestId` is added on the way out.
        response: Value,
    },
    /// How real the cloud is changes; answer the settings that hold then.
    Realism(Modification),
}

/// What a handler may look at.
pub struct Context<'a> {
    /// The cloud as it is shown.
    pub state: &'a State,
    /// What of it is not settled yet.
    pub realism: &'a View,
    /// What bound gateways say about themselves.
    pub live: &'a dyn LiveGateways,
    /// Wall-clock time.
    pub now: UnixMillis,
    /// For identifiers and generated pre-shared keys.
    pub entropy: &'a mut dyn Entropy,
}

impl Context<'_> {
    /// What a fresh identifier is made of.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.entropy.fill(&mut seed);
        seed
    }

    /// Random letters and digits, every one equally likely.
    pub fn random_text(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789..";
        let mut text = String::with_capacity(length);
        while text.len() < length {
            let seed = self.seed();
            let letters = seed.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)]));
            text.extend(letters.filter(char::is_ascii_alphanumeric).take(length - text.len()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cen::openapi::live::NoGateways;
    use crate::crypto::random::SystemEntropy;

    #[test]
    fn random_text_has_the_length_asked_for_and_letters_and_digits_only() {
        let (state, mut entropy) = (State::default(), SystemEntropy::new());
        let (realism, live, now) = (View::default(), &NoGateways, UnixMillis(0));
        let mut context = Context { state: &state, realism: &realism, live, now, entropy: &mut entropy };
        let text = context.random_text(100);
        assert_eq!(text.len(), 100);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(text, context.random_text(100));
    }
}
