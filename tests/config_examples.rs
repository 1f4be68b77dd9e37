//! Every configuration file that the repository shows is one that the daemons take.

use std::path::{Path, PathBuf};

use ipsec_gateway::daemon::config::Config;
use ipsec_gateway::daemon::config::proposal;

fn toml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of examples") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            toml_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

#[test]
fn every_example_of_gatewayd_is_taken() {
    let mut files = vec![root().join("gatewayd.toml")];
    toml_files(&root().join("examples"), &mut files);
    files.retain(|file| !file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cend")));
    assert!(files.len() >= 5, "the pair, the two offices and the reference: {files:?}");
    for file in files {
        let config = Config::load(&file).unwrap_or_else(|error| panic!("{error}"));
        assert!(!config.connections.is_empty() && !config.routes.is_empty(), "{}", file.display());
    }
}

/// What the reference comments out as a default must be the default.
#[test]
fn the_commented_defaults_of_the_reference_are_the_defaults() {
    let path = root().join("gatewayd.toml");
    let text = std::fs::read_to_string(&path).expect("the reference");
    let (own, examples) = text.split_once("# Several Child SAs").expect("the part on children");
    let choices = [
        "# key_log =",
        "# secrets =",
        "# psk_file =",
        "# peer_id =",
        "# ike =",
        "# esp =",
        "# description =",
        "# child_lifetime_",
    ];
    let is_key = |line: &str| line.starts_with("# ") && line.split(' ').nth(2) == Some("=");
    let spelled_out: String = own
        .lines()
        .map(
            |line| {
                if is_key(line) && !choices.iter().any(|choice| line.starts_with(choice)) { &line[2..] } else { line }
            },
        )
        .map(|line| format!("{line}\n"))
        .collect();
    let spelled_out = format!("{spelled_out}#{examples}").replace("# weight", "weight");
    assert!(spelled_out.lines().filter(|line| !line.starts_with('#') && line.contains('=')).count() > 25);
    let implied = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    let explicit = Config::parse(&spelled_out, &path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(implied.gateway, explicit.gateway);
    assert_eq!(implied.connections, explicit.connections);
}

#[test]
fn the_pair_agrees_with_itself() {
    let load =
        |name: &str| Config::load(&root().join("examples/pair").join(name)).unwrap_or_else(|error| panic!("{error}"));
    let (left, right) = (load("left.toml"), load("right.toml"));
    let (left, right) = (left.connections[0].template(), right.connections[0].template());
    assert_eq!(left.pre_shared_key.as_bytes(), right.pre_shared_key.as_bytes());
    assert_eq!(left.children[0].local_selectors, right.children[0].peer_selectors);
    assert_eq!(left.children[0].peer_selectors, right.children[0].local_selectors);
    assert_eq!(proposal::ike_keywords(&left.ike_proposals[0]), proposal::ike_keywords(&right.ike_proposals[0]));
}
