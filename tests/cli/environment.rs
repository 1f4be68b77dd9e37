//! What the variables of other programs, and our own, do to a command.

use std::process::{Command, Output};

use crate::gatewayd::{GATEWAYCTL, text};

fn with(variable: (&str, &str), words: &[&str]) -> Output {
    Command::new(GATEWAYCTL).args(words).env(variable.0, variable.1).output().expect("it runs")
}

#[test]
fn a_command_is_carried_out_whatever_is_to_be_completed() {
    let plain = text(&Command::new(GATEWAYCTL).arg("schema").output().expect("it runs").stdout);
    assert!(plain.starts_with('{'), "{plain}");
    for variable in ["COMPLETE", "_GATEWAYCTL_COMPLETE"] {
        for value in ["1", "bash", "zsh", ""] {
            let output = with((variable, value), &["schema"]);
            assert_eq!((text(&output.stdout), output.status.code()), (plain.clone(), Some(0)), "{variable}={value}");
        }
    }
    // Words as a shell sends them, for a shell that is none: the command line is read as ever, and is none.
    let output = with(("_GATEWAYCTL_COMPLETE", "nushell"), &["--", "gatewayctl", "sta"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn a_shell_is_answered_with_what_may_come_next() {
    let output = Command::new(GATEWAYCTL)
        .args(["--", "gatewayctl", "sta"])
        .env("_GATEWAYCTL_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "1")
        .env("_CLAP_IFS", "\n")
        .output()
        .expect("it runs");
    assert_eq!((text(&output.stdout).trim(), output.status.code()), ("status", Some(0)), "{}", text(&output.stderr));
}
