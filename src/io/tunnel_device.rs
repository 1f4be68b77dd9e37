//! gatewayd's tunnel device, kept as it is configured whatever others do to it.
//!
//! The device is known by the descriptor that holds it and by its interface index, never by its name: what somebody
//! renamed is still ours, and what has taken the name is not.
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::io::device::interface::{self, Offloads};
use crate::io::netlink::reconciler::Occasions;
use crate::io::netlink::{Change, Netlink, NetlinkError, PinnedDevice};
use crate::io::netns::Namespace;
use crate::routing::{ActualDevice, DeviceChange, WantedDevice, device_changes};

/// How often a round looks again after it has changed something: one change can undo what another one had set, as the
/// kernel forgets all of IPv6 on a device whose MTU was too small for it.
const PASSES: usize = 4;
/// How long a round that changed something waits before the next, so that a quarrel with another program costs little.
const PACE: Duration = Duration::from_millis(200);
/// How long to wait for another try at what could not be mended.
const RETRY: Duration = Duration::from_secs(2);
/// So many rounds that changed something within [`QUARREL_TIME`] are the work of a program, not of a person.
const QUARREL: usize = 10;
const QUARREL_TIME: Duration = Duration::from_secs(60);

/// Why the tunnel device cannot be taken care of at all.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Its descriptor has no interface any more, as after `ip link delete`.
    #[error("it has been deleted")]
    Deleted(#[source] io::Error),
    /// Its interface is in another network namespace.
    #[error("it is no longer in this network namespace; move it back, or restart gatewayd")]
    Elsewhere,
    /// The kernel could not be asked.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// What one comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// What was changed, each in a few words.
    pub mended: Vec<String>,
    /// What is not as it should be, and why, each in a line for a person.
    pub troubles: Vec<String>,
}

/// Compares the device with what is configured, and changes it.
pub struct TunnelDevice {
    namespace: Namespace,
    descriptor: OwnedFd,
    index: u32,
    wanted: WantedDevice,
    /// The offloads that it was made with; `None` where the kernel does not tell.
    offloads: Option<Offloads>,
    netlink: Option<Netlink>,
}

impl TunnelDevice {
    /// Finds the interface of a TUN descriptor in `namespace`, with the offloads and the queue that it has now. Nothing is
    /// changed yet.
    ///
    /// # Errors
    /// It is not there, or the kernel cannot be asked.
    pub async fn find(
        namespace: Namespace,
        descriptor: OwnedFd,
        mut wanted: WantedDevice,
    ) -> Result<Self, DeviceError> {
        let name = interface::name_of(&descriptor).map_err(DeviceError::Deleted)?;
        let netlink = Netlink::open(&namespace)?;
        let index = netlink.index(&name).await?;
        let offloads = interface::offloads(&namespace, &name).ok();
        if wanted.queue_length.is_none() {
            wanted.queue_length = netlink.device(index).await?.map(|device| device.queue_length);
        }
        Ok(Self { namespace, descriptor, index, wanted, offloads, netlink: Some(netlink) })
    }

    /// What names the device to those who set routes into it.
    pub fn pinned(&self) -> PinnedDevice {
        PinnedDevice { index: self.index, name: Arc::clone(&self.wanted.name) }
    }

    /// Reads, compares, changes, until there is nothing left to change or nothing that can be.
    pub async fn round(&mut self) -> Round {
        let mut round = Round::default();
        for _ in 0..PASSES {
            let mended = round.mended.len();
            round.troubles = match self.pass(&mut round.mended).await {
                Ok(troubles) => troubles,
                Err(error) => vec![format!("TUN device {}: {error}", self.wanted.name)],
            };
            if round.mended.len() == mended {
                break;
            }
        }
        round
    }

    /// One pass; answers with what could not be changed.
    async fn pass(&mut self, mended: &mut Vec<String>) -> Result<Vec<String>, DeviceError> {
        let name = interface::name_of(&self.descriptor).map_err(DeviceError::Deleted)?;
        // After a failure the next pass opens a new one.
        let netlink = match self.netlink.take() {
            Some(netlink) => netlink,
            None => Netlink::open(&self.namespace)?,
        };
        let found = netlink.device(self.index).await?;
        // Another namespace may give its index to another device.
        let actual = found.filter(|found| *found.name == *name).ok_or(DeviceError::Elsewhere)?;
        let mut troubles = Vec::new();
        for change in device_changes(&self.wanted, &actual) {
            match netlink.change_device(self.index, &change).await {
                Ok(()) => mended.push(change.to_string()),
                Err(error) => troubles.push(self.trouble(&actual, &change, &error)),
            }
        }
        self.netlink = Some(netlink);
        self.restore_offloads(mended, &mut troubles);
        Ok(troubles)
    }

