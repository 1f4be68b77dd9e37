//! Connections that their peer cannot tell apart, explained to a person.

use std::collections::HashMap;
use std::sync::Arc;

use super::Tunnel;
use crate::ike;

/// A line for each set of connections that have the same addresses, identities and key.
pub fn siblings(tunnels: &[Arc<Tunnel>]) -> Vec<String> {
    // Those with the same peer and identities, as written, and of these the ones that are alike in all.
    let mut sets: HashMap<_, Vec<Vec<&Tunnel>>> = HashMap::new();
    for tunnel in tunnels {
        let template = tunnel.template();
        let identities = (
            template.local_id.to_string().to_lowercase(),
            template.peer_id.as_ref().map(|id| id.to_string().to_lowercase()),
        );
        let alike = sets.entry((tunnel.peer.to_string(), identities)).or_default();
        let same =
            |set: &&mut Vec<&Tunnel>| set.first().is_some_and(|other| ike::are_siblings(template, other.template()));
        match alike.iter_mut().find(same) {
            Some(set) => set.push(tunnel),
            None => alike.push(vec![tunnel]),
        }
    }
    let mut several: Vec<Vec<&Tunnel>> = sets.into_values().flatten().filter(|set| set.len() > 1).collect();
    let place = |set: &Vec<&Tunnel>| {
        tunnels.iter().position(|tunnel| set.first().is_some_and(|first| first.name() == tunnel.name()))
    };
    several.sort_by_cached_key(place);
    several.iter().map(|set| line(set)).collect()
}

fn line(set: &[&Tunnel]) -> String {
    const NAMED: usize = 5;
    let mut names: Vec<String> = set.iter().take(NAMED).map(|tunnel| tunnel.name().to_string()).collect();
    names.extend(set.len().checked_sub(NAMED).filter(|more| *more > 0).map(|more| format!("{more} more")));
    format!(
        "connections {} have the same addresses, identities and key: a peer for which they are one connection with several \
         children may put them into one IKE SA, and each then gets its Child SAs there, by its subnets",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::daemon::config::Config;

    #[test]
    fn connections_that_the_peer_cannot_tell_apart_are_named_together() {
        let text: String = [
            ("one", "203.0.113.2", "a"),
            ("other-peer", "203.0.113.3", "a"),
            ("two", "203.0.113.2", "a"),
            ("other-key", "203.0.113.2", "b"),
        ]
        .iter()
        .zip(1..)
        .map(|((name, peer, psk), n)| {
            format!(
                "[[connection]]\nname = \"{name}\"\npeer = \"{peer}\"\nlocal_id = \"gw\"\npsk = \"{psk}\"\n\
                 local_subnets = \"10.0.{n}.0/24\"\npeer_subnets = \"10.1.{n}.0/24\"\n"
            )
        })
        .collect();
        let config = Config::parse(&text, Path::new("gatewayd.toml")).unwrap();
        let lines = super::siblings(&config.connections);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("connections one, two have the same addresses"), "{lines:?}");
        assert!(super::siblings(&config.connections[..2]).is_empty());
    }
}
