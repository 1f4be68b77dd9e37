//! gatewayctl: asks gatewayd and the simulated cloud.

use std::process::ExitCode;

use clap::Parser;
use ipsec_gateway::cli;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(arguments)),
        Err(error) => {
            eprintln!("gatewayctl: {error}");
            ExitCode::FAILURE
        }
    }
}
