//! Connections, routes and exemptions as tables.

use super::action::why;
use super::quantity::{bytes, duration};
use super::table::Rows;
use crate::control::route::{Publication, Route};
use crate::control::status::{Connection, ConnectionState, Exemption};

/// Under a route 0.0.0.0/0 every route of a routing daemon is an exemption: so many are for a person.
pub const EXEMPTIONS_SHOWN: usize = 20;

/// One line for each connection, and why those are not up that are not.
pub fn connections(connections: &[Connection]) -> String {
    connection_rows(Rows::new(&["connection", "state", "peer", "sas", "in", "out"]), connections).text()
}

fn connection_rows(mut rows: Rows, connections: &[Connection]) -> Rows {
    for entry in connections {
        let cells = [
            entry.name.clone(),
            entry.state.name().to_owned(),
            entry.peer_address.map_or_else(|| entry.peer.clone(), |address| address.ip().to_string()),
            entry.child_sas.iter().filter(|sa| sa.sending).count().to_string(),
            bytes(entry.inbound.bytes),
            bytes(entry.outbound.bytes),
        ];
        rows.add(cells, note(entry));
    }
    rows.align_right(&[3, 4, 5]).cut(&[0, 2])
}

fn note(entry: &Connection) -> String {
    match entry.state {
        ConnectionState::Established => {
            let several = Some(entry.associations.len()).filter(|count| *count > 1);
            several.map_or_else(String::new, |count| format!("{count} peers"))
        }
        ConnectionState::Waiting if entry.last_error.is_none() => String::new(),
        _ => {
            let next = entry.next_attempt_seconds.map(|seconds| format!("next try in {}", duration(seconds)));
            std::iter::once(why(entry)).chain(next).collect::<Vec<_>>().join("; ")
        }
    }
}

/// The route table.
pub fn routes(routes: &[Route]) -> String {
    route_rows(Rows::new(&["destination", "connection", "weight", "state", "published", "owner"]), routes).text()
}

fn route_rows(mut rows: Rows, routes: &[Route]) -> Rows {
    for route in routes {
        let cells = [
            route.destination.to_string(),
            route.connection.clone(),
            route.weight.to_string(),
            route.state.name().to_owned(),
            if route.publication == Publication::Published { "yes" } else { "no" }.to_owned(),
            route.owner.name().to_owned(),
        ];
        let source = route.source.map(|source| format!("from {source}"));
        let priority = route.priority.map(|priority| format!("priority {priority}"));
        let notes = source.into_iter().chain(priority).chain(route.reason.clone());
        rows.add(cells, notes.collect::<Vec<_>>().join("; "));
    }
    rows.align_right(&[2]).cut(&[0, 1])
}

/// What goes past the tunnel.
pub fn exemptions(exemptions: &[Exemption]) -> String {
    let mut rows = Rows::new(&["prefix", "in", "because of", "leads to"]);
    for Exemption { prefix, within, reason, device } in exemptions.iter().take(EXEMPTIONS_SHOWN) {
        let cells = [prefix.to_string(), within.to_string(), reason.clone(), device.clone().unwrap_or_default()];
        rows.add(cells, String::new());
    }
    let mut text = rows.cut(&[0, 1, 2]).text();
    if let Some(more) = exemptions.len().checked_sub(EXEMPTIONS_SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!("\n  and {more} more; --json shows all"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::{down, with_peers};
    use crate::control::Owner;
    use crate::control::status::Traffic;

    #[test]
    fn the_short_list_tells_why_too() {
        let text = connections(&[down()]);
        assert!(text.contains("AUTHENTICATION_FAILED") && text.contains("next try in 1m 15s"), "{text}");
        assert!(connections(&[with_peers(3)]).contains("3 peers"));
    }

    #[test]
    fn the_short_list_counts_what_went_through_sas_that_are_gone() {
        let inbound = Traffic { packets: 2, bytes: 1500, ..Traffic::default() };
        let text = connections(&[Connection { inbound, ..down() }]);
        assert!(text.contains("1.46 KiB"), "{text}");
    }

    #[test]
    fn fifty_connections_are_fifty_lines_of_80_columns() {
        let many: Vec<Connection> = (0..50)
            .map(|n| Connection {
                name: format!("a-connection-to-a-branch-office-with-a-long-name-{n}"),
                peer: "2001:db8:1234:5678:9abc:def0:1234:5678".into(),
                inbound: Traffic { bytes: 123_456_789, ..Traffic::default() },
                ..with_peers(1)
            })
            .collect();
        let headings = ["connection", "state", "peer", "sas", "in", "out"];
        let text = connection_rows(Rows::new(&headings).of_width(80), &many).text();
        assert_eq!(text.lines().count(), 51, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for (number, line) in text.lines().skip(1).enumerate() {
            let [name, state] = [0, 1].map(|word| line.split_whitespace().nth(word).unwrap_or_default());
            assert!(name.ends_with(&format!("-{number}")) && state == "established", "one is known by its end: {text}");
            assert!(line.contains("118 MiB"), "{text}");
        }
    }

    #[test]
    fn a_route_that_the_kernel_lacks_tells_why() {
        let text = routes(&[Route {
            destination: "10.1.1.0/24".parse().unwrap(),
            source: "192.168.7.0/24".parse().ok(),
            priority: Some(20),
            connection: "branch".into(),
            weight: 100,
            state: crate::control::route::RouteState::Down,
            reason: Some("the TUN device is down or not there".into()),
            publication: Publication::Normal,
            owner: Owner::File,
            created: 1,
        }]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("10.1.1.0/24") && lines[1].contains("down"), "{text}");
        assert_eq!(lines[2].trim(), "from 192.168.7.0/24; priority 20; the TUN device is down or not there");
    }
}
