//! What was set on the command line, in the environment and in a file, as one file that means the same anywhere and at any
//! time: for an agent that the system starts.
//!
//! Invariant: it has everything that was set, and nothing that a file may not hold. Paths in it are absolute.

use std::{collections::BTreeMap, path::Path};

use http::Uri;

use super::{Entry, Form, Given, Reach, Source, Values, beside, proxy};

/// In place of what is not to be looked at.
const HIDDEN: &str = "(hidden)";

/// The file; with `is_shown` without its secrets.
pub(super) fn file(values: &Values, relay: &Uri, is_shown: bool) -> String {
    // By section, in the order of the alphabet: keys before any section come first, as they must.
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |path: &str, value: String| {
        let (section, key) = path.split_once('.').unwrap_or(("", path));
        let lines = sections.entry(section.to_owned()).or_default();
        lines.push(format!("{key} = {value}\n"));
    };
    for entry in values.entries() {
        let path = entry.table.path_of(entry.setting);
        if entry.setting.reach != Reach::Everywhere {
            continue;
        }
        if let Some(value) = entry.effective().and_then(|given| value(entry, given)) {
            let is_hidden = is_shown && entry.setting.is_secret;
            add(&path, if is_hidden { quoted(HIDDEN) } else { value });
        } else if entry.setting.name == "proxy"
            && let Some((_, text)) = proxy::of_environment(values, relay)
        {
            add(&path, quoted(if is_shown { HIDDEN } else { text }));
        } else if entry.setting.name == "relay" {
            // That of the login, and of this one also when there are others later.
            add(&path, quoted(&crate::login::spelled(relay)));
        }
    }
    let mut text = String::new();
    for (section, lines) in sections {
        if !section.is_empty() {
            text.push_str(&format!("\n[{section}]\n"));
        }
        text.extend(lines);
    }
    text
}

/// As TOML. What holds anyway is left out, but for directories: which are the default ones depends on the environment.
fn value(entry: &Entry, given: &Given) -> Option<String> {
    let is_directory = entry.setting.form == Form::One("DIR");
    if given.source == Source::Default && !is_directory {
        return None;
    }
    let texts: Vec<String> = given
        .texts
        .iter()
        .map(|text| match entry.setting.form {
            Form::One("FILE" | "DIR") => quoted(&absolute(text, &given.source)),
            Form::Switch | Form::One(_) | Form::Many(_) => quoted(text),
        })
        .collect();
    match entry.setting.form {
        Form::Many(_) => Some(format!("[{}]", texts.join(", "))),
        Form::Switch | Form::One(_) => texts.into_iter().next(),
    }
}

fn absolute(text: &str, source: &Source) -> String {
    let path = match source {
        Source::File { path: file, .. } => beside(file, Path::new(text)),
        Source::Flag(_) | Source::Environment(_) | Source::Default => text.into(),
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    path.to_string_lossy().into_owned()
}

/// A basic string of TOML, which is spelled like one of JSON but for one character.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ConfigFile, Flags, agent, general},
        *,
    };

    const TABLES: [&super::super::Table; 3] = [&general::TABLE, &general::DATA, &agent::TABLE];

    fn resolved(
        flags: &[(&'static str, &str)],
        environment: &[(&str, &str)],
        file: &str,
    ) -> Values {
        let typed: Flags = flags
            .iter()
            .map(|(name, text)| (*name, vec![(*text).to_owned()]))
            .collect();
        let lookup = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name)?;
            Some(found.1.into())
        };
        let file = ConfigFile::parse(Path::new("/conf/c2l.toml"), file);
        Values::resolve(&TABLES, &typed, &lookup, Some(file))
    }

    fn carried(values: &mut Values) -> (String, String) {
        let settings = agent::read_service(values).unwrap();
        assert_eq!(values.check(), Ok(()));
        (settings.file, settings.shown_file)
    }

    #[test]
    fn what_was_set_anywhere_stands_in_the_file() {
        let mut values = resolved(
            &[
                ("relay", "https://relay.example"),
                ("token-command", "printf '\"\\ä%s'"),
                ("allow-manage", "true"),
                ("data-dir", "/data"),
                ("log-level", "debug"),
            ],
            &[
                ("C2L_DRAIN_TIMEOUT", "5s"),
                ("HTTPS_PROXY", "http://ada:hunter2@proxy:3128"),
            ],
            "[agent]\nca-file = 'roots.pem'\nrelay = 'https://other.example'\ndeny-model = ['a*', 'b']",
        );
        let (text, shown) = carried(&mut values);
        assert!(
            text.contains("hunter2") && !shown.contains("hunter2"),
            "{shown}"
        );
        let file = ConfigFile::parse(Path::new("/elsewhere/x.toml"), &text);
        let mut read = Values::resolve(&TABLES, &Flags::new(), &|_| None, Some(file));
        let settings = agent::read(&mut read).unwrap();
        assert_eq!(read.check(), Ok(()), "{text}");
        assert_eq!(settings.relay.host(), Some("relay.example"));
        assert_eq!(
            settings.ca_file.as_deref(),
            Some(Path::new("/conf/roots.pem"))
        );
        assert_eq!(settings.proxy.unwrap().address(), "http://proxy:3128");
        assert!(settings.allow_manage);
        assert_eq!(settings.policy.deny_models, ["a*", "b"]);
        assert_eq!(settings.policy.allow_models, ["*"]);
        assert_eq!(settings.tuning.drain_grace.as_secs(), 5);
        let level = read.entry("log-level").effective().unwrap();
        assert_eq!(level.texts, ["debug"]);
        let command = read.entry("token-command").effective().unwrap();
        assert_eq!(command.texts, ["printf '\"\\ä%s'"]);
    }

    #[test]
    fn relative_paths_become_absolute_and_what_holds_anyway_is_left_out() {
        let flags = [
            ("relay", "https://relay.example"),
            ("token-file", "agent.token"),
        ];
        let (text, _) = carried(&mut resolved(&flags, &[], ""));
        let file = std::path::absolute("agent.token").unwrap();
        assert!(text.contains(&quoted(file.to_str().unwrap())), "{text}");
        assert!(text.contains("data-dir"), "{text}");
        assert!(
            !text.contains("drain-timeout") && !text.contains("upstream"),
            "{text}"
        );
    }

    #[test]
    fn a_token_of_the_environment_is_refused() {
        let mut values = resolved(
            &[("relay", "https://relay.example")],
            &[("C2L_TOKEN", "hunter2")],
            "",
        );
        agent::read_service(&mut values);
        let mistakes = values.check().unwrap_err().to_string();
        assert!(
            mistakes.contains("--token-file") && !mistakes.contains("hunter2"),
            "{mistakes}"
        );
    }
}
