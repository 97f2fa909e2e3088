//! Tokens of every shape, signed with keys made for the test run.

use std::{
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    hmac,
    rsa::KeySize,
    signature::{KeyPair as _, RsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// An issuer whose tokens are signed with [`SECRET`].
pub(crate) const SHARED: &str = "https://shared.example";
/// An issuer with an RSA key.
pub(crate) const RSA: &str = "https://rsa.example";
/// What both must have as `aud`.
pub(crate) const AUDIENCE: &str = "https://relay.example";
/// Of [`SHARED`].
pub(crate) const SECRET: &[u8] = b"a-secret-of-these-tests-and-of-nobody-else";

/// The public key of [`RSA`]: slow to make, so all tests share it.
pub(crate) static RSA_KEY: LazyLock<RsaKey> = LazyLock::new(RsaKey::generate);

/// A public key in the spellings that a forger may try as a secret.
pub(crate) struct RsaKey {
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
    pub(crate) modulus: Vec<u8>,
}

impl RsaKey {
    fn generate() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        let public = pair.public_key();
        let der: PublicKeyX509Der<'_> = public.as_der().expect("DER");
        let encoded = STANDARD.encode(der.as_ref());
        let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
        for (index, letter) in encoded.chars().enumerate() {
            if index > 0 && index % 64 == 0 {
                pem.push('\n');
            }
            pem.push(letter);
        }
        pem.push_str("\n-----END PUBLIC KEY-----\n");
        Self {
            pem,
            der: der.as_ref().to_vec(),
            modulus: public.modulus().big_endian_without_leading_zero().to_vec(),
        }
    }
}

/// Now, and that many seconds more or less.
pub(crate) fn at(offset: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970")
        .as_secs()
        .saturating_add_signed(offset)
}

/// Claims of `ada` that are accepted as they are.
pub(crate) fn claims() -> Value {
    json!({
        "iss": SHARED, "aud": AUDIENCE, "sub": "ada", "exp": at(600), "nbf": at(-60), "iat": at(-60),
        "c2l_kind": "api", "scope": "infer",
    })
}

/// [`claims`] with one replaced.
pub(crate) fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

/// [`claims`] with one left out.
pub(crate) fn without(name: &str) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().expect("an object");
    members.remove(name).expect("a claim");
    claims
}

/// Well signed by [`SHARED`].
pub(crate) fn token(claims: &Value) -> String {
    token_of(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string())
}

/// Well signed by [`SHARED`], with more members in the header.
pub(crate) fn token_with_header(more: &Value, claims: &Value) -> String {
    let mut header = json!({ "alg": "HS256", "typ": "JWT" });
    let members = header.as_object_mut().expect("an object");
    members.extend(more.as_object().expect("an object").clone());
    token_of(&header.to_string(), &claims.to_string())
}

/// Of these very texts, whatever they are, signed with [`SECRET`].
pub(crate) fn token_of(header: &str, payload: &str) -> String {
    signed_with(SECRET, header, payload)
}

/// HMAC with any secret.
pub(crate) fn signed_with(secret: &[u8], header: &str, payload: &str) -> String {
    let message = unsigned(header, payload);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The first two parts.
pub(crate) fn unsigned(header: &str, payload: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}", encode(header), encode(payload))
}
