//! VPCs with their vSwitches, tables, entries and blocks, in the reference.

use ipnet::Ipv4Net;
use ipsec_gateway::cen::command::{Command, CreateRouteEntry, DeleteRouteEntry};

use super::reference::{Entry, MadeBy, Network, Reference, Table, VSwitch, holds, must, overlap, service};

impl Reference {
    pub fn does_in_vpc(&mut self, command: &Command) -> Option<()> {
        match command {
            Command::CreateVpc(new) => {
                let (id, table) = (new.id.to_string(), new.route_table.to_string());
                self.networks.push(Network {
                    id: id.clone(),
                    is_vpc: true,
                    region: new.region.clone(),
                    system_table: table.clone(),
                    blocks: vec![new.cidr],
                    created_as: new.name.clone(),
                });
                self.tables.push(Table { id: table.clone(), network: id.clone(), propagates: true });
                self.label(&id, &new.name, &new.description);
                self.label(&table, "", "");
                self.add_entry(system(new.service_entry.as_str(), &table, service(), "service", ""));
                if !new.resource_group.is_empty() {
                    self.groups.push((id, new.resource_group.clone()));
                }
            }
            Command::DeleteVpc { vpc } => {
                let vpc = self.network(vpc.as_str())?;
                must(!self.vswitches.iter().any(|vswitch| vswitch.vpc == vpc.id))?;
                must(!self.gateways.iter().any(|gateway| gateway.vpc == vpc.id))?;
                must(self.tables.iter().filter(|table| table.network == vpc.id).count() == 1)?;
                must(!self.entries.iter().any(|entry| entry.table == vpc.system_table && is_custom(entry)))?;
                must(self.cen_of(&vpc.id).is_none())?;
                self.networks.retain(|network| network.id != vpc.id);
                self.tables.retain(|table| table.network != vpc.id);
                self.entries.retain(|entry| entry.table != vpc.system_table);
                self.grants.retain(|(of, ..)| *of != vpc.id);
                self.forget(&vpc.id);
                self.forget(&vpc.system_table);
            }
            Command::CreateVSwitch(new) => {
                let vpc = self.network(new.vpc.as_str())?;
                must((16..=29).contains(&new.cidr.prefix_len()))?;
                must(vpc.blocks.iter().any(|block| holds(*block, new.cidr)))?;
                let others = self.vswitches.iter().filter(|vswitch| vswitch.vpc == vpc.id);
                must(!others.into_iter().any(|other| overlap(other.cidr, new.cidr)))?;
                must(!self.custom_entries_of(&vpc.id).any(|entry| holds(new.cidr, entry.to)))?;
                let (id, created) = (new.id.to_string(), self.now);
                self.label(&id, &new.name, &new.description);
                for table in self.tables_of(&vpc.id) {
                    let own = format!("{} in {table}", new.system_entry);
                    let entry = if self.is_custom(&table) { own } else { new.system_entry.to_string() };
                    self.add_entry(system(&entry, &table, new.cidr, "local", &id));
                }
                self.vswitches.push(VSwitch { id, vpc: vpc.id, cidr: new.cidr, table: None, created });
            }
            Command::DeleteVSwitch { vswitch } => {
                let vswitch = self.vswitch(vswitch.as_str())?;
                must(!self.gateways.iter().any(|gateway| gateway.vswitches.contains(&vswitch.id)))?;
                must(vswitch.table.is_none())?;
                self.vswitches.retain(|other| other.id != vswitch.id);
                self.forget(&vswitch.id);
                for table in self.tables_of(&vswitch.vpc) {
                    let entry = self.entry(&table, vswitch.cidr)?;
                    self.remove_entry(&entry);
                }
            }
            Command::CreateRouteEntry(new) => self.create_entry(new)?,
            Command::CreateRouteEntries(all) => all.iter().try_for_each(|new| self.create_entry(new))?,
            Command::DeleteRouteEntry(old) => self.delete_entry(old)?,
            Command::DeleteRouteEntries(all) => all.iter().try_for_each(|old| self.delete_entry(old))?,
            Command::ModifyRouteEntry(modify) => {
                let id = modify.entry.as_str();
                let entry = self.entries.iter().find(|entry| entry.id == id)?;
                must(entry.made_by == MadeBy::Api)?;
                if let Some((kind, hop)) = &modify.next_hop {
                    self.next_hop(&entry.table, kind, hop)?;
                    let entry = self.entries.iter_mut().find(|entry| entry.id == id)?;
                    (entry.kind, entry.hops) = (kind.clone(), vec![(hop.clone(), 100)]);
                }
            }
            Command::CreateRouteTable(new) => {
                let vpc = self.network(new.vpc.as_str())?;
                must(self.tables_of(&vpc.id).len() < 10)?;
                let id = new.id.to_string();
                let copied = self.entries.iter().filter(|entry| entry.table == vpc.system_table && is_system(entry));
                let copied = copied.map(|entry| Entry {
                    id: format!("{} in {id}", entry.id),
                    table: id.clone(),
                    ..entry.clone()
                });
                let copied: Vec<Entry> = copied.collect();
                self.entries.extend(copied);
                self.label(&id, &new.name, &new.description);
                self.tables.push(Table { id, network: vpc.id, propagates: true });
            }
            Command::DeleteRouteTable { route_table } => {
                let table = self.table(route_table.as_str())?;
                must(self.is_custom(&table.id))?;
                must(!self.vswitches.iter().any(|vswitch| vswitch.table.as_ref() == Some(&table.id)))?;
                must(!self.entries.iter().any(|entry| entry.table == table.id && is_custom(entry)))?;
                self.tables.retain(|other| other.id != table.id);
                self.entries.retain(|entry| entry.table != table.id);
                self.forget(&table.id);
            }
            Command::AssociateRouteTable(of) | Command::UnassociateRouteTable(of) => {
                let (table, vswitch) = (self.table(of.route_table.as_str())?, self.vswitch(of.vswitch.as_str())?);
                must(self.is_custom(&table.id))?;
                let uses = vswitch.table.as_ref() == Some(&table.id);
                let new = match command {
                    Command::AssociateRouteTable(_) => {
                        must(!uses && table.network == vswitch.vpc)?;
                        Some(table.id)
                    }
                    _ => {
                        must(uses)?;
                        None
                    }
                };
                self.vswitches.iter_mut().find(|other| other.id == vswitch.id)?.table = new;
            }
            Command::AssociateCidr(block) => {
                let vpc = self.network(block.vpc.as_str())?;
                let special = ["100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"];
                must((16..=28).contains(&block.cidr.prefix_len()))?;
                must(!special.iter().any(|special| overlap(special.parse().unwrap(), block.cidr)))?;
                must(!vpc.blocks.iter().any(|other| overlap(*other, block.cidr)) && vpc.blocks.len() <= 5)?;
                must(!self.custom_entries_of(&vpc.id).any(|entry| holds(block.cidr, entry.to)))?;
                self.networks.iter_mut().find(|network| network.id == vpc.id)?.blocks.push(block.cidr);
            }
            Command::UnassociateCidr(block) => {
                let vpc = self.network(block.vpc.as_str())?;
                must(vpc.blocks.iter().skip(1).any(|other| *other == block.cidr))?;
                let own = self.vswitches.iter().filter(|vswitch| vswitch.vpc == vpc.id);
                must(!own.into_iter().any(|vswitch| holds(block.cidr, vswitch.cidr)))?;
                let network = self.networks.iter_mut().find(|network| network.id == vpc.id)?;
                network.blocks.retain(|other| *other != block.cidr);
            }
            other => self.does_with_vpn(other)?,
        }
        Some(())
    }

