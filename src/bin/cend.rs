//! The simulated cloud: its OpenAPI, its route tables and CEN, and the real networks that it is bound to.

use std::alloc::System;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ipsec_gateway::cloud::config::{AccessKey, Config};
use ipsec_gateway::cloud::wiring;
use ipsec_gateway::io::memory;
use ipsec_gateway::io::terminal::{colours_on_stderr, complain};
use tracing_subscriber::EnvFilter;
use zeroizing_alloc::ZeroAlloc;

/// Freed memory is zeroed: a key is gone with its owner.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// Simulates the cloud: VPCs, VPN gateways and CEN behind the cloud's own API.
#[derive(Parser)]
#[command(name = "cend", version)]
struct Arguments {
    /// The configuration file. Without one, cend is a pure simulation of the API.
    #[arg(long, value_name = "FILE", required_unless_present = "listen")]
    config: Option<PathBuf>,
    /// Where the API listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "directory")]
    listen: Option<SocketAddr>,
    /// Where the API listens with TLS, as most clients insist on it.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_tls: Option<SocketAddr>,
    /// The certificate for it, with those that lead to its root; PEM. Without it cend makes an authority of its own.
    #[arg(long, value_name = "FILE", requires_all = ["listen_tls", "tls_key"])]
    tls_certificate: Option<PathBuf>,
    /// Its private key; PEM, and nobody else may read it.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Directory in which the state outlives a restart.
    #[arg(long = "state", value_name = "DIR", id = "directory")]
    state: Option<PathBuf>,
    /// A key that may call the API; may be repeated. Visible to others in the process list: there is also the
    /// environment, where keys are separated by commas, and the configuration.
    #[arg(long, value_name = "ID:SECRET")]
    access_key: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("cend: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let locked = memory::protect()?;
    let config = configuration(arguments)?;
    let filter = EnvFilter::try_new(&config.log).map_err(|error| format!("log: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours_on_stderr())
        // There is nowhere to tell that standard error cannot be written to.
        .log_internal_errors(false)
        .init();
    memory::settle(&locked, config.core_dumps)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(wiring::run(config, |listening| {
        let mut text = format!("cend listens on http://{}\n", listening.http);
        text.extend(listening.https.map(|https| format!("cend listens on https://{https}\n")));
        text.extend(listening.ca.map(|ca| format!("its certificate authority: {}, also at /ca.pem\n", ca.display())));
        // Whoever has stopped reading has read enough: that is no reason to end.
        let mut out = std::io::stdout();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }));
    // Whatever still hangs may not keep the process.
    runtime.shutdown_background();
    Ok(outcome?)
}

fn configuration(arguments: Arguments) -> Result<Config, Box<dyn std::error::Error>> {
    let mut config = match (arguments.config, arguments.listen, &arguments.state) {
        (Some(file), ..) => Config::read(&file)?,
        (None, Some(listen), Some(state)) => Config::simulation(listen, state.clone()),
        _ => return Err("give --config FILE, or --listen ADDRESS:PORT with --state DIR".into()),
    };
    // Flags win over the file.
    config.listen = arguments.listen.unwrap_or(config.listen);
    config.listen_tls = arguments.listen_tls.or(config.listen_tls);
    config.tls_files = arguments.tls_certificate.zip(arguments.tls_key).or(config.tls_files);
    config.state = arguments.state.unwrap_or(config.state);
    for key in &arguments.access_key {
        config.access_keys.push(AccessKey::parse(key).map_err(|error| format!("--access-key: {error}"))?);
    }
    if let Ok(keys) = std::env::var("CEND_ACCESS_KEYS") {
        config.access_keys.extend(AccessKey::parse_list(&keys).map_err(|error| format!("CEND_ACCESS_KEYS: {error}"))?);
    }
    Ok(config)
}
