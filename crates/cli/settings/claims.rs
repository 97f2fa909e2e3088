//! How an issuer's claims are read: `user-claim`, `kinds`, `scopes`, `require` and the rest of `[[issuers]]`.

use std::{collections::BTreeMap, fmt::Display};

use c2l_auth::{
    ClaimPath, Kind, MAX_LIFETIME, Mapping, RequiredValue, Requirement, Scopes, TokenUse,
};

use super::{
    file::{IssuerEntry, Scalar},
    issuers::text,
    parse,
};

/// Reads the mapping; what is wrong with it is added to `reasons`, and the rest is then of no use.
///
/// The tokens of a provider that says nothing of kinds are for calling models, unless something else is configured.
pub(super) fn read(entry: &IssuerEntry, is_provider: bool, reasons: &mut Vec<String>) -> Mapping {
    let usual = Mapping::default();
    let mut reader = Reader { entry, reasons };
    let kinds = reader.table("kinds", parse::any_kind);
    let default_kind = reader.one("default-kind", parse::any_kind);
    let is_silent = default_kind.is_none() && kinds.is_empty() && is_provider;
    Mapping {
        user: reader.claim("user-claim").unwrap_or(usual.user),
        kind: reader.claim("kind-claim").unwrap_or(usual.kind),
        default_kind: default_kind.or(is_silent.then_some(Kind::Api)),
        kinds,
        scope: reader.claim("scopes-claim").unwrap_or(usual.scope),
        scopes: reader.table("scopes", |words| {
            Scopes::parse(words).map_err(|error| format!("{words:?}: {error}"))
        }),
        requirements: reader.requirements(),
        max_lifetime: reader
            .one("max-lifetime", parse::limit)
            .unwrap_or(MAX_LIFETIME),
        token_use: reader
            .one("token-type", token_use)
            .unwrap_or(usual.token_use),
    }
}

fn token_use(word: &str) -> Result<TokenUse, String> {
    match word {
        "access" => Ok(TokenUse::Access),
        "at+jwt" => Ok(TokenUse::StrictAccess),
        "id" => Ok(TokenUse::Id),
        other => Err(format!("{other:?} is not one of access, at+jwt, id")),
    }
}

struct Reader<'a> {
    entry: &'a IssuerEntry,
    reasons: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn note<T>(&mut self, key: &str, read: Result<T, impl Display>) -> Option<T> {
        read.map_err(|reason| self.reasons.push(format!("issuers.{key}: {reason}")))
            .ok()
    }

    fn one<T>(&mut self, key: &str, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        let text = text(self.entry, key)?;
        self.note(key, parse(text))
    }

    fn claim(&mut self, key: &str) -> Option<ClaimPath> {
        let text = text(self.entry, key)?;
        self.note(key, ClaimPath::parse(text))
    }

    fn table<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> BTreeMap<String, T> {
        let rows = self.entry.tables.get(key).into_iter().flatten();
        let rows = rows.filter_map(|(word, meaning)| {
            let meaning = self.note(key, parse(&meaning.to_string()))?;
            Some((word.clone(), meaning))
        });
        rows.collect()
    }

    fn requirements(&mut self) -> Vec<Requirement> {
        let rows = self.entry.tables.get("require").into_iter().flatten();
        let rows = rows.filter_map(|(claim, value)| {
            let claim = self.note("require", ClaimPath::parse(claim))?;
            let value = match value {
                Scalar::Text(text) => RequiredValue::Text(text.clone()),
                Scalar::Flag(flag) => RequiredValue::Flag(*flag),
                Scalar::Number(number) => RequiredValue::Number(*number),
            };
            Some(Requirement { claim, value })
        });
        rows.collect()
    }
}
