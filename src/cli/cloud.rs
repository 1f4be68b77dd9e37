//! `gatewayctl cloud`: a signed call of the simulated cloud's API, in the manner of the cloud's own command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use zeroize::Zeroizing;

use super::output;
use crate::cen::openapi::action::Action;
use crate::cen::openapi::parameter::{self, Parameter};
use crate::cen::openapi::reference;
use crate::cen::openapi::rpc::Parameters;
use crate::crypto::Secret;
use crate::io::openapi_client::{OpenApiClient, Product, Signing};
use crate::io::private_file;
use crate::io::terminal::complain;

/// The largest file with a key that is read, in bytes.
const KEY_FILE_LIMIT: u64 = 64 << 10;

#[derive(Debug, Args)]
#[command(after_help = "\
The access key comes from --access-key, from --access-key-file (mode 0600, one line ID:SECRET), or from
ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET. Options of gatewayctl stand before PRODUCT.

  gatewayctl cloud --endpoint 127.0.0.1:8080 cbn DescribeCens
  gatewayctl cloud vpc CreateVpc --RegionId cn-hangzhou --CidrBlock 192.168.4.0/24
  gatewayctl cloud vpc                     the actions of a product
  gatewayctl cloud vpc CreateVpc help      what an action takes")]
pub struct CloudArguments {
    /// Where cend listens
    #[arg(long, env = "ALIBABA_CLOUD_ENDPOINT", default_value = "http://127.0.0.1:8080")]
    endpoint: String,
    /// The access key; other users of the machine can see it in the list of processes
    #[arg(long, value_name = "ID:SECRET")]
    access_key: Option<String>,
    /// A file with the access key
    #[arg(long, value_name = "FILE", conflicts_with = "access_key")]
    access_key_file: Option<PathBuf>,
    /// Sign as older SDKs do, with RPC signature version 1.0
    #[arg(long)]
    rpc_signature: bool,
    /// Send what cend does not know, too: other actions, and other parameters
    #[arg(long)]
    force: bool,
    /// Print all actions and their parameters, as Markdown
    #[arg(long, exclusive = true)]
    reference: bool,
    /// cbn, vpc or sts
    #[arg(required_unless_present = "reference")]
    product: Option<String>,
    /// The action, such as DescribeCens
    action: Option<String>,
    /// --Name VALUE or --Name=VALUE, as the action takes them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "--Parameter VALUE")]
    parameters: Vec<String>,
}

impl CloudArguments {
    /// Calls, and prints the answer. A refusal of the API goes to standard error and fails.
    pub async fn run(self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        let Some(product) = &self.product else {
            output::print(&reference::markdown())?;
            return Ok(ExitCode::SUCCESS);
        };
        let product =
            Product::by_name(product).ok_or_else(|| format!("\"{product}\" is no product; allowed: cbn, vpc, sts"))?;
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
            output::print(&help(action))?;
            return Ok(ExitCode::SUCCESS);
        }
        let parameters = parameters(&self.parameters)?;
        if !self.force {
            let action = action.ok_or_else(|| unknown_action(product, name))?;
            check_known(action, &parameters)?;
        }
        let (id, secret) = access_key(self.access_key.as_deref(), self.access_key_file.as_deref())?;
        let client = OpenApiClient::new(&self.endpoint, id, secret)?;
        let signing = if self.rpc_signature { Signing::Rpc } else { Signing::Acs3 };
        let answer = client.call(product, name, &parameters, signing).await?;
        let text = serde_json::to_string_pretty(&answer.body)?;
        if (200..300).contains(&answer.status) {
            output::line(&text)?;
            return Ok(ExitCode::SUCCESS);
        }
        let field = |name: &str| answer.body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        complain(format_args!("gatewayctl: {} (HTTP {}): {}", field("Code"), answer.status, field("Message")));
        output::line(&text)?;
        Ok(ExitCode::FAILURE)
    }
}

/// What an action takes, one parameter a line.
fn help(action: &Action) -> String {
    let fields = reference::all_fields("", action.parameters);
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let line = |(name, Parameter { kind, presence, .. }): &(String, &Parameter)| {
        let presence = if presence.to_string().is_empty() { String::new() } else { format!("; {presence}") };
        format!("  --{name:width$}  {kind}{presence}\n")
    };
    format!("{}\n{}", action.name, fields.iter().map(line).collect::<String>())
}

fn unknown_action(product: Product, name: &str) -> String {
    let names = reference::actions(product.version()).map(|action| action.name);
    format!("{name} is no action that cend serves{}; --force sends it all the same", meant(name, names))
}

/// Refuses a name that no row of the action has: the cloud would ignore it, and a misspelt one with it.
fn check_known(action: &Action, parameters: &Parameters) -> Result<(), String> {
    let fields = reference::all_fields("", action.parameters);
    let names = || fields.iter().map(|(name, _)| name.as_str()).chain(parameter::COMMON.iter().copied());
    for (given, _) in parameters.iter() {
        let numbered = given.split('.').map(|part| if part.parse::<u32>().is_ok() { "N" } else { part });
        let name = numbered.collect::<Vec<_>>().join(".");
        if !names().any(|known| known == name) {
            let meant = meant(&name, names());
            return Err(format!("{} takes no --{given}{meant}; --force sends it all the same", action.name));
        }
    }
    Ok(())
}

