//! What a route table receives of what its network has learned from CEN.

use super::learn::{LearnedRoute, LearnedStatus};
use super::route::RouteTable;

/// Whether the table uses a route that its network has learned.
///
/// A network learns once, for all of its tables, and [`learned_routes`](super::learn::learned_routes) has settled what
/// collides with its system table. Every table receives what is in use, unless its propagation is off; in a custom table an
/// entry of its own to the same destination wins.
pub fn receives(table: &RouteTable, route: &LearnedRoute) -> bool {
    table.route_propagation && route.status == LearnedStatus::Active && table.entry_to(route.destination).is_none()
}
