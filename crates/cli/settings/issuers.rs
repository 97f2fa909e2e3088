//! Who else may vouch for users: `[[issuers]]` of the file.
//!
//! Invariant: an issuer's keys are either given, one key for one algorithm per entry, or fetched from where the operator
//! says. Entries of the same issuer with given keys add keys to it, which is how such a key is rotated.

use std::{collections::BTreeMap, fs, path::Path};

use c2l_auth::{Algorithm, Issuer, Key, Mapping, OWN_ISSUER, Secret, Verifier};
use c2l_relay::{Provider, ProviderUrl, SignInClient, Source};

use super::{Values, beside, claims, file::IssuerEntry, trust};
use crate::files;

/// Whom the relay trusts beside itself, and where it fetches the keys of those who publish them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trusted {
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) providers: Vec<Provider>,
}

pub(super) fn read(values: &mut Values) -> Trusted {
    let mut known: BTreeMap<String, One> = BTreeMap::new();
    for entry in values.issuers.clone() {
        match read_one(&entry, values) {
            Ok(one) => add(&mut known, one, &entry, values),
            Err(reasons) => reasons
                .into_iter()
                .for_each(|reason| values.mistake(format!("{}: {reason}", entry.place))),
        }
    }
    let mut trusted = Trusted::default();
    for one in known.into_values() {
        trusted.issuers.push(one.issuer);
        trusted.providers.extend(one.provider);
    }
    // What only shows once they are together: too many keys, or two with one id.
    if !trusted.issuers.is_empty()
        && let Err(error) = Verifier::new(trusted.issuers.clone())
    {
        values.mistake(format!("issuers: {error}"));
    }
    trusted
}

/// One issuer that is right by itself.
#[derive(Debug)]
struct One {
    /// What must be the same wherever it is named again.
    identity: String,
    issuer: Issuer,
    key: Option<Key>,
    provider: Option<Provider>,
}

fn add(known: &mut BTreeMap<String, One>, mut one: One, entry: &IssuerEntry, values: &mut Values) {
    let key = one.key.take();
    let mut one = match known.remove(one.issuer.name()) {
        None => one,
        Some(earlier) => {
            let name = one.issuer.name();
            if earlier.provider.is_some() || one.provider.is_some() {
                values.mistake(format!(
                    "{}: the issuer {name:?} is named before, and its keys are fetched: one entry says all",
                    entry.place
                ));
            } else if earlier.identity != one.identity {
                values.mistake(format!(
                    "{}: the issuer {name:?} is named before with another audience or another reading of its claims",
                    entry.place
                ));
            }
            earlier
        }
    };
    if let Some(key) = key {
        one.issuer = one.issuer.with_key(key);
    }
    known.insert(one.issuer.name().to_owned(), one);
}

/// The one text behind a key.
pub(super) fn text<'a>(entry: &'a IssuerEntry, key: &str) -> Option<&'a str> {
    let texts = entry.texts.get(key)?;
    texts.first().map(String::as_str)
}

fn read_one(entry: &IssuerEntry, values: &mut Values) -> Result<One, Vec<String>> {
    let mut reasons = Vec::new();
    let name = text(entry, "issuer").unwrap_or_default();
    let audiences: Vec<String> = entry.texts.get("audience").cloned().unwrap_or_default();
    if name.is_empty() {
        reasons.push("issuers.issuer is missing".to_owned());
    }
    if audiences.is_empty() || audiences.iter().any(String::is_empty) {
        reasons.push("issuers.audience is missing".to_owned());
    }
    if name == OWN_ISSUER {
        reasons.push(format!(
            "issuers.issuer: {OWN_ISSUER:?} is the relay itself; its key is in the data directory"
        ));
    }
    let mapping = claims::read(entry, is_fetched(entry), &mut reasons);
    let keys = keys(entry, name, values, &mut reasons);
    match keys {
        Some(keys) if reasons.is_empty() => Ok(one(name, &audiences, mapping, keys)),
        _ => Err(reasons),
    }
}

