//! The settings of `c2l token issue`.

use std::path::PathBuf;

use c2l_auth::{MAX_LIFETIME, MAX_SUBJECT_BYTES, TokenRequest};

use super::{Setting, Table, Values, general, parse};

pub(crate) static TABLE: Table = Table {
    section: "token",
    settings: &[
        Setting::one("user", "NAME", "Whose token it is"),
        Setting::one(
            "kind",
            "agent|api",
            "What it is for: opening an agent's session, or calling models",
        ),
        Setting::many(
            "scope",
            "SCOPE",
            "What it allows: infer, manage, or both with a comma",
        )
        .or("infer"),
        Setting::one("ttl", "TIME", "How long it is valid").or("30d"),
        Setting::one(
            "bound-device",
            "NAME",
            "Bind it to the one device of this name",
        ),
    ],
};

/// What `c2l token issue` is started with.
#[derive(Debug)]
pub(crate) struct TokenSettings {
    pub(crate) data_dir: PathBuf,
    pub(crate) request: TokenRequest,
}

pub(crate) fn read(values: &mut Values) -> Option<TokenSettings> {
    let data_dir = general::read_data_dir(values);
    let user = values.required("user", user);
    let kind = values.required("kind", parse::kind);
    let ttl = values.get("ttl", |text| match parse::limit(text)? {
        ttl if ttl > MAX_LIFETIME || ttl.as_secs() == 0 => Err(format!(
            "{text:?} is not between 1s and {}",
            humantime::format_duration(MAX_LIFETIME)
        )),
        ttl => Ok(ttl),
    });
    let scopes = values.parsed("scope", |given| parse::scopes(&given.texts));
    let device = values.optional("bound-device", parse::device);
    Some(TokenSettings {
        request: TokenRequest {
            user: user?,
            kind: kind?,
            scopes: scopes?,
            ttl,
            device,
        },
        data_dir: data_dir?,
    })
}

fn user(text: &str) -> parse::Parsed<String> {
    if text.len() > MAX_SUBJECT_BYTES {
        return Err(format!("a name has at most {MAX_SUBJECT_BYTES} bytes"));
    }
    parse::plain(text)
}
