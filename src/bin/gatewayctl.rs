//! gatewayctl: asks gatewayd and the simulated cloud.

use std::alloc::System;
use std::process::ExitCode;

use ipsec_gateway::cli;
use ipsec_gateway::io::terminal::complain;
use zeroizing_alloc::ZeroAlloc;

/// Freed memory is zeroed: a key is gone with its owner.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    cli::complete();
    let arguments = match cli::arguments() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(arguments)),
        Err(error) => {
            complain(format_args!("gatewayctl: {error}"));
            ExitCode::FAILURE
        }
    }
}