fn one(name: &str, audiences: &[String], mapping: Mapping, keys: Keys) -> One {
    let identity = format!("{audiences:?} {mapping:?}");
    let mut audiences = audiences.iter();
    let first = audiences.next().cloned().unwrap_or_default();
    let issuer = Issuer::new(name, first).with_mapping(mapping);
    let issuer = audiences.fold(issuer, |issuer, audience| issuer.with_audience(audience));
    let (issuer, key, provider) = match keys {
        Keys::Given(key) => (issuer, Some(key), None),
        Keys::Fetched(algorithms, provider) => {
            (issuer.with_published_keys(algorithms), None, Some(provider))
        }
    };
    One {
        identity,
        issuer,
        key,
        provider,
    }
}

/// Where the keys come from.
enum Keys {
    Given(Key),
    Fetched(Vec<Algorithm>, Provider),
}

/// Keys of an entry whose issuer publishes its keys, and of no other.
const FOR_FETCHED: [&str; 7] = [
    "algorithms",
    "ca-file",
    "allow-insecure",
    "name",
    "client-id",
    "client-secret-file",
    "client-scopes",
];
/// And the other way round.
const FOR_GIVEN: [&str; 4] = ["algorithm", "key-file", "secret-file", "key-id"];

fn is_fetched(entry: &IssuerEntry) -> bool {
    let is_discovered = text(entry, "discovery").is_some_and(|text| text != "false");
    is_discovered || entry.texts.contains_key("jwks-url")
}

fn keys(
    entry: &IssuerEntry,
    name: &str,
    values: &mut Values,
    reasons: &mut Vec<String>,
) -> Option<Keys> {
    let (misplaced, why) = if is_fetched(entry) {
        (
            &FOR_GIVEN[..],
            "for a key that is given here, and this issuer's are fetched",
        )
    } else {
        (&FOR_FETCHED[..], "for an issuer with discovery or jwks-url")
    };
    for key in misplaced
        .iter()
        .filter(|key| entry.texts.contains_key(**key))
    {
        reasons.push(format!("issuers.{key} is {why}"));
    }
    if is_fetched(entry) {
        return fetched(entry, name, values, reasons);
    }
    let algorithm = text(entry, "algorithm").unwrap_or_default();
    if algorithm.is_empty() {
        reasons.push(
            "issuers: no keys: give discovery or jwks-url, or algorithm with key-file or secret-file"
                .to_owned(),
        );
        return None;
    }
    given(entry, algorithm, values)
        .map(Keys::Given)
        .map_err(|reason| reasons.push(reason))
        .ok()
}

fn fetched(
    entry: &IssuerEntry,
    name: &str,
    values: &mut Values,
    reasons: &mut Vec<String>,
) -> Option<Keys> {
    let before = reasons.len();
    let allows_insecure = text(entry, "allow-insecure") == Some("true");
    let source = match (text(entry, "discovery"), text(entry, "jwks-url")) {
        (Some(discovery), None) => {
            let url = match discovery {
                "true" => ProviderUrl::discovery_of(name, allows_insecure),
                url => ProviderUrl::parse(url, allows_insecure),
            };
            url.map(Source::Discovery)
                .map_err(|error| reasons.push(format!("issuers.discovery: {error}")))
        }
        (None | Some("false"), Some(url)) => ProviderUrl::parse(url, allows_insecure)
            .map(Source::Jwks)
            .map_err(|error| reasons.push(format!("issuers.jwks-url: {error}"))),
        (Some(_), _) | (None, None) => {
            reasons.push("issuers.discovery and issuers.jwks-url: give one of them".to_owned());
            Err(())
        }
    };
    let words = entry.texts.get("algorithms").cloned().unwrap_or_default();
    let algorithms = words.iter().filter_map(|word| {
        let read = word.parse::<Algorithm>();
        read.map_err(|error| reasons.push(format!("issuers.algorithms: {word:?}: {error}")))
            .ok()
    });
    let mut algorithms: Vec<Algorithm> = algorithms.collect();
    if words.is_empty() {
        algorithms = Algorithm::USUAL.to_vec();
    }
    let ca_file = text(entry, "ca-file").map(|path| beside(&entry.file, Path::new(path)));
    let tls = trust::client(ca_file.as_deref())
        .map_err(|reason| reasons.push(format!("issuers.ca-file: {reason}")));
    let sign_in = sign_in(entry, values).map_err(|reason| reasons.push(reason));
    let (source, tls) = (source.ok()?, tls.ok()?);
    let provider = Provider {
        sign_in: sign_in.ok()?,
        ..Provider::new(name, source, tls)
    };
    (reasons.len() == before).then_some(Keys::Fetched(algorithms, provider))
}

