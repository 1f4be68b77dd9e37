//! Network namespaces: running something in a named one.
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps its names.
const FOLDER: &str = "/run/netns";

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// The one that this process was started in.
    Own,
    /// One with a name, as `ip netns add` makes it.
    Named(Arc<str>),
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Namespace::Own => "own namespace",
            Namespace::Named(name) => name,
        })
    }
}

impl Namespace {
    fn path(&self) -> io::Result<PathBuf> {
        match self {
            Namespace::Own => Ok(PathBuf::from("/proc/self/ns/net")),
            Namespace::Named(name) if name.is_empty() || name.contains('/') || name.starts_with('.') => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot be a namespace's name")))
            }
            Namespace::Named(name) => Ok(PathBuf::from(FOLDER).join(name.as_ref())),
        }
    }

    /// Runs `job` inside the namespace and waits for it.
    ///
    /// A namespace belongs to a thread, so the job gets a thread of its own, which ends with it. What it creates there,
    /// a socket or a child process, stays in the namespace; that is why the job is short, and why no thread of the
    /// daemon ever changes sides.
    ///
    /// # Errors
    /// The namespace does not exist, or may not be entered (that takes CAP_SYS_ADMIN).
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> io::Result<T> {
        let Namespace::Named(name) = self else { return Ok(job()) };
        let file = File::open(self.path()?).map_err(|error| self.with_name(&error))?;
        thread::scope(|scope| {
            let entered = move || -> io::Result<T> {
                setns(&file, CloneFlags::CLONE_NEWNET)?;
                Ok(job())
            };
            let thread = thread::Builder::new().name(format!("netns {name}")).spawn_scoped(scope, entered)?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread inside the namespace panicked")))
        })
    }

    /// Tells one life of a namespace from the next of the same name.
    ///
    /// # Errors
    /// The namespace does not exist.
    pub fn identity(&self) -> io::Result<u64> {
        Ok(std::fs::metadata(self.path()?).map_err(|error| self.with_name(&error))?.ino())
    }

    fn with_name(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("network namespace {self}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for name in ["", "../self/ns/net", "a/b", ".hidden"] {
            let error = Namespace::Named(name.into()).run(|| ()).expect_err("an invalid name");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }

    #[test]
    fn a_missing_namespace_is_named_in_the_error() {
        let error = Namespace::Named("ig-there-is-none".into()).run(|| ()).expect_err("no such namespace");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("ig-there-is-none"), "{error}");
    }
}
