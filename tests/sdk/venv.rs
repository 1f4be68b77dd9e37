//! Environments with official clients, made once below Cargo's target directory, and the Python SDKs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::missing::skipped;

/// What the scripts that make them answer when there is no way to the registry.
const OFFLINE: i32 = 75;

/// This folder.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk")
}

/// Runs a script of this folder with the Python SDKs. Offline the script is skipped, and there is `None`.
pub fn python(script: &str) -> Option<Command> {
    static SDKS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let venv = made(&SDKS, "make-venv.sh", "sdk-venv", &["requirements.txt"])?;
    let mut command = without_proxies(Command::new(venv.join("bin/python")));
    command.arg(folder().join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

/// The clients would send requests for a loopback address through a proxy.
pub fn without_proxies(mut command: Command) -> Command {
    for proxy in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    command
}

/// Makes an environment with a script of this folder and its files, once. `None` offline.
pub fn made(once: &OnceLock<Option<PathBuf>>, script: &str, name: &str, files: &[&str]) -> Option<PathBuf> {
    let environment = once.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let files = files.iter().map(|file| folder().join(file));
        let made = Command::new(folder().join(script)).arg(&target).args(files).status();
        match made.expect("the script runs").code() {
            Some(0) => Some(target),
            Some(OFFLINE) => None,
            other => panic!("{name} cannot be installed: {script} ended with {other:?}"),
        }
    });
    if environment.is_none() {
        skipped(format_args!("a way to the registry that {name} comes from"));
    }
    environment.clone()
}
