//! From a request to its answer: signature, action, handler, and the change that the handler asks for.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::action::{Action, Answer, CEND, Context, Purpose};
use super::authentication::{AccessKeys, Authenticator};
use super::live::LiveGateways;
use super::parameter::Presence;
use super::realism;
use super::reference;
use super::region;
use super::request::{Request, Response, request_id};
use super::rpc::Parameters;
use super::signature::Claim;
use super::validation;
use crate::cen::client_token::{ClientToken, ClientTokenRecord};
use crate::cen::command::{Command, Submission};
use crate::cen::error::ApiError;
use crate::cen::network::UnixMillis;
use crate::cen::nonce::UsedNonce;
use crate::cen::realism::{Begun, Modification, Realism, Settings};
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
    realism: Arc<Realism>,
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
    Realism(Modification),
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
        self.realism.set(settings);
        log_realism(settings);
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
        let call = self.admit(request, now)?;
        let (state, live) = (self.cloud.state(), self.cloud.live());
        if let Some(first) = first_call(call.client_token.as_ref(), &state, now)?.map(|record| record.answer.clone()) {
            drop(state);
            return self.repeat(call, first, now).await;
        }
        let Call { action, parameters, client_token, dry_run, nonce, fingerprint } = call;
        if !dry_run {
            self.realism.chance(action.name, action.busy, &fingerprint)?;
        }
        let realism = Arc::clone(&self.realism);
        let handle = move || {
            Ok(match handle(action, &parameters, &realism, &state, live.as_ref(), now)? {
                Answer::Read(object) => Handled::Read(object),
                Answer::Realism(_) if dry_run => return Err(ApiError::dry_run()),
                Answer::Realism(modification) => Handled::Realism(modification),
                Answer::Write { command, response } => {
                    let client_token =
                        client_token.map(|token| ClientToken { answer: Some(response.clone()), ..token });
                    let submission = Submission { command, client_token, dry_run, now };
                    let begun = realism.begin(action.busy, &state, &submission)?;
                    Handled::Write { submission, response, begun }
                }
            })
        };
        match self.cloud.work(action.purpose(), handle).await?? {
            Handled::Read(object) => Ok(object),
            Handled::Realism(modification) => {
                let settings = self.realism.modify(modification);
                log_realism(settings);
                Ok(realism::shown(settings))
            }
            Handled::Write { submission, response, begun } => {
                let token = submission.client_token.clone();
                self.cloud.submit(submission, nonce).await?;
                // Another one may have come first while the handler was at work: then this one has done nothing. No token, or
                // one that is forgotten, has no answer.
                let state = self.cloud.state();
                let first = first_call(token.as_ref(), &state, now).ok().flatten();
                match first.and_then(|record| record.answer.as_ref()).filter(|first| **first != response) {
                    Some(first) => Ok(first.clone()),
                    None => {
                        begun.into_iter().for_each(Begun::done);
                        Ok(response)
                    }
                }
            }
        }
    }

    /// Answers a call that was made before. What the first one did may be what its repetition would be refused for: it is refused
    /// for nothing and changes nothing, but its nonce is used.
    async fn repeat(&self, call: Call, first: Option<Value>, now: UnixMillis) -> Result<Value, ApiError> {
        let Call { action, parameters, dry_run, nonce, .. } = call;
        let nothing = Submission { command: Command::Nothing, client_token: None, dry_run, now };
        self.cloud.submit(nothing, nonce).await?;
        if let Some(first) = first {
            return Ok(first);
        }
        // An answer with a pre-shared key is not kept.
        let (realism, state, live) = (Arc::clone(&self.realism), self.cloud.state(), self.cloud.live());
        let anew = move || match handle(action, &parameters, &realism, &state, live.as_ref(), now) {
            Ok(Answer::Read(object) | Answer::Write { response: object, .. }) => object,
            Ok(Answer::Realism(_)) => json!({}),
            Err(refusal) => {
                tracing::debug!(action = action.name, code = %refusal.code, "a repeated call's answer cannot be made anew");
                named(action, &parameters)
            }
        };
        self.cloud.work(action.purpose(), anew).await
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
        let fingerprint = match token.is_some() || self.realism.refuses() {
            true => fingerprint(&secret, action, &parameters)?,
            false => String::new(),
        };
        let client_token = token.map(|token| ClientToken {
            key: format!("{} {} {token}", action.version, action.name),
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
        if action.version == CEND || !self.realism.counts() {
            return Ok(());
        }
        self.realism.admit(&Claim::of(request, parameters)?.access_key_id, action.name, now)
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

/// The lock here guards no invariant that a panic could have broken half-way.
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

/// What is known of the call with this token that was made first, if one was.
fn first_call<'a>(
    token: Option<&ClientToken>,
    state: &'a State,
    now: UnixMillis,
) -> Result<Option<&'a ClientTokenRecord>, ApiError> {
    Ok(token.map(|token| token.known(&state.client_tokens, now)).transpose()?.flatten())
}

/// What an action's handler wants, of the state as it is shown.
fn handle(
    action: &Action,
    parameters: &Parameters,
    realism: &Realism,
    state: &Arc<State>,
    live: &dyn LiveGateways,
    now: UnixMillis,
) -> Result<Answer, ApiError> {
    let (view, mut entropy) = (realism.view(now), SystemEntropy::new());
    let shown = view.shown(state);
    (action.handler)(parameters, &mut Context { state: &shown, realism: &view, live, now, entropy: &mut entropy })
}

/// The ids that a call has to name: the least that an answer to its success says.
fn named(action: &Action, parameters: &Parameters) -> Value {
    let ids = action.parameters.iter().filter(|row| row.presence == Presence::Required && row.name.ends_with("Id"));
    let ids = ids.filter(|row| row.name != "RegionId");
    ids.filter_map(|row| Some((row.name.to_owned(), parameters.text(row.name)?.into()))).collect::<Map<_, _>>().into()
}

fn log_realism(Settings { delay, busy, seed, calls_per_second }: Settings) {
    tracing::info!(delay, busy, seed, calls_per_second, "realism");
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
