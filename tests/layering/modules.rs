//! The tree of modules, and the paths that each of them names.

use std::collections::BTreeMap;

use crate::tokens::{LITERAL, is_word, tokens, without_tests};

/// Source texts by their names below `src`, such as `wire/ike/mod.rs`.
pub type Sources = BTreeMap<String, String>;

/// A module, in a file of its own or inside one.
pub struct Module {
    /// The file that holds it: its name without `.rs` and `/mod.rs`.
    pub file: String,
    pub parent: Option<usize>,
    pub children: BTreeMap<String, usize>,
    pub uses: Vec<Use>,
    /// Paths in the code, of one name or more, as they stand there.
    pub paths: Vec<Vec<String>>,
}

/// One name that a `use` brings in.
pub struct Use {
    /// What it is called here; `*` for all that the path holds.
    pub name: String,
    pub path: Vec<String>,
    /// Whether others may take it from here.
    pub public: bool,
}

/// Every module that `lib.rs` declares, itself or through others.
pub struct Tree(pub Vec<Module>);

impl Tree {
    /// The root's place.
    pub const ROOT: usize = 0;

    /// Reads the files that hold modules; with `tests`, those for tests only and the tests in the others too.
    pub fn read(sources: &Sources, tests: bool) -> Self {
        let mut tree = Self(Vec::new());
        tree.add_file(None, "lib", sources, tests);
        tree
    }

    fn add_file(&mut self, parent: Option<usize>, file: &str, sources: &Sources, tests: bool) -> usize {
        let names = [format!("{file}.rs"), format!("{file}/mod.rs")];
        let text = names.iter().find_map(|name| sources.get(name));
        let all = tokens(text.unwrap_or_else(|| panic!("no file holds the module {file}")));
        let tokens = if tests { all } else { without_tests(&all) };
        let module = self.add(parent, file);
        Reader { tree: self, sources, tests, tokens: &tokens, at: 0 }.module(module, file);
        module
    }

    fn add(&mut self, parent: Option<usize>, file: &str) -> usize {
        self.0.push(Module {
            file: file.to_owned(),
            parent,
            children: BTreeMap::new(),
            uses: Vec::new(),
            paths: Vec::new(),
        });
        self.0.len() - 1
    }
}

/// Reads the tokens of one file.
struct Reader<'a> {
    tree: &'a mut Tree,
    sources: &'a Sources,
    tests: bool,
    tokens: &'a [&'a str],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads a module up to the bracket that closes it, or to the file's end. `folder` is where its children's files are.
    fn module(&mut self, module: usize, folder: &str) {
        let mut depth = 0_usize;
        while let Some(token) = self.token(0) {
            match token {
                "{" => depth += 1,
                "}" if depth == 0 => break,
                "}" => depth -= 1,
                // `#[path = "…"]`: only for a file that is not below `src`.
                "mod" if self.tokens[..self.at].ends_with(&["path", "=", LITERAL, "]"]) => {
                    self.at += 3;
                    continue;
                }
                "mod" if self.token(1).is_some_and(is_word) => {
                    self.child(module, folder);
                    continue;
                }
                // `use<'a>` is a bound.
                "use" if self.token(1) != Some("<") => {
                    let public = self.at > 0 && matches!(self.tokens[self.at - 1], "pub" | ")");
                    self.at += 1;
                    self.use_tree(module, &[], public);
                    continue;
                }
                _ if is_word(token) => {
                    self.path(module);
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
    }

    fn token(&self, ahead: usize) -> Option<&'a str> {
        self.tokens.get(self.at + ahead).copied()
    }

    fn child(&mut self, parent: usize, folder: &str) {
        let name = self.tokens[self.at + 1];
        let inner = if folder == "lib" { name.to_owned() } else { format!("{folder}/{name}") };
        let inside = self.token(2) == Some("{");
        self.at += 3;
        let child = if inside {
            let file = self.tree.0[parent].file.clone();
            let child = self.tree.add(Some(parent), &file);
            self.module(child, &inner);
            child
        } else {
            self.tree.add_file(Some(parent), &inner, self.sources, self.tests)
        };
        self.tree.0[parent].children.insert(name.to_owned(), child);
    }

    /// Reads one tree of a `use` up to the sign behind it.
    fn use_tree(&mut self, module: usize, prefix: &[String], public: bool) {
        let mut path = prefix.to_vec();
        while let Some(token) = self.token(0) {
            match token {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while !matches!(self.token(0), Some("}") | None) {
                        self.use_tree(module, &path, public);
                        self.at += usize::from(self.token(0) == Some(","));
                    }
                    self.at += 1;
                    return;
                }
                // The path so far, unless it is the first word.
                "self" if !path.is_empty() => self.at += 1,
                "*" => {
                    self.at += 1;
                    self.tree.0[module].uses.push(Use { name: "*".to_owned(), path, public });
                    return;
                }
                "as" => {
                    let name = self.token(1).unwrap_or_default().to_owned();
                    self.at += 2;
                    self.tree.0[module].uses.push(Use { name, path, public });
                    return;
                }
                _ if is_word(token) => {
                    path.push(token.to_owned());
                    self.at += 1;
                }
                _ => break,
            }
        }
        if let Some(name) = path.last().cloned() {
            self.tree.0[module].uses.push(Use { name, path, public });
        }
    }

    /// Reads a path of the code.
    fn path(&mut self, module: usize) {
        let before = self.at.checked_sub(1).map(|at| self.tokens[at]);
        let mut path = vec![self.tokens[self.at].to_owned()];
        self.at += 1;
        while self.token(0) == Some("::") && self.token(1).is_some_and(is_word) {
            path.push(self.tokens[self.at + 1].to_owned());
            self.at += 2;
        }
        // Fields, methods and what is being declared name nothing; `::a` is another crate's or an associated item.
        let names = !matches!(before, Some("." | "::" | "fn" | "struct" | "enum" | "union" | "trait" | "type"));
        let field = path.len() == 1 && self.token(0) == Some(":");
        if names && !field {
            self.tree.0[module].paths.push(path);
        }
    }
}
