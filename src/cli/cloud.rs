//! `gatewayctl cloud`: a signed call of the simulated cloud's API, in the manner of the cloud's own command line.

mod account;
mod realism;
mod repeat;
pub(super) mod words;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueHint};
use serde_json::Value;

use super::failure::{Failure, FailureKind, UsageError};
use super::output;
use crate::cen::openapi::action::{Action, Purpose};
use crate::cen::openapi::parameter;
use crate::cen::openapi::reference;
use crate::io::openapi_client::{CallAnswer, OpenApiClient, Product, Signing};

use account::Account;
use repeat::{Call, Condition, Paging, Waited};

/// Where cend listens if nobody says otherwise.
const ENDPOINT: &str = "http://127.0.0.1:8080";
/// The exit status when what was waited for has not come in time.
const TIMED_OUT: u8 = 3;

#[derive(Debug, Args)]
#[command(after_help = "\
The access key comes from --access-key, --access-key-file or --profile, or from ALIBABA_CLOUD_ACCESS_KEY_ID and
ALIBABA_CLOUD_ACCESS_KEY_SECRET. Options of gatewayctl stand before PRODUCT.

  gatewayctl cloud --endpoint 127.0.0.1:8080 cbn DescribeCens
  gatewayctl cloud --region cn-hangzhou vpc CreateVpc --CidrBlock 192.168.4.0/24
  gatewayctl cloud --region cn-hangzhou --all-pages vpc DescribeVpcs
  gatewayctl cloud --wait-until Status=active vpc DescribeVpnGateway --VpnGatewayId vpn-...
  gatewayctl cloud vpc                     the actions of a product
  gatewayctl cloud vpc CreateVpc help      what an action takes
  gatewayctl cloud realism set --Delay 3000 --BusyFrequency 0.2 --CallsPerSecond 20
  gatewayctl cloud realism off             and: gatewayctl cloud realism show

Exit status: 0 when the call was answered, 1 when it was refused or got no answer, 2 when the command line is wrong,
3 when what --wait-until names has not come in time.")]
pub struct CloudArguments {
    /// Where cend listens: http://HOST:PORT, https://HOST:PORT, or HOST:PORT, which means https but for this machine's
    /// own addresses 127.0.0.0/8, ::1 and localhost [env: ALIBABA_CLOUD_ENDPOINT] [default: that of the profile, or
    /// http://127.0.0.1:8080]
    #[arg(long, value_hint = ValueHint::Url)]
    endpoint: Option<String>,
    /// For https: a file with the certificates of the authorities that are trusted (PEM), such as cend's ca.pem; without
    /// one no server is trusted [env: SSL_CERT_FILE]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca_file: Option<PathBuf>,
    /// The access key; other users of the machine can see it in the list of processes
    #[arg(long, value_name = "ID:SECRET", value_hint = ValueHint::Other)]
    access_key: Option<String>,
    /// A file with the access key: mode 0600, one line ID:SECRET
    #[arg(long, value_name = "FILE", conflicts_with = "access_key", value_hint = ValueHint::FilePath)]
    access_key_file: Option<PathBuf>,
    /// A profile of the aliyun command line: its access key, region and endpoint in ~/.aliyun/config.json (mode 0600)
    #[arg(long, value_name = "NAME", conflicts_with_all = ["access_key", "access_key_file"], value_hint = ValueHint::Other)]
    profile: Option<String>,
    /// The RegionId of an action that takes one and is given none [env: ALIBABA_CLOUD_REGION_ID] [default: that of the
    /// profile]
    #[arg(long, value_name = "REGION", value_hint = ValueHint::Other)]
    region: Option<String>,
    /// Ask for all pages of a list, and print them as one
    #[arg(long, conflicts_with = "wait_until")]
    all_pages: bool,
    /// Repeat a call that changes nothing each second until this field of the answer has this value, such as Status=active,
    /// Vpcs.Vpc.0.Status=Available, or, when the refusal is what is waited for, Code=InvalidVpcId.NotFound
    #[arg(long, value_name = "FIELD=VALUE", value_hint = ValueHint::Other)]
    wait_until: Option<Condition>,
    /// For how many seconds (1 to 86400)
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    wait_seconds: u32,
    /// Sign as older SDKs do, with RPC signature version 1.0
    #[arg(long)]
    rpc_signature: bool,
    /// Send what cend does not know, too: other actions, and other parameters
    #[arg(long)]
    force: bool,
    /// Print all actions and their parameters, as Markdown
    #[arg(long, conflicts_with = "product")]
    reference: bool,
    /// cbn, vpc, sts or cend; or realism, with show, set or off
    #[arg(required_unless_present = "reference", value_hint = ValueHint::Other)]
    product: Option<String>,
    /// The action, such as DescribeCens
    #[arg(value_hint = ValueHint::Other)]
    action: Option<String>,
    /// --Name VALUE or --Name=VALUE, as the action takes them
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "--Parameter VALUE",
        value_hint = ValueHint::Other
    )]
    parameters: Vec<String>,
}

