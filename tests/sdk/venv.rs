//! The Python environment that has the official SDKs, made once below Cargo's target directory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::missing::skipped;

/// What the script answers when there is no way to the package index.
const OFFLINE: i32 = 75;

/// Runs a script of this folder with the SDKs. Offline the script is skipped, and there is `None`.
pub fn python(script: &str) -> Option<Command> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
    let python = PYTHON.get_or_init(|| {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk-venv");
        let made = Command::new(folder.join("make-venv.sh")).arg(&venv).status().expect("make-venv.sh runs");
        match made.code() {
            Some(0) => Some(venv.join("bin/python")),
            Some(OFFLINE) => None,
            other => panic!("the official SDKs cannot be installed: make-venv.sh ended with {other:?}"),
        }
    });
    let Some(python) = python else {
        skipped(format_args!("a way to the package index, which the official SDKs of {script} come from"));
        return None;
    };
    let mut command = Command::new(python);
    command.arg(folder.join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
    // The SDKs would send requests for a loopback address through a proxy.
    for proxy in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    Some(command)
}
