//! How large the files are, and the types of `ike`.

use std::collections::BTreeMap;

use crate::modules::Sources;
use crate::tokens::{end_of_group, is_word, tokens, without_tests};

/// Lines that a source file has at most, its tests included.
const LINES: usize = 500;

/// Fields, and methods over all its `impl` blocks, that a type of `ike` has at most.
const FIELDS: usize = 15;
const METHODS: usize = 25;

/// Plain configuration, event and status shapes that may have more fields.
const PLAIN: &[&str] = &["ike/config/Connection"];

/// What a type has.
#[derive(Debug, Default, PartialEq)]
struct Size {
    fields: usize,
    methods: usize,
}

/// The types of some files, each as `file/Name`. An `impl` counts for the type of that name that its own file declares, or
/// else the nearest one of the files above it.
fn sizes(sources: &Sources, files: impl Fn(&str) -> bool) -> BTreeMap<String, Size> {
    let mut sizes = BTreeMap::new();
    let mut methods = Vec::new();
    for (file, text) in sources.iter().filter(|(file, _)| files(file)) {
        let file = file.trim_end_matches(".rs").trim_end_matches("/mod");
        let all = tokens(text);
        let tokens = without_tests(&all);
        for (at, token) in tokens.iter().enumerate() {
            let Some(name) = tokens.get(at + 1) else { break };
            match *token {
                "struct" | "enum" if is_word(name) => {
                    let fields =
                        if *token == "struct" { inside(&tokens, at).filter(|sign| *sign == ":").count() } else { 0 };
                    sizes.insert(format!("{file}/{name}"), Size { fields, methods: 0 });
                }
                "impl" if at == 0 || matches!(tokens[at - 1], "}" | ";" | "]") => {
                    let count = inside(&tokens, at).filter(|word| *word == "fn").count();
                    methods.push((file.to_owned(), implementor(&tokens[at..]), count));
                }
                _ => {}
            }
        }
    }
    for (mut file, name, count) in methods {
        loop {
            if let Some(size) = sizes.get_mut(&format!("{file}/{name}")) {
                size.methods += count;
                break;
            }
            let Some(above) = file.rfind('/') else { break };
            file.truncate(above);
        }
    }
    sizes
}

/// The tokens of an item's body that stand in no further bracket. Nothing for an item that has none in braces.
fn inside<'a>(tokens: &'a [&'a str], item: usize) -> impl Iterator<Item = &'a str> {
    let open = tokens[item..].iter().position(|token| matches!(*token, "{" | ";")).map(|open| item + open);
    let body = open.filter(|open| tokens[*open] == "{").map_or(0..0, |open| open + 1..end_of_group(tokens, open) - 1);
    let (mut at, end) = (body.start, body.end);
    std::iter::from_fn(move || {
        let token = *tokens[..end].get(at)?;
        at = if matches!(token, "(" | "[" | "{") { end_of_group(tokens, at) } else { at + 1 };
        Some(token)
    })
}

/// The last name of the path that an `impl` is for.
fn implementor<'a>(tokens: &[&'a str]) -> &'a str {
    let (mut name, mut depth) = ("", 0_usize);
    for token in &tokens[1..] {
        match *token {
            "<" => depth += 1,
            ">" => depth = depth.saturating_sub(1),
            "{" | "where" => break,
            token if depth == 0 && is_word(token) && token != "for" => name = token,
            _ => {}
        }
    }
    name
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<_> = crate::sources()
        .into_iter()
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES)
        .collect();
    assert!(long.is_empty(), "more than {LINES} lines: {long:?}");
}

#[test]
fn no_type_of_ike_does_everything() {
    let sizes = sizes(&crate::sources(), |file| file.starts_with("ike/") && !file.contains("tests"));
    let mut wrong = Vec::new();
    for (name, size) in &sizes {
        let plain = PLAIN.contains(&name.as_str());
        let large = size.fields > FIELDS;
        if size.methods > METHODS || large && !plain {
            wrong.push(format!("{name} has {} fields and {} methods", size.fields, size.methods));
        } else if plain && !large {
            wrong.push(format!("{name} is no larger than others; take it out of PLAIN"));
        }
    }
    wrong.extend(PLAIN.iter().filter(|name| !sizes.contains_key(**name)).map(|name| format!("there is no {name}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn fields_and_methods_are_counted_over_all_files() {
    let sources = [
        (
            "a.rs",
            "pub struct A<T: X> { #[x(y: 1)] pub(super) one: fn(u8: u8) -> u8, two: Vec<B::C> } enum E { V { f: u8 } }",
        ),
        (
            "a/b.rs",
            "impl<T: X> A<T> { fn f(&self) { fn inner() {} } pub fn g() {} } impl fmt::Display for A<u8> { fn fmt() {} }",
        ),
        (
            "a/c.rs",
            "struct A(u8); impl A { fn f() -> impl X { 1 } } #[cfg(test)] impl A { fn t() {} } impl Other { fn f() {} }",
        ),
    ];
    let sources: Sources = sources.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    let size = |fields, methods| Size { fields, methods };
    let expected = [("a/A", size(2, 3)), ("a/E", size(0, 0)), ("a/c/A", size(0, 1))];
    let expected: BTreeMap<String, Size> = expected.into_iter().map(|(name, size)| (name.to_owned(), size)).collect();
    assert_eq!(sizes(&sources, |_| true), expected);
}
