//! Status as text: everything, or one connection with its SAs.

use std::fmt::Write;

use super::quantity::{bytes, count, duration};
use super::table::{Rows, wrapped};
use super::tables::{EXEMPTIONS_SHOWN, exemptions, routes};
use crate::control::reload::Reloaded;
use crate::control::status::{Association, ChildSa, Connection, ConnectionState, IkeSa, Role, Status, Traffic};

/// Where the values of a connection's block begin, and where its broken lines go on.
const VALUES: usize = 13;

/// Of a connection with many peers, so many are shown where other connections are shown too.
const PEERS_SHOWN: usize = 10;

/// Everything; of connections with many peers only some of them, unless `all`. A connection that is down ends with its
/// last error and its next attempt. Lines are broken at `width` columns, if there is one.
pub fn status(status: &Status, all: bool, width: Option<usize>) -> String {
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
        let _ = write!(text, "\n{}", wrapped(&format!("warning: {warning}"), width, "warning: ".len()));
    }
    for entry in connections {
        let block = connection(entry, if all { usize::MAX } else { PEERS_SHOWN });
        let _ = writeln!(text, "\n{}", wrapped(&block, width, VALUES));
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
        let mut rows = Rows::new(&["reason", "packets"]);
        for (reason, packets) in drops {
            rows.add([reason.clone(), count(*packets)], String::new());
        }
        text.push_str(&rows.align_right(&[1]).text());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::{down, with_peers};

    #[test]
    fn a_connection_that_is_down_ends_with_its_error_and_next_attempt() {
        let text = connection(&down(), 10);
        let lines: Vec<&str> = text.lines().rev().take(2).collect();
        assert_eq!(lines, ["    next try in 1m 15s", "    error    AUTHENTICATION_FAILED: the peer refused our key"]);
    }

    #[test]
    fn a_status_fits_80_columns() {
        let long = "the peer answers nothing at all, neither at its port 500 nor at its port 4500, since an hour ago";
        let mut shown =
            crate::cli::sample::status(vec![Connection { last_error: Some(long.into()), ..down() }, with_peers(3)]);
        shown.warnings = vec![long.repeat(2)];
        let text = status(&shown, false, Some(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("neither at its port 500 nor at its\n             port 4500, since"), "{text}");
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
    fn one_packet_is_no_packets() {
        let text = traffic(&Traffic { packets: 1, bytes: 84, errors: 0, idle_seconds: Some(2) });
        assert_eq!(text, "1 packet, 84 B, last 2s ago");
    }
}
