//! What can be set, where each value came from, and what is wrong with it.
//!
//! Invariant: one row of a table is the flag, the environment variable, the key of the file, the default and the words
//! in `--help` of one setting; nothing of these is said anywhere else. Every mistake from every source is collected, and
//! with one of them no command starts.
//!
//! 1. A [`Table`] lists the settings of one section; `relay`, `agent`, `dev`, `doctor`, `login`, `token` and
//!    `general` hold one each.
//! 2. `file` reads the TOML file against all tables.
//! 3. [`Values::resolve`] puts flags, environment, file and defaults in their order, each with its [`Source`].
//! 4. `read` beside each table turns texts into what the command needs, with the parsers in `parse`.

pub(crate) mod agent;
pub(crate) mod audit;
mod carried;
mod claims;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod file;
pub(crate) mod general;
mod issuers;
pub(crate) mod login;
pub(crate) mod parse;
mod proxy;
pub(crate) mod relay;
#[cfg(test)]
mod tests;
mod tls;
pub(crate) mod token;
mod trust;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

pub(crate) use file::ConfigFile;

/// Every table, in the order of `config show`.
pub(crate) const ALL: [&Table; 9] = [
    &general::TABLE,
    &general::DATA,
    &audit::TABLE,
    &relay::TABLE,
    &agent::TABLE,
    &dev::TABLE,
    &doctor::TABLE,
    &login::TABLE,
    &token::TABLE,
];

/// Looks up one variable of the environment.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What was typed: for each setting, by name, the texts in their order.
pub(crate) type Flags = BTreeMap<&'static str, Vec<String>>;

/// The settings of one section of the file.
#[derive(Debug)]
pub(crate) struct Table {
    /// Name of the section; empty for keys that stand before any.
    pub(crate) section: &'static str,
    pub(crate) settings: &'static [Setting],
}

impl Table {
    /// How the file spells `setting`: `relay.listen`. The section's name is not said twice (`log.level`).
    pub(crate) fn path_of(&self, setting: &Setting) -> String {
        if setting.reach == Reach::NotInFile {
            return setting.name.to_owned();
        }
        let key = setting.name.strip_prefix(self.section).unwrap_or_default();
        match (self.section, key.strip_prefix('-')) {
            ("", _) => setting.name.to_owned(),
            (section, Some(key)) => format!("{section}.{key}"),
            (section, None) => format!("{section}.{}", setting.name),
        }
    }
}

/// One thing that can be set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Of the flag, without dashes in front. The variable and the key follow from it.
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    pub(crate) fallback: Fallback,
    /// One sentence for `--help`, without a full stop.
    pub(crate) doc: &'static str,
    pub(crate) reach: Reach,
    /// Left out of the short help.
    pub(crate) is_rare: bool,
    /// Never shown.
    pub(crate) is_secret: bool,
}