/// How people sign in there on the web page, where they can.
fn sign_in(entry: &IssuerEntry, values: &mut Values) -> Result<Option<SignInClient>, String> {
    let Some(client_id) = text(entry, "client-id") else {
        let misplaced = ["name", "client-secret-file", "client-scopes"]
            .into_iter()
            .find(|key| entry.texts.contains_key(key));
        return match misplaced {
            Some(key) => Err(format!(
                "issuers.{key} is for a sign-in: give client-id, too"
            )),
            None => Ok(None),
        };
    };
    if client_id.is_empty() {
        return Err("issuers.client-id is empty".to_owned());
    }
    if entry.texts.contains_key("jwks-url") {
        return Err(
            "issuers.client-id needs discovery, which says where people sign in".to_owned(),
        );
    }
    let client_secret = text(entry, "client-secret-file").map(|path| {
        let path = beside(&entry.file, Path::new(path));
        let content = fs::read_to_string(&path)
            .map_err(|error| format!("issuers.client-secret-file: {}: {error}", path.display()))?;
        if let Some(warning) = files::warning_if_shared(&path) {
            values.warn(warning);
        }
        Ok::<_, String>(Secret::new(content.trim()))
    });
    Ok(Some(SignInClient {
        client_secret: client_secret.transpose()?,
        scopes: entry
            .texts
            .get("client-scopes")
            .cloned()
            .unwrap_or_default(),
        name: text(entry, "name").map(str::to_owned),
        ..SignInClient::new(client_id)
    }))
}

fn given(entry: &IssuerEntry, algorithm: &str, values: &mut Values) -> Result<Key, String> {
    let public = match algorithm {
        "HS256" => None,
        other => Some(other.parse::<Algorithm>().map_err(|_| {
            let known = Algorithm::ALL.map(Algorithm::as_str).join(", ");
            format!("issuers.algorithm: {other:?} is not one of {known}, HS256")
        })?),
    };
    let (wanted, other) = match public {
        Some(_) => ("key-file", "secret-file"),
        None => ("secret-file", "key-file"),
    };
    if entry.texts.contains_key(other) {
        return Err(format!(
            "issuers.{other} is not for {algorithm}: give {wanted}"
        ));
    }
    let path = text(entry, wanted)
        .ok_or_else(|| format!("issuers.{wanted} is missing; {algorithm} needs it"))?;
    let path = beside(&entry.file, Path::new(path));
    let said =
        |reason: &dyn std::fmt::Display| format!("issuers.{wanted}: {}: {reason}", path.display());
    let content = fs::read(&path).map_err(|error| said(&error))?;
    let key = match public {
        Some(algorithm) => Key::public_pem(algorithm, &String::from_utf8_lossy(&content)),
        None => {
            if let Some(warning) = files::warning_if_shared(&path) {
                values.warn(warning);
            }
            Key::hs256(without_line_end(&content)) // which editors add and nobody sees
        }
    }
    .map_err(|error| said(&error))?;
    Ok(match text(entry, "key-id") {
        Some(id) => key.with_id(id),
        None => key,
    })
}

fn without_line_end(content: &[u8]) -> &[u8] {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    content.strip_suffix(b"\r").unwrap_or(content)
}
