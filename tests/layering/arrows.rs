//! Which file names items of which other, and the circles that this makes.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::{Sources, Tree, Use};

/// For each file the files whose items it names, each with one path that does.
pub type Arrows = BTreeMap<String, BTreeMap<String, String>>;

/// Renamings that a name may be taken through; more are a circle of `use`s that no compiler would take.
const MAX_USES: usize = 16;

/// Every arrow between the files of a source folder, tests apart. A parent's `mod` and its `pub use` of what lies below it
/// are none; a name taken through a `use` of another file counts for the file that holds the item. A path that only names
/// a module is none either: what is named through it is. Of a `use` of all that a module holds, only the module counts.
pub fn arrows(sources: &Sources) -> Arrows {
    let tree = Tree::read(sources, false);
    let mut arrows = Arrows::new();
    for (place, module) in tree.0.iter().enumerate() {
        let mut add = |path: &[String], target: Option<usize>| {
            if let Some(target) = target
                && tree.0[target].file != module.file
            {
                let to = arrows.entry(module.file.clone()).or_default();
                to.entry(tree.0[target].file.clone()).or_insert_with(|| path.join("::"));
            }
        };
        for used in &module.uses {
            let target = holder(&tree, place, used);
            if !(used.public && target.is_some_and(|target| is_below(&tree, target, place))) {
                add(&used.path, target);
            }
        }
        for path in &module.paths {
            add(path, item(&tree, place, path));
        }
    }
    arrows
}

/// The modules of the top that a module names by `crate::` or by enough `super::`, each with the path, tests included.
pub fn named_layers(tree: &Tree, place: usize) -> impl Iterator<Item = (&str, &[String])> {
    let module = &tree.0[place];
    let paths = module.uses.iter().map(|used| &used.path).chain(&module.paths);
    paths.filter_map(move |path| {
        let (start, rest) = start(tree, place, path)?;
        let layer = rest.first().filter(|_| start == Tree::ROOT)?;
        Some((layer.as_str(), path.as_slice()))
    })
}

/// The circles among files, the largest first: each holds all that reach each other along arrows.
pub fn circles(arrows: &Arrows, files: impl Fn(&str) -> bool) -> Vec<BTreeSet<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = arrows
        .keys()
        .filter(|file| files(file))
        .map(|file| {
            let (mut found, mut open) = (BTreeSet::new(), vec![file.as_str()]);
            while let Some(file) = open.pop() {
                let next = arrows.get(file).into_iter().flat_map(BTreeMap::keys).map(String::as_str);
                open.extend(next.filter(|next| files(next) && found.insert(*next)));
            }
            (file.as_str(), found)
        })
        .collect();
    let mut circles = BTreeSet::new();
    for (file, found) in reached.iter().filter(|(file, found)| found.contains(*file)) {
        let back = |other: &&str| reached.get(other).is_some_and(|found| found.contains(file));
        circles.insert(found.iter().copied().filter(back).collect::<BTreeSet<&str>>());
    }
    let mut circles: Vec<_> = circles.into_iter().collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

/// The module whose file holds what a `use` brings in; for everything of a module, that module.
fn holder(tree: &Tree, place: usize, used: &Use) -> Option<usize> {
    if used.name != "*" {
        return item(tree, place, &used.path);
    }
    match resolve(tree, place, &used.path, 0)? {
        Target::Module(module) | Target::Item(module) => Some(module),
    }
}

fn item(tree: &Tree, place: usize, path: &[String]) -> Option<usize> {
    match resolve(tree, place, path, 0)? {
        Target::Item(module) => Some(module),
        Target::Module(_) => None,
    }
}

/// What a path leads to.
enum Target {
    Module(usize),
    /// An item of this module, or something of the item.
    Item(usize),
}

/// Follows a path from a module. `None` for names of other crates, of the language and of the module itself.
fn resolve(tree: &Tree, place: usize, path: &[String], uses: usize) -> Option<Target> {
    let (mut module, mut rest) = match start(tree, place, path) {
        Some(start) => start,
        None if path.first().is_some_and(|name| is_known(tree, place, name)) => (place, path),
        None => return None,
    };
    while let Some((name, behind)) = rest.split_first() {
        if let Some(child) = tree.0[module].children.get(name) {
            (module, rest) = (*child, behind);
        } else if let Some(used) = tree.0[module].uses.iter().find(|used| used.name == *name) {
            let path: Vec<String> = used.path.iter().chain(behind).cloned().collect();
            return if uses < MAX_USES { resolve(tree, module, &path, uses + 1) } else { None };
        } else {
            return Some(Target::Item(module));
        }
    }
    Some(Target::Module(module))
}

/// The module that a path's leading `crate`, `self` and `super` mean, and the names behind them. `None` without these.
fn start<'a>(tree: &Tree, place: usize, path: &'a [String]) -> Option<(usize, &'a [String])> {
    let (first, mut rest) = path.split_first()?;
    let mut module = match first.as_str() {
        "crate" => Tree::ROOT,
        "self" => place,
        "super" => tree.0[place].parent?,
        _ => return None,
    };
    while let Some(("super", behind)) = rest.split_first().map(|(name, behind)| (name.as_str(), behind)) {
        (module, rest) = (tree.0[module].parent?, behind);
    }
    Some((module, rest))
}