/// How many values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// True or false; the bare flag is true.
    Switch,
    /// One, of the kind that the word names.
    One(&'static str),
    /// Any number: the flag again, commas in the environment, an array in the file.
    Many(&'static str),
}

/// What holds when nobody sets it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fallback {
    Nothing,
    Text(&'static str),
    /// Depends on the machine; the words say how in `--help`.
    Found(&'static str, fn() -> Option<String>),
}

/// Where it can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Everywhere,
    /// Not in the file: it says which file.
    NotInFile,
    /// Nowhere else: flags are seen by everyone on the machine, and files are shared and kept.
    EnvironmentOnly,
}

impl Setting {
    const fn new(name: &'static str, form: Form, doc: &'static str) -> Self {
        Self {
            name,
            form,
            fallback: Fallback::Nothing,
            doc,
            reach: Reach::Everywhere,
            is_rare: false,
            is_secret: false,
        }
    }

    /// A setting with one value.
    const fn one(name: &'static str, placeholder: &'static str, doc: &'static str) -> Self {
        Self::new(name, Form::One(placeholder), doc)
    }

    /// A setting with any number of values.
    const fn many(name: &'static str, placeholder: &'static str, doc: &'static str) -> Self {
        Self::new(name, Form::Many(placeholder), doc)
    }

    /// A setting that is true or false; false unless said otherwise.
    const fn switch(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, Form::Switch, doc).or("false")
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.fallback = Fallback::Text(default);
        self
    }

    const fn or_found(mut self, description: &'static str, find: fn() -> Option<String>) -> Self {
        self.fallback = Fallback::Found(description, find);
        self
    }

    const fn rare(mut self) -> Self {
        self.is_rare = true;
        self
    }

    const fn not_in_file(mut self) -> Self {
        self.reach = Reach::NotInFile;
        self
    }

    const fn secret_in_environment(mut self) -> Self {
        self.reach = Reach::EnvironmentOnly;
        self.is_secret = true;
        self
    }

    /// Not shown by `config show`.
    const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// The variable: `C2L_` and the flag's name.
    pub(crate) fn variable(&self) -> String {
        format!("C2L_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// What `--help` says of it.
    pub(crate) fn help(&self) -> String {
        let variable = self.variable();
        let default = match self.fallback {
            Fallback::Text("false") | Fallback::Nothing => String::new(),
            Fallback::Text(text) | Fallback::Found(text, _) => format!(" [default: {text}]"),
        };
        format!("{} [env: {variable}]{default}", self.doc)
    }

    pub(crate) fn split(&self, text: &str) -> Vec<String> {
        match self.form {
            Form::Switch | Form::One(_) => vec![text.to_owned()],
            Form::Many(_) => text
                .split(',')
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect(),
        }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Flag(&'static str),
    Environment(String),
    File { path: PathBuf, key: String },
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Environment(name) => write!(f, "env {name}"),
            Self::File { path, key } => write!(f, "file {}:{key}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What one source says of one setting.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) texts: Vec<String>,
    pub(crate) source: Source,
}

/// One setting with everything that was said of it, the one that counts first.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) table: &'static Table,
    pub(crate) setting: &'static Setting,
    given: Vec<Given>,
}

impl Entry {
    /// What counts.
    pub(crate) fn effective(&self) -> Option<&Given> {
        self.given.first()
    }
}

/// The settings of one command, and what is wrong with them.
#[derive(Debug)]
pub(crate) struct Values {
    entries: Vec<Entry>,
    issuers: Vec<file::IssuerEntry>,
    /// What the environment says of proxies, by the upper-case name of the variable.
    proxies: BTreeMap<&'static str, String>,
    /// Where the system keeps what lives as long as the user is logged in, where it says so.
    runtime_dir: Option<PathBuf>,
    mistakes: Vec<String>,
    warnings: Vec<String>,
}

impl Values {
    /// Takes flags over environment over file over default, for every setting in `tables`.
    pub(crate) fn resolve(
        tables: &[&'static Table],
        flags: &Flags,
        environment: Environment<'_>,
        file: Option<ConfigFile>,
    ) -> Self {
        let mut file = file.unwrap_or_default();
        let mut values = Self {
            entries: Vec::new(),
            mistakes: std::mem::take(&mut file.mistakes),
            issuers: std::mem::take(&mut file.issuers),
            proxies: proxy_variables(environment),
            runtime_dir: environment("XDG_RUNTIME_DIR").map(PathBuf::from),
            warnings: Vec::new(),
        };
        for table in tables {
            for setting in table.settings {
                let given = [
                    flags.get(setting.name).map(|texts| Given {
                        texts: texts.clone(),
                        source: Source::Flag(setting.name),
                    }),
                    values.read_variable(setting, environment),
                    file.given.remove(&table.path_of(setting)),
                    fallback(setting),
                ];
                values.entries.push(Entry {
                    table,
                    setting,
                    given: given.into_iter().flatten().collect(),
                });
            }
        }
        values
    }

    /// An empty variable is as good as none: that is how a compose file says "not set".
    fn read_variable(
        &mut self,
        setting: &'static Setting,
        environment: Environment<'_>,
    ) -> Option<Given> {
        let name = setting.variable();
        let value = environment(&name).filter(|value| !value.is_empty())?;
        let Ok(text) = value.into_string() else {
            self.mistake(format!("{name}: not UTF-8"));
            return None;
        };
        Some(Given {
            texts: setting.split(&text),
            source: Source::Environment(name),
        })
    }

    /// Every setting with its value, for `config show`.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The issuers of the file, for `config show`.
    pub(crate) fn issuer_entries(&self) -> &[file::IssuerEntry] {
        &self.issuers
    }

    /// What the environment says in a variable that everybody reads.
    fn proxy_variable(&self, name: &str) -> Option<&str> {
        self.proxies.get(name).map(String::as_str)
    }

    /// Notes a mistake; the command will not start.
    pub(crate) fn mistake(&mut self, text: impl Into<String>) {
        self.mistakes.push(text.into());
    }

    /// Notes something to be logged once logging has begun.
    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// What was noted for the log.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// The mistakes, if there is any.
    pub(crate) fn check(&mut self) -> Result<(), Mistakes> {
        let mut mistakes = std::mem::take(&mut self.mistakes);
        let mut known = std::collections::BTreeSet::new();
        mistakes.retain(|mistake| known.insert(mistake.clone()));
        if mistakes.is_empty() {
            Ok(())
        } else {
            Err(Mistakes(mistakes))
        }
    }

    /// Whether somebody set it, rather than nobody.
    fn is_said(&self, name: &str) -> bool {
        let counts = self.entry(name).effective();
        counts.is_some_and(|given| given.source != Source::Default)
    }

    /// Whether the command has a setting of this name.
    fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.setting.name == name)
    }

    fn entry(&self, name: &str) -> &Entry {
        self.entries
            .iter()
            .find(|entry| entry.setting.name == name)
            .expect("only settings of the command's own tables are asked for")
    }

    /// Parses what every source says of `name`, and answers with what counts. A bad value is a mistake even where
    /// another source covers it up; it would come to light on some later day.
    fn parsed<T>(&mut self, name: &str, parse: impl Fn(&Given) -> Result<T, String>) -> Option<T> {
        let mut mistakes = Vec::new();
        let mut counts = None;
        for given in &self.entry(name).given {
            match parse(given) {
                Ok(value) => counts = counts.or(Some(value)),
                Err(reason) => mistakes.push(format!("{}: {reason}", given.source)),
            }
        }
        self.mistakes.append(&mut mistakes);
        // After a mistake this is whatever did parse, and nothing will start with it.
        counts
    }

    /// The one value of a setting that may be left out.
    fn optional<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.parsed(name, |given| parse(only(given)?))
    }

    /// The one value of a setting that has a default.
    fn get<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.optional(name, parse)
            .expect("its table gives a default, and every default parses")
    }

    /// The one value of a setting that must be there.
    fn required<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let entry = self.entry(name);
        if entry.effective().is_none() {
            let (variable, key) = (entry.setting.variable(), entry.table.path_of(entry.setting));
            self.mistake(format!(
                "--{name} is missing (or {variable}, or {key} in the file)"
            ));
        }
        self.optional(name, parse)
    }

    /// All values of a setting that takes many.
    fn many<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let all = |given: &Given| given.texts.iter().map(|text| parse(text)).collect();
        self.parsed(name, all).unwrap_or_default()
    }

    /// Whether anybody said anything of it.
    fn is_given(&self, name: &str) -> bool {
        let effective = self.entry(name).effective();
        effective.is_some_and(|given| given.source != Source::Default)
    }

    /// Whether a switch is on.
    fn switch(&mut self, name: &str) -> bool {
        self.get(name, parse::switch)
    }

    /// A path; one from the file is relative to the file, so that it means the same wherever the program is started.
    fn path(&mut self, name: &str) -> Option<PathBuf> {
        self.parsed(name, |given| {
            let path = Path::new(only(given)?);
            match &given.source {
                Source::File { path: file, .. } => Ok(beside(file, path)),
                Source::Flag(_) | Source::Environment(_) | Source::Default => Ok(path.to_owned()),
            }
        })
    }
}

