//! The configuration file is read again where nobody waits for anything else and by who stands back for the others, one time after
//! the other.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::gateway::load::{Loaded, load};
use super::gateway::{Gateway, Refused};
use crate::control::reload::Reloaded;
use crate::io::background;

/// Who wants to know what a reload changed: a caller of the API, or nobody, after a signal.
pub type Asker = Option<oneshot::Sender<Result<Reloaded, Refused>>>;

/// The reading that is under way, and who waits for the next one.
#[derive(Default)]
pub struct Loading {
    under_way: JoinSet<(Result<Loaded, Refused>, Asker)>,
    waiting: VecDeque<Asker>,
}

impl Loading {
    /// Reads the file, after those who asked before.
    pub fn ask(&mut self, asker: Asker, gateway: &Gateway) {
        self.waiting.push_back(asker);
        self.go_on(gateway);
    }

    /// Begins the next reading, unless one is under way or nobody waits. To be called when one has been taken.
    pub fn go_on(&mut self, gateway: &Gateway) {
        if !self.under_way.is_empty() {
            return;
        }
        let Some(asker) = self.waiting.pop_front() else { return };
        let (path, before) = (gateway.path.clone(), Arc::clone(&gateway.file));
        self.under_way.spawn(async move {
            let read = background::run(move || load(&path, &before)).await;
            let no_thread = |error| Err(Refused::BadConfiguration(format!("nobody can read the file: {error}")));
            (read.unwrap_or_else(no_thread), asker)
        });
    }

    /// The next file that has been read, and who asked for it; none while nothing is read.
    pub async fn next(&mut self) -> Option<(Result<Loaded, Refused>, Asker)> {
        // It fails only if it panics, which ends the process.
        let read = self.under_way.join_next().await?;
        Some(read.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic())))
    }
}
