//! Sign-ins at a provider: where the browser is sent, and what its code is exchanged for (OpenID Connect Core §3.1, PKCE).
//!
//! Invariant: the relay asks the provider only where its discovery document, which `keeper` has fetched, says so, and takes
//! nobody's word but that of the ID token, which `auth` verifies. How many ask at once is bounded.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use c2l_auth::{AuthError, ExpectedSignIn, Grant, ProviderId, Secret, SignIn};
use http::HeaderValue;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    Provider, Providers, Refusal, Source,
    fetch::{FetchError, post},
    url::ProviderUrl,
};
use crate::control::encoded;

/// Codes that are exchanged at once; one more is told to come again.
pub(super) const MAX_EXCHANGING: usize = 32;
/// For one exchange.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);
/// The scope without which there is no ID token.
const OPENID: &str = "openid";

/// What the relay is to a provider at which people sign in.
#[derive(Clone, Debug)]
pub struct SignInClient {
    /// Its client id there.
    pub client_id: String,
    /// Its client secret; `None` for a public client, which PKCE protects alone.
    pub client_secret: Option<Secret>,
    /// What is asked for beside `openid`. Default nothing.
    pub scopes: Vec<String>,
    /// What people read of it on the page. Default the issuer's own name.
    pub name: Option<String>,
}

impl SignInClient {
    /// A public client.
    #[must_use]
    pub fn new(client_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret: None,
            scopes: Vec::new(),
            name: None,
        }
    }
}

/// Where a provider says that people sign in.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    authorization: ProviderUrl,
    token: ProviderUrl,
    /// Whether the client's secret goes into a field of the request; else into the form.
    takes_basic: bool,
}

impl Endpoints {
    /// Reads them from a discovery document at this URL; `None` where it has none that may be used.
    pub(super) fn read(at: &ProviderUrl, document: &Value) -> Option<Self> {
        let url = |name: &str| at.leads_to(document[name].as_str()?).ok();
        let methods = document["token_endpoint_auth_methods_supported"].as_array();
        Some(Self {
            authorization: url("authorization_endpoint")?,
            token: url("token_endpoint")?,
            takes_basic: methods
                .is_none_or(|methods| methods.iter().any(|m| m == "client_secret_basic")),
        })
    }
}

/// A provider at which people sign in.
#[derive(Debug)]
pub(crate) struct SignInAt {
    pub(super) id: ProviderId,
    pub(crate) issuer: String,
    client: SignInClient,
    tls: Arc<ClientConfig>,
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotSignedIn {
    /// The provider cannot be asked, for now.
    #[error("the provider cannot be reached now")]
    Unreachable,
    /// Too many sign in at once.
    #[error("too many sign in at once")]
    Busy,
    /// The provider does not take the code, or its token says something else than was asked for.
    #[error("{0}")]
    Refused(String),
}

impl SignInAt {
    pub(super) fn new(provider: &Provider, id: ProviderId) -> Option<Self> {
        let client = provider.sign_in.clone()?;
        matches!(provider.source, Source::Discovery(_)).then(|| Self {
            id,
            issuer: provider.issuer.clone(),
            client,
            tls: Arc::clone(&provider.tls),
        })
    }

    /// What people read of it.
    pub(crate) fn name(&self) -> &str {
        self.client.name.as_deref().unwrap_or(&self.issuer)
    }
}

impl Providers {
    /// Those at which people sign in; a place in here names one.
    pub(crate) fn sign_ins(&self) -> &[SignInAt] {
        &self.sign_ins
    }

