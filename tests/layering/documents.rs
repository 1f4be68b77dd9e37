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