    pub fn vswitch(&self, id: &str) -> Option<VSwitch> {
        self.vswitches.iter().find(|vswitch| vswitch.id == id).cloned()
    }

    pub fn tables_of(&self, network: &str) -> Vec<String> {
        self.tables.iter().filter(|table| table.network == network).map(|table| table.id.clone()).collect()
    }

    fn custom_entries_of(&self, network: &str) -> impl Iterator<Item = &Entry> {
        let tables = self.tables_of(network);
        self.entries.iter().filter(move |entry| tables.contains(&entry.table) && is_custom(entry))
    }

    fn create_entry(&mut self, new: &CreateRouteEntry) -> Option<()> {
        let table = new.route_table.to_string();
        self.table(&table)?;
        self.free_for(&table, new.destination)?;
        let mut hops: Vec<(String, u8)> = new.next_hops.iter().map(|hop| (hop.id.clone(), hop.weight)).collect();
        match hops.len() {
            0 => hops.push((new.next_hop.clone(), 100)),
            1 | 17.. => return None,
            _ => {
                let weights: Vec<u8> = hops.iter().map(|(_, weight)| *weight).collect();
                let shared = weights.iter().all(|weight| *weight == weights[0]);
                must(shared || weights == [100, 0] || weights == [0, 100])?;
                must((1..hops.len()).all(|at| !hops[..at].iter().any(|(id, _)| *id == hops[at].0)))?;
            }
        }
        hops.iter().try_for_each(|(hop, _)| self.next_hop(&table, &new.next_hop_type, hop))?;
        let (id, kind) = (new.id.to_string(), new.next_hop_type.clone());
        self.add_entry(Entry { id, table, to: new.destination, kind, hops, made_by: MadeBy::Api, as_path: None });
        Some(())
    }

