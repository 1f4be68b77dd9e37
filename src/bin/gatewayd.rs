//! gatewayd: an IPsec VPN gateway in userspace.

use std::process::ExitCode;

use clap::Parser;
use ipsec_gateway::daemon::run::{Arguments, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("gatewayd: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run(arguments))
}
