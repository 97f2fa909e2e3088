//! The settings of `c2l token issue`, and of what manages a user's account.

use std::path::PathBuf;

use c2l_auth::{MAX_LIFETIME, MAX_SUBJECT_BYTES, OWN_ISSUER, TokenRequest};

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
            "What it allows: infer, manage, account (its user's keys and devices), or several with commas",
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

/// Of the commands that manage an account: whose it is.
pub(crate) static ACCOUNT_TABLE: Table = Table {
    section: "account",
    settings: &[
        Setting::one("user", "NAME", "Whose account it is")
            .or(OWNER)
            .not_in_file(),
        Setting::one(
            "issuer",
            "NAME",
            "Who vouches for that name (iss), if not the relay itself",
        )
        .or(OWN_ISSUER)
        .not_in_file(),
        Setting::one(
            "public-url",
            "URL",
            "The relay's address as its callers know it, for the lines to copy",
        )
        .or("http://127.0.0.1:8080")
        .not_in_file(),
    ],
};

/// The one user of a relay that nobody has told of others.
pub(crate) const OWNER: &str = "owner";

/// Whose account a command manages.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) data_dir: PathBuf,
    pub(crate) user: String,
    pub(crate) issuer: String,
    pub(crate) public_url: String,
}

pub(crate) fn read_account(values: &mut Values) -> Option<Account> {
    let data_dir = general::read_data_dir(values);
    Some(Account {
        user: values.get("user", user),
        issuer: values.get("issuer", user),
        public_url: values.get("public-url", public_url),
        data_dir: data_dir?,
    })
}

fn public_url(text: &str) -> parse::Parsed<String> {
    let url = parse::relay(text)?.to_string();
    Ok(url.trim_end_matches('/').to_owned())
}

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
