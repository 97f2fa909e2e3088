//! Who else may vouch for users: `[[issuers]]` of the file.
//!
//! Invariant: an issuer has one key for one algorithm per entry, given by the operator; entries of the same issuer add
//! keys to it, which is how a key is rotated.

use std::{collections::BTreeMap, fs, path::Path};

use c2l_auth::{Issuer, Key, OWN_ISSUER, Verifier};

use super::{Values, beside, file::IssuerEntry, parse};
use crate::files;

pub(super) fn read(values: &mut Values) -> Vec<Issuer> {
    let mut issuers: BTreeMap<String, (String, Issuer)> = BTreeMap::new();
    for entry in values.issuers.clone() {
        match read_one(&entry, values) {
            Ok(one) => add(&mut issuers, one, &entry, values),
            Err(reasons) => reasons
                .into_iter()
                .for_each(|reason| values.mistake(format!("{}: {reason}", entry.place))),
        }
    }
    let issuers: Vec<Issuer> = issuers.into_values().map(|(_, issuer)| issuer).collect();
    // What only shows once they are together: too many keys, or two with one id.
    if !issuers.is_empty()
        && let Err(error) = Verifier::new(issuers.clone())
    {
        values.mistake(format!("issuers: {error}"));
    }
    issuers
}

/// One entry that is right by itself.
struct One {
    name: String,
    audience: String,
    default_kind: Option<c2l_auth::Kind>,
    key: Key,
}

fn add(
    issuers: &mut BTreeMap<String, (String, Issuer)>,
    one: One,
    entry: &IssuerEntry,
    values: &mut Values,
) {
    // What must be the same wherever an issuer is named again.
    let identity = format!("{} {:?}", one.audience, one.default_kind);
    let known = issuers.remove(&one.name);
    if known.as_ref().is_some_and(|(known, _)| *known != identity) {
        values.mistake(format!(
            "{}: the issuer {:?} is named before with another audience or default-kind",
            entry.place, one.name
        ));
    }
    let issuer = known.map_or_else(
        || {
            let issuer = Issuer::new(&one.name, &one.audience);
            match one.default_kind {
                Some(kind) => issuer.with_default_kind(kind),
                None => issuer,
            }
        },
        |(_, issuer)| issuer,
    );
    issuers.insert(one.name, (identity, issuer.with_key(one.key)));
}

fn read_one(entry: &IssuerEntry, values: &mut Values) -> Result<One, Vec<String>> {
    let mut reasons = Vec::new();
    let mut wanted = |key: &str| {
        let text = entry.texts.get(key).filter(|text| !text.is_empty());
        if text.is_none() {
            reasons.push(format!("issuers.{key} is missing"));
        }
        text.cloned().unwrap_or_default()
    };
    let (name, audience, algorithm) = (wanted("issuer"), wanted("audience"), wanted("algorithm"));
    if name == OWN_ISSUER {
        reasons.push(format!(
            "issuers.issuer: {OWN_ISSUER:?} is the relay itself; its key is in the data directory"
        ));
    }
    let default_kind = entry.texts.get("default-kind").and_then(|text| {
        parse::any_kind(text)
            .map_err(|reason| reasons.push(format!("issuers.default-kind: {reason}")))
            .ok()
    });
    let key = key(entry, &algorithm, values)
        .map_err(|reason| reasons.push(reason))
        .ok();
    match key {
        Some(key) if reasons.is_empty() => Ok(One {
            name,
            audience,
            default_kind,
            key,
        }),
        _ => Err(reasons),
    }
}

fn key(entry: &IssuerEntry, algorithm: &str, values: &mut Values) -> Result<Key, String> {
    type Constructor = fn(&str) -> Result<Key, c2l_auth::ConfigError>;
    let public: Option<Constructor> = match algorithm {
        "EdDSA" => Some(Key::eddsa_pem),
        "ES256" => Some(Key::es256_pem),
        "RS256" => Some(Key::rs256_pem),
        "HS256" => None,
        "" => {
            return Err(
                "issuers.key-file or issuers.secret-file cannot be judged without it".to_owned(),
            );
        }
        other => {
            return Err(format!(
                "issuers.algorithm: {other:?} is not one of EdDSA, ES256, RS256, HS256"
            ));
        }
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
    let path = entry
        .texts
        .get(wanted)
        .ok_or_else(|| format!("issuers.{wanted} is missing; {algorithm} needs it"))?;
    let path = beside(&entry.file, Path::new(path));
    let said =
        |reason: &dyn std::fmt::Display| format!("issuers.{wanted}: {}: {reason}", path.display());
    let content = fs::read(&path).map_err(|error| said(&error))?;
    let key = match public {
        Some(constructor) => constructor(&String::from_utf8_lossy(&content)),
        None => {
            if let Some(warning) = files::warning_if_shared(&path) {
                values.warn(warning);
            }
            Key::hs256(without_line_end(&content)) // which editors add and nobody sees
        }
    }
    .map_err(|error| said(&error))?;
    Ok(match entry.texts.get("key-id") {
        Some(id) => key.with_id(id),
        None => key,
    })
}

fn without_line_end(content: &[u8]) -> &[u8] {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    content.strip_suffix(b"\r").unwrap_or(content)
}
