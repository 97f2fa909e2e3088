//! The optional TOML file.
//!
//! Invariant: a key that no table knows is a mistake, in every section, whichever command runs.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{ALL, Form, Given, Reach, Setting, Source, Table};

/// The keys of one `[[issuers]]`, and what stands behind each; paths are relative to the file.
const ISSUER_KEYS: [(&str, IssuerForm); 24] = [
    ("issuer", IssuerForm::Text),
    ("audience", IssuerForm::Texts),
    ("algorithm", IssuerForm::Text),
    ("key-file", IssuerForm::Text),
    ("secret-file", IssuerForm::Text),
    ("key-id", IssuerForm::Text),
    ("discovery", IssuerForm::TextOrSwitch),
    ("jwks-url", IssuerForm::Text),
    ("algorithms", IssuerForm::Texts),
    ("ca-file", IssuerForm::Text),
    ("allow-insecure", IssuerForm::Switch),
    ("token-type", IssuerForm::Text),
    ("user-claim", IssuerForm::Text),
    ("default-kind", IssuerForm::Text),
    ("kind-claim", IssuerForm::Text),
    ("kinds", IssuerForm::Words),
    ("scopes-claim", IssuerForm::Text),
    ("scopes", IssuerForm::Words),
    ("require", IssuerForm::Values),
    ("max-lifetime", IssuerForm::Text),
    ("name", IssuerForm::Text),
    ("client-id", IssuerForm::Text),
    ("client-secret-file", IssuerForm::Text),
    ("client-scopes", IssuerForm::Texts),
];

const ISSUERS: &str = "issuers";

/// What may stand behind a key of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IssuerForm {
    Text,
    /// One text, or a list of them.
    Texts,
    Switch,
    TextOrSwitch,
    /// A table of texts.
    Words,
    /// A table of texts, numbers and switches.
    Values,
}

/// What the file says, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigFile {
    /// By path of the key, `relay.listen`.
    pub(super) given: BTreeMap<String, Given>,
    pub(super) issuers: Vec<IssuerEntry>,
    pub(super) mistakes: Vec<String>,
}

/// One `[[issuers]]` as it was written.
#[derive(Clone, Debug)]
pub(crate) struct IssuerEntry {
    /// File and line, for mistakes.
    pub(crate) place: String,
    pub(crate) file: PathBuf,
    /// Every key but those of tables.
    pub(crate) texts: BTreeMap<&'static str, Vec<String>>,
    pub(crate) tables: BTreeMap<&'static str, BTreeMap<String, Scalar>>,
}

/// One value in a table of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Text(String),
    Flag(bool),
    Number(i64),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl ConfigFile {
    /// Reads the file at `path`, which was asked for: that it cannot be read is a mistake.
    pub(crate) fn load(path: &Path) -> Self {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) => Self {
                mistakes: vec![format!("file {}: {error}", path.display())],
                ..Self::default()
            },
        }
    }

    /// Reads `text`, which came from `path`.
    pub(crate) fn parse(path: &Path, text: &str) -> Self {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader {
            path,
            text,
            file: Self::default(),
        };
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            reader.mistake(at, error.message());
        }
        // What recovery made of a torn file would only bring mistakes that are none.
        if errors.is_empty() {
            reader.document(document.get_ref());
        }
        reader.file
    }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    file: ConfigFile,
}

