//! From a request to its answer: signature, action, handler, and the change that the handler asks for.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use zeroize::Zeroizing;

use super::action::{Action, Answer, CEND, Context, Purpose};
use super::authentication::{AccessKeys, Authenticator};
use super::live::LiveGateways;
use super::reference;
use super::region;
use super::request::{Request, Response, request_id};
use super::rpc::Parameters;
use super::signature::Claim;
use super::validation;
use crate::cen::client_token::ClientToken;
use crate::cen::command::{Command, Submission};
use crate::cen::error::ApiError;
use crate::cen::network::UnixMillis;
use crate::cen::nonce::UsedNonce;
use crate::cen::realism::{Begun, Realism, Settings};
use crate::cen::state::State;
use crate::crypto::digest::hmac_sha256;
use crate::crypto::random::SystemEntropy;
use crate::crypto::secret::Secret;

/// What stands behind the API: the state, its owner, and the gateways.
pub trait Cloud: Send + Sync + 'static {
    /// The newest committed state.
    fn state(&self) -> Arc<State>;

    /// What bound gateways say about themselves.
    fn live(&self) -> Arc<dyn LiveGateways>;

    /// Does work that may take milliseconds, where it holds up no other call; calls that read hold up none that write.
    fn work<T: Send + 'static>(
        &self,
        purpose: Purpose,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, ApiError>> + Send;

    /// Plans, commits and applies; returns when the change is durable, and with it that the call's nonce is used.
    /// Nothing has changed when it fails.
    fn submit(&self, submission: Submission, nonce: UsedNonce) -> impl Future<Output = Result<(), ApiError>> + Send;
}

/// The API in front of a [`Cloud`].
pub struct Service<C> {
    cloud: C,
    actions: &'static [&'static [Action]],
    authenticator: Mutex<Authenticator>,
    realism: Arc<Mutex<Realism>>,
}

/// A signed call of a known action.
struct Call {
    action: &'static Action,
    parameters: Parameters,
    client_token: Option<ClientToken>,
    dry_run: bool,
    nonce: UsedNonce,
    /// See [`fingerprint`]; empty for a call that is neither told from others nor refused by chance.
    fingerprint: String,
}

/// What a handler wants, and what has begun because of it.
#[expect(clippy::large_enum_variant, reason = "one per call, handed on at once")]
enum Handled {
    Read(Value),
    Write { submission: Submission, response: Value, begun: Option<Begun> },
    Realism { settings: Settings, response: Value },
}

