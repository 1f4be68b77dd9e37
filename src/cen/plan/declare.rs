//! What the configuration declares: VBRs with their routes, and hosts that routes may point to.
//!
//! The configuration owns what it declares: at each start the state is brought to it, and the API cannot delete it.

use super::Planner;
use crate::cen::change::Change;
use crate::cen::identifier::{RouteEntryId, RouteTableId};
use crate::cen::network::{Declarations, DeclaredRoute, DeclaredVbr, NetworkId, Vbr};
use crate::cen::route::{EntryOrigin, RouteEntry, RouteKind, RouteTable};
use crate::cen::shared::Shared;

impl Planner<'_> {
    pub(super) fn declare(&mut self, declarations: &Declarations) {
        let outdated = self.state.vbrs.values().filter(|vbr| {
            !declarations.vbrs.iter().any(|declared| declared.id == vbr.id && declared.route_table == vbr.route_table)
        });
        for vbr in outdated {
            let network = NetworkId::Vbr(vbr.id.clone());
            if self.state.attachments.contains_key(&network) {
                self.changes.push(Change::Detached { network: network.clone() });
            }
            self.revoke_all(&network);
            self.changes.push(Change::RouteTableRemoved(vbr.route_table.clone()));
            self.changes.push(Change::VbrRemoved(vbr.id.clone()));
        }
        for declared in &declarations.vbrs {
            self.declare_vbr(declared);
        }
        // This is the first thing that is done at a start.
        self.replace_automatic_destination_routes();
        if *self.state.declarations != *declarations {
            self.push(Change::Declared(Box::new(declarations.clone())));
        }
    }

    fn declare_vbr(&mut self, declared: &DeclaredVbr) {
        let existing = self.state.vbrs.get(&declared.id);
        let vbr = Vbr {
            id: declared.id.clone(),
            region: declared.region.clone(),
            name: declared.name.clone(),
            route_table: declared.route_table.clone(),
            router_interface: declared.router_interface.clone(),
            created: existing.map_or(self.now, |vbr| vbr.created),
        };
        if existing != Some(&vbr) {
            self.push(Change::VbrSet(vbr));
        }
        let network = NetworkId::Vbr(declared.id.clone());
        match self.state.table_of(&network).filter(|table| table.id == declared.route_table) {
            Some(table) => self.declare_routes(table, declared),
            None => {
                let table = self.new_table(&declared.route_table, network);
                self.push(Change::RouteTableSet(table.clone()));
                self.declare_routes(&table, declared);
            }
        }
    }

    fn declare_routes(&mut self, table: &RouteTable, declared: &DeclaredVbr) {
        let wanted: Vec<RouteEntry> =
            declared.routes.iter().map(|route| self.declared_entry(declared, route)).collect();
        let same = |a: &RouteEntry, b: &RouteEntry| {
            (a.destination, a.kind, &a.next_hop, &a.as_path) == (b.destination, b.kind, &b.next_hop, &b.as_path)
                && a.origin == b.origin
        };
        let keep = |entry: &RouteEntry| wanted.iter().any(|wanted| same(wanted, entry));
        let clashes = |entry: &RouteEntry| wanted.iter().any(|wanted| wanted.destination == entry.destination);
        for entry in table.entries.values().filter(|entry| !keep(entry)) {
            if entry.origin == EntryOrigin::Declared || clashes(entry) {
                self.remove_entry(table, entry);
            }
        }
        for entry in wanted.iter().filter(|wanted| !table.entries.values().any(|entry| same(wanted, entry))) {
            self.add_entry(table, entry.clone());
        }
    }

    fn declared_entry(&self, vbr: &DeclaredVbr, route: &DeclaredRoute) -> RouteEntry {
        let destination = route.destination;
        // The same route has the same id after every start.
        let id =
            format!("rte-{}-{}-{}", vbr.id, destination.addr().to_string().replace('.', "-"), destination.prefix_len());
        RouteEntry {
            id: RouteEntryId::from(id),
            destination,
            kind: if route.as_path.is_some() { RouteKind::Bgp } else { RouteKind::DataCenter },
            next_hop: vbr.router_interface.clone(),
            next_hops: Vec::new(),
            as_path: route.as_path.clone().unwrap_or_default(),
            origin: EntryOrigin::Declared,
            name: String::new(),
            description: String::new(),
            created: self.now,
        }
    }

    fn new_table(&self, id: &RouteTableId, network: NetworkId) -> RouteTable {
        RouteTable {
            id: id.clone(),
            network,
            name: String::new(),
            description: String::new(),
            tags: Vec::new(),
            created: self.now,
            route_propagation: true,
            entries: Shared::default(),
        }
    }
}
