//! What the view is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::watch;

use crate::control::owner::OwnerReply;
use crate::control::route::Route;
use crate::daemon::config::Config;
use crate::daemon::owner_set::Translation;
use crate::daemon::status::KernelView;
use crate::io::forwarding::{Absence, Standing};

/// The parts of the view that are made of what stays the same while others change.
#[derive(Default)]
pub struct Shown {
    pub(super) routes: Arc<BTreeMap<IpNet, Arc<[Route]>>>,
    /// Of the file, and of cend's set.
    pub(super) warnings: [Arc<Vec<String>>; 2],
    pub(super) cend: Option<Arc<OwnerReply>>,
    pub(super) kernel: Arc<KernelView>,
    /// Destinations that the kernel does not lead into the tunnel, as they are shown.
    pub(super) uncarried: BTreeMap<IpNet, Absence>,
    /// How the kernel stands was looked at, and when that was told last.
    pub(super) standing: Option<watch::Receiver<Standing>>,
    pub(super) kernel_is_behind: bool,
}

impl Shown {
    /// Takes what is configured. `reply` is the answer to cend's set.
    pub fn configured(&mut self, file: &Config, cend: &Translation, reply: Option<OwnerReply>) {
        for (shown, now) in self.warnings.iter_mut().zip([&file.warnings, &cend.warnings]) {
            if **shown != *now {
                *shown = Arc::new(now.clone());
            }
        }
        if self.cend.as_deref() != reply.as_ref() {
            self.cend = reply.map(Arc::new);
        }
    }

    /// The kernel has to be looked at again, whether it tells of a change or not.
    pub fn kernel_is_behind(&mut self) {
        self.kernel_is_behind = true;
    }
}
