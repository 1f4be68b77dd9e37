//! Status, connections and routes as text.

use std::fmt::Write;

use comfy_table::presets;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::quantity::{bytes, count, duration};
use crate::control::reload::Reloaded;
use crate::control::route::{Publication, Route};
use crate::control::status::{
    Association, ChildSa, Connection, ConnectionState, Exemption, IkeSa, Role, Status, Traffic,
};

/// Under a route 0.0.0.0/0 every route of a routing daemon is an exemption: so many are for a person.
const EXEMPTIONS_SHOWN: usize = 20;

/// Of a connection with many peers, so many are shown where other connections are shown too.
const PEERS_SHOWN: usize = 10;

/// Everything; of connections with many peers only some of them, unless `all`. A connection that is down ends with its
/// last error and its next attempt.
pub fn status(status: &Status, all: bool) -> String {
    let Status {
        version,
        uptime_seconds,
        device,
        mtu,
        cend_revision,
        connections,
        routes: table,
        drops,
        congestion_marks,
        warnings,
        exemptions: exempt,
        closed_local_subnets: closed,
    } = status;
    let mut text = format!("gatewayd {version} · up {} · {device}, MTU {mtu}", duration(*uptime_seconds));
    if let Some(revision) = cend_revision {
        let _ = write!(text, " · cend's revision {revision}");
    }
    text.push('\n');
    for warning in warnings {
        let _ = write!(text, "\nwarning: {warning}");
    }
    for entry in connections {
        let _ = write!(text, "\n{}", connection(entry, if all { usize::MAX } else { PEERS_SHOWN }));
    }
    if connections.is_empty() {
        text.push_str("\nNo connections.\n");
    }
    let _ = write!(text, "\nRoutes\n{}\n", if table.is_empty() { "  none".to_owned() } else { routes(table) });
    if !closed.is_empty() {
        let closed: Vec<String> = closed.iter().take(EXEMPTIONS_SHOWN).map(ToString::to_string).collect();
        let _ = writeln!(text, "\nClosed while their own link is down: local subnets {}", closed.join(", "));
    }
    if !exempt.is_empty() {
        let _ = write!(text, "\nNot protected, although a route holds it\n{}\n", exemptions(exempt));
    }
    text.push_str("\nDropped packets\n");
    if drops.is_empty() {
        text.push_str("  none");
    } else {
        let mut rows = plain(&["reason", "packets"]);
        for (reason, packets) in drops {
            rows.add_row([reason.clone(), count(*packets)]);
        }
        align_right(&mut rows, &[1]);
        text.push_str(&rows.to_string());
    }
    if *congestion_marks > 0 {
        let _ = write!(text, "\n\nMarked for congestion instead: {} packets", count(*congestion_marks));
    }
    text
}

/// One connection with its SAs, with so many of its peers.
fn connection(entry: &Connection, peers: usize) -> String {
    let mark = if entry.state == ConnectionState::Established { '●' } else { '○' };
    let mut text = format!("{mark} {} · {} · from {}\n", entry.name, entry.state.name(), source(entry));
    if let Some(description) = &entry.description {
        let _ = writeln!(text, "    {description}");
    }
    let address = |address: Option<std::net::SocketAddr>, otherwise: &str| {
        address.map_or_else(|| otherwise.to_owned(), |address| address.to_string())
    };
    let _ = writeln!(text, "    peer     {} as {}", address(entry.peer_address, &entry.peer), entry.peer_id);
    let _ = writeln!(text, "    local    {} as {}", address(entry.local_address, "any"), entry.local_id);
    if let Some(mtu) = entry.path_mtu {
        let _ = writeln!(text, "    path MTU {mtu} bytes");
    }
    if let Some(sa) = &entry.ike_sa {
        text.push_str(&ike_sa(sa));
    }
    if entry.associations.len() > 1 {
        text.push_str(&associations(entry, peers));
    } else {
        entry.child_sas.iter().for_each(|sa| text.push_str(&child_sa(sa)));
    }
    for left_out in &entry.left_out {
        let _ = writeln!(text, "    left out {left_out}");
    }
    if entry.state != ConnectionState::Established {
        let error = entry.last_error.as_deref().unwrap_or(match entry.state {
            ConnectionState::Waiting if entry.start == "on-traffic" => "waits for a packet to the peer's subnets",
            ConnectionState::Waiting => "waits for the peer to call",
            _ => "no error",
        });
        let _ = writeln!(text, "    error    {error}");
        let next =
            entry.next_attempt_seconds.map_or_else(|| "none planned".to_owned(), |s| format!("in {}", duration(s)));
        let _ = writeln!(text, "    next try {next}");
    }
    text
}

