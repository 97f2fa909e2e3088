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
    let (trusted, mistakes) = read(text);
    mistakes.unwrap();
    assert_eq!(trusted.issuers.len(), 1, "two keys of one issuer");
    assert_eq!(trusted.issuers[0].name(), "https://id.example");
    assert!(trusted.providers.is_empty());

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

/// What a file with these issuers makes the relay trust, and what is wrong with it.
fn issuers_of(text: &str) -> (issuers::Trusted, Vec<String>) {
    let file = ConfigFile::parse(Path::new(FILE), text);
    let tables = [&general::TABLE, &general::DATA, &relay::TABLE];
    let mut values = Values::resolve(&tables, &Flags::new(), &|_| None, Some(file));
    let trusted = issuers::read(&mut values);
    let mistakes = values.check().err().map_or_else(Vec::new, |found| found.0);
    (trusted, mistakes)
}

#[test]
fn issuers_that_publish_their_keys_are_fetched_from_where_the_operator_says() {
    let (trusted, mistakes) = issuers_of(
        "
[[issuers]]
issuer = 'https://id.example/realms/home'
audience = ['c2l', 'c2l-desktop']
discovery = true
algorithms = ['RS256', 'PS256']
user-claim = 'oid'
kind-claim = 'azp'
kinds = { c2l-desktop = 'agent', c2l = 'api' }
scopes-claim = 'realm_access.roles'
scopes = { models = 'infer', model-admin = 'infer manage' }
require = { email_verified = true, tid = 'home', ver = 2 }
max-lifetime = '12h'
token-type = 'at+jwt'
[[issuers]]
issuer = 'accounts'
audience = 'c2l'
jwks-url = 'http://keys.internal:8080/jwks?x=1'
allow-insecure = true
",
    );
    assert_eq!(mistakes, Vec::<String>::new());
    let names: Vec<_> = trusted.issuers.iter().map(c2l_auth::Issuer::name).collect();
    assert_eq!(names, ["accounts", "https://id.example/realms/home"]);
    let urls = trusted.providers.iter().map(|known| match &known.source {
        c2l_relay::Source::Jwks(url) => format!("{} keys {url}", known.issuer),
        c2l_relay::Source::Discovery(url) => format!("{} discovery {url}", known.issuer),
    });
    let expected = [
        "accounts keys http://keys.internal:8080/jwks?x=1",
        "https://id.example/realms/home discovery https://id.example/realms/home/.well-known/openid-configuration",
    ];
    assert_eq!(urls.collect::<Vec<_>>(), expected);
    // What was read is what the verifier is given; crates/auth holds what it means.
    let shown = format!("{:?}", trusted.issuers);
    for word in [
        "oid",
        "azp",
        "c2l-desktop",
        "model-admin",
        "StrictAccess",
        "43200s",
        "Ps256",
    ] {
        assert!(shown.contains(word), "{word} is missing in {shown}");
    }
}

#[test]
fn the_examples_of_the_documentation_are_taken_as_they_stand() {
    let page = include_str!("../../../docs/identity.md").replace("<tenant id>", "tenant");
    let examples: Vec<_> = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(examples.len(), 7);
    for example in examples {
        let (trusted, mistakes) = issuers_of(example);
        assert_eq!(mistakes, Vec::<String>::new(), "{example}");
        assert_eq!(trusted.providers.len(), 1, "{example}");
    }
}

#[test]
fn every_mistake_of_an_issuer_is_reported_at_once() {
    let (_, found) = issuers_of(
        "
[[issuers]]
issuer = 'http://id.example'
audience = [1]
discovery = true
algorithms = ['HS256', 'ES512']
key-file = 'x.pem'
kinds = { a = 'admin' }
scopes = 'infer'
require = { realm_access.roles = 'x' }
max-lifetime = 'long'
token-type = 'jwt'
default-kind = true
[[issuers]]
issuer = 'https://id.example'
audience = 'c2l'
jwks-url = 'https://ada:hunter2@id.example/keys'
ca-file = 'missing.pem'
user-claim = ''
[[issuers]]
issuer = 'https://two.example'
audience = 'c2l'
discovery = true
jwks-url = 'https://two.example/keys'
[[issuers]]
issuer = 'https://three.example'
audience = 'c2l'
algorithms = 'RS256'
[[issuers]]
issuer = 'https://four.example'
audience = 'c2l'
discovery = 'https://four.example/x'
[[issuers]]
issuer = 'https://four.example'
audience = 'c2l'
discovery = true
",
    );
    let expected = [
        "issuers.audience: texts in quotes",
        "issuers.scopes: a table is wanted here",
        "issuers.require: a name with dots stands in quotes",
        "issuers.default-kind: text in quotes",
        "issuers.audience is missing",
        "issuers.kinds: \"admin\" is not one of",
        "issuers.max-lifetime: \"long\" is not a length of time",
        "issuers.token-type: \"jwt\" is not one of",
        "issuers.key-file is for a key that is given here",
        "issuers.discovery: clear text",
        "issuers.algorithms: \"HS256\"",
        "issuers.algorithms: \"ES512\"",
        "issuers.user-claim: a claim is named by",
        "issuers.jwks-url: a URL with a user name or password",
        "issuers.ca-file: the file conf/missing.pem",
        "issuers.discovery and issuers.jwks-url: give one",
        "issuers.algorithms is for an issuer with discovery",
        "issuers: no keys",
        "\"https://four.example\" is named before, and its keys are fetched",
    ];
    for expected in expected {
        assert!(
            found.iter().any(|mistake| mistake.contains(expected)),
            "{expected} is missing in {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(!found.join(" ").contains("hunter2"), "{found:#?}");
}

#[test]
fn config_show_has_every_row_of_an_issuer() {
    let file = "
[[issuers]]
issuer = 'https://id.example'
audience = ['one', 'two']
jwks-url = 'https://ada:hunter2@id.example/keys'
require = { 'a.b' = true }
";
    let values = resolved(&relay::TABLE, &Given { file, ..NOTHING });
    let shown = render([&values]);
    for (name, value) in [
        ("issuers.audience", "one,two"),
        ("issuers.jwks-url", "https://(hidden)@id.example/keys"),
        ("issuers.require.a.b", "true"),
    ] {
        let row = shown
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        assert!(
            row.is_some_and(|row| row.contains(value)),
            "{name}: {shown}"
        );
    }
    assert!(!shown.contains("hunter2"), "{shown}");
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
