//! `gatewayctl check`: a configuration file, or what this machine offers.

use std::path::Path;
use std::process::ExitCode;

use crate::daemon::config::{Config, siblings};
use crate::io::host::{self, Finding, Verdict};

/// Fails when the file is wrong or the machine lacks something that gatewayd cannot do without.
pub fn run(file: Option<&Path>, host: bool, json: bool) -> Result<ExitCode, serde_json::Error> {
    let mut good = true;
    if let Some(file) = file {
        good &= check_file(file);
    }
    if host {
        let findings = host::findings();
        good &= findings.iter().all(|finding| finding.verdict != Verdict::Missing);
        if json {
            println!("{}", serde_json::to_string_pretty(&findings)?);
        } else {
            findings.iter().for_each(print_finding);
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_file(file: &Path) -> bool {
    match Config::load(file) {
        Ok(config) => {
            for warning in &config.warnings {
                println!("warning: {warning}");
            }
            for line in siblings(&config.connections) {
                println!("note: {line}");
            }
            let connections = config.connections.len();
            println!("{}: good; connections: {connections}, routes: {}", file.display(), config.routes.len());
            true
        }
        Err(error) => {
            eprintln!("{error}");
            false
        }
    }
}

fn print_finding(finding: &Finding) {
    let verdict = match finding.verdict {
        Verdict::Good => "good",
        Verdict::Lacking => "lacking",
        Verdict::Missing => "MISSING",
    };
    println!("{:<16} {verdict:<8} {}", finding.subject, finding.detail);
}
