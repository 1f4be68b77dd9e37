//! gatewayd: an IPsec VPN gateway in userspace.

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser;
use ipsec_gateway::daemon::run::{Arguments, run};
use ipsec_gateway::io::terminal::complain;
use zeroizing_alloc::ZeroAlloc;

/// Freed memory is zeroed: a key is gone with its owner.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("gatewayd: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run(arguments))
}
