//! What an API action is: a row of a table, with a handler that reads the state and says what should change.

use serde_json::Value;

use super::live::LiveGateways;
use super::parameter::Parameter;
use super::rpc::Parameters;
use crate::cen::command::Command;
use crate::cen::error::ApiError;
use crate::cen::network::UnixMillis;
use crate::cen::state::State;
use crate::crypto::digest::hmac_sha256;
use crate::crypto::random::Entropy;
use crate::crypto::secret::Secret;

/// The Cbn product's only version.
pub const CBN: &str = "2017-09-12";
/// The Vpc product's only version.
pub const VPC: &str = "2016-04-28";
/// The only version of Sts, the product that says who calls.
pub const STS: &str = "2015-04-01";

/// One action of the API.
///
/// A handler never writes. What should change leaves as a command, which the caller plans, commits and applies before
/// it answers.
#[derive(Clone, Copy, Debug)]
pub struct Action {
    /// The product's version, which also tells the product: [`CBN`], [`VPC`] or [`STS`].
    pub version: &'static str,
    /// For example `CreateVpc`.
    pub name: &'static str,
    /// What it takes, beside what [every call](super::parameter::COMMON) may carry, in the order in which it is checked.
    pub parameters: &'static [Parameter],
    /// Reads the parameters, answers or asks for a change.
    pub handler: Handler,
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

impl Action {
    /// What calls of it are for, as its name says.
    pub fn purpose(&self) -> Purpose {
        match ASKS.iter().any(|verb| self.name.starts_with(verb)) {
            true => Purpose::Read,
            false => Purpose::Write,
        }
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
}

/// What a handler may look at.
pub struct Context<'a> {
    /// The cloud as it is.
    pub state: &'a State,
    /// What bound gateways say about themselves.
    pub live: &'a dyn LiveGateways,
    /// Wall-clock time.
    pub now: UnixMillis,
    /// For identifiers and generated pre-shared keys. Repeats itself for a repeated `ClientToken`.
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

/// Entropy that follows from a caller's secret and its `ClientToken`: the same call draws the same identifiers, so
/// that it becomes the same command, and nobody without the secret can tell what it draws.
pub struct TokenEntropy {
    key: Secret,
    counter: u64,
}

impl TokenEntropy {
    /// For one call.
    pub fn new(access_key_secret: &Secret, action: &Action, token: &str) -> Self {
        let call = format!("ClientToken\n{}\n{}\n{token}", action.version, action.name);
        let key = hmac_sha256(access_key_secret.as_bytes(), &[call.as_bytes()]);
        Self { key: Secret::new(key.to_vec()), counter: 0 }
    }
}

impl Entropy for TokenEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        for piece in out.chunks_mut(32) {
            let block = hmac_sha256(self.key.as_bytes(), &[&self.counter.to_be_bytes()]);
            piece.copy_from_slice(&block[..piece.len()]);
            self.counter += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cen::openapi::live::NoGateways;
    use crate::crypto::random::SystemEntropy;

    fn handler(_: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
        Err(ApiError::internal())
    }

    #[test]
    fn a_client_token_draws_the_same_bytes_again_and_others_do_not() {
        let action = Action { version: VPC, name: "CreateVpc", parameters: &[], handler };
        let other = Action { name: "CreateVSwitch", ..action };
        let draw = |secret: &[u8], action: &Action, token: &str| {
            let mut bytes = [0; 100];
            TokenEntropy::new(&Secret::from(secret), action, token).fill(&mut bytes);
            bytes
        };
        let bytes = draw(b"secret", &action, "token");
        assert_eq!(bytes, draw(b"secret", &action, "token"));
        assert_ne!(bytes[..32], bytes[32..64]);
        for different in
            [draw(b"Secret", &action, "token"), draw(b"secret", &other, "token"), draw(b"secret", &action, "t")]
        {
            assert_ne!(bytes, different);
        }
    }

    #[test]
    fn random_text_has_the_length_asked_for_and_letters_and_digits_only() {
        let (state, mut entropy) = (State::default(), SystemEntropy::new());
        let mut context = Context { state: &state, live: &NoGateways, now: UnixMillis(0), entropy: &mut entropy };
        let text = context.random_text(100);
        assert_eq!(text.len(), 100);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(text, context.random_text(100));
    }
}
