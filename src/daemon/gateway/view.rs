//! What the control task publishes of itself after every change, for the status.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::Gateway;
use super::shown::Shown;
use crate::control::status::Exemption;
use crate::daemon::conditions::Source;
use crate::daemon::status::{KernelView, View};
use crate::io::forwarding::{Absence, Standing};
use crate::routing;

impl Gateway {
    /// Publishes how things stand, the kernel's side included.
    pub fn publish_view(&mut self) {
        self.stale.view = false;
        self.look_at_kernel();
        self.note_routes();
        self.shown.show(std::mem::take(&mut self.stale.routes), &self.force.table);
        let unresolved = self.unresolved.iter().filter(|(name, _)| !self.resolved.contains_key(*name));
        let unresolved = unresolved.map(|(name, reason)| (name.clone(), reason.clone())).collect();
        let conditions = self.conditions.lines().into_iter().map(Arc::from);
        let Shown { routes, warnings: [of_file, of_cend], cend, kernel, .. } = &self.shown;
        self.view.store(Arc::new(View {
            device: self.file.gateway.tun.clone(),
            mtu: self.file.gateway.mtu,
            of_file: Arc::clone(&self.file.connections),
            of_cend: Arc::clone(&self.cend.tunnels),
            unresolved: Arc::new(unresolved),
            routes: routes.clone(),
            warnings: vec![Arc::clone(of_file), Arc::clone(of_cend), Arc::new(conditions.collect())],
            kernel: Arc::clone(kernel),
            cend: cend.clone(),
        }));
    }

    /// Takes how the kernel's side stands, if that is news.
    fn look_at_kernel(&mut self) {
        let standing = self.shown.standing.get_or_insert_with(|| self.forwarding.standing());
        let news = std::mem::take(&mut self.shown.kernel_is_behind) || standing.has_changed().unwrap_or(false);
        if !news {
            return;
        }
        let standing = standing.borrow_and_update().clone();
        self.conditions.set(Source::Kernel, kernel_conditions(self, &standing));
        let Standing { uncarried, exemptions, closed, trouble, .. } = standing;
        let of_one = |one: &BTreeMap<IpNet, Absence>, other: &BTreeMap<IpNet, Absence>| {
            let differ = one.iter().filter(|(net, absence)| other.get(*net) != Some(*absence));
            differ.map(|(net, _)| *net).collect::<Vec<_>>()
        };
        self.stale.routes.extend(of_one(&uncarried, &self.shown.uncarried));
        self.stale.routes.extend(of_one(&self.shown.uncarried, &uncarried));
        self.shown.uncarried = uncarried;
        // Whoever keeps the kernel's side logs what is the matter.
        let exemptions = exemptions.iter().map(exemption).collect();
        self.shown.kernel = Arc::new(KernelView { trouble, exemptions, closed: closed.into_keys().collect() });
    }
}

/// What an operator should know of the kernel's side.
fn kernel_conditions(gateway: &Gateway, standing: &Standing) -> Vec<String> {
    let Standing { one_armed, taken, unkept, shut, preceding, .. } = standing;
    let open: Vec<String> = gateway.force.protection.open(shut).iter().map(ToString::to_string).collect();
    let open = (!open.is_empty()).then(|| format!("without the tunnel these would be OPEN: {}", open.join(", ")));
    let one_armed = one_armed.iter().map(|net| {
        format!(
            "local subnet {net} lies behind the default route only: decrypted packets leave by it, as on a one-armed gateway"
        )
    });
    let taken = taken.iter().map(|(net, within)| {
        format!(
            "the connected network {net} lies in the protected {within}, so its hosts are not reached directly; if that \
             is not meant, name it under bypass or as a local subnet"
        )
    });
    let before = Some(&gateway.cend_before.protect).filter(|before| gateway.owner.is_none() && !before.is_empty());
    let before = before.map(|before| {
        let before: Vec<String> = before.iter().map(ToString::to_string).collect();
        format!(
            "closed until cend tells its set, which is lost: {}; without a cloud, an empty set (PUT) gives it up",
            before.join(", ")
        )
    });
    let unkept = unkept.iter().map(|error| {
        format!("what is protected cannot be kept in the state directory, for a start with a broken file: {error}")
    });
    let preceding = preceding.iter().map(|(family, priority)| {
        format!(
            "a policy rule of somebody else ({family:?}, priority {priority}) is asked before the VPN routes: what it leads \
             elsewhere of their traffic is dropped"
        )
    });
    standing
        .dropped()
        .into_iter()
        .chain(preceding)
        .chain(one_armed)
        .chain(taken)
        .chain(before)
        .chain(unkept)
        .chain(open)
        .collect()
}

fn exemption(exemption: &routing::Exemption) -> Exemption {
    let routing::Exemption { prefix, within, reason, device } = exemption;
    Exemption {
        prefix: *prefix,
        within: *within,
        reason: reason.to_string(),
        device: device.as_deref().map(str::to_owned),
    }
}