impl Reader<'_> {
    fn place(&self, at: usize) -> String {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("{}:{line}", self.path.display())
    }

    fn mistake(&mut self, at: usize, reason: impl std::fmt::Display) {
        let place = self.place(at);
        self.file.mistakes.push(format!("{place}: {reason}"));
    }

    fn document(&mut self, document: &DeTable<'_>) {
        for (name, value) in document {
            let section = ALL
                .into_iter()
                .find(|table| !table.section.is_empty() && table.section == name.get_ref());
            match (section, value.get_ref()) {
                (Some(_), DeValue::Table(content)) => {
                    for (key, value) in content {
                        self.key(name.get_ref(), key, value);
                    }
                }
                (Some(table), _) => {
                    let hint = elsewhere("", table.section).unwrap_or_default();
                    let reason = format!("{} is a section: write [{0}]{hint}", table.section);
                    self.mistake(value.span().start, reason);
                }
                (None, _) if name.get_ref() == ISSUERS => self.issuers(value),
                (None, _) => self.key("", name, value),
            }
        }
    }

    /// One key of a section, or one that stands before any.
    fn key(&mut self, section: &str, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let path = joined(section, key.get_ref());
        let Some(setting) = find(section, &path) else {
            return self.unknown(key.span().start, section, &path);
        };
        match texts(setting, value.get_ref()) {
            Ok(texts) => {
                let source = Source::File {
                    path: self.path.to_owned(),
                    key: path.clone(),
                };
                self.file.given.insert(path, Given { texts, source });
            }
            Err(reason) => self.mistake(value.span().start, format_args!("{path}: {reason}")),
        }
    }

    fn unknown(&mut self, at: usize, section: &str, path: &str) {
        let mut known: Vec<String> = settings_of(section)
            .map(|(table, setting)| table.path_of(setting))
            .collect();
        if section.is_empty() {
            known.extend(ALL.iter().map(|table| table.section.to_owned()));
            known.push(ISSUERS.to_owned());
        }
        let hint = elsewhere(section, path)
            .unwrap_or_else(|| suggestion(path, known.iter().map(String::as_str)));
        self.mistake(at, format_args!("unknown key {path:?}{hint}"));
    }

    fn issuers(&mut self, value: &Spanned<DeValue<'_>>) {
        let DeValue::Array(issuers) = value.get_ref() else {
            return self.mistake(value.span().start, "write [[issuers]], once for each");
        };
        for issuer in issuers {
            let at = issuer.span().start;
            let DeValue::Table(content) = issuer.get_ref() else {
                self.mistake(at, "write [[issuers]], once for each");
                continue;
            };
            let mut entry = IssuerEntry {
                place: self.place(at),
                file: self.path.to_owned(),
                texts: BTreeMap::new(),
                tables: BTreeMap::new(),
            };
            for (key, value) in content {
                let path = joined(ISSUERS, key.get_ref());
                let known = ISSUER_KEYS
                    .iter()
                    .find(|(known, _)| *known == key.get_ref());
                let Some((name, form)) = known else {
                    let hint = suggestion(key.get_ref(), ISSUER_KEYS.map(|(known, _)| known));
                    self.mistake(key.span().start, format!("unknown key {path:?}{hint}"));
                    continue;
                };
                if let Err(reason) = entry.read(name, *form, value.get_ref()) {
                    self.mistake(value.span().start, format!("{path}: {reason}"));
                }
            }
            self.file.issuers.push(entry);
        }
    }
}

impl IssuerEntry {
    fn read(
        &mut self,
        name: &'static str,
        form: IssuerForm,
        value: &DeValue<'_>,
    ) -> Result<(), String> {
        match (form, value) {
            (IssuerForm::Words | IssuerForm::Values, DeValue::Table(content)) => {
                let read = |(word, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
                    let value = scalar(value.get_ref(), form)?;
                    Ok((word.get_ref().to_string(), value))
                };
                let table: Result<_, String> = content.iter().map(read).collect();
                self.tables.insert(name, table?);
            }
            (IssuerForm::Words | IssuerForm::Values, _) => {
                return Err("a table is wanted here: { \"word\" = \"meaning\" }".to_owned());
            }
            (form, value) => {
                self.texts.insert(name, texts_of_issuer(form, value)?);
            }
        }
        Ok(())
    }
}

