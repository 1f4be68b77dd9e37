//! What the process owes to the system: no core dumps, signals, and systemd's notifications.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{debug, error};

/// Keys must not end up in a core file, nor in a debugger of another process.
///
/// # Errors
/// The system refuses.
pub fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)?;
    Ok(())
}

/// The signals that gatewayd obeys.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM: an operator or systemd ends gatewayd.
    Terminate,
    /// SIGINT: somebody at a terminal does.
    Interrupt,
    /// SIGHUP.
    Reload,
}

impl Signals {
    /// # Errors
    /// The system refuses.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// SIGTERM and SIGINT stop, SIGHUP reloads.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }
}

/// Tells systemd; without systemd nothing happens.
pub fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "systemd was not told");
    }
}

/// Feeds systemd's watchdog for as long as the IKE thread's heart beats.
pub async fn feed_watchdog(heartbeat: Arc<AtomicU64>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    // The heart beats at least once a second.
    let interval = (limit / 3).max(Duration::from_secs(2));
    let mut last = None;
    loop {
        let beat = heartbeat.load(Ordering::Relaxed);
        if last == Some(beat) {
            error!("the IKE thread does not answer; systemd's watchdog goes hungry");
        } else {
            tell_systemd(&[NotifyState::Watchdog]);
        }
        last = Some(beat);
        tokio::time::sleep(interval).await;
    }
}