fn source(entry: &Connection) -> &'static str {
    match entry.owner {
        crate::control::Owner::File => "gatewayd.toml",
        crate::control::Owner::Cend => "the cloud",
    }
}

/// The peers of a connection that takes any, each with its SAs.
fn associations(entry: &Connection, shown: usize) -> String {
    let mut text = format!("    peers    {}\n", entry.associations.len());
    for Association { id, peer_id, peer_address, age_seconds, ike_sas, inbound, outbound } in
        entry.associations.iter().take(shown)
    {
        let _ = writeln!(text, "  ▸ {peer_id} at {peer_address} · association {id} · {} old", duration(*age_seconds));
        let _ = writeln!(text, "    in       {}\n    out      {}", traffic(inbound), traffic(outbound));
        ike_sas.iter().for_each(|sa| text.push_str(&ike_sa(sa)));
        let children = entry.child_sas.iter().filter(|sa| sa.association == *id);
        children.for_each(|sa| text.push_str(&child_sa(sa)));
    }
    if let Some(more) = entry.associations.len().checked_sub(shown).filter(|more| *more > 0) {
        let _ = writeln!(text, "  ▸ and {more} more; gatewayctl status {} shows all", entry.name);
    }
    text
}

fn ike_sa(sa: &IkeSa) -> String {
    let role = match sa.role {
        Role::Initiator => "initiator",
        Role::Responder => "responder",
    };
    let extensions = match &sa.extensions[..] {
        [] => String::new(),
        names => format!("             {}\n", names.join(" · ")),
    };
    let silent = sa.silent_seconds.map_or_else(String::new, |seconds| {
        format!("             the peer has not answered for {}\n", duration(seconds))
    });
    let of = sa.of_connection.as_ref().map_or_else(String::new, |name| format!(" · of connection {name}"));
    format!(
        "    IKE SA   {}_i {}_r · we are the {role}{of}\n             {}\n{extensions}{silent}             {}\n",
        sa.initiator_spi,
        sa.responder_spi,
        sa.algorithms,
        times(sa.age_seconds, sa.rekey_seconds),
    )
}

fn times(age: u64, rekey: Option<u64>) -> String {
    let rekey =
        rekey.map_or_else(|| "no rekey planned".to_owned(), |seconds| format!("rekey in {}", duration(seconds)));
    format!("{} old · {rekey}", duration(age))
}

fn child_sa(sa: &ChildSa) -> String {
    let form = if sa.encapsulation == "udp" { "ESP in UDP" } else { "ESP" };
    let sending = if sa.sending { "" } else { " · receives only" };
    format!(
        "    Child SA {} · in {} out {} · {form}{sending}\n             {}\n             {}\n             {} ⇄ {}\n             in  {}\n             out {}\n",
        sa.name,
        sa.inbound_spi,
        sa.outbound_spi,
        sa.algorithms,
        times(sa.age_seconds, sa.rekey_seconds),
        sa.local_selectors.join(", "),
        sa.peer_selectors.join(", "),
        traffic(&sa.inbound),
        traffic(&sa.outbound),
    )
}

fn traffic(traffic: &Traffic) -> String {
    let idle = traffic.idle_seconds.map_or_else(String::new, |seconds| format!(", last {} ago", duration(seconds)));
    let unit = if traffic.packets == 1 { "packet" } else { "packets" };
    let dropped = match traffic.errors {
        0 => String::new(),
        errors => format!(", {} dropped", count(errors)),
    };
    format!("{} {unit}, {}{dropped}{idle}", count(traffic.packets), bytes(traffic.bytes))
}

