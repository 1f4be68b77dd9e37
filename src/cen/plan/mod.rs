//! Every rule of the cloud: which changes a command makes, or why it is refused.

pub(in crate::cen) mod attachment;
mod bandwidth;
mod cidr;
mod declare;
mod grant;
mod new_entry;
mod resource;
pub(in crate::cen) mod route_entries;
mod route_entry;
mod route_map;
mod route_table;
mod vpc;
mod vpc_cidr;
pub(in crate::cen) mod vpc_publish;
mod vpn_connection;
mod vpn_gateway;
mod vpn_route;

use ipnet::Ipv4Net;

pub(in crate::cen) use vpn_connection::CONNECTIONS as VPN_CONNECTIONS;
pub(in crate::cen) use vpn_route::VPN_ROUTES;

use super::change::Change;
use super::command::{Command, Submission};
use super::error::ApiError;
use super::network::{NetworkId, UnixMillis};
use super::route::{RouteEntry, RouteTable};
use super::state::State;

/// The changes that `submission` makes to `state`; applied together they keep every rule of the cloud.
///
/// # Errors
/// The cloud's refusal; nothing may change then. A dry run that would succeed is refused with `DryRunOperation`.
pub fn plan(state: &State, submission: &Submission) -> Result<Vec<Change>, ApiError> {
    let token_used = match &submission.client_token {
        Some(token) if token.known(&state.client_tokens, submission.now)?.is_some() => return Ok(Vec::new()),
        Some(token) => Some(Change::ClientTokenUsed { key: token.key.clone(), record: token.record(submission.now) }),
        None => None,
    };
    let mut planner = Planner::new(state, submission.now);
    planner.plan(&submission.command)?;
    if submission.dry_run {
        return Err(ApiError::dry_run());
    }
    planner.changes.extend(token_used);
    Ok(planner.changes)
}

/// Collects the changes of one command.
struct Planner<'a> {
    state: &'a State,
    now: UnixMillis,
    changes: Vec<Change>,
    next_publication: u64,
}

impl<'a> Planner<'a> {
    fn new(state: &'a State, now: UnixMillis) -> Self {
        Self { state, now, changes: Vec::new(), next_publication: state.next_publication }
    }

    fn plan(&mut self, command: &Command) -> Result<(), ApiError> {
        match command {
            Command::Nothing => Ok(()),
            Command::CreateCen(create) => self.create_cen(create),
            Command::ModifyCen(modify) => self.modify_cen(modify),
            Command::DeleteCen { cen } => self.delete_cen(cen),
            Command::AttachNetwork(child) => self.attach(child),
            Command::DetachNetwork(child) => self.detach(child),
            Command::PublishRoute(route) => self.publish_route(route),
            Command::WithdrawRoute(route) => self.withdraw_route(route),
            Command::RouteMap(command) => self.route_map(command),
            Command::Bandwidth(command) => self.bandwidth(command),
            Command::ModifyAttributes(modify) => self.modify_attributes(modify),
            Command::TagResources(tag) => self.tag_resources(tag),
            Command::UntagResources(untag) => self.untag_resources(untag),
            Command::CreateVpc(create) => self.create_vpc(create),
            Command::DeleteVpc { vpc } => self.delete_vpc(vpc),
            Command::CreateVSwitch(create) => self.create_vswitch(create),
            Command::DeleteVSwitch { vswitch } => self.delete_vswitch(vswitch),
            Command::CreateRouteEntry(create) => self.create_route_entry(create),
            Command::ModifyRouteEntry(modify) => self.modify_route_entry(modify),
            Command::DeleteRouteEntry(delete) => self.delete_route_entry(delete),
            Command::CreateRouteEntries(creates) => self.create_route_entries(creates),
            Command::DeleteRouteEntries(deletes) => self.delete_route_entries(deletes),
            Command::CreateRouteTable(create) => self.create_route_table(create),
            Command::DeleteRouteTable { route_table } => self.delete_route_table(route_table),
            Command::AssociateRouteTable(associate) => self.associate_route_table(associate),
            Command::UnassociateRouteTable(associate) => self.unassociate_route_table(associate),
            Command::AssociateCidr(block) => self.associate_cidr(block),
            Command::UnassociateCidr(block) => self.unassociate_cidr(block),
            Command::PublishVpcRoutes(publish) => self.publish_vpc_routes(publish),
            Command::MoveToResourceGroup(to) => self.move_to_resource_group(to),
            Command::GrantInstance(grant) => self.grant_instance(grant),
            Command::RevokeInstance(revoke) => self.revoke_instance(revoke),
            Command::CreateVpnGateway(create) => self.create_vpn_gateway(create),
            Command::DeleteVpnGateway { gateway } => self.delete_vpn_gateway(gateway),
            Command::CreateCustomerGateway(create) => self.create_customer_gateway(create),
            Command::DeleteCustomerGateway { customer_gateway } => self.delete_customer_gateway(customer_gateway),
            Command::CreateVpnConnection(create) => self.create_vpn_connection(create),
            Command::ModifyVpnConnection(modify) => self.modify_vpn_connection(modify),
            Command::DeleteVpnConnection { connection } => self.delete_vpn_connection(connection),
            Command::CreateVpnRoute(create) => self.create_vpn_route(create),
            Command::PublishVpnRoute(publish) => self.publish_vpn_route(publish),
            Command::DeleteVpnRoute(delete) => self.delete_vpn_route(delete),
            Command::ModifyVpnRoute(modify) => self.modify_vpn_route(modify),
            Command::Declare(declarations) => {
                self.declare(declarations);
                Ok(())
            }
        }
    }

    fn push(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Adds an entry; a kind that is published by default enters CEN at once when its network is attached. What stands in
    /// a custom table is never published.
    fn add_entry(&mut self, table: &RouteTable, entry: RouteEntry) {
        let (kind, destination) = (entry.kind, entry.destination);
        self.push(Change::RouteEntrySet { table: table.id.clone(), entry });
        let attached = self.state.attachments.contains_key(&table.network);
        if kind.row().published_by_default && attached && !self.state.is_custom(table) {
            self.publish(&table.network, destination);
        }
    }

    /// Removes an entry, from CEN too.
    fn remove_entry(&mut self, table: &RouteTable, entry: &RouteEntry) {
        if !self.state.is_custom(table) {
            self.withdraw(&table.network, entry.destination);
        }
        self.push(Change::RouteEntryRemoved { table: table.id.clone(), entry: entry.id.clone() });
    }

    fn publish(&mut self, network: &NetworkId, destination: Ipv4Net) {
        let order = self.next_publication;
        self.next_publication = self.next_publication.saturating_add(1);
        self.push(Change::Published { network: network.clone(), destination, order });
    }

    fn withdraw(&mut self, network: &NetworkId, destination: Ipv4Net) {
        let published = |attachment: &super::state::Attachment| attachment.publications.contains_key(&destination);
        if self.state.attachments.get(network).is_some_and(published) {
            self.push(Change::Withdrawn { network: network.clone(), destination });
        }
    }
}

/// 400: `what` may go only after everything that refers to it; the message names all of that.
fn still_referred_to(code: &'static str, what: &str, dependents: &[String]) -> ApiError {
    let message = format!("{what} cannot be deleted: it is still referred to by {}.", dependents.join(", "));
    ApiError::bad_request(code, message)
}

#[cfg(test)]
mod tests;
