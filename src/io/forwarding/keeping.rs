//! The policy in force in the state directory, written where nobody waits for it.
use std::io;
use std::path::PathBuf;

use tokio::task::JoinHandle;

use crate::io::kept_policy::KeptPolicy;

/// Writes one policy after the other.
pub(super) struct Keeping {
    /// The state directory; none keeps nothing.
    folder: Option<PathBuf>,
    /// What was last written, or is being.
    tried: Option<KeptPolicy>,
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl Keeping {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, tried: None, writing: None }
    }

    /// Begins to write a policy that the directory has not, unless another one is being written: then it comes after that.
    pub(super) fn begin(&mut self, kept: &KeptPolicy) {
        let Some(folder) = &self.folder else { return };
        if self.writing.is_some() || self.tried.as_ref() == Some(kept) {
            return;
        }
        self.tried = Some(kept.clone());
        let (folder, kept) = (folder.clone(), kept.clone());
        self.writing = Some(tokio::task::spawn_blocking(move || kept.write(&folder)));
    }

    /// Waits until the directory has what is being written to it, for ever if nothing is. The wait may be given up. What
    /// could not be written is tried again when it is begun again.
    pub(super) async fn written(&mut self) -> io::Result<()> {
        let Some(task) = &mut self.writing else { return std::future::pending().await };
        let wrote = task.await.map_err(io::Error::other).flatten();
        self.writing = None;
        if wrote.is_err() {
            self.tried = None;
        }
        wrote
    }

    /// Whether something is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_is_written_after_the_other_and_what_failed_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let of = |mark| KeptPolicy { mark, ..KeptPolicy::default() };
        let mut keeping = Keeping::new(Some(folder.path().join("state")));
        keeping.begin(&of(1));
        assert!(keeping.written().await.is_err(), "there is no such directory");
        std::fs::create_dir(folder.path().join("state")).unwrap();
        keeping.begin(&of(1));
        keeping.begin(&of(2));
        keeping.written().await.unwrap();
        let read = || KeptPolicy::read(&folder.path().join("state")).unwrap();
        assert_eq!(read(), Some(of(1)));
        keeping.begin(&of(2));
        assert!(keeping.is_writing());
        keeping.written().await.unwrap();
        keeping.begin(&of(2));
        assert_eq!((read(), keeping.is_writing()), (Some(of(2)), false));
    }
}