impl<C: Cloud> Service<C> {
    /// Serves `actions`, usually [`ACTIONS`](super::ACTIONS), to the holders of `keys`.
    pub fn new(cloud: C, keys: AccessKeys, actions: &'static [&'static [Action]]) -> Self {
        Self { cloud, actions, authenticator: Mutex::new(Authenticator::new(keys)), realism: Arc::default() }
    }

    /// Takes in the nonces that an earlier process has kept with its changes.
    pub fn recall(&mut self, nonces: impl IntoIterator<Item = UsedNonce>) {
        self.authenticator.get_mut().unwrap_or_else(PoisonError::into_inner).recall(nonces);
    }

    /// Makes the cloud as real as that.
    pub fn set_realism(&self, settings: Settings) {
        let Settings { delay, busy, seed, calls_per_second } = settings;
        tracing::info!(delay, busy, seed, calls_per_second, "realism");
        lock(&self.realism).set(settings);
    }

    /// What stands behind.
    pub fn cloud(&self) -> &C {
        &self.cloud
    }

    /// Answers one request that has arrived at `now`.
    pub async fn call(&self, request: Request, now: UnixMillis) -> Response {
        let request_id = request_id(&mut SystemEntropy::new());
        let host = request.header("host").unwrap_or_default().to_owned();
        let name = action_name(&request);
        match self.answer(request, now).await {
            Ok(object) => {
                tracing::debug!(action = %name, %request_id, "answered");
                Response::success(object, &request_id)
            }
            Err(error) => {
                tracing::info!(action = %name, code = %error.code, %request_id, "refused");
                Response::refusal(&error, &request_id, &host)
            }
        }
    }

    async fn answer(&self, request: Request, now: UnixMillis) -> Result<Value, ApiError> {
        let Call { action, parameters, client_token, dry_run, nonce, fingerprint } = self.admit(request, now)?;
        let (state, live) = (self.cloud.state(), self.cloud.live());
        if let Some(first) = first_answer(client_token.as_ref(), &state, now)? {
            // What the first call did may be what its repetition would be refused for. It changes nothing, but its nonce is used.
            let nothing = Submission { command: Command::Nothing, client_token: None, dry_run, now };
            self.cloud.submit(nothing, nonce).await?;
            return Ok(first);
        }
        let realism = Arc::clone(&self.realism);
        if !dry_run {
            lock(&self.realism).chance(action.name, action.busy, &fingerprint)?;
        }
        let handle = move || {
            let mut entropy = SystemEntropy::new();
            let view = lock(&realism).view(now);
            let shown = view.shown(&state);
            let (live, entropy) = (live.as_ref(), &mut entropy);
            let mut context = Context { state: &shown, realism: &view, live, now, entropy };
            Ok(match (action.handler)(&parameters, &mut context)? {
                Answer::Read(object) => Handled::Read(object),
                Answer::Realism { .. } if dry_run => return Err(ApiError::dry_run()),
                Answer::Realism { settings, response } => Handled::Realism { settings, response },
                Answer::Write { command, response } => {
                    let client_token =
                        client_token.map(|token| ClientToken { answer: Some(response.clone()), ..token });
                    let submission = Submission { command, client_token, dry_run, now };
                    let begun = lock(&realism).begin(action.busy, &state, &submission)?;
                    Handled::Write { submission, response, begun }
                }
            })
        };
        match self.cloud.work(action.purpose(), handle).await?? {
            Handled::Read(object) => Ok(object),
            Handled::Realism { settings, response } => {
                self.set_realism(settings);
                Ok(response)
            }
            Handled::Write { submission, response, begun } => {
                let token = submission.client_token.clone();
                if let Err(refusal) = self.cloud.submit(submission, nonce).await {
                    begun.into_iter().for_each(|begun| lock(&self.realism).abandon(begun));
                    return Err(refusal);
                }
                // Another one may have come first while the handler was at work; no token, or one that is forgotten, has none.
                let first = first_answer(token.as_ref(), &self.cloud.state(), now).ok().flatten();
                Ok(first.unwrap_or(response))
            }
        }
    }

    /// Who calls is settled before what is called: nobody learns anything without a key.
    fn admit(&self, request: Request, now: UnixMillis) -> Result<Call, ApiError> {
        if !matches!(request.method.as_str(), "GET" | "POST") {
            return Err(ApiError::bad_request("UnsupportedHTTPMethod", "This http method is not supported."));
        }
        let mut parameters = request.parameters()?;
        let (secret, nonce) = self.authenticate(&request, &parameters, now)?;
        if request.path != "/" {
            return Err(unknown_api());
        }
        if parameters.text("Format").is_some_and(|format| !format.eq_ignore_ascii_case("JSON")) {
            let message = "Specified parameter Format is not valid: answers are JSON.";
            return Err(ApiError::bad_request("InvalidParameter.Format", message));
        }
        let action = self.action(&request, &parameters)?;
        self.count(action, &request, &parameters, now)?;
        let dry_run = parameters.boolean("DryRun")?.unwrap_or(false);
        let token = client_token(&parameters)?;
        if parameters.text("RegionId").is_none()
            && let Some(region) = request.header("host").and_then(region::of_host)
        {
            parameters.insert("RegionId", region);
        }
        validation::check(action.parameters, &mut parameters)?;
        let token = token.filter(|_| !dry_run);
        let fingerprint = match token.is_some() || lock(&self.realism).refuses() {
            true => fingerprint(&secret, action, &parameters)?,
            false => String::new(),
        };
        let client_token = token.map(|token| ClientToken {
            key: format!("{} {token}", action.name),
            fingerprint: fingerprint.clone(),
            answer: None,
        });
        Ok(Call { action, parameters, client_token, dry_run, nonce, fingerprint })
    }

    /// Refuses a call that comes too often. Nobody is kept from making that end.
    fn count(
        &self,
        action: &Action,
        request: &Request,
        parameters: &Parameters,
        now: UnixMillis,
    ) -> Result<(), ApiError> {
        let mut realism = lock(&self.realism);
        if action.version == CEND || !realism.counts() {
            return Ok(());
        }
        realism.admit(&Claim::of(request, parameters)?.access_key_id, action.name, now)
    }

    fn authenticate(
        &self,
        request: &Request,
        parameters: &Parameters,
        now: UnixMillis,
    ) -> Result<(Secret, UsedNonce), ApiError> {
        let mut authenticator = lock(&self.authenticator);
        let seconds = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
        authenticator.accept(request, parameters, seconds).map(|(secret, nonce)| (secret.duplicate(), nonce))
    }

    /// Parameters name the action; a client that signs the ACS3 way names it in headers.
    fn action(&self, request: &Request, parameters: &Parameters) -> Result<&'static Action, ApiError> {
        let named = |parameter: &str, header: &str| {
            let name = parameters.text(parameter).or_else(|| request.header(header));
            name.ok_or_else(|| ApiError::missing(parameter))
        };
        let (name, version) = (named("Action", "x-acs-action")?, named("Version", "x-acs-version")?);
        let mut rows = self.actions.iter().copied().flatten();
        rows.find(|row| row.name == name && row.version == version)
            .ok_or_else(|| if reference::is_of_the_cloud(version, name) { not_simulated(name) } else { unknown_api() })
    }
}

