//! The words after an action's name: its parameters, and what may have been meant by those that it does not take.

use crate::cen::openapi::action::Action;
use crate::cen::openapi::parameter::{self, Parameter};
use crate::cen::openapi::reference;
use crate::cen::openapi::rpc::Parameters;
use crate::io::openapi_client::Product;

/// What an action takes, one parameter a line.
pub fn help(action: &Action) -> String {
    let fields = reference::all_fields("", action.parameters);
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let line = |(name, parameter): &(String, &Parameter)| format!("  --{name:width$}  {}\n", about(parameter));
    format!("{}\n{}", action.name, fields.iter().map(line).collect::<String>())
}

/// What a parameter's values are, and whether a call needs it.
pub fn about(Parameter { kind, presence, .. }: &Parameter) -> String {
    let presence = presence.to_string();
    if presence.is_empty() { kind.to_string() } else { format!("{kind}; {presence}") }
}

/// Why a product is refused.
pub fn unknown_product(name: &str) -> String {
    let names = || Product::ALL.iter().map(|(_, name)| *name);
    format!("{name} is no product{}; allowed: {}", meant(name, names()), names().collect::<Vec<_>>().join(", "))
}

/// Why an action is refused.
pub fn unknown_action(product: Product, name: &str) -> String {
    let names = reference::actions(product.version()).map(|action| action.name);
    format!("{name} is no action that cend serves{}; --force sends it all the same", meant(name, names))
}

/// Refuses a name that no row of the action has: the cloud would ignore it, and a misspelt one with it.
pub fn check_known(action: &Action, parameters: &Parameters) -> Result<(), String> {
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

/// Reads `--Name VALUE` and `--Name=VALUE`.
pub fn parameters(words: &[String]) -> Result<Parameters, String> {
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

#[cfg(test)]
mod tests {
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
}
