//! gatewayd's log: one line for what an operator did or should know, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The level of a log without a configuration.
pub const DEFAULT: &str = "info";

/// Starts the log at the level of the configuration, or as the environment variable GATEWAYD_LOG says
/// (`debug`, or `info,ipsec_gateway::ike=trace`).
pub fn start(level: &str) {
    let filter = EnvFilter::try_from_env("GATEWAYD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // The journal writes the time itself.
    let started =
        if std::env::var_os("JOURNAL_STREAM").is_some() { log.without_time().try_init() } else { log.try_init() };
    if started.is_err() {
        eprintln!("gatewayd: a log runs already");
    }
}