/// One line for each connection.
pub fn connections(connections: &[Connection]) -> String {
    let mut table = plain(&["connection", "state", "peer", "peer identity", "children", "in", "out", "note"]);
    for entry in connections {
        table.add_row([
            entry.name.clone(),
            entry.state.name().to_owned(),
            entry.peer_address.map_or_else(|| entry.peer.clone(), |address| address.to_string()),
            entry.peer_id.clone(),
            entry.child_sas.iter().filter(|sa| sa.sending).count().to_string(),
            bytes(entry.inbound.bytes),
            bytes(entry.outbound.bytes),
            note(entry),
        ]);
    }
    align_right(&mut table, &[4, 5, 6]);
    table.to_string()
}

fn note(entry: &Connection) -> String {
    if entry.state == ConnectionState::Established {
        let several = Some(entry.associations.len()).filter(|count| *count > 1);
        return several.map_or_else(String::new, |count| format!("{count} peers"));
    }
    let next = entry.next_attempt_seconds.map(|seconds| format!("next try in {}", duration(seconds)));
    entry.last_error.clone().into_iter().chain(next).collect::<Vec<_>>().join("; ")
}

/// The route table.
pub fn routes(routes: &[Route]) -> String {
    let mut table = plain(&["destination", "connection", "weight", "state", "published", "owner", "note"]);
    for route in routes {
        let source = route.source.map(|source| format!(" from {source}"));
        let notes =
            route.priority.map(|priority| format!("priority {priority}")).into_iter().chain(route.reason.clone());
        table.add_row([
            format!("{}{}", route.destination, source.unwrap_or_default()),
            route.connection.clone(),
            route.weight.to_string(),
            route.state.name().to_owned(),
            if route.publication == Publication::Published { "yes" } else { "no" }.to_owned(),
            route.owner.name().to_owned(),
            notes.collect::<Vec<_>>().join("; "),
        ]);
    }
    align_right(&mut table, &[2]);
    table.to_string()
}

/// What goes past the tunnel.
fn exemptions(exemptions: &[Exemption]) -> String {
    let mut table = plain(&["prefix", "in", "because of", "leads to"]);
    for Exemption { prefix, within, reason, device } in exemptions.iter().take(EXEMPTIONS_SHOWN) {
        table.add_row([&prefix.to_string(), &within.to_string(), reason, device.as_deref().unwrap_or_default()]);
    }
    let mut text = table.to_string();
    if let Some(more) = exemptions.len().checked_sub(EXEMPTIONS_SHOWN).filter(|more| *more > 0) {
        let _ = write!(text, "\n  and {more} more; --json shows all");
    }
    text
}

/// What a reload did.
pub fn reloaded(reloaded: &Reloaded) -> String {
    let Reloaded { added, changed, removed, warnings } = reloaded;
    let mut lines: Vec<String> = warnings.iter().map(|warning| format!("warning: {warning}")).collect();
    for (what, names) in [("added", added), ("changed", changed), ("removed", removed)] {
        if !names.is_empty() {
            lines.push(format!("{what}: {}", names.join(", ")));
        }
    }
    if added.is_empty() && changed.is_empty() && removed.is_empty() {
        lines.push("reloaded; no connection changed".to_owned());
    }
    lines.join("\n")
}

/// A table without borders, as wide as the terminal allows.
pub fn plain(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    table
}

