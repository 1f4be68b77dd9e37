//! `gatewayctl check`: a configuration file, or what this machine offers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Serialize;

use super::output::{self, OutputError};
use crate::daemon::config::sense::{self, Doubts};
use crate::daemon::config::{Config, ConfigError, siblings};
use crate::io::host::{self, Finding, Here, Verdict};
use crate::io::terminal::complain;

/// What was found, as `--json` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Checked {
    /// Whether gatewayd can run, with this file and on this machine as far as they were looked at.
    pub good: bool,
    /// The file, if one was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<CheckedFile>,
    /// What the machine and this network namespace offer, with `--host`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<Finding>,
}

/// What was found in a configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CheckedFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it: gatewayd does not take it, or what it says cannot work.
    pub problems: Vec<CheckedProblem>,
    /// What an operator should change though it works.
    pub warnings: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// How many connections it has.
    pub connections: usize,
    /// How many routes.
    pub routes: usize,
}

/// Something that is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CheckedProblem {
    /// Counts from 1; absent when it is about the whole file, or about several places of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The key as the file nests it (`connection.idc.mtu`), where it is about one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// Fails when the file is wrong or the machine lacks something that gatewayd cannot do without.
pub fn run(file: Option<&Path>, host: bool, json: bool) -> Result<ExitCode, OutputError> {
    let file = file.map(|file| check_file(file, host));
    let host = if host { host::findings() } else { Vec::new() };
    let good = file.as_ref().is_none_or(|(file, _)| file.problems.is_empty())
        && host.iter().all(|finding| finding.verdict != Verdict::Missing);
    if json {
        output::json(&Checked { good, file: file.map(|(file, _)| file), host })?;
    } else {
        if let Some((file, error)) = &file {
            print_file(file, error.as_ref())?;
        }
        host.iter().try_for_each(print_finding)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was found, and for a file that gatewayd does not take, why. With `host`, it is meant for this machine.
fn check_file(path: &Path, host: bool) -> (CheckedFile, Option<ConfigError>) {
    match Config::load(path) {
        Ok(mut config) => {
            let Doubts { problems, warnings } = match Here::look(&config.gateway.tun) {
                Ok(here) => sense::doubts(&config, &here, host),
                Err(error) => {
                    Doubts { warnings: vec![format!("this machine's addresses: {error}")], ..Doubts::default() }
                }
            };
            config.warnings.extend(warnings);
            let about_several = |message| CheckedProblem { line: None, key: String::new(), message };
            let file = CheckedFile {
                path: path.to_owned(),
                notes: siblings(&config.connections),
                connections: config.connections.len(),
                routes: config.routes.len(),
                warnings: config.warnings,
                problems: problems.into_iter().map(about_several).collect(),
            };
            (file, None)
        }
        Err(error) => {
            let problem = |problem: &crate::daemon::config::section::Problem| CheckedProblem {
                line: Some(problem.line).filter(|line| *line > 0),
                key: problem.key.clone(),
                message: problem.message.clone(),
            };
            let problems = error.problems.iter().map(problem).collect();
            (CheckedFile { path: path.to_owned(), problems, ..CheckedFile::default() }, Some(error))
        }
    }
}

fn print_file(file: &CheckedFile, error: Option<&ConfigError>) -> Result<(), OutputError> {
    let CheckedFile { path, problems, warnings, notes, connections, routes } = file;
    if let Some(error) = error {
        complain(error);
        error.problems.iter().filter(|problem| !problem.shown.is_empty()).for_each(|problem| complain(&problem.shown));
        return Ok(());
    }
    for problem in problems {
        complain(format_args!("{}: {}", path.display(), problem.message));
    }
    for warning in warnings {
        output::line(&format!("warning: {warning}"))?;
    }
    for note in notes {
        output::line(&format!("note: {note}"))?;
    }
    let good = if problems.is_empty() { "good" } else { "gatewayd takes it, but it cannot work" };
    output::line(&format!("{}: {good}; connections: {connections}, routes: {routes}", path.display()))
}

fn print_finding(finding: &Finding) -> Result<(), OutputError> {
    let verdict = match finding.verdict {
        Verdict::Good => "good",
        Verdict::Lacking => "lacking",
        Verdict::Missing => "MISSING",
    };
    output::line(&format!("{:<16} {verdict:<8} {}", finding.subject, finding.detail))
}
