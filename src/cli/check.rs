//! `gatewayctl check`: a configuration file, or what this machine offers.

use std::path::Path;
use std::process::ExitCode;

use super::output::{self, OutputError};
use crate::daemon::config::{Config, siblings};
use crate::io::host::{self, Finding, Verdict};
use crate::io::terminal::complain;

/// Fails when the file is wrong or the machine lacks something that gatewayd cannot do without.
pub fn run(file: Option<&Path>, host: bool, json: bool) -> Result<ExitCode, OutputError> {
    let mut good = true;
    if let Some(file) = file {
        good &= check_file(file)?;
    }
    if host {
        let findings = host::findings();
        good &= findings.iter().all(|finding| finding.verdict != Verdict::Missing);
        if json {
            output::json(&findings)?;
        } else {
            findings.iter().try_for_each(print_finding)?;
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_file(file: &Path) -> Result<bool, OutputError> {
    Ok(match Config::load(file) {
        Ok(config) => {
            for warning in &config.warnings {
                output::line(&format!("warning: {warning}"))?;
            }
            for line in siblings(&config.connections) {
                output::line(&format!("note: {line}"))?;
            }
            let connections = config.connections.len();
            let routes = config.routes.len();
            output::line(&format!("{}: good; connections: {connections}, routes: {routes}", file.display()))?;
            true
        }
        Err(error) => {
            complain(error);
            false
        }
    })
}

fn print_finding(finding: &Finding) -> Result<(), OutputError> {
    let verdict = match finding.verdict {
        Verdict::Good => "good",
        Verdict::Lacking => "lacking",
        Verdict::Missing => "MISSING",
    };
    output::line(&format!("{:<16} {verdict:<8} {}", finding.subject, finding.detail))
}
