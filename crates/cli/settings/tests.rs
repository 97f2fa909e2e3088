//! What the tables promise, for all of them at once.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use super::*;
use crate::commands::config_show::render;

struct Given<'a> {
    flags: &'a [(&'static str, &'a str)],
    environment: &'a [(&'a str, &'a str)],
    file: &'a str,
}

const NOTHING: Given<'static> = Given {
    flags: &[],
    environment: &[],
    file: "",
};

const FILE: &str = "conf/c2l.toml";

fn resolved(own: &'static Table, given: &Given<'_>) -> Values {
    let flags = given
        .flags
        .iter()
        .map(|(name, text)| (*name, vec![(*text).to_owned()]))
        .collect();
    let environment: BTreeMap<_, _> = given.environment.iter().copied().collect();
    let lookup = |name: &str| environment.get(name).map(OsString::from);
    let file = ConfigFile::parse(Path::new(FILE), given.file);
    let tables = [&general::TABLE, &general::DATA, own];
    Values::resolve(&tables, &flags, &lookup, Some(file))
}

fn mistakes<T>(
    own: &'static Table,
    read: fn(&mut Values) -> Option<T>,
    given: &Given<'_>,
) -> Vec<String> {
    let mut values = resolved(own, given);
    general::read_log(&mut values);
    read(&mut values);
    values.check().err().map_or_else(Vec::new, |found| found.0)
}

#[test]
fn flags_over_environment_over_file_over_default() {
    let mut given = Given {
        flags: &[("listen", "127.0.0.1:1")],
        environment: &[("C2L_LISTEN", "127.0.0.1:2")],
        file: "[relay]\nlisten = '127.0.0.1:3'",
    };
    let listen = |given: &Given<'_>| {
        let mut values = resolved(&relay::TABLE, given);
        let source = values
            .entry("listen")
            .effective()
            .unwrap()
            .source
            .to_string();
        (values.get("listen", parse::address).port(), source)
    };
    assert_eq!(listen(&given), (1, "flag --listen".to_owned()));
    given.flags = &[];
    assert_eq!(listen(&given), (2, "env C2L_LISTEN".to_owned()));
    given.environment = &[("C2L_LISTEN", "")];
    let file = format!("file {FILE}:relay.listen");
    assert_eq!(listen(&given), (3, file), "empty means not set");
    given.file = "";
    assert_eq!(listen(&given), (8080, "default".to_owned()));
}

#[test]
fn limits_that_no_agent_would_accept_are_a_mistake_of_the_relay() {
    for (flag, text) in [
        ("initial-window-bytes", "64MiB"),
        ("heartbeat-interval", "1h"),
        ("max-concurrent-streams", "100000"),
    ] {
        let found = mistakes(
            &relay::TABLE,
            relay::read,
            &Given {
                flags: &[(flag, text)],
                environment: &[],
                file: "",
            },
        );
        let is_said = found
            .iter()
            .any(|mistake| mistake.contains("not one that agents accept"));
        assert!(is_said, "{flag}: {found:?}");
    }
}

