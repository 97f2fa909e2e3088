//! The settings of `c2l doctor`, beside those of `c2l agent`.
//!
//! Invariant: as with the agent's token, the api token itself can be neither flag nor key of the file.

use std::path::PathBuf;

use c2l_auth::Secret;

use super::{Setting, Table, Values, parse};
use crate::token_source::TokenOrigin;

pub(crate) static TABLE: Table = Table {
    section: "doctor",
    settings: &[
        Setting::switch("json", "Print one JSON object instead of lines"),
        Setting::one(
            "bundle",
            "FILE",
            "Write what support needs to this file, too: the findings, the version, the configuration; no secrets",
        ),
        Setting::one(
            "api-token-file",
            "FILE",
            "Read an api token of the same user from this file, to try the whole loop",
        ),
        Setting::one("api-token", "TOKEN", "The api token itself").secret_in_environment(),
    ],
};

/// What `c2l doctor` is started with, beside the agent's own settings.
#[derive(Debug)]
pub(crate) struct DoctorSettings {
    pub(crate) is_json: bool,
    pub(crate) bundle: Option<PathBuf>,
    /// Whom to call as. The variable counts before the file.
    pub(crate) api_token: Option<TokenOrigin>,
}

pub(crate) fn read(values: &mut Values) -> DoctorSettings {
    let text = values.optional("api-token", parse::plain);
    let file = values.path("api-token-file");
    let text = text.map(|text| TokenOrigin::Text(Secret::new(text.trim())));
    DoctorSettings {
        is_json: values.switch("json"),
        bundle: values.path("bundle"),
        api_token: text.or(file.map(TokenOrigin::File)),
    }
}
