//! The table of actions for people: what `docs/api.md` and `gatewayctl cloud` say of them.

use std::fmt::Write as _;

use super::ACTIONS;
use super::action::{Action, CBN, CEND, STS, VPC};
use super::parameter::Parameter;

/// All actions of a product's version, in the order of the table.
pub fn actions(version: &str) -> impl Iterator<Item = &'static Action> {
    ACTIONS.iter().copied().flatten().filter(move |action| action.version == version)
}

/// The action of this name.
pub fn action(version: &str, name: &str) -> Option<&'static Action> {
    actions(version).find(|action| action.name == name)
}

/// The names of the actions that the cloud has, by version: the methods of the official SDKs, which a test compares.
const OF_THE_CLOUD: [(&str, &str); 3] = [
    (CBN, include_str!("actions-cbn-2017-09-12.txt")),
    (VPC, include_str!("actions-vpc-2016-04-28.txt")),
    (STS, "AssumeRole\nAssumeRoleWithOIDC\nAssumeRoleWithSAML\nGetCallerIdentity"),
];

fn product(version: &str) -> &'static str {
    match version {
        CBN => "Cbn",
        STS => "Sts",
        CEND => "cend's own",
        _ => "Vpc",
    }
}

/// Whether the cloud has an action of this name, simulated or not.
pub fn is_of_the_cloud(version: &str, name: &str) -> bool {
    OF_THE_CLOUD.iter().any(|(of, names)| *of == version && names.lines().any(|known| known == name))
}

/// All actions with their parameters, as Markdown.
pub fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut version = "";
    for action in ACTIONS.iter().copied().flatten() {
        if action.version != version {
            version = action.version;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n## {} {version}", product(version));
        }
        let _ = writeln!(text, "\n### {}\n", action.name);
        if action.parameters.is_empty() {
            text.push_str("It takes no parameters of its own.\n");
        } else {
            text.push_str("| Parameter | | Value |\n|---|---|---|\n");
        }
        for (name, parameter) in all_fields("", action.parameters) {
            let Parameter { kind, presence, .. } = parameter;
            let _ = writeln!(text, "| `{name}` | {presence} | {kind} |");
        }
        if !action.busy.is_empty() {
            let codes: Vec<_> = action.busy.iter().map(|busy| format!("`{}`", busy.code)).collect();
            let _ = writeln!(text, "\nBusy: {}", codes.join(", "));
        }
    }
    text
}

const INTRODUCTION: &str = "\
# The actions that cend serves

Written by `gatewayctl cloud --reference` from the table by which cend reads the calls; a test compares it. Every call may
carry `ClientToken` (at most 64 characters of ASCII; repeated within a day, the call changes nothing and is answered as the
first time) and `DryRun` (true: everything is checked and nothing changes), and parameters that no row names are ignored, as the cloud ignores them. A
mandatory parameter that is absent is refused with `Missing<Name>`, a bad value with `Invalid<Name>` unless a row says
otherwise. \"Ignored\" parameters are checked and change nothing; \"refused\" ones ask for what is not simulated. By the codes
after \"busy\" an action is refused for now where [realism](clients.md#a-cloud-that-keeps-them-waiting) is switched on.
";

/// The rows and those of their fields, each with its whole name: `Filter.N.Key`.
pub fn all_fields(prefix: &str, rows: &'static [Parameter]) -> Vec<(String, &'static Parameter)> {
    let mut all = Vec::new();
    for row in rows {
        let name = format!("{prefix}{}{}", row.name, if row.kind.is_list() { ".N" } else { "" });
        let below = format!("{name}.");
        all.push((name, row));
        all.extend(all_fields(&below, row.kind.fields()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_the_table_says() {
        let document = include_str!("../../../docs/api.md");
        assert!(document == markdown(), "write it anew: gatewayctl cloud --reference > docs/api.md");
    }

    #[test]
    fn every_action_is_one_of_the_cloud_but_those_of_cend() {
        for action in ACTIONS.iter().copied().flatten() {
            let of_the_cloud = is_of_the_cloud(action.version, action.name);
            assert_eq!(of_the_cloud, action.version != CEND, "{}", action.name);
        }
        assert!(is_of_the_cloud(CBN, "CreateTransitRouter") && !is_of_the_cloud(VPC, "CreateTransitRouter"));
        assert!(!is_of_the_cloud(VPC, "MakeCoffee") && !is_of_the_cloud(VPC, ""));
    }

    #[test]
    fn no_name_stands_twice() {
        let mut names: Vec<_> = ACTIONS.iter().copied().flatten().map(|action| (action.version, action.name)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for action in ACTIONS.iter().copied().flatten() {
            let mut fields: Vec<_> = all_fields("", action.parameters).into_iter().map(|(name, _)| name).collect();
            let count = fields.len();
            fields.sort_unstable();
            fields.dedup();
            assert_eq!(fields.len(), count, "{}", action.name);
        }
    }
}