    /// A custom entry to the destination may come into the table.
    pub fn free_for(&self, table: &str, to: Ipv4Net) -> Option<()> {
        must(!holds(service(), to))?;
        let own = || self.entries.iter().filter(|entry| entry.table == table);
        must(!own().any(|entry| entry.to == to || entry.kind == "local" && holds(entry.to, to)))?;
        must(own().filter(|entry| is_custom(entry)).count() < 200)
    }

    /// An entry of the table may lead there.
    fn next_hop(&self, table: &str, kind: &str, hop: &str) -> Option<()> {
        let network = self.network(&self.table(table)?.network)?;
        let in_vpc =
            |name: &str, region: &str| network.is_vpc && network.created_as == name && network.region == region;
        let declared = &self.declared;
        must(match kind {
            "Instance" => declared.instances.get(hop).is_some_and(|host| in_vpc(&host.vpc.name, &host.vpc.region)),
            "HaVip" => declared.ha_vips.get(hop).is_some_and(|host| in_vpc(&host.vpc.name, &host.vpc.region)),
            "VpnGateway" => self.gateways.iter().any(|gateway| gateway.id == hop && gateway.vpc == network.id),
            "RouterInterface" => {
                declared.vbrs.iter().any(|vbr| vbr.id.as_str() == network.id && vbr.router_interface == hop)
            }
            _ => false,
        })
    }

    fn delete_entry(&mut self, old: &DeleteRouteEntry) -> Option<()> {
        let entry = match old {
            DeleteRouteEntry::ById(id) => self.entries.iter().find(|entry| entry.id == id.as_str())?.clone(),
            DeleteRouteEntry::ByDestination { route_table, destination, next_hops } => {
                let entry = self.entry(route_table.as_str(), *destination)?;
                must(entry.hops.iter().all(|(hop, _)| next_hops.contains(hop)))?;
                must(next_hops.iter().all(|asked| entry.hops.iter().any(|(hop, _)| hop == asked)))?;
                entry
            }
        };
        must(matches!(entry.made_by, MadeBy::Api | MadeBy::VpnRoute))?;
        if entry.made_by == MadeBy::VpnRoute {
            // The gateway's routes are no longer published.
            let gateway = &entry.hops[0].0;
            for route in self.vpn_routes.iter_mut().filter(|route| route.gateway == *gateway && route.to == entry.to) {
                route.published = false;
            }
            self.vpn_routes.retain(|route| route.published || !route.of_file);
        }
        self.remove_entry(&entry);
        Some(())
    }
}

fn is_system(entry: &Entry) -> bool {
    entry.made_by == MadeBy::System
}

fn is_custom(entry: &Entry) -> bool {
    !is_system(entry) && entry.as_path.is_none()
}

fn system(id: &str, table: &str, to: Ipv4Net, kind: &str, hop: &str) -> Entry {
    Entry {
        id: id.to_owned(),
        table: table.to_owned(),
        to,
        kind: kind.to_owned(),
        hops: vec![(hop.to_owned(), 100)],
        made_by: MadeBy::System,
        as_path: None,
    }
}