    /// A line for a person about a change that the kernel refused.
    fn trouble(&self, actual: &ActualDevice, change: &DeviceChange, error: &NetlinkError) -> String {
        let name = &self.wanted.name;
        match change {
            DeviceChange::Rename { from, .. } if error.errno() == Some(libc::EEXIST) => format!(
                "the TUN device is called {from}, because a device of another program has taken its name {name}: rename \
                 or delete that one; until then the routes lead into {from}"
            ),
            DeviceChange::AddAddress(address) if address.addr().is_ipv6() && error.errno() == Some(libc::EACCES) => {
                format!("TUN device {name}: {error}; set net.ipv6.conf.{}.disable_ipv6 to 0", actual.name)
            }
            _ => format!("TUN device {name}: {error}"),
        }
    }

    fn restore_offloads(&self, mended: &mut Vec<String>, troubles: &mut Vec<String>) {
        let Some(wanted) = &self.offloads else { return };
        let missing = || -> io::Result<(String, Option<Offloads>)> {
            let name = interface::name_of(&self.descriptor)?;
            let now = interface::offloads(&self.namespace, &name)?;
            Ok((name, wanted.missing(&now)))
        };
        let restored = missing().and_then(|(name, missed)| {
            let Some(missed) = missed else { return Ok(None) };
            interface::turn_on(&self.namespace, &name, &missed)?;
            Ok(Some(missing()?.1.is_none()))
        });
        let name = &self.wanted.name;
        match restored {
            Ok(None) => {}
            Ok(Some(true)) => mended.push("turning its offloads on".to_owned()),
            Ok(Some(false)) => troubles.push(format!(
                "TUN device {name}: some of its offloads are off and cannot be turned on again; it is slower (ethtool -k)"
            )),
            Err(error) => troubles.push(format!("TUN device {name}: turning its offloads on: {error}")),
        }
    }

    /// Keeps the device from now on: on every change of a device or an address in its namespace, every minute, and every
    /// two seconds while something cannot be mended.
    pub fn keep(self) -> KeptDevice {
        let (sender, troubles) = watch::channel(Vec::new());
        KeptDevice { task: tokio::spawn(self.run(sender)), troubles }
    }

    async fn run(mut self, told: watch::Sender<Vec<String>>) {
        let mut occasions = Occasions::of_devices(self.namespace.clone(), concerns);
        let mut quarrel = Quarrel::default();
        loop {
            occasions.begin();
            let Round { mended, mut troubles } = self.round().await;
            if !mended.is_empty() {
                warn!("somebody changed TUN device {}; undone by {}", self.wanted.name, mended.join(", "));
                quarrel.note(Instant::now());
                sleep(PACE).await;
            }
            if quarrel.lasts(Instant::now()) {
                troubles.push(format!(
                    "another program changes TUN device {0} again and again; keep it away from it (NetworkManager: \
                     unmanaged-devices=interface-name:{0})",
                    self.wanted.name
                ));
            }
            let troubled = !troubles.is_empty();
            told.send_if_modified(|current| {
                let news = *current != troubles;
                *current = troubles;
                news
            });
            tokio::select! {
                _ = occasions.next() => {}
                () = sleep(RETRY), if troubled => {}
            }
        }
    }
}

/// Also of other devices: one of them may give up our name.
fn concerns(change: Change) -> bool {
    matches!(change, Change::Link { .. } | Change::Address { .. })
}

/// The task that keeps the device. It ends when this is dropped, and leaves the device as it is.
pub struct KeptDevice {
    task: JoinHandle<()>,
    troubles: watch::Receiver<Vec<String>>,
}

impl KeptDevice {
    /// What is wrong with the device at the moment and cannot be mended, in lines for a person.
    pub fn troubles(&self) -> watch::Receiver<Vec<String>> {
        self.troubles.clone()
    }
}

impl Drop for KeptDevice {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// When the device had to be mended of late.
#[derive(Debug, Default)]
struct Quarrel {
    mended: VecDeque<Instant>,
}

impl Quarrel {
    fn note(&mut self, now: Instant) {
        if self.mended.len() == QUARREL {
            self.mended.pop_front();
        }
        self.mended.push_back(now);
    }

    fn lasts(&self, now: Instant) -> bool {
        let oldest = self.mended.front().filter(|_| self.mended.len() == QUARREL);
        oldest.is_some_and(|oldest| now.saturating_duration_since(*oldest) < QUARREL_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_no_quarrel_and_a_quarrel_ends() {
        let begin = Instant::now();
        let mut quarrel = Quarrel::default();
        for second in 0..QUARREL as u64 {
            assert!(!quarrel.lasts(begin + Duration::from_secs(second)));
            quarrel.note(begin + Duration::from_secs(second));
        }
        assert!(quarrel.lasts(begin + Duration::from_secs(10)));
        assert!(!quarrel.lasts(begin + QUARREL_TIME));
    }
}
