//! What is shown of the place where a file is no TOML. A file that cannot be read may hold a secret anywhere, so that nothing is
//! shown but what is known to be none.

/// The keys whose values are no secrets: of gatewayd.toml itself and of its tables. Not those of tables that hold others.
const SHOWN: &[&str] = &[
    "bypass",
    "child_lifetime",
    "child_lifetime_bytes",
    "child_lifetime_packets",
    "childless",
    "core_dumps",
    "destination",
    "df",
    "esn",
    "esp",
    "force_encapsulation",
    "fragment_size",
    "fragmentation",
    "ike",
    "ike_lifetime",
    "inner_addresses",
    "liveness",
    "local_address",
    "local_addresses",
    "local_id",
    "local_subnets",
    "log",
    "mark",
    "mtu",
    "name",
    "nat_keepalive",
    "nat_traversal",
    "on_stop",
    "peer",
    "peer_id",
    "peer_subnets",
    "pmtu_raise",
    "priority",
    "quick_crash_detection",
    "replay_window",
    "retransmission_timeout",
    "source",
    "start",
    "tun",
    "tun_backend",
    "weight",
];

/// The tables that they stand in. In a table of secrets the keys are names, which may be any word.
const TABLES: &[&str] = &["", "[[connection]]", "[[connection.child]]", "[[route]]"];

/// Words beside which a secret may stand.
const SECRET: &[&str] = &["psk", "pks", "secret", "key", "passw"];

/// The line at a place, as far as it can be shown, with a mark below the place or where the line is cut off. `at` in bytes from
/// the text's beginning; `number` of the line.
pub fn place(text: &str, at: usize, number: usize) -> String {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    let (before, rest) = text.split_at_checked(start).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    let shown = without_secret(before, line);
    let column = text.get(start..at).map_or(0, |before| before.chars().count());
    let column = if shown.len() < line.trim_end().len() { column.min(shown.chars().count()) } else { column };
    let column = if shown.is_empty() { 0 } else { column };
    let (margin, number) = (number.to_string().len(), format!("{number} | {shown}"));
    format!("{:margin$} |\n{}\n{:margin$} | {:column$}^", "", number.trim_end(), "", "")
}

/// What of a line is no secret.
fn without_secret<'l>(before: &str, line: &'l str) -> &'l str {
    let in_text = ["\"\"\"", "'''"].iter().any(|quotes| before.matches(quotes).count() % 2 == 1);
    if in_text {
        return "";
    }
    let Some((key, value)) = line.split_once('=') else { return if is_header(line) { line.trim_end() } else { "" } };
    if !key.chars().all(|c| c.is_ascii_alphanumeric() || " \t-_.".contains(c)) {
        return "";
    }
    let head = before.lines().rev().map(str::trim_start).find(|line| line.starts_with('[')).unwrap_or_default();
    let lower = value.to_lowercase();
    let harmless = TABLES.contains(&head.trim_end())
        && SHOWN.contains(&key.trim())
        && !value.trim_start_matches([' ', '=']).contains('=')
        && SECRET.iter().all(|word| !lower.contains(word));
    if harmless { line.trim_end() } else { line.get(..=key.len()).unwrap_or_default() }
}

/// Whether a line without `=` is the head of a table, rather than a part of a value.
fn is_header(line: &str) -> bool {
    line.starts_with('[') && line.trim_end().chars().all(|c| c.is_ascii_alphanumeric() || "[]-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, ConfigError};
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("gatewayd.toml"))
    }

    #[test]
    fn what_is_no_toml_is_shown_with_a_mark_but_no_secret_is() {
        let shown = |text: &str| parse(text).unwrap_err().problems[0].shown.clone();
        assert_eq!(shown("mtu = 1500\ntun = = 3\n"), "  |\n2 | tun = = 3\n  |       ^");
        assert_eq!(shown("[[route\nweight = 0\n"), "  |\n1 | [[route\n  |        ^");
        assert!(!shown("psk = \"\"\"\nsword = = fish\n").contains("sword"));
        for (hidden, expected) in [
            ("psk = \"swordfish\n", "  |\n1 | psk =\n  |      ^"),
            ("mtu = 1500\n[a]\nsecret = 'swordfish\n", "  |\n3 | secret =\n  |         ^"),
            ("[[connection]]\npreshared = \"swordfish\n", "  |\n2 | preshared =\n  |            ^"),
            ("password = \"swordfish\n", "  |\n1 | password =\n  |           ^"),
            // The names of connections in a file of keys may be words of this file.
            ("[psk]\nname = \"swordfish\n", "  |\n2 | name =\n  |       ^"),
            ("[psk]\nidc \"swordfish\"\n", "  |\n2 |\n  | ^"),
            ("psk.idc = \"swordfish\n", "  |\n1 | psk.idc =\n  |          ^"),
            ("[[connection]]\nname = \"idc\" psk = \"swordfish\"\n", "  |\n2 | name =\n  |       ^"),
            ("connection = [{ psk = \"swordfish\n", "  |\n1 | connection =\n  |             ^"),
        ] {
            let error = parse(hidden).unwrap_err();
            assert_eq!(error.problems[0].shown, expected);
            assert!(!error.to_string().contains("sword"), "{error:?}");
        }
    }

    #[test]
    fn what_is_shown_is_no_secret() {
        assert!(SHOWN.iter().all(|key| SECRET.iter().all(|word| !key.contains(word))));
    }
}