impl CloudArguments {
    /// Calls, and prints the answer. A refusal of the API goes to standard error and fails.
    pub async fn run(mut self, json: bool) -> Result<ExitCode, Box<dyn std::error::Error>> {
        if self.product.as_deref() == Some("realism") {
            let action = realism::action(self.action.as_deref(), &mut self.parameters).map_err(UsageError)?;
            self.action = Some(action.to_owned());
            self.product = Some("cend".to_owned());
        }
        let Some(product) = &self.product else {
            output::print(&reference::markdown())?;
            return Ok(ExitCode::SUCCESS);
        };
        let product = Product::by_name(product).ok_or_else(|| UsageError(words::unknown_product(product)))?;
        let Some(name) = &self.action else {
            let names: String =
                reference::actions(product.version()).map(|action| format!("{}\n", action.name)).collect();
            output::print(&names)?;
            return Ok(ExitCode::SUCCESS);
        };
        let action = reference::action(product.version(), name);
        if let ([asks], Some(action)) = (self.parameters.as_slice(), action)
            && asks == "help"
        {
            output::print(&words::help(action))?;
            return Ok(ExitCode::SUCCESS);
        }
        self.call(product, name, action, json).await
    }

    async fn call(
        &self,
        product: Product,
        name: &str,
        action: Option<&Action>,
        json: bool,
    ) -> Result<ExitCode, Box<dyn std::error::Error>> {
        let mut parameters = words::parameters(&self.parameters).map_err(UsageError)?;
        if !self.force {
            let action = action.ok_or_else(|| UsageError(words::unknown_action(product, name)))?;
            words::check_known(action, &parameters).map_err(UsageError)?;
        }
        if self.wait_until.is_some() && Purpose::of(name) == Purpose::Write {
            let error =
                format!("--wait-until would repeat {name}, which changes something; wait for a Describe action");
            return Err(UsageError(error).into());
        }
        let paging = match action {
            _ if !self.all_pages => None,
            Some(action) => Some(Paging::of(action, &parameters).map_err(UsageError)?),
            None => return Err(UsageError("--all-pages is for the actions that cend serves".to_owned()).into()),
        };
        let account = self.account()?;
        let takes_region = action.is_none_or(|action| parameter::row(action.parameters, "RegionId").is_some());
        if let Some(region) = self.region.clone().or_else(region_variable).or(account.region).filter(|_| takes_region)
            && parameters.raw("RegionId").is_none()
        {
            parameters.insert("RegionId", region);
        }
        let endpoint = self.endpoint.clone().or_else(endpoint_variable).or(account.endpoint);
        let endpoint = endpoint.unwrap_or_else(|| ENDPOINT.to_owned());
        let ca_file = self.ca_file.clone().or_else(ca_file_variable);
        let client = OpenApiClient::new(&endpoint, ca_file.as_deref(), account.id, account.secret)?;
        let signing = if self.rpc_signature { Signing::Rpc } else { Signing::Acs3 };
        let call = Call { client: &client, product, name, parameters, signing };
        let answer = match (&self.wait_until, action.zip(paging)) {
            (Some(condition), _) => {
                let limit = Duration::from_secs(self.wait_seconds.into());
                match repeat::wait_until(&call, condition, limit).await? {
                    Waited::Reached(answer) => return printed(&answer, ExitCode::SUCCESS),
                    Waited::Refused(answer) => answer,
                    Waited::TimeOut(error) => {
                        Failure { error, kind: FailureKind::NotDone }.tell(json);
                        return Ok(ExitCode::from(TIMED_OUT));
                    }
                }
            }
            (None, Some((action, paging))) => repeat::all_pages(call, action, paging).await?,
            (None, None) => call.once().await?,
        };
        if answer.succeeded() {
            return printed(&answer, ExitCode::SUCCESS);
        }
        let field = |name: &str| answer.body.get(name).and_then(Value::as_str).unwrap_or_default();
        let error = format!("{} (HTTP {}): {}", field("Code"), answer.status, field("Message"));
        Failure { error, kind: FailureKind::Refused }.tell(json);
        printed(&answer, ExitCode::FAILURE)
    }

    fn account(&self) -> Result<Account, Box<dyn std::error::Error>> {
        Ok(match (&self.access_key, &self.access_key_file, &self.profile) {
            (Some(pair), _, _) => Account::of_pair(pair).map_err(UsageError)?,
            (None, Some(file), _) => Account::of_file(file)?,
            (None, None, Some(profile)) => Account::of_profile(profile)?,
            (None, None, None) => Account::of_environment()?,
        })
    }
}

// What is no Unicode is told where it is refused.
fn endpoint_variable() -> Option<String> {
    variable("ALIBABA_CLOUD_ENDPOINT").map(|value| value.to_string_lossy().into_owned())
}

fn region_variable() -> Option<String> {
    variable("ALIBABA_CLOUD_REGION_ID").map(|value| value.to_string_lossy().into_owned())
}

fn ca_file_variable() -> Option<PathBuf> {
    variable("SSL_CERT_FILE").map(PathBuf::from)
}

/// The value of a variable; one that is empty is not set.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn printed(answer: &CallAnswer, code: ExitCode) -> Result<ExitCode, Box<dyn std::error::Error>> {
    output::line(&serde_json::to_string_pretty(&answer.body)?)?;
    Ok(code)
}
