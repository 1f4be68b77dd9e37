//! Rust source as words and signs, without comments, lifetimes and what stands in quotes.

/// What a literal in quotes is in the list: it names nothing, but keeps its neighbours apart.
pub const LITERAL: &str = "\"";

/// The words and signs of a source text in order. `::` and `..` are one sign each, every other sign is one character.
pub fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, token) = if let Some(length) = blank(rest) {
            (length, None)
        } else if let Some(length) = literal(rest) {
            (length, Some(LITERAL))
        } else if first == '\'' {
            (1 + word(&rest[1..]), None)
        } else {
            let signs = if rest.starts_with("::") || rest.starts_with("..") { 2 } else { first.len_utf8() };
            let length = word(rest).max(signs);
            (length, Some(&rest[..length]))
        };
        tokens.extend(token);
        rest = &rest[length..];
    }
    tokens
}

/// The tokens without every item that `#[cfg(test)]` stands before.
pub fn without_tests<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].starts_with(&MARK) {
            at += MARK.len();
            while tokens[at..].starts_with(&["#"]) {
                at = end_of_group(tokens, at + 1);
            }
            at = end_of_item(tokens, at);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Whether a token is a word: a name, a keyword or a number.
pub fn is_word(token: &str) -> bool {
    word(token) > 0
}

/// The place behind the bracket that closes the one at `open`.
pub fn end_of_group(tokens: &[&str], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The place behind the item that begins at `at`: behind its `;` or its body.
fn end_of_item(tokens: &[&str], mut at: usize) -> usize {
    while at < tokens.len() {
        match tokens[at] {
            ";" => return at + 1,
            "{" => return end_of_group(tokens, at),
            "(" | "[" => at = end_of_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Bytes of the word at the beginning; 0 when there is none.
fn word(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
}

/// Bytes of the blanks or of the comment at the beginning.
fn blank(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        let (mut at, mut depth) = (0, 0_usize);
        while at < rest.len() {
            match rest.as_bytes()[at..] {
                [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
                [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
                _ => at += 1,
            }
            if depth == 0 {
                break;
            }
        }
        return Some(at);
    }
    rest.chars().next().filter(|first| first.is_whitespace()).map(char::len_utf8)
}

/// Bytes of the text or character in quotes at the beginning, with its prefix.
fn literal(rest: &str) -> Option<usize> {
    for prefix in ["br", "cr", "r"] {
        if let Some(raw) = rest.strip_prefix(prefix) {
            let hashes = raw.len() - raw.trim_start_matches('#').len();
            if let Some(inside) = raw[hashes..].strip_prefix('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
                return Some(prefix.len() + hashes + 1 + length);
            }
        }
    }
    let prefix = usize::from(rest.starts_with(['b', 'c']));
    let quoted = &rest[prefix..];
    let mut chars = quoted.char_indices();
    match chars.next()?.1 {
        '"' => {}
        '\'' => {
            // 'a' is a character, 'a without a second quote is a lifetime.
            let (_, first) = chars.clone().next()?;
            if first != '\\' && !quoted[1 + first.len_utf8()..].starts_with('\'') {
                return None;
            }
        }
        _ => return None,
    }
    let quote = quoted.as_bytes()[0];
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c as u32 == u32::from(quote) => return Some(prefix + at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

#[test]
fn comments_literals_and_lifetimes_leave_nothing_behind() {
    let cases: &[(&str, &[&str])] = &[
        ("a::b // c::d\n e", &["a", "::", "b", "e"]),
        ("a /* b /* c */ d */ e", &["a", "e"]),
        (r#"f("a::b \" c", b"d", x)"#, &["f", "(", LITERAL, ",", LITERAL, ",", "x", ")"]),
        ("r#\"a\"b\"# c br\"\\\" d", &[LITERAL, "c", LITERAL, "d"]),
        ("['a', '\\'', b'\\\\', '\"'] x", &["[", LITERAL, ",", LITERAL, ",", LITERAL, ",", LITERAL, "]", "x"]),
        ("&'a str + 'é'", &["&", "str", "+", LITERAL]),
        ("bar..crate", &["bar", "..", "crate"]),
    ];
    for (text, expected) in cases {
        assert_eq!(tokens(text), *expected, "{text}");
    }
}

#[test]
fn items_of_tests_are_left_out_with_their_bodies() {
    let text = "a; #[cfg(test)] #[path = \"x\"] mod tests { fn f() { b } } c; #[cfg(test)] mod tests; d \
                #[cfg(test)] fn g(x: [u8; 2]) -> Y { e } f #[cfg(not(test))] fn h() {}";
    let kept = without_tests(&tokens(text)).join(" ");
    assert_eq!(kept, "a ; c ; d f # [ cfg ( not ( test ) ) ] fn h ( ) { }");
}
