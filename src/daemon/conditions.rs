//! What is wrong at the moment and an operator should know of: each is told in the log when it begins and when it ends, and
//! stands in the status in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// Who finds out about a condition, and alone says that it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Whoever keeps the tunnel device.
    Device,
    /// Whoever looks whether the kernel forwards packets.
    IpForwarding,
    /// Whoever keeps routes, rules and filter in the kernel.
    Kernel,
    /// Whoever looks up the peers' names.
    Names,
}

/// The conditions that hold, by who found out. Anybody may have a handle; only a source sets its own lines.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    holding: Arc<watch::Sender<BTreeMap<Source, Vec<String>>>>,
}

impl Conditions {
    /// Makes `lines` all that `source` knows of. A line is one condition: it must read the same for as long as it holds.
    pub fn set(&self, source: Source, lines: Vec<String>) {
        self.holding.send_if_modified(|holding| {
            let before = holding.get(&source).map(Vec::as_slice).unwrap_or_default();
            if before == lines {
                return false;
            }
            for line in lines.iter().filter(|line| !before.contains(line)) {
                warn!("{line}");
            }
            for line in before.iter().filter(|line| !lines.contains(line)) {
                info!("no longer so: {line}");
            }
            holding.insert(source, lines);
            true
        });
    }

    /// Sets what a task tells of, from now on until it ends.
    pub fn follow(&self, source: Source, mut told: watch::Receiver<Vec<String>>) -> JoinHandle<()> {
        let conditions = self.clone();
        tokio::spawn(async move {
            loop {
                let lines = told.borrow_and_update().clone();
                conditions.set(source, lines);
                if told.changed().await.is_err() {
                    return;
                }
            }
        })
    }

    /// Every line, those of one source together.
    pub fn lines(&self) -> Vec<String> {
        self.holding.borrow().values().flatten().cloned().collect()
    }

    /// Tells of every change from now on.
    pub fn changes(&self) -> watch::Receiver<BTreeMap<Source, Vec<String>>> {
        self.holding.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(list: &[&str]) -> Vec<String> {
        list.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_source_changes_only_its_own_and_only_news_is_told() {
        let conditions = Conditions::default();
        let changes = conditions.changes();
        conditions.set(Source::Kernel, lines(&["route"]));
        conditions.set(Source::Device, lines(&["name", "address"]));
        assert_eq!(conditions.lines(), lines(&["name", "address", "route"]));
        assert!(changes.has_changed().unwrap());

        let changes = conditions.changes();
        conditions.set(Source::Device, lines(&["name", "address"]));
        conditions.set(Source::IpForwarding, lines(&[]));
        assert_eq!(conditions.lines(), lines(&["name", "address", "route"]));
        conditions.set(Source::Device, lines(&[]));
        assert_eq!(conditions.lines(), lines(&["route"]));
        assert!(changes.has_changed().unwrap());
    }

    #[tokio::test]
    async fn what_a_task_tells_of_is_followed_until_it_ends() {
        let conditions = Conditions::default();
        let mut changes = conditions.changes();
        let (task, told) = watch::channel(lines(&["first"]));
        let following = conditions.follow(Source::Device, told);
        changes.changed().await.unwrap();
        assert_eq!(conditions.lines(), lines(&["first"]));
        task.send_replace(lines(&["second"]));
        changes.changed().await.unwrap();
        assert_eq!(conditions.lines(), lines(&["second"]));
        drop(task);
        following.await.unwrap();
    }
}