#[test]
fn every_mistake_is_reported_at_once() {
    let found = mistakes(
        &relay::TABLE,
        relay::read,
        &Given {
            flags: &[("listen", "nowhere"), ("tls-cert", "cert.pem")],
            environment: &[("C2L_GAP_TIMEOUT", "30"), ("C2L_LOG_FORMAT", "xml")],
            file: "
[relay]
lisen = '127.0.0.1:1'
max-connections = 0
cors-origin = ['https://good.example', '*']
reflection = [true]
[agnet]
relay = 'x'
[agent]
token = 'hunter2'
data-dir = 'x'
[[issuers]]
issuer = 'https://id.example'
algorithm = 'none'
audiance = 'c2l'
",
        },
    );
    let expected = [
        "unknown key \"relay.lisen\"; did you mean \"relay.listen\"?",
        "relay.reflection: one value is wanted here",
        "unknown key \"agnet\"; did you mean \"agent\"?",
        "unknown key \"agent.token\"",
        "unknown key \"agent.data-dir\"; did you mean \"data-dir\"?",
        "unknown key \"issuers.audiance\"; did you mean \"audience\"?",
        "env C2L_LOG_FORMAT: \"xml\" is neither text nor json",
        "flag --listen: \"nowhere\" is not an address",
        "issuers.audience is missing",
        "issuers.algorithm: \"none\" is not one of",
        "--tls-cert without --tls-key",
        "env C2L_GAP_TIMEOUT: \"30\" is not a length of time",
        "file conf/c2l.toml:relay.max-connections: \"0\" is not a whole number of at least 1",
        "file conf/c2l.toml:relay.cors-origin: \"*\" is not an origin",
    ];
    for expected in expected {
        assert!(
            found.iter().any(|mistake| mistake.contains(expected)),
            "{expected} is missing in {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(
        !found.join(" ").contains("hunter2"),
        "no value of an unknown key is repeated"
    );
    assert!(
        found
            .iter()
            .any(|mistake| mistake.starts_with("conf/c2l.toml:3: ")),
        "the line is named: {found:#?}"
    );
}

#[test]
fn a_key_that_stands_elsewhere_is_led_there() {
    let file = "
token-file = 'agent.token'
upstream = 'http://127.0.0.1:11434'
tls-cert = 'cert.pem'
lag.level = 'info'
[relay]
token-file = 'agent.token'
";
    let mut found = mistakes(&relay::TABLE, relay::read, &Given { file, ..NOTHING });
    let file = "relay = 'https://relay.example'";
    found.extend(mistakes(
        &relay::TABLE,
        relay::read,
        &Given { file, ..NOTHING },
    ));
    let expected = [
        "relay is a section: write [relay]; did you mean [agent] relay",
        "unknown key \"token-file\"; did you mean [agent] token-file",
        "unknown key \"upstream\"; did you mean [agent] upstream or [dev] upstream",
        "unknown key \"tls-cert\"; did you mean [relay] tls-cert?",
        "unknown key \"lag\"; did you mean \"log\"?",
        "unknown key \"relay.token-file\"; did you mean [agent] token-file",
    ];
    for expected in expected {
        let is_said = found.iter().any(|mistake| mistake.contains(expected));
        assert!(is_said, "{expected} is missing in {found:#?}");
    }
}

#[test]
fn the_file_in_the_readme_is_one_that_every_command_takes() {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("```toml\n").expect("a file in it");
    let (file, _) = rest.split_once("```").expect("its end");
    let given = Given { file, ..NOTHING };
    let mut found = mistakes(&relay::TABLE, relay::read, &given);
    found.retain(|mistake| !mistake.starts_with("--tls-")); // there is no certificate beside the README
    found.extend(mistakes(&agent::TABLE, agent::read, &given));
    found.extend(mistakes(&dev::TABLE, dev::read, &given));
    assert!(found.is_empty(), "{found:#?}");
    let values = resolved(&agent::TABLE, &given);
    for (name, text) in [("token-file", "agent.token"), ("device", "desk")] {
        let effective = values.entry(name).effective().unwrap();
        assert_eq!(effective.texts, [text], "{name} is said in the file");
    }
}

#[test]
fn a_file_that_is_no_toml_is_reported_with_its_line() {
    let file = "[relay]\nlisten = \n";
    let found = mistakes(&relay::TABLE, relay::read, &Given { file, ..NOTHING });
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("conf/c2l.toml:2: "), "{found:?}");
}

#[test]
fn an_agent_needs_a_relay_and_one_token() {
    let found = mistakes(&agent::TABLE, agent::read, &NOTHING);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("--relay is missing (or C2L_RELAY, or agent.relay"));
    assert!(found[1].contains("no token"));

    let found = mistakes(
        &agent::TABLE,
        agent::read,
        &Given {
            flags: &[
                ("relay", "http://relay.example"),
                ("token-file", "token"),
                ("device", "a b"),
            ],
            environment: &[("C2L_TOKEN", "hunter2")],
            ..NOTHING
        },
    )
    .join("\n");
    for expected in [
        "from C2L_TOKEN and --token-file at once",
        "http:// to another",
        "\"a b\"",
    ] {
        assert!(found.contains(expected), "{expected} is missing in {found}");
    }
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn a_token_is_issued_for_someone_and_something() {
    let found = mistakes(
        &token::TABLE,
        token::read,
        &Given {
            flags: &[("kind", "web"), ("ttl", "9000d"), ("scope", "root")],
            ..NOTHING
        },
    )
    .join("\n");
    for expected in ["--user is missing", "\"web\"", "\"9000d\"", "\"root\""] {
        assert!(found.contains(expected), "{expected} is missing in {found}");
    }
}

#[test]
fn paths_in_the_file_are_relative_to_the_file() {
    let mut values = resolved(
        &relay::TABLE,
        &Given {
            flags: &[("tls-key", "key.pem")],
            file: "[relay]\ntls-cert = 'cert.pem'",
            ..NOTHING
        },
    );
    assert_eq!(values.path("tls-cert").unwrap(), Path::new("conf/cert.pem"));
    assert_eq!(values.path("tls-key").unwrap(), Path::new("key.pem"));
}

