//! What the control task publishes of itself after every change, for the status.

use std::sync::Arc;

use super::Gateway;
use crate::control::Owner;
use crate::control::route::{Publication, Route, RouteState};
use crate::control::status::Exemption;
use crate::daemon::conditions::Source;
use crate::daemon::status::{TunnelView, View};
use crate::io::forwarding::{Absence, Standing};
use crate::routing;

impl Gateway {
    /// Publishes how things stand, the kernel's side included.
    pub fn publish_view(&mut self) {
        self.view_stale = false;
        self.conditions.set(Source::Kernel, kernel_conditions(self));
        self.view.store(Arc::new(view(self)));
    }
}

fn view(gateway: &Gateway) -> View {
    let tunnels = gateway.tunnels().map(|(owner, tunnel)| {
        let peer = tunnel.peer.to_string();
        let unknown = !gateway.resolved.contains_key(&peer);
        TunnelView::of(tunnel, owner, gateway.unresolved.get(&peer).filter(|_| unknown).cloned())
    });
    let mut warnings = gateway.file.warnings.clone();
    warnings.extend(gateway.cend.warnings.values().cloned());
    warnings.extend(gateway.conditions.lines());
    let standing = gateway.forwarding.standing();
    let standing = standing.borrow();
    let Standing { uncarried, exemptions, closed, trouble, .. } = &*standing;
    // Whoever keeps the kernel's side logs it.
    warnings.extend(trouble.iter().map(|trouble| format!("the kernel is not as the VPN routes ask: {trouble}")));
    let route = |(entry, state): (&routing::VpnRoute, _)| route(entry, state, uncarried.get(&entry.destination));
    View {
        device: gateway.file.gateway.tun.clone(),
        mtu: gateway.file.gateway.mtu,
        tunnels: tunnels.collect(),
        routes: gateway.table.routes().map(route).collect(),
        warnings,
        exemptions: exemptions.iter().map(exemption).collect(),
        closed: closed.keys().copied().collect(),
        cend: gateway.owner.as_ref().map(|_| gateway.owner_reply()),
    }
}

/// What an operator should know of the kernel's side.
fn kernel_conditions(gateway: &Gateway) -> Vec<String> {
    let standing = gateway.forwarding.standing();
    let standing = standing.borrow();
    let Standing { one_armed, taken, unkept, shut, preceding, .. } = &*standing;
    let open: Vec<String> = gateway.policy().policy().protect.difference(shut).map(ToString::to_string).collect();
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

/// A route that the kernel lacks carries nothing, whatever its connection does.
fn route(entry: &routing::VpnRoute, state: routing::RouteState, absence: Option<&Absence>) -> Route {
    let routing::VpnRoute { destination, connection, weight, owner, publication, created } = entry;
    Route {
        destination: *destination,
        connection: connection.to_string(),
        weight: weight.value(),
        state: match state {
            _ if absence.is_some() => RouteState::Down,
            routing::RouteState::Active => RouteState::Active,
            routing::RouteState::Standby => RouteState::Standby,
            routing::RouteState::Down => RouteState::Down,
        },
        reason: absence.map(ToString::to_string),
        publication: match publication {
            routing::Publication::Normal => Publication::Normal,
            routing::Publication::Published => Publication::Published,
        },
        owner: match owner {
            routing::Owner::File => Owner::File,
            routing::Owner::Cend => Owner::Cend,
        },
        created: *created,
    }
}