    /// Where the browser goes to sign in. `None` until the provider has said where that is.
    pub(crate) fn authorization_url(
        &self,
        at: &SignInAt,
        sign_in: &SignIn,
        redirect_to: &str,
    ) -> Option<String> {
        let endpoints = self.doors.get(&at.id)?.endpoints()?;
        let issuer = at.issuer.as_str();
        let scopes = [OPENID]
            .into_iter()
            .chain(at.client.scopes.iter().map(String::as_str));
        let scopes: Vec<&str> = scopes.collect();
        let mut url = endpoints.authorization.to_string();
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&form(&[
            ("response_type", "code"),
            ("client_id", &at.client.client_id),
            ("redirect_uri", redirect_to),
            ("scope", &scopes.join(" ")),
            ("state", sign_in.state(issuer).expose()),
            ("nonce", sign_in.nonce(issuer).expose()),
            ("code_challenge", &sign_in.challenge(issuer)),
            ("code_challenge_method", "S256"),
        ]));
        Some(url)
    }

    /// Who has signed in, by the code that the browser brought back. Dropping the future leaves the code used or not.
    ///
    /// # Errors
    /// [`NotSignedIn`].
    pub(crate) async fn exchange(
        &self,
        at: &SignInAt,
        sign_in: &SignIn,
        code: &str,
        redirect_to: &str,
    ) -> Result<Grant, NotSignedIn> {
        let _place = self
            .exchanging
            .try_acquire()
            .map_err(|_| NotSignedIn::Busy)?;
        let endpoints = self.doors.get(&at.id).and_then(super::Door::endpoints);
        let endpoints = endpoints.ok_or(NotSignedIn::Unreachable)?;
        let (form, authorization) = at.asks(&endpoints, sign_in, code, redirect_to);
        let answer = post(&endpoints.token, &at.tls, form, authorization);
        let answer = timeout(EXCHANGE_LIMIT, answer).await;
        let answer = answer.unwrap_or(Err(FetchError::TimedOut(EXCHANGE_LIMIT)));
        let answer = answer.map_err(|error| at.complain(&error))?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let id_token = answer["id_token"].as_str().ok_or_else(|| {
            NotSignedIn::Refused("the provider's answer has no ID token".to_owned())
        })?;
        let nonce = sign_in.nonce(&at.issuer);
        let expected = ExpectedSignIn {
            issuer: &at.issuer,
            client_id: &at.client.client_id,
            nonce: &nonce,
        };
        let verify = || -> Result<Grant, AuthError> {
            let now = SystemTime::now();
            self.verifier.verify_sign_in(id_token, &expected, now)
        };
        self.verified(verify)
            .await
            .map_err(|refusal| match refusal {
                Refusal::Credential(error) => NotSignedIn::Refused(error.to_string()),
                Refusal::IssuerUnreachable => NotSignedIn::Unreachable,
            })
    }
}

impl SignInAt {
    /// What the provider is asked, and with what in `Authorization`.
    fn asks(
        &self,
        endpoints: &Endpoints,
        sign_in: &SignIn,
        code: &str,
        redirect_to: &str,
    ) -> (String, Option<HeaderValue>) {
        let verifier = sign_in.verifier(&self.issuer);
        let id = self.client.client_id.as_str();
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_to),
            ("code_verifier", verifier.expose()),
        ];
        let basic = match &self.client.client_secret {
            Some(secret) if endpoints.takes_basic => basic(id, secret),
            Some(secret) => {
                fields.extend([("client_id", id), ("client_secret", secret.expose())]);
                None
            }
            None => {
                fields.push(("client_id", id));
                None
            }
        };
        (form(&fields), basic)
    }

    /// What the operator reads of it; the person who signs in is told which of two it is.
    fn complain(&self, error: &FetchError) -> NotSignedIn {
        let issuer = &self.issuer;
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(%issuer, %error, cause, "a code of this provider cannot be exchanged");
        match error {
            FetchError::Status(status) if status.is_client_error() => {
                NotSignedIn::Refused(format!("the provider answered {status} to the code"))
            }
            _ => NotSignedIn::Unreachable,
        }
    }
}

/// RFC 6749 §2.3.1.
fn basic(id: &str, secret: &Secret) -> Option<HeaderValue> {
    let pair = format!("{}:{}", encoded(id), encoded(secret.expose()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        let and = if text.is_empty() { "" } else { "&" };
        // Writing into a text cannot fail.
        write!(text, "{and}{name}={}", encoded(value)).unwrap_or_default();
    }
    text
}
