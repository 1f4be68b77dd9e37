//! Whether the kernel of this process's namespace forwards packets between the tunnel and other devices.
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How often it is looked at: the notifications of RTNLGRP_IPV4_NETCONF are not among those that the netlink crates read.
const PERIOD: Duration = Duration::from_secs(1);

/// The address families of which something is to be forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub ipv4: bool,
    /// IPv6.
    pub ipv6: bool,
}

/// Which families the kernel forwards between the tunnel device and others (ip-sysctl in the kernel's documentation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpForwarding {
    /// What comes out of the tunnel device is forwarded if `net.ipv4.conf.<device>.forwarding` says so, which
    /// `net.ipv4.ip_forward` sets for all devices.
    pub ipv4: bool,
    /// What comes out of any device is forwarded if `net.ipv6.conf.all.forwarding` says so, or
    /// `net.ipv6.conf.<device>.force_forwarding` where the kernel has that.
    pub ipv6: bool,
}

impl IpForwarding {
    /// What holds for `device` in the namespace of this process. A family that the kernel does not have needs no forwarding,
    /// and what cannot be read is taken to be on.
    pub fn of(device: &str) -> Self {
        Self::under(Path::new("/proc/sys/net"), device)
    }

    fn under(folder: &Path, device: &str) -> Self {
        let value = |path: String| Some(fs::read_to_string(folder.join(path)).ok()?.trim() != "0");
        let ipv4 = value(format!("ipv4/conf/{device}/forwarding")).or_else(|| value("ipv4/ip_forward".to_owned()));
        let ipv6 = value("ipv6/conf/all/forwarding".to_owned());
        let forced = value(format!("ipv6/conf/{device}/force_forwarding"));
        Self { ipv4: ipv4.unwrap_or(true), ipv6: ipv6.unwrap_or(true) || forced.unwrap_or(false) }
    }

    /// Lines for a person about those of `wanted` that are not forwarded.
    pub fn troubles(self, wanted: Families) -> Vec<String> {
        let families = [
            (wanted.ipv4 && !self.ipv4, "IPv4", "net.ipv4.ip_forward"),
            (wanted.ipv6 && !self.ipv6, "IPv6", "net.ipv6.conf.all.forwarding"),
        ];
        let off = families.into_iter().filter(|(off, ..)| *off);
        off.map(|(_, family, key)| {
            format!(
                "{key} is 0: only this machine itself reaches the {family} networks behind the tunnels, nobody through it; \
                 set it to 1 unless that is intended"
            )
        })
        .collect()
    }
}

/// The task that looks whether packets are forwarded. It ends when this is dropped.
pub struct WatchedForwarding {
    task: JoinHandle<()>,
    troubles: watch::Receiver<Vec<String>>,
}

impl WatchedForwarding {
    /// Watches what holds for `device`, as far as `families` are to be forwarded.
    pub fn start(device: Arc<str>, mut families: watch::Receiver<Families>) -> Self {
        let (told, troubles) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            loop {
                let wanted = *families.borrow_and_update();
                let found = IpForwarding::of(&device).troubles(wanted);
                told.send_if_modified(|current| {
                    let news = *current != found;
                    *current = found;
                    news
                });
                tokio::select! {
                    changed = families.changed() => if changed.is_err() { return },
                    () = sleep(PERIOD) => {}
                }
            }
        });
        Self { task, troubles }
    }

    /// What is not forwarded at the moment, in lines for a person.
    pub fn troubles(&self) -> watch::Receiver<Vec<String>> {
        self.troubles.clone()
    }
}

impl Drop for WatchedForwarding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The folder /proc/sys/net with these values.
    fn found(values: &[(&str, &str)]) -> IpForwarding {
        let folder = tempfile::tempdir().unwrap();
        for (path, value) in values {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
        IpForwarding::under(folder.path(), "gwd0")
    }

    #[test]
    fn the_device_decides_for_ipv4_and_all_devices_for_ipv6() {
        let [own, all, ipv6, forced] = [
            "ipv4/conf/gwd0/forwarding",
            "ipv4/ip_forward",
            "ipv6/conf/all/forwarding",
            "ipv6/conf/gwd0/force_forwarding",
        ];
        let both = IpForwarding { ipv4: true, ipv6: true };
        assert_eq!(found(&[]), both, "what is not there cannot be off");
        assert_eq!(found(&[(own, "1"), (all, "0"), (ipv6, "1")]), both);
        assert_eq!(found(&[(own, "0"), (all, "1")]), IpForwarding { ipv4: false, ipv6: true });
        assert_eq!(found(&[(all, "0")]), IpForwarding { ipv4: false, ipv6: true }, "while the device is renamed");
        assert_eq!(found(&[(ipv6, "0"), (forced, "0")]), IpForwarding { ipv4: true, ipv6: false });
        assert_eq!(found(&[(ipv6, "0"), (forced, "1")]), both);
    }

    #[test]
    fn only_families_with_something_to_forward_are_told_of() {
        let off = IpForwarding { ipv4: false, ipv6: false };
        assert_eq!(off.troubles(Families::default()), [""; 0]);
        let told = off.troubles(Families { ipv4: false, ipv6: true });
        assert!(told.len() == 1 && told[0].contains("net.ipv6.conf.all.forwarding"), "{told:?}");
        assert_eq!(IpForwarding { ipv4: true, ipv6: false }.troubles(Families { ipv4: true, ipv6: false }), [""; 0]);
    }
}
