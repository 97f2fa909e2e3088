//! Rust source with its comments and literals blanked out, so that a word in a sentence is not taken for code.
//!
//! Line numbers stay as they are. It knows just enough of the language for that: nested comments, raw strings, and that
//! `'a` may be a lifetime.

/// What of `source` is code: every character of a comment or a literal becomes a space, line ends stay.
pub(crate) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let length = blank_prefix(rest, before);
        let (taken, left) = rest.split_at(length.unwrap_or(first.len_utf8()));
        match length {
            Some(_) => code.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
            None => code.push_str(taken),
        }
        before = first;
        rest = left;
    }
    code
}

/// How many bytes at the start of `text` are one comment or literal, if it starts with one.
fn blank_prefix(text: &str, before: char) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(comment(text));
    }
    if text.starts_with('"') {
        return Some(quoted(text, '"'));
    }
    if let Some(after) = text.strip_prefix('\'') {
        let mut inside = after.chars();
        let is_character = matches!(
            (inside.next(), inside.next()),
            (Some('\\'), _) | (_, Some('\''))
        );
        return is_character.then(|| quoted(text, '\''));
    }
    let is_word_start = !(before.is_alphanumeric() || before == '_');
    let hashes = text
        .strip_prefix('r')
        .map(|after| after.len() - after.trim_start_matches('#').len())?;
    let is_raw =
        (is_word_start || matches!(before, 'b' | 'c')) && text[1 + hashes..].starts_with('"');
    is_raw.then(|| {
        let end = format!("\"{}", "#".repeat(hashes));
        let opening = 2 + hashes;
        text[opening..]
            .find(&end)
            .map_or(text.len(), |at| opening + at + end.len())
    })
}

fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[test]
fn comments_and_literals_are_blank_and_code_is_not() {
    let source = r####"
fn a<'x>(b: &'x str) -> char { // gone "too"
    let c = "gone \" gone"; let d = r#"gone " gone"#; let e = br"gone\"; /* gone /* gone */ gone */ let kept = '"';
    for_r#type('\'', 'g'); kept('\u{1F600}')
}"####;
    let code = code_only(source);
    assert_eq!(
        code.lines().count(),
        source.lines().count(),
        "line numbers stay"
    );
    assert!(!code.contains("gone"), "{code}");
    assert!(!code.contains('"'), "{code}");
    for kept in [
        "fn a<'x>(b: &'x str) -> char {",
        "let c =",
        "; let d =",
        "let kept =",
        "for_r#type(",
        "kept(",
    ] {
        assert!(code.contains(kept), "{kept} is missing in: {code}");
    }
}