#[test]
fn config_show_hides_secrets_and_names_sources() {
    let values = resolved(
        &agent::TABLE,
        &Given {
            flags: &[
                ("relay", "https://ada:hunter2@relay.example"),
                ("device", "desk"),
            ],
            environment: &[("C2L_TOKEN", "hunter3"), ("C2L_DATA_DIR", "data")],
            file: "[agent]\ndial-timeout = '3s'\n[log]\nlevel = 'debug'",
        },
    );
    let shown = render([&values]);
    let rows: BTreeMap<&str, String> = shown
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            (words[0], words[1..].join(" "))
        })
        .collect();
    for (name, expected) in [
        ("log.level", "debug file conf/c2l.toml:log.level"),
        ("log.format", "text default"),
        ("data-dir", "data env C2L_DATA_DIR"),
        ("agent.relay", "https://(hidden)@relay.example flag --relay"),
        ("agent.token", "(hidden) env C2L_TOKEN"),
        ("agent.token-file", "- not set"),
        (
            "agent.dial-timeout",
            "3s file conf/c2l.toml:agent.dial-timeout",
        ),
        ("agent.allow-manage", "false default"),
        ("agent.allow-cloud-models", "false default"),
        ("agent.allow-model", "* default"),
        ("agent.deny-model", "- not set"),
        ("agent.allow-route", "* default"),
    ] {
        assert_eq!(rows[name], expected, "{name}");
    }
    assert!(!shown.contains("hunter"), "{shown}");
}

#[test]
fn issuers_of_the_file_are_trusted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("secret"),
        "0123456789abcdef0123456789abcdef\n",
    )
    .unwrap();
    let text = "
[[issuers]]
issuer = 'https://id.example'
audience = 'c2l'
algorithm = 'HS256'
secret-file = 'secret'
default-kind = 'api'
key-id = 'one'
[[issuers]]
issuer = 'https://id.example'
audience = 'c2l'
algorithm = 'HS256'
secret-file = 'secret'
default-kind = 'api'
key-id = 'two'
";
    let path = folder.path().join("c2l.toml");
    let read = |text: &str| {
        let file = ConfigFile::parse(&path, text);
        let tables = [&general::TABLE, &general::DATA, &relay::TABLE];
        let mut values = Values::resolve(&tables, &Flags::new(), &|_| None, Some(file));
        (issuers::read(&mut values), values.check())
    };
    let (issuers, mistakes) = read(text);
    mistakes.unwrap();
    assert_eq!(issuers.len(), 1, "two keys of one issuer");
    assert_eq!(issuers[0].name(), "https://id.example");

    let (_, mistakes) = read(&text.replace("'two'", "'one'"));
    assert!(mistakes.unwrap_err().to_string().contains("same id"));
    let (_, mistakes) = read(&text.replacen("'c2l'", "'other'", 1));
    assert!(
        mistakes
            .unwrap_err()
            .to_string()
            .contains("another audience")
    );
}

#[test]
fn every_row_has_a_name_of_its_own_and_is_read() {
    fn unread<T>(own: &'static Table, read: fn(&mut Values) -> Option<T>) {
        // A value that nothing takes: every row that is read complains.
        for setting in own.settings {
            let is_text = matches!(
                setting.name,
                "token-file"
                    | "tls-cert"
                    | "tls-key"
                    | "tls-client-ca"
                    | "ca-file"
                    | "client-cert"
                    | "client-key"
                    | "api-token-file"
                    | "bundle"
            );
            if is_text {
                continue;
            }
            let flags = [(setting.name, "\u{1}")];
            let given = Given {
                flags: &flags,
                ..NOTHING
            };
            let found = mistakes(own, read, &given).join("\n");
            let named = format!("flag --{}", setting.name);
            assert!(
                found.contains(&named),
                "{} is not read: {found}",
                setting.name
            );
        }
    }
    unread(&relay::TABLE, relay::read);
    unread(&agent::TABLE, agent::read);
    unread(&dev::TABLE, dev::read);
    unread(&doctor::TABLE, |values| Some(doctor::read(values)));
    unread(&token::TABLE, token::read);
    let mut paths = std::collections::BTreeSet::new();
    for table in ALL {
        for setting in table.settings {
            assert!(paths.insert(table.path_of(setting)), "{setting:?} twice");
        }
    }
}