fn is_known(tree: &Tree, place: usize, name: &str) -> bool {
    let module = &tree.0[place];
    module.children.contains_key(name) || module.uses.iter().any(|used| used.name == name)
}

fn is_below(tree: &Tree, mut module: usize, above: usize) -> bool {
    while let Some(parent) = tree.0[module].parent {
        if parent == above {
            return true;
        }
        module = parent;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Sources {
        files.iter().map(|(name, text)| (format!("{name}.rs"), (*text).to_owned())).collect()
    }

    /// The arrows of files a (with the child a/inner) and b, c, as "from>to".
    fn arrows_of(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = sources(&[
            ("lib", "mod a; mod b; mod c;"),
            ("a", "mod inner; pub use inner::Held; pub use inner::Held as Renamed;"),
            ("a/inner", "pub struct Held;"),
            ("b", ""),
            ("c", "pub fn item() {} pub struct Item;"),
        ]);
        all.extend(sources(files));
        let arrows = arrows(&all);
        arrows.iter().flat_map(|(from, to)| to.keys().map(move |to| format!("{from}>{to}"))).collect()
    }

    #[test]
    fn an_arrow_is_a_path_that_names_an_item_of_another_file() {
        let cases: &[(&str, &[&str])] = &[
            ("use crate::c::Item;", &["b>c"]),
            ("use super::c::{self, Item as Other};", &["b>c"]),
            ("fn f() { crate::c::item(); }", &["b>c"]),
            ("use crate::c; fn f() { x.y(c::item()) }", &["b>c"]),
            ("use crate::{c as other}; fn f(x: &other::Item) {}", &["b>c"]),
            ("use crate::c::*;", &["b>c"]),
            ("mod inside { use super::super::c::Item; }", &["b>c"]),
            ("#[derive(crate::c::Item)] struct X { f: u8 }", &["b>c"]),
            ("fn f() -> u8 { x..crate::c::Item::LEN }", &["b>c"]),
            ("pub use crate::c::Item;", &["b>c"]),
            // Through re-exports: of the file that holds the item.
            ("use crate::a::Held;", &["b>a/inner"]),
            ("use crate::a::{Renamed}; fn f() { Renamed::new() }", &["b>a/inner"]),
            ("fn f() { super::a::Held::new() }", &["b>a/inner"]),
            // None: modules alone, comments, literals, tests, fields, methods, other crates, the own items.
            ("use crate::c; pub(in crate::c) fn f() {}", &[]),
            ("// crate::c::Item\n/// [`crate::c::Item`]\nfn f() { \"crate::c::Item\" }", &[]),
            ("#[cfg(test)] mod tests { use crate::c::Item; }", &[]),
            ("use std::c::Item; fn f() { c::item(); x.c(); X { c: 1 } }", &[]),
            ("struct Own; fn f() { self::Own; Self::item(); Vec::<u8>::new() }", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(arrows_of(&[("b", text)]), *expected, "{text}");
        }
    }

    #[test]
    fn a_parent_reaches_its_child_by_using_what_it_declares_or_passes_on() {
        let cases: &[(&str, &[&str])] = &[
            ("mod inner; pub use inner::Held; pub(crate) use inner::{Held as Other};", &[]),
            ("mod inner; pub use inner::Held; fn f() -> Held {}", &["a>a/inner"]),
            ("mod inner; fn f() { inner::held() }", &["a>a/inner"]),
            ("mod inner; use inner::Held;", &["a>a/inner"]),
        ];
        for (text, expected) in cases {
            assert_eq!(arrows_of(&[("a", text)]), *expected, "{text}");
        }
    }

    #[test]
    fn layers_are_named_by_crate_and_super_in_tests_too() {
        let text =
            "use crate::{a, b::X}; use super::c; use std::fmt; #[cfg(test)] mod tests { use super::super::d::Y; }";
        let sources = sources(&[("lib", "mod m;"), ("m", text)]);
        let tree = Tree::read(&sources, true);
        let named: Vec<&str> = (0..tree.0.len()).flat_map(|place| named_layers(&tree, place)).map(|(l, _)| l).collect();
        assert_eq!(named, ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_circle_holds_all_that_reach_each_other() {
        let arrow = |from: &str, to: &[&str]| {
            (from.to_owned(), to.iter().map(|to| ((*to).to_owned(), String::new())).collect())
        };
        let arrows = Arrows::from([
            arrow("l/a", &["l/b"]),
            arrow("l/b", &["l/c", "l/d"]),
            arrow("l/c", &["l/a"]),
            arrow("l/d", &["l/e", "k/x"]),
            arrow("l/e", &["l/d"]),
            arrow("k/x", &["l/b"]),
        ]);
        let files = |file: &str| file.starts_with("l/");
        let expected = [BTreeSet::from(["l/a", "l/b", "l/c"]), BTreeSet::from(["l/d", "l/e"])];
        assert_eq!(circles(&arrows, files), expected);
        assert_eq!(circles(&arrows, |file| files(file) && file != "l/a"), expected[1..]);
        assert!(circles(&arrows, |file| file == "l/a").is_empty());
    }
}