/// What may have been meant by a name that is none.
fn meant<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let near = names.map(|known| (strsim::damerau_levenshtein(&known.to_lowercase(), &name.to_lowercase()), known));
    match near.min().filter(|(distance, known)| *distance <= known.len() / 3) {
        Some((_, known)) => format!(" (did you mean {known}?)"),
        None => String::new(),
    }
}

fn parameters(words: &[String]) -> Result<Parameters, String> {
    let mut parameters = Parameters::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix("--").filter(|name| !name.is_empty()) else {
            return Err(format!("\"{word}\" is no parameter; write --Name VALUE"));
        };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (name, words.next().ok_or_else(|| format!("--{name} needs a value"))?.clone()),
        };
        if !name.starts_with(|first: char| first.is_ascii_uppercase()) {
            return Err(format!(
                "--{name} is no parameter of an action; options of gatewayctl stand before the product"
            ));
        }
        parameters.insert(name, value);
    }
    Ok(parameters)
}

fn access_key(given: Option<&str>, file: Option<&Path>) -> Result<(String, Secret), String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let pair = match (given, file) {
        (Some(given), _) => Zeroizing::new(given.to_owned()),
        (None, Some(file)) => private_file::read(file, KEY_FILE_LIMIT).map_err(|error| error.to_string())?,
        (None, None) => {
            let id = variable("ALIBABA_CLOUD_ACCESS_KEY_ID");
            let secret = variable("ALIBABA_CLOUD_ACCESS_KEY_SECRET");
            let (Some(id), Some(secret)) = (id, secret) else {
                return Err("no access key: give --access-key-file, --access-key, or set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET".to_owned());
            };
            Zeroizing::new(format!("{id}:{secret}"))
        }
    };
    match pair.trim_end_matches(['\r', '\n']).split_once(':') {
        Some((id, secret)) if !id.is_empty() && !secret.is_empty() => {
            Ok((id.to_owned(), Secret::new(secret.as_bytes().to_vec())))
        }
        _ => Err("the access key is not of the form ID:SECRET".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cen::openapi::action::{CBN, VPC};

    fn read(words: &[&str]) -> Result<Vec<(String, String)>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let read = parameters(&words)?;
        Ok(read.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn parameters_are_taken_in_both_ways() {
        let read = read(&["--RegionId", "cn-hangzhou", "--Name=a=b", "--Weight", "-1"]).unwrap();
        assert!(read.contains(&("RegionId".into(), "cn-hangzhou".into())));
        assert!(read.contains(&("Name".into(), "a=b".into())));
        assert!(read.contains(&("Weight".into(), "-1".into())));
    }

    #[test]
    fn what_is_no_parameter_is_told() {
        assert!(read(&["RegionId", "x"]).unwrap_err().contains("write --Name VALUE"));
        assert!(read(&["--RegionId"]).unwrap_err().contains("needs a value"));
        assert!(read(&["--endpoint", "x"]).unwrap_err().contains("before the product"));
    }

    #[test]
    fn what_an_action_does_not_take_is_told_with_what_it_may_mean() {
        let of = |name: &str, words: &[(&str, &str)]| {
            let mut parameters = Parameters::default();
            words.iter().for_each(|(name, value)| parameters.insert(*name, *value));
            check_known(
                reference::actions(CBN).chain(reference::actions(VPC)).find(|row| row.name == name).unwrap(),
                &parameters,
            )
        };
        assert!(of("DescribeCens", &[("Filter.1.Value.2", "x"), ("RegionId", "x"), ("ClientToken", "x")]).is_ok());
        let refused = of("CreateVpc", &[("CidrBlok", "10.0.0.0/8")]).unwrap_err();
        assert!(refused.contains("no --CidrBlok (did you mean CidrBlock?)"), "{refused}");
        let refused = of("CreateVpc", &[("Entirely", "x")]).unwrap_err();
        assert!(refused.contains("no --Entirely; --force"), "{refused}");
        let refused = unknown_action(Product::Vpc, "DescribeVcps");
        assert!(refused.contains("did you mean DescribeVpcs?"), "{refused}");
    }

    #[test]
    fn the_help_of_an_action_names_its_parameters() {
        let help = help(reference::action(VPC, "CreateVSwitch").unwrap());
        assert!(help.contains("--VpcId") && help.contains("required") && help.contains("CIDR block"), "{help}");
    }

    #[test]
    fn a_key_file_must_be_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "tutorial:se:cret\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let (id, secret) = access_key(None, Some(&path)).unwrap();
        assert_eq!((id.as_str(), secret.as_bytes()), ("tutorial", b"se:cret".as_slice()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(access_key(None, Some(&path)).unwrap_err().contains("0644"));
        assert!(access_key(Some("only-an-id"), None).is_err());
    }
}
