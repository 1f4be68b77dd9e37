//! A gatewayd in a namespace of its own.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::{Process, TestNamespace};

const GATEWAYD: &str = env!("CARGO_BIN_EXE_gatewayd");
pub const GATEWAYCTL: &str = env!("CARGO_BIN_EXE_gatewayctl");

pub struct Gatewayd {
    pub namespace: TestNamespace,
    folder: PathBuf,
    process: Option<Process>,
}

impl Gatewayd {
    /// One that is yet to be configured and started, with its files in `folder`, which is made.
    pub fn new(namespace: TestNamespace, folder: &Path) -> Self {
        fs::create_dir(folder).expect("a folder");
        Self { namespace, folder: folder.to_owned(), process: None }
    }

    pub fn configure(&self, text: &str) {
        let path = self.folder.join("gatewayd.toml");
        fs::write(&path, text).expect("a configuration");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    }

    /// Where a file of this gatewayd is: `gatewayd.toml`, `socket`, `state` or `gatewayd.log`.
    pub fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts it by another program, such as `env`, with its arguments.
    pub fn start_with(&mut self, program: &[&str]) {
        let (config, socket, state) = (self.path("gatewayd.toml"), self.path("socket"), self.path("state"));
        let words = [program, &[GATEWAYD, "--config", &config, "--socket", &socket, "--state", &state]].concat();
        self.process = Some(Process::start(&self.namespace, &self.folder.join("gatewayd.log"), &words));
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a running daemon")
    }

    /// SIGKILL; returns when it is gone.
    pub fn crash(&mut self) {
        self.process().signal(Signal::SIGKILL);
        self.process().ends_within(Duration::from_secs(2));
    }

    /// `gatewayctl --json` of this gatewayd; nothing while it does not answer.
    pub fn ask(&self, words: &[&str]) -> Option<Value> {
        let socket = self.path("socket");
        let output =
            Command::new(GATEWAYCTL).args(["--socket", &socket, "--json"]).args(words).output().expect("it runs");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }
}