fn texts_of_issuer(form: IssuerForm, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let takes_text = form != IssuerForm::Switch;
    match value {
        DeValue::String(text) if takes_text => Ok(vec![text.to_string()]),
        DeValue::Boolean(flag) if matches!(form, IssuerForm::Switch | IssuerForm::TextOrSwitch) => {
            Ok(vec![flag.to_string()])
        }
        DeValue::Array(items) if form == IssuerForm::Texts => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                _ => Err("texts in quotes are wanted here".to_owned()),
            })
            .collect(),
        _ => Err(match form {
            IssuerForm::Switch => "true or false is wanted here",
            IssuerForm::TextOrSwitch => "true, or text in quotes, is wanted here",
            IssuerForm::Texts => "text in quotes, or a list of it, is wanted here",
            IssuerForm::Text | IssuerForm::Words | IssuerForm::Values => {
                "text in quotes is wanted here"
            }
        }
        .to_owned()),
    }
}

fn scalar(value: &DeValue<'_>, form: IssuerForm) -> Result<Scalar, String> {
    match value {
        DeValue::String(text) => Ok(Scalar::Text(text.to_string())),
        DeValue::Boolean(flag) if form == IssuerForm::Values => Ok(Scalar::Flag(*flag)),
        DeValue::Integer(number) if form == IssuerForm::Values && number.radix() == 10 => {
            let number = number.as_str().replace('_', "").parse();
            number
                .map(Scalar::Number)
                .map_err(|_| "the number is too large".to_owned())
        }
        DeValue::Table(_) => Err("a name with dots stands in quotes: { \"a.b\" = … }".to_owned()),
        _ if form == IssuerForm::Values => {
            Err("text in quotes, a whole number, or true or false is wanted here".to_owned())
        }
        _ => Err("text in quotes is wanted here".to_owned()),
    }
}

fn joined(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

fn settings_of(section: &str) -> impl Iterator<Item = (&'static Table, &'static Setting)> {
    ALL.into_iter()
        .filter(move |table| table.section == section)
        .flat_map(|table| table.settings.iter().map(move |setting| (table, setting)))
        .filter(|(_, setting)| setting.reach == Reach::Everywhere)
}

fn find(section: &str, path: &str) -> Option<&'static Setting> {
    settings_of(section)
        .find(|(table, setting)| table.path_of(setting) == path)
        .map(|(_, setting)| setting)
}

/// `; did you mean …?` where the very same key stands in another section, or before any as `data-dir` does.
fn elsewhere(section: &str, path: &str) -> Option<String> {
    let key = path.rsplit_once('.').map_or(path, |(_, key)| key);
    let sections = ALL.iter().map(|table| table.section);
    let places: Vec<String> = sections
        .filter(|other| *other != section && find(other, &joined(other, key)).is_some())
        .map(|other| match other {
            "" => format!("{key:?}"),
            other => format!("[{other}] {key}"),
        })
        .collect();
    (!places.is_empty()).then(|| format!("; did you mean {}?", places.join(" or ")))
}

fn texts(setting: &Setting, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match (value, setting.form) {
        (DeValue::Array(items), Form::Many(_)) => {
            items.iter().map(|item| text(item.get_ref())).collect()
        }
        (DeValue::Array(_), _) => Err("one value is wanted here, not a list".to_owned()),
        (single, _) => text(single).map(|text| vec![text]),
    }
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        // Underscores are how TOML groups digits.
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().replace('_', "")),
        DeValue::Boolean(is_true) => Ok(is_true.to_string()),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => {
            Err("text in quotes, a whole number, or true or false is wanted here".to_owned())
        }
    }
}

/// `; did you mean "…"?` where one of `known` is near enough to be what was meant.
fn suggestion<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|known| (distance(written, known), known))
        .min()
        // A typing slip or two, or a word written out of place; anything further is a guess.
        .filter(|(distance, known)| {
            *distance <= 3.max(known.len() / 4)
                || known.ends_with(written)
                || written.ends_with(known)
        })
        .map_or_else(String::new, |(_, known)| {
            format!("; did you mean {known:?}?")
        })
}

/// How many letters must be added, left out or changed (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
