//! `status --summary` and `status --check`: how many are up, and which are not that should be.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::action::{is_up, why};
use super::quantity::{bytes, count, duration};
use super::table::wrapped;
use crate::control::route::RouteState;
use crate::control::status::{Connection, ConnectionState, Status};

/// So many of what is not up are for a person.
const SHOWN: usize = 20;

/// Where the values begin, and where broken lines go on.
const VALUES: usize = 13;

/// gatewayd in a few numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Summary {
    /// Seconds since gatewayd started.
    pub uptime_seconds: u64,
    /// Connections all of whose children carry traffic.
    pub up: usize,
    /// Connections that wait for traffic or for their peer, as their `start` says.
    pub waiting: usize,
    /// What should be up and is not: connections, then routes.
    pub not_up: Vec<NotUp>,
    /// Routes that carry traffic.
    pub routes_active: usize,
    /// All routes.
    pub routes: usize,
    /// Bytes of inner packets that came from the peers since gatewayd knows their connections.
    pub inbound_bytes: u64,
    /// Bytes of inner packets that went to them.
    pub outbound_bytes: u64,
    /// Packets that were dropped, for whatever reason.
    pub dropped_packets: u64,
    /// Lines that `status` shows as warnings.
    pub warnings: usize,
}

/// One that should be up and is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NotUp {
    /// The connection.
    pub connection: String,
    /// The destination of one of its routes that the kernel does not serve although the connection is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Why, as far as gatewayd knows.
    pub reason: String,
}

impl Summary {
    /// Counts what a status shows.
    pub fn of(status: &Status) -> Self {
        let Status { uptime_seconds, connections, routes, drops, warnings, .. } = status;
        // That somebody took leave, or tried in vain, is no fault of one that is to wait.
        let is_waiting = |connection: &&Connection| {
            connection.state == ConnectionState::Waiting
                || (connection.state == ConnectionState::Down && connection.start != "now")
        };
        let down = connections.iter().filter(|connection| !is_up(connection) && !is_waiting(connection));
        let not_up = |connection: &Connection| NotUp {
            connection: connection.name.clone(),
            route: None,
            reason: why(connection),
        };
        // Why a route of a connection that is down is down, the connection says.
        let is_refused = |connection: &str| {
            connections.iter().any(|entry| entry.name == connection && entry.state == ConnectionState::Established)
        };
        let unserved = routes.iter().filter(|route| route.state == RouteState::Down && is_refused(&route.connection));
        let unserved = unserved.map(|route| NotUp {
            connection: route.connection.clone(),
            route: Some(route.destination.to_string()),
            reason: route.reason.clone().unwrap_or_else(|| "its connection does not carry it".to_owned()),
        });
        Self {
            uptime_seconds: *uptime_seconds,
            up: connections.iter().filter(|connection| is_up(connection)).count(),
            waiting: connections.iter().filter(is_waiting).count(),
            not_up: down.map(not_up).chain(unserved).collect(),
            routes_active: routes.iter().filter(|route| route.state == RouteState::Active).count(),
            routes: routes.len(),
            inbound_bytes: connections.iter().map(|connection| connection.inbound.bytes).sum(),
            outbound_bytes: connections.iter().map(|connection| connection.outbound.bytes).sum(),
            dropped_packets: drops.values().sum(),
            warnings: warnings.len(),
        }
    }

    /// For a person, in a few lines.
    pub fn text(&self, width: Option<usize>) -> String {
        let Self {
            uptime_seconds,
            up,
            waiting,
            not_up,
            routes_active,
            routes,
            inbound_bytes,
            outbound_bytes,
            dropped_packets,
            warnings,
        } = self;
        let down = not_up.iter().filter(|not_up| not_up.route.is_none()).count();
        let mut text = format!("connections  {up} up, {down} not up, {waiting} waiting\n");
        let _ = writeln!(text, "routes       {routes_active} of {routes} active");
        let _ = writeln!(text, "traffic      {} in, {} out", bytes(*inbound_bytes), bytes(*outbound_bytes));
        let _ = writeln!(text, "dropped      {} packets", count(*dropped_packets));
        let _ = writeln!(text, "warnings     {warnings}");
        let _ = write!(text, "gatewayd     up {}", duration(*uptime_seconds));
        for NotUp { connection, route, reason } in not_up.iter().take(SHOWN) {
            let route = route.as_ref().map_or_else(String::new, |route| format!(", route {route}"));
            let _ = write!(text, "\nNOT UP       {connection}{route}: {reason}");
        }
        if let Some(more) = not_up.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            let _ = write!(text, "\nNOT UP       and {more} more; --json shows all");
        }
        wrapped(&text, width, VALUES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::{down, status, with_peers};
    use crate::control::status::ChildState;

    fn up() -> Connection {
        Connection { child_state: ChildState::IpsecSaEstablished, name: "up".into(), ..with_peers(1) }
    }

    fn not_up(connections: Vec<Connection>) -> Vec<String> {
        let summary = Summary::of(&status(connections));
        summary.not_up.into_iter().map(|not_up| format!("{}: {}", not_up.connection, not_up.reason)).collect()
    }

    #[test]
    fn what_should_be_up_and_is_not_is_a_fault() {
        let waiting = Connection { state: ConnectionState::Waiting, last_error: None, ..down() };
        assert_eq!(not_up(vec![up(), waiting]), [""; 0]);
        assert_eq!(not_up(vec![down()]), ["branch: AUTHENTICATION_FAILED: the peer refused our key"]);
        let half = Connection { child_state: ChildState::IpsecSaNotEstablished, ..up() };
        assert_eq!(not_up(vec![half]), ["up: a child of it has no Child SA"]);
        let trying = Connection { state: ConnectionState::Connecting, last_error: None, ..down() };
        assert_eq!(not_up(vec![trying]), ["branch: no answer so far"]);
    }

    /// Its peer has taken leave, or a stranger has used its identity, with a wrong key.
    #[test]
    fn waiting_is_no_fault_whatever_went_wrong_before() {
        let left = |start: &str, state| Connection { state, start: start.into(), ..down() };
        for start in ["wait", "on-traffic"] {
            assert_eq!(
                not_up(vec![left(start, ConnectionState::Down), left(start, ConnectionState::Waiting)]),
                [""; 0]
            );
            assert_eq!(Summary::of(&status(vec![left(start, ConnectionState::Down)])).waiting, 1);
        }
        let taken_down = Connection { last_error: None, next_attempt_seconds: None, ..down() };
        assert_eq!(not_up(vec![taken_down]), ["branch: it was taken down"]);
    }

    #[test]
    fn a_summary_is_a_few_lines() {
        let text = Summary::of(&status(vec![up(), down()])).text(Some(80));
        assert!(text.starts_with("connections  1 up, 1 not up, 0 waiting\n"), "{text}");
        assert!(text.ends_with("NOT UP       branch: AUTHENTICATION_FAILED: the peer refused our key"), "{text}");
        let text = Summary::of(&status(vec![down(); 1000])).text(Some(60));
        assert!(
            text.lines().all(|line| line.chars().count() <= 60) && text.ends_with("and 980 more; --json shows all"),
            "{text}"
        );
    }
}
