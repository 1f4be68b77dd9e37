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

/// What `wrong` finds in the documents, each of which it is given with its text.
fn in_all_documents(wrong: impl Fn(&Path, &str, &str) -> (usize, Vec<String>)) -> (usize, Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut named, mut missing) = (0, Vec::new());
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).expect("a document");
        let (more, found) = wrong(root, document, &text);
        named += more;
        missing.extend(found);
    }
    (named, missing)
}

#[test]
fn what_a_document_names_in_a_file_is_in_it() {
    let (named, missing) = in_all_documents(|root, document, text| {
        let placed = placed(text);
        let missing = placed.iter().filter(|(name, file)| {
            let source = fs::read_to_string(root.join(file)).unwrap_or_default();
            !source.contains(name.rsplit("::").next().unwrap_or(name))
        });
        let said = missing.map(|(name, file)| format!("{document} says that {name} is in {file}, where it is not"));
        (placed.len(), said.collect())
    });
    assert!(named > 50, "only {named} names are placed in a file");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let (named, missing) = in_all_documents(|root, document, text| {
        let missing = paths(text).filter(|path| !root.join(path).exists());
        let said = missing.map(|path| format!("{document} names {path}, which is not there"));
        (paths(text).count(), said.collect())
    });
    assert!(named > 100, "only {named} files are named: are they still between backticks?");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