/// The locks here guard no invariant that a panic could have broken half-way.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For the log only: the name may be anything, so it is cut short and escaped.
fn action_name(request: &Request) -> String {
    let named = request.parameters().ok().and_then(|parameters| parameters.text("Action").map(str::to_owned));
    let name = named.or_else(|| request.header("x-acs-action").map(str::to_owned)).unwrap_or_default();
    name.chars().take(64).flat_map(char::escape_default).collect()
}

fn client_token(parameters: &Parameters) -> Result<Option<String>, ApiError> {
    let Some(token) = parameters.text("ClientToken") else { return Ok(None) };
    if token.len() > 64 || !token.is_ascii() {
        return Err(parameters.invalid("ClientToken"));
    }
    Ok(Some(token.to_owned()))
}

/// What tells a call from others: the action, who calls, and the parameters that the action takes, which are those that are
/// left when they have been checked.
fn fingerprint(access_key_secret: &Secret, action: &Action, parameters: &Parameters) -> Result<String, ApiError> {
    let parameters: Vec<_> = parameters.iter().collect();
    let call = serde_json::to_vec(&(action.version, action.name, parameters)).map_err(|_| ApiError::internal())?;
    Ok(hex::encode(hmac_sha256(access_key_secret.as_bytes(), &[&Zeroizing::new(call)])))
}

/// What a call with this token was answered when it was made first, if it was.
fn first_answer(token: Option<&ClientToken>, state: &State, now: UnixMillis) -> Result<Option<Value>, ApiError> {
    let known = token.map(|token| token.known(&state.client_tokens, now)).transpose()?;
    Ok(known.flatten().and_then(|record| record.answer.clone()))
}

/// No client takes this for a resource that is not there, which it would wait for, or forget.
fn not_simulated(name: &str) -> ApiError {
    ApiError::bad_request("NotSimulated", format!("The cloud has the action {name}, and cend does not simulate it."))
}

fn unknown_api() -> ApiError {
    ApiError::not_found("InvalidApi.NotFound", "Specified api is not found, please check your url and method.")
}

#[cfg(test)]
mod tests;
