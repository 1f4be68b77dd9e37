//! Reading the configuration file again, beside the control task: the file may be large, and its disk slow.

use std::path::Path;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use super::config::Config;
use super::gateway::Refused;
use crate::control::reload::Reloaded;
use crate::io::memory;

/// Who asked for a reload: a caller of the control socket, or a signal.
pub type Asker = Option<oneshot::Sender<Result<Reloaded, Refused>>>;

/// Reloads that were asked for. One reading is under way at a time; who asks meanwhile gets another one, as the file may have
/// changed since it began.
#[derive(Default)]
pub struct Reloads {
    under_way: Option<JoinHandle<Result<Config, String>>>,
    /// Who asked for the reading that is under way.
    askers: Vec<Asker>,
    /// Who asked since, as many as the control socket has callers.
    next: Vec<Asker>,
}

impl Reloads {
    /// Asks for a reload of the file at `path`.
    pub fn ask(&mut self, path: &Path, asker: Asker) {
        if self.under_way.is_some() {
            // One signal is as good as many.
            if asker.is_some() || self.next.iter().all(Option::is_some) {
                self.next.push(asker);
            }
        } else {
            self.askers = vec![asker];
            self.begin(path);
        }
    }

    fn begin(&mut self, path: &Path) {
        let path = path.to_owned();
        self.under_way = Some(spawn_blocking(move || {
            let file = Config::load(&path).map_err(|error| error.to_string());
            // The file's keys were on this thread's stack.
            memory::forget();
            file
        }));
    }

    /// What was read, and who asked for it. Waits for ever where nobody has. May be dropped and called again.
    pub async fn read(&mut self, path: &Path) -> (Result<Config, String>, Vec<Asker>) {
        let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
        let read = under_way.await.unwrap_or_else(|error| Err(format!("the file was not read: {error}")));
        self.under_way = None;
        let askers = std::mem::replace(&mut self.askers, std::mem::take(&mut self.next));
        if !self.askers.is_empty() {
            self.begin(path);
        }
        (read, askers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_during_a_reading_gets_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gatewayd.toml");
        let mut reloads = Reloads::default();
        let asker = || Some(oneshot::channel().0);
        reloads.ask(&path, asker());
        for _ in 0..3 {
            reloads.ask(&path, None);
            reloads.ask(&path, asker());
        }
        let (read, askers) = reloads.read(&path).await;
        assert!(read.unwrap_err().contains("gatewayd.toml"));
        assert_eq!(askers.len(), 1);
        assert_eq!(reloads.read(&path).await.1.len(), 4, "three callers and one signal");
        let nothing = tokio::time::timeout(std::time::Duration::from_millis(10), reloads.read(&path));
        assert!(nothing.await.is_err());
    }
}
