//! What the documents say of files: each file and folder of the source that one names is there.

use std::fs;
use std::path::Path;

/// The documents that name files.
const DOCUMENTS: [&str; 3] = ["README.md", "docs/architecture.md", "docs/rfc-map.md"];

/// Where the files stand that are looked for.
const ROOTS: [&str; 6] = ["src/", "tests/", "benches/", "fuzz/", "netns-scripts/", "docs/"];

/// The paths between backticks, where one names a file or a folder alone.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let spans = text.split('`').skip(1).step_by(2);
    let alone = |span: &&str| ROOTS.iter().any(|root| span.starts_with(root)) && !span.contains(char::is_whitespace);
    spans.filter(alone).filter(|span| !span.contains(['*', '{', '<', '…']))
}

/// Names of code of which a document says in which file they are: "`this` and `that` in `file`", as (name, file).
fn placed(text: &str) -> Vec<(&str, &str)> {
    let pieces: Vec<&str> = text.split('`').collect();
    // Every second piece is a span, and what stands between two of them is the one before.
    let mut found = Vec::new();
    for file in (3..pieces.len()).step_by(2).filter(|at| pieces[*at].ends_with(".rs") && pieces[at - 1] == " in ") {
        found.push((pieces[file - 2], pieces[file]));
        let mut name = file - 2;
        while name >= 3 && matches!(pieces[name - 1], " and " | ", ") && !pieces[name - 2].contains('/') {
            name -= 2;
            found.push((pieces[name], pieces[file]));
        }
    }
    found
}

#[test]
fn what_a_document_names_in_a_file_is_in_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    let mut named = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).expect("a document");
        for (name, file) in placed(&text) {
            named += 1;
            let source = fs::read_to_string(root.join(file)).unwrap_or_default();
            let last = name.rsplit("::").next().unwrap_or(name);
            if !source.contains(last) {
                missing.push(format!("{document} says that {name} is in {file}, where it is not"));
            }
        }
    }
    assert!(named > 50, "only {named} names are placed in a file");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    let mut named = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).expect("a document");
        for path in paths(&text) {
            named += 1;
            if !root.join(path).exists() {
                missing.push(format!("{document} names {path}, which is not there"));
            }
        }
    }
    assert!(named > 100, "only {named} files are named: are they still between backticks?");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
