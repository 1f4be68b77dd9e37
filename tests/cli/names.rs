//! What the programs say of themselves.

use std::process::Command;

use crate::gatewayd::{GATEWAYCTL, text};

const CEND: &str = env!("CARGO_BIN_EXE_cend");
const GATEWAYD: &str = env!("CARGO_BIN_EXE_gatewayd");

#[test]
fn each_program_says_its_own_name() {
    for (program, name) in [(CEND, "cend"), (GATEWAYD, "gatewayd"), (GATEWAYCTL, "gatewayctl")] {
        let printed = |word: &str| text(&Command::new(program).arg(word).output().expect("it runs").stdout);
        assert_eq!(printed("--version"), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
        assert!(printed("--help").contains(&format!("Usage: {name} ")), "{}", printed("--help"));
    }
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("cend.toml");
    // It starts to log and ends at once, for its address is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let text = format!(
        "listen = \"{}\"\nstate = \"{}\"\nlog = \"trace\"\n",
        taken.local_addr().expect("its address"),
        folder.path().join("state").display()
    );
    std::fs::write(&config, text).expect("a configuration");
    let output = Command::new(CEND).arg("--config").arg(&config).output().expect("it runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.lines().count() > 1 && !log.contains('\x1b'), "{log}");
}