/// Lower case counts before upper case, as in curl.
fn proxy_variables(environment: Environment<'_>) -> BTreeMap<&'static str, String> {
    let read = |name: &str| environment(name).and_then(|value| value.into_string().ok());
    proxy::VARIABLES
        .into_iter()
        .filter_map(|name| {
            let text = read(&name.to_lowercase()).or_else(|| read(name))?;
            (!text.trim().is_empty()).then_some((name, text))
        })
        .collect()
}

/// `path` as it was meant in `file`.
fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

fn only(given: &Given) -> Result<&str, String> {
    match given.texts.as_slice() {
        [text] if !text.is_empty() => Ok(text),
        _ => Err("a value is missing".to_owned()),
    }
}

fn fallback(setting: &Setting) -> Option<Given> {
    let text = match setting.fallback {
        Fallback::Nothing => return None,
        Fallback::Text(text) => text.to_owned(),
        Fallback::Found(_, find) => find()?,
    };
    Some(Given {
        texts: setting.split(&text),
        source: Source::Default,
    })
}

/// Everything that is wrong with the configuration, at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistakes(pub(crate) Vec<String>);

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "a mistake in the configuration: {one}"),
            all => {
                write!(f, "{} mistakes in the configuration:", all.len())?;
                all.iter()
                    .try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}
