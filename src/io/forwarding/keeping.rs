//! The policy in force in the state directory, written where nobody waits for it.
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::io::kept_policy::KeptPolicy;
use crate::routing::Closed;

/// Writes one policy after the other.
pub(super) struct Keeping {
    /// The state directory; none keeps nothing.
    folder: Option<PathBuf>,
    /// What was last written, or is being: what is asked for, and the local subnets that were closed.
    tried: Option<(Arc<KeptPolicy>, Closed)>,
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl Keeping {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, tried: None, writing: None }
    }

    /// Begins to write a policy, and the local subnets that are `closed`, unless the directory has both, or another one is
    /// being written: then it comes after that.
    pub(super) fn begin(&mut self, asked: &Arc<KeptPolicy>, closed: &Closed) {
        let Some(folder) = &self.folder else { return };
        let is_tried = |(tried, was_closed): &(Arc<KeptPolicy>, Closed)| {
            (Arc::ptr_eq(tried, asked) || tried == asked) && was_closed == closed
        };
        if self.writing.is_some() || self.tried.as_ref().is_some_and(is_tried) {
            return;
        }
        self.tried = Some((Arc::clone(asked), closed.clone()));
        let (folder, asked, closed) = (folder.clone(), Arc::clone(asked), closed.clone());
        let write = move || KeptPolicy { closed, ..KeptPolicy::clone(&asked) }.write(&folder);
        self.writing = Some(tokio::task::spawn_blocking(write));
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
        let of = |mark| Arc::new(KeptPolicy { mark, ..KeptPolicy::default() });
        let begin = |keeping: &mut Keeping, mark| keeping.begin(&of(mark), &Closed::new());
        let mut keeping = Keeping::new(Some(folder.path().join("state")));
        begin(&mut keeping, 1);
        assert!(keeping.written().await.is_err(), "there is no such directory");
        std::fs::create_dir(folder.path().join("state")).unwrap();
        begin(&mut keeping, 1);
        begin(&mut keeping, 2);
        keeping.written().await.unwrap();
        let read = || KeptPolicy::read(&folder.path().join("state")).unwrap();
        assert_eq!(read(), Some(of(1).as_ref().clone()));
        begin(&mut keeping, 2);
        assert!(keeping.is_writing());
        keeping.written().await.unwrap();
        begin(&mut keeping, 2);
        assert_eq!((read(), keeping.is_writing()), (Some(of(2).as_ref().clone()), false));
    }
}
