//! The layers of the house, enforced: a module names only the modules below it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each top-level module and the modules that it may name.
const ALLOWED: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("crypto", &[]),
    ("ike", &["wire", "crypto"]),
    ("esp", &["wire", "crypto"]),
    ("dataplane", &["wire", "crypto", "esp"]),
    ("routing", &["wire", "dataplane"]),
    ("cen", &["wire", "crypto", "routing"]),
    ("control", &["wire", "crypto", "routing", "cen"]),
    ("io", &["wire", "crypto", "esp", "dataplane", "routing", "cen", "control"]),
    ("daemon", &["wire", "crypto", "ike", "esp", "dataplane", "routing", "cen", "control", "io"]),
    ("cloud", &["wire", "crypto", "routing", "cen", "control", "io"]),
    ("cli", &["wire", "crypto", "cen", "control", "io", "daemon"]),
];

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

/// Top-level modules that a line names, by `crate::module`.
fn named_modules(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("crate::").map(move |(at, marker)| {
        let rest = &line[at + marker.len()..];
        &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
    })
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Every source line outside comments, as (module, place, line).
fn source_lines() -> Vec<(String, String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut lines = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&source).expect("a file under src");
        let module = relative.iter().next().expect("a first component").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("a readable source file");
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            lines.push((module.clone(), format!("{}:{}", relative.display(), number + 1), line.to_owned()));
        }
    }
    lines
}

#[test]
fn modules_name_only_the_layers_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut violations = Vec::new();
    for (module, place, line) in source_lines() {
        let Some(below) = allowed.get(module.as_str()) else { continue };
        for named in named_modules(&line) {
            if named != module && allowed.contains_key(named) && !below.contains(&named) {
                violations.push(format!("{place}: {module} names {named}"));
            }
        }
    }
    assert!(violations.is_empty(), "layering violated:\n{}", violations.join("\n"));
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