fn align_right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Owner;
    use crate::control::status::{ChildState, IkeState};

    fn down() -> Connection {
        Connection {
            name: "branch".into(),
            description: None,
            owner: Owner::File,
            state: ConnectionState::Down,
            ike_state: IkeState::IkeSaNotEstablished,
            child_state: ChildState::IpsecSaNotEstablished,
            peer: "203.0.113.9".into(),
            peer_address: None,
            local_address: None,
            path_mtu: None,
            left_out: Vec::new(),
            local_id: "gw.example.com".into(),
            peer_id: "203.0.113.9".into(),
            start: "now".into(),
            associations: Vec::new(),
            ike_sa: None,
            child_sas: Vec::new(),
            inbound: Traffic::default(),
            outbound: Traffic::default(),
            last_error: Some("AUTHENTICATION_FAILED: the peer refused our key".into()),
            next_attempt_seconds: Some(75),
        }
    }

    #[test]
    fn a_connection_that_is_down_ends_with_its_error_and_next_attempt() {
        let text = connection(&down(), 10);
        let lines: Vec<&str> = text.lines().rev().take(2).collect();
        assert_eq!(lines, ["    next try in 1m 15s", "    error    AUTHENTICATION_FAILED: the peer refused our key"]);
    }

    /// A connection with so many peers, each with one Child SA.
    fn with_peers(count: u64) -> Connection {
        let association = |id| Association {
            id,
            peer_id: format!("warrior-{id}.example"),
            peer_address: format!("198.51.100.7:{}", 20_000 + id).parse().unwrap(),
            age_seconds: 60,
            ike_sas: Vec::new(),
            inbound: Traffic { packets: 2, bytes: 168, errors: 3, idle_seconds: None },
            outbound: Traffic::default(),
        };
        let child = |id| ChildSa {
            name: "net".into(),
            association: id,
            inbound_spi: format!("{id:08x}"),
            outbound_spi: "00000000".into(),
            algorithms: "aes128gcm16".into(),
            encapsulation: "udp".into(),
            local_selectors: vec!["10.1.0.0/16".into()],
            peer_selectors: vec![format!("10.64.0.{id}/32")],
            sending: true,
            age_seconds: 60,
            rekey_seconds: None,
            inbound: Traffic::default(),
            outbound: Traffic::default(),
        };
        let (associations, child_sas) = (1..=count).map(|id| (association(id), child(id))).unzip();
        Connection { state: ConnectionState::Established, last_error: None, associations, child_sas, ..down() }
    }

    #[test]
    fn a_connection_with_many_peers_shows_each_with_its_own_sas() {
        let text = connection(&with_peers(3), 10);
        let lines: Vec<&str> = text.lines().collect();
        let at =
            |part: &str| lines.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {text}"));
        for id in 1..=3 {
            let peer = at(&format!("warrior-{id}.example at 198.51.100.7:{} · association {id}", 20_000 + id));
            assert!(lines[peer + 1].contains("2 packets, 168 B, 3 dropped"), "{text}");
            assert!(lines[peer + 3].contains(&format!("Child SA net · in {id:08x}")), "{text}");
        }
        assert!(lines[at("peers    3")].starts_with("    peers"));
        assert!(connections(&[with_peers(3)]).contains("3 peers"));
    }

    #[test]
    fn of_very_many_peers_some_are_shown_and_all_when_asked_for_by_name() {
        let count = |text: &str| text.lines().filter(|line| line.contains("Child SA")).count();
        let text = connection(&with_peers(25), PEERS_SHOWN);
        assert!(text.contains("and 15 more; gatewayctl status branch shows all"), "{text}");
        assert_eq!((count(&text), count(&connection(&with_peers(25), usize::MAX))), (10, 25));
    }

    #[test]
    fn a_description_stands_below_the_name_and_in_json() {
        let described = Connection { description: Some("to the plant, call Lin first".into()), ..down() };
        let text = connection(&described, PEERS_SHOWN);
        assert_eq!(text.lines().nth(1), Some("    to the plant, call Lin first"));
        assert_eq!(serde_json::to_value(&described).unwrap()["description"], "to the plant, call Lin first");
        assert!(!serde_json::to_string(&down()).unwrap().contains("description"));
    }

    #[test]
    fn the_short_list_tells_why_too() {
        let text = connections(&[down()]);
        assert!(text.contains("AUTHENTICATION_FAILED") && text.contains("next try in 1m 15s"), "{text}");
    }

    #[test]
    fn the_short_list_counts_what_went_through_sas_that_are_gone() {
        let inbound = Traffic { packets: 2, bytes: 1500, ..Traffic::default() };
        let text = connections(&[Connection { inbound, ..down() }]);
        assert!(text.contains("1.46 KiB"), "{text}");
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
        let line = text.lines().find(|line| line.contains("10.1.1.0/24 from 192.168.7.0/24")).expect(&text);
        assert!(
            line.contains("down") && line.trim_end().ends_with("priority 20; the TUN device is down or not there"),
            "{text}"
        );
    }

    #[test]
    fn one_packet_is_no_packets() {
        let text = traffic(&Traffic { packets: 1, bytes: 84, errors: 0, idle_seconds: Some(2) });
        assert_eq!(text, "1 packet, 84 B, last 2s ago");
    }
}
