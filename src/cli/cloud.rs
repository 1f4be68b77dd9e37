//! `gatewayctl cloud`: a signed call of the simulated cloud's API, in the manner of the cloud's own command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::cen::openapi::rpc::Parameters;
use crate::crypto::Secret;
use crate::io::openapi_client::{OpenApiClient, Product, Signing};
use crate::io::private_file;

/// The largest file with a key that is read, in bytes.
const KEY_FILE_LIMIT: u64 = 64 << 10;

#[derive(Debug, Args)]
#[command(after_help = "\
The access key comes from --access-key, from --access-key-file (mode 0600, one line ID:SECRET), or from
ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET. Options of gatewayctl stand before PRODUCT.

  gatewayctl cloud --endpoint 127.0.0.1:8080 cbn DescribeCens
  gatewayctl cloud vpc CreateVpc --RegionId cn-hangzhou --CidrBlock 192.168.4.0/24")]
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
    /// cbn or vpc
    product: String,
    /// The action, such as DescribeCens
    action: String,
    /// --Name VALUE or --Name=VALUE, as the action takes them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "--Parameter VALUE")]
    parameters: Vec<String>,
}

impl CloudArguments {
    /// Calls, and prints the answer. A refusal of the API goes to standard error and fails.
    pub async fn run(self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        let product = Product::by_name(&self.product)
            .ok_or_else(|| format!("\"{}\" is no product; allowed: cbn, vpc", self.product))?;
        let parameters = parameters(&self.parameters)?;
        let (id, secret) = access_key(self.access_key.as_deref(), self.access_key_file.as_deref())?;
        let client = OpenApiClient::new(&self.endpoint, id, secret)?;
        let signing = if self.rpc_signature { Signing::Rpc } else { Signing::Acs3 };
        let answer = client.call(product, &self.action, &parameters, signing).await?;
        let text = serde_json::to_string_pretty(&answer.body)?;
        if (200..300).contains(&answer.status) {
            println!("{text}");
            return Ok(ExitCode::SUCCESS);
        }
        let field = |name: &str| answer.body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        eprintln!("gatewayctl: {} (HTTP {}): {}", field("Code"), answer.status, field("Message"));
        println!("{text}");
        Ok(ExitCode::FAILURE)
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
