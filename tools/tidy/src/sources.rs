//! What no source file may contain, and how each begins. A word in a comment or a literal is not code.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{assert_none, code::code_only, root};

/// Where our own files lie; what is generated or built lies elsewhere.
const FOLDERS: &[&str] = &["crates", "tests", "tools", "proto", "docs", "web", ".ci"];

/// A sleep on or below a line with this mark is the subject of a test, not its way to wait.
const SLEEP_MARK: &str = "// paced: ";

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path
            .extension()
            .is_some_and(|extension| extension == "rs")
    }

    /// Of the web page: TypeScript, and the scripts that build it; not what is generated.
    fn is_script(&self) -> bool {
        let name = self.path.to_string_lossy();
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        self.path.starts_with("web") && ends(&[".ts", ".tsx", ".mjs"]) && !ends(&[".d.ts"])
    }

    fn is_script_test(&self) -> bool {
        self.is_script() && self.path.to_string_lossy().contains(".test.ts")
    }

    /// `path:line` of every line of code in which `is_bad` finds something.
    fn lines_where(&self, is_bad: impl Fn(&str) -> bool) -> Vec<String> {
        let code = code_only(&self.text);
        let bad = code.lines().enumerate().filter(|(_, line)| is_bad(line));
        bad.map(|(index, _)| format!("{}:{}", self.path.display(), index + 1))
            .collect()
    }
}

fn sources() -> Vec<Source> {
    let root = root();
    let mut files = Vec::new();
    collect(&root, false, &mut files);
    for folder in FOLDERS {
        collect(&root.join(folder), true, &mut files);
    }
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).ok()?; // what is not text is not source
        let path = file
            .strip_prefix(&root)
            .expect("every file was found below the root")
            .to_owned();
        Some(Source { path, text })
    };
    files.into_iter().filter_map(read).collect()
}

/// The files in `folder`, and below it when `is_deep`; nothing that was built.
pub(crate) fn collect(folder: &Path, is_deep: bool, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.map(|entry| entry.unwrap().path()) {
        let name = entry
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if entry.is_file() {
            files.push(entry);
        } else if is_deep && !["target", "node_modules", "__pycache__", "dist"].contains(&name) {
            collect(&entry, true, files);
        }
    }
}

fn rust_sources() -> impl Iterator<Item = Source> {
    sources().into_iter().filter(Source::is_rust)
}

/// Whether `line` has `word` as a whole word; `word` may end in a sign such as `!`.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let after = line[at + word.len()..].chars().next();
        let goes_on = word.ends_with(is_part) && after.is_some_and(is_part);
        !line[..at].ends_with(is_part) && !goes_on
    })
}

#[test]
fn words_are_whole() {
    assert!(has_word("unsafe { }", "unsafe") && has_word("x;todo!()", "todo!"));
    assert!(!has_word("unsafe_code", "unsafe") && !has_word("not_todo!()", "todo!"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = rust_sources().filter(|source| !source.text.starts_with("//!"));
    let silent: Vec<_> = silent
        .map(|source| source.path.display().to_string())
        .collect();
    assert_none(
        &silent,
        "a file opens with `//!`: what it is for, its one invariant, where to read next:",
    );
    let silent = sources()
        .into_iter()
        .filter(|source| source.is_script() && !source.is_script_test());
    let silent: Vec<_> = silent
        .filter(|source| !source.text.starts_with("// "))
        .map(|source| source.path.display().to_string())
        .collect();
    assert_none(
        &silent,
        "a file of the page opens with `//`: what it is for, its one invariant:",
    );
}

#[test]
fn tests_of_the_page_wait_for_nothing_real() {
    let waits = |line: &str| line.contains("setTimeout(") || line.contains("waitForTimeout(");
    let found: Vec<_> = sources()
        .iter()
        .filter(|source| source.is_script_test())
        .flat_map(|source| source.lines_where(waits))
        .collect();
    assert_none(&found, "time is faked, or a condition is waited for:");
}

#[test]
fn no_queue_without_a_bound() {
    let has_none =
        |line: &str| has_word(line, "unbounded_channel") || line.contains("mpsc::unbounded");
    let found: Vec<_> = rust_sources()
        .flat_map(|source| source.lines_where(has_none))
        .collect();
    assert_none(
        &found,
        "every queue has a bound and says what happens when it is full:",
    );
}

#[test]
fn no_unsafe_code() {
    let found: Vec<_> = rust_sources()
        .flat_map(|source| source.lines_where(|line| has_word(line, "unsafe")))
        .collect();
    assert_none(&found, "nothing here needs unsafe code:");
}

#[test]
fn nothing_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let macros = |line: &str| has_word(line, "todo!") || has_word(line, "unimplemented!");
    let mut found: Vec<_> = rust_sources()
        .flat_map(|source| source.lines_where(macros))
        .collect();
    for source in sources() {
        let noted = source
            .text
            .lines()
            .enumerate()
            .filter(|(_, line)| marks.iter().any(|mark| has_word(line, mark)));
        found.extend(noted.map(|(index, _)| format!("{}:{}", source.path.display(), index + 1)));
    }
    assert_none(&found, "do it, or write an issue:");
}

#[test]
fn no_test_is_ignored() {
    let found: Vec<_> = rust_sources()
        .flat_map(|source| source.lines_where(|line| line.contains("#[ignore")))
        .collect();
    assert_none(&found, "an ignored test holds no promise:");
}

#[test]
fn tests_wait_for_conditions_not_for_time() {
    let mut found = Vec::new();
    for source in rust_sources() {
        if !(source.path.starts_with("tests") || source.path.starts_with("crates/testkit")) {
            continue;
        }
        let code = code_only(&source.text);
        let lines: Vec<_> = source.text.lines().collect();
        for (index, line) in code.lines().enumerate() {
            let above = index.checked_sub(1).map_or("", |above| lines[above]);
            let is_marked = lines[index].contains(SLEEP_MARK) || above.contains(SLEEP_MARK);
            if (line.contains("sleep(") || line.contains("sleep_until(")) && !is_marked {
                found.push(format!("{}:{}", source.path.display(), index + 1));
            }
        }
    }
    let rule = format!(
        "wait for the condition, with a deadline; where time itself is the subject, say why after `{SLEEP_MARK}`:"
    );
    assert_none(&found, &rule);
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    let root = root();
    let home = std::env::var("HOME").unwrap_or_default();
    let places = [root.to_str().unwrap(), home.as_str()]
        .into_iter()
        .filter(|place| place.len() > 1);
    let places: Vec<_> = places.map(|place| format!("{place}/")).collect();
    let mut found = Vec::new();
    for source in sources() {
        let named = source
            .text
            .lines()
            .enumerate()
            .filter(|(_, line)| places.iter().any(|place| line.contains(place)));
        found.extend(named.map(|(index, _)| format!("{}:{}", source.path.display(), index + 1)));
    }
    assert_none(&found, "a path of one machine is of no use on another:");
}
