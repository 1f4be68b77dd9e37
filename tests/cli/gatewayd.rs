//! A control socket that answers as a test says, in place of gatewayd's.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;

use axum::Router;
use ipsec_gateway::io::unix::ControlSocket;
use tempfile::TempDir;
use tokio::sync::oneshot;

pub const GATEWAYCTL: &str = env!("CARGO_BIN_EXE_gatewayctl");

/// Answers on a thread of its own until it is dropped.
pub struct Fake {
    pub socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    _folder: TempDir,
}

impl Fake {
    pub fn answering(router: Router) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("control.sock");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listening = {
            let _entered = runtime.enter();
            ControlSocket::bind(&socket).expect("a socket")
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            let served = listening.serve(router, async { stopped.await.unwrap_or_default() });
            runtime.block_on(served).expect("it serves");
        };
        Self { socket, stop: Some(stop), thread: Some(thread::spawn(serve)), _folder: folder }
    }

    /// gatewayctl with these words, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(GATEWAYCTL);
        command.arg("--socket").arg(&self.socket).args(words).stdin(Stdio::null()).env_remove("GATEWAYD_SOCKET");
        command
    }

    pub fn ask(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("gatewayctl runs")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a program printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}
