//! The layers of the house, enforced: a module names only the modules below it, and inside a layer files do not name
//! each other in circles.

mod arrows;
mod documents;
mod modules;
mod sizes;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use arrows::{arrows, circles, named_layers};
use modules::{Sources, Tree};

/// Each top-level module and the modules that it names.
const ALLOWED: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("crypto", &[]),
    ("ike", &["wire", "crypto"]),
    ("esp", &["wire", "crypto"]),
    ("dataplane", &["wire", "crypto", "esp"]),
    ("routing", &["dataplane"]),
    ("cen", &["wire", "crypto", "routing"]),
    ("control", &["wire"]),
    ("io", &["wire", "crypto", "dataplane", "routing", "cen", "control"]),
    ("daemon", &["wire", "crypto", "ike", "esp", "dataplane", "routing", "control", "io"]),
    ("cloud", &["wire", "crypto", "routing", "cen", "control", "io"]),
    ("cli", &["crypto", "cen", "control", "io", "daemon"]),
];

/// Files of the largest circle of each layer that has one. These numbers only fall; no layer may be added.
const CIRCLES: &[(&str, usize)] = &[];

/// Primitives that only `crypto` may import, and `unsafe`, which only `io` may use.
const PRIMITIVES: &[&str] = &["ring::", "x25519_dalek", "aes::", "cbc::", "hmac::", "sha1::", "crypto_bigint"];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Every source file, by its name below `src`.
fn sources() -> Sources {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let read = |file: PathBuf| {
        let name = file.strip_prefix(&source).expect("a file under src").display().to_string();
        (name, fs::read_to_string(&file).expect("a readable source file"))
    };
    files.into_iter().map(read).collect()
}

/// The layer that a file belongs to.
fn layer_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

/// Every source line outside comments, as (module, place, line).
fn source_lines() -> Vec<(String, String, String)> {
    let mut lines = Vec::new();
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            lines.push((layer_of(&name).to_owned(), format!("{name}:{}", number + 1), line.to_owned()));
        }
    }
    lines
}

/// Every (layer, layer that it names), with the file and the path of one place.
fn layer_arrows() -> BTreeMap<(String, String), String> {
    let layers: BTreeSet<&str> = ALLOWED.iter().map(|(layer, _)| *layer).collect();
    let tree = Tree::read(&sources(), true);
    let mut found = BTreeMap::new();
    for (place, module) in tree.0.iter().enumerate() {
        let layer = layer_of(&module.file);
        for (named, path) in named_layers(&tree, place) {
            if layer != named && layers.contains(layer) && layers.contains(named) {
                let example = || format!("{}: {}", module.file, path.join("::"));
                found.entry((layer.to_owned(), named.to_owned())).or_insert_with(example);
            }
        }
    }
    found
}

#[test]
fn modules_name_the_layers_of_their_row_and_no_others() {
    let allowed: BTreeSet<(&str, &str)> =
        ALLOWED.iter().flat_map(|(layer, below)| below.iter().map(|below| (*layer, *below))).collect();
    let found = layer_arrows();
    let mut wrong = Vec::new();
    for ((layer, named), place) in &found {
        if !allowed.contains(&(layer.as_str(), named.as_str())) {
            wrong.push(format!("{layer} names {named}, which its row does not allow: {place}"));
        }
    }
    for (layer, below) in allowed {
        if !found.contains_key(&(layer.to_owned(), below.to_owned())) {
            wrong.push(format!("{layer} may name {below} and never does: take that out of its row"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_of_a_layer_stand_in_no_larger_circle_than_before() {
    let arrows = arrows(&sources());
    let mut wrong = Vec::new();
    for (layer, _) in ALLOWED {
        let granted = CIRCLES.iter().find(|(name, _)| name == layer);
        let limit = granted.map_or(1, |(_, files)| *files);
        let circles = circles(&arrows, |file| layer_of(file) == *layer);
        let largest = circles.first().map_or(1, BTreeSet::len);
        if largest > limit {
            for circle in circles.iter().filter(|circle| circle.len() > limit) {
                wrong.push(format!("{layer}: {} files name each other in a circle, {limit} may:", circle.len()));
                for (from, to) in arrows.iter().filter(|(from, _)| circle.contains(from.as_str())) {
                    let inside = to.iter().filter(|(to, _)| circle.contains(to.as_str()));
                    wrong.extend(inside.map(|(to, path)| format!("    {from} -> {to} by {path}")));
                }
            }
        } else if largest < limit {
            wrong.push(format!(
                "{layer}: its largest circle has shrunk to {largest} files; lower its number in CIRCLES"
            ));
        } else if granted.is_some() && limit == 1 {
            wrong.push(format!("{layer}: has no circle any more; take it out of CIRCLES"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_row_in_the_table() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let text = fs::read_to_string(source).expect("src/lib.rs");
    for module in text.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let module = module.trim_end_matches(';');
        assert!(ALLOWED.iter().any(|(name, _)| *name == module), "{module} has no layer");
    }
}

/// One way to skip a test, so that nothing passes in CI by being skipped.
#[test]
fn tests_are_skipped_by_tests_missing_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|folder| rust_files(&root.join(folder), &mut files));
    let word = ["SKIP", "PED"].concat();
    let says = |file: &PathBuf| fs::read_to_string(file).expect("a readable source file").contains(&word);
    let found: Vec<PathBuf> = files.into_iter().filter(says).collect();
    assert_eq!(found, [root.join("tests/missing/mod.rs")]);
}

#[test]
fn primitives_stay_in_crypto_and_unsafe_stays_in_io() {
    let mut violations = Vec::new();
    for (module, place, line) in source_lines() {
        let code = line.split("//").next().unwrap_or_default();
        let imports_primitive = PRIMITIVES
            .iter()
            .any(|primitive| code.contains(&format!("use {primitive}")) || code.contains(&format!(" {primitive}")));
        if module != "crypto" && imports_primitive {
            violations.push(format!("{place}: a cryptographic primitive outside crypto"));
        }
        if module != "io" && code.contains("unsafe ") && !code.contains('"') {
            violations.push(format!("{place}: unsafe outside io"));
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
