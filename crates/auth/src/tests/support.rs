//! Issuers with keys made for the test run, and tokens of every shape signed by them.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::key_file::to_pem;
use crate::{AuthError, Grant, Issuer, Key, Kind, Scopes, SigningKey, TokenRequest, Verifier};

/// The issuer, other than the relay itself, that tests trust.
pub(super) const ISSUER: &str = "https://id.example";
pub(super) const AUDIENCE: &str = "https://relay.example";
/// A shared secret of the right length.
pub(super) const SECRET: &[u8] = b"an-example-secret-for-tests-only";

const NOW: u64 = 1_800_000_000;

pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// Seconds since 1970, that many seconds from [`now`].
pub(super) fn at(offset: i64) -> u64 {
    NOW.saturating_add_signed(offset)
}

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// A private key, how a header names its algorithm, and the public side as a relay would be configured with it.
pub(super) struct Signer {
    pub(super) algorithm: &'static str,
    pub(super) public_key: Key,
    /// The public key as DER (SubjectPublicKeyInfo); empty for a shared secret.
    pub(super) public_der: Vec<u8>,
    sign: Sign,
}

impl Signer {
    pub(super) fn eddsa() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let der = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())
            .unwrap()
            .as_ref()
            .to_vec();
        Self {
            algorithm: "EdDSA",
            public_key: Key::eddsa_pem(&to_pem("PUBLIC KEY", &der)).unwrap(),
            public_der: der,
            sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
        }
    }

    pub(super) fn es256() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let der = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())
            .unwrap()
            .as_ref()
            .to_vec();
        Self {
            algorithm: "ES256",
            public_key: Key::es256_pem(&to_pem("PUBLIC KEY", &der)).unwrap(),
            public_der: der,
            sign: Box::new(move |message| {
                pair.sign(&SystemRandom::new(), message)
                    .unwrap()
                    .as_ref()
                    .to_vec()
            }),
        }
    }

    pub(super) fn rs256() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())
            .unwrap()
            .as_ref()
            .to_vec();
        Self {
            algorithm: "RS256",
            public_key: Key::rs256_pem(&to_pem("PUBLIC KEY", &der)).unwrap(),
            public_der: der,
            sign: Box::new(move |message| {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .unwrap();
                signature
            }),
        }
    }

    pub(super) fn hs256() -> Self {
        Self {
            algorithm: "HS256",
            public_key: Key::hs256(SECRET).unwrap(),
            public_der: Vec::new(),
            sign: Box::new(|message| hmac_sha256(SECRET, message)),
        }
    }

    /// A token with these claims and the usual header.
    pub(super) fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm, "typ": "JWT"}), claims)
    }

    pub(super) fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string())
    }

    /// A token of these very texts, whatever they are.
    pub(super) fn token_of(&self, header: &str, payload: &str) -> String {
        compact(header, payload, &self.sign)
    }

    /// A verifier that trusts [`ISSUER`] with this key.
    pub(super) fn verifier(&self) -> Verifier {
        Verifier::new(vec![
            Issuer::new(ISSUER, AUDIENCE).with_key(self.public_key.clone()),
        ])
        .unwrap()
    }
}

/// One of each sort; the RSA key is slow to make, so all tests share them.
pub(super) static SIGNERS: LazyLock<[Signer; 4]> = LazyLock::new(|| {
    [
        Signer::eddsa(),
        Signer::es256(),
        Signer::rs256(),
        Signer::hs256(),
    ]
});

pub(super) fn signer(algorithm: &str) -> &'static Signer {
    SIGNERS
        .iter()
        .find(|signer| signer.algorithm == algorithm)
        .unwrap()
}

/// The EdDSA one, for tests where the algorithm does not matter.
pub(super) fn any_signer() -> &'static Signer {
    signer("EdDSA")
}

pub(super) fn hmac_sha256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message)
        .as_ref()
        .to_vec()
}

pub(super) fn compact(header: &str, payload: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// Claims that are accepted as they are.
pub(super) fn good_claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": at(600), "nbf": at(-60), "iat": at(-60),
        "jti": "one", "c2l_kind": "api", "scope": "infer",
    })
}

/// [`good_claims`] with one of them replaced.
pub(super) fn claims_with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = good_claims();
    claims[name] = value.into();
    claims
}

/// [`good_claims`] with one of them left out.
pub(super) fn claims_without(name: &str) -> Value {
    let mut claims = good_claims();
    claims.as_object_mut().unwrap().remove(name).unwrap();
    claims
}

/// What becomes of a token with these claims, well signed by a trusted key, where `api` tokens are accepted.
pub(super) fn verify_claims(claims: &Value) -> Result<Grant, AuthError> {
    let signer = any_signer();
    signer
        .verifier()
        .verify(&signer.token(claims), Kind::Api, now())
}

pub(super) fn request(kind: Kind) -> TokenRequest {
    TokenRequest {
        user: "ada".to_owned(),
        kind,
        scopes: Scopes::INFER,
        ttl: Duration::from_secs(600),
        device: None,
    }
}

/// A relay's own key and a verifier that trusts it.
pub(super) fn own() -> (SigningKey, Verifier) {
    let key = SigningKey::ephemeral().unwrap();
    let verifier = Verifier::new(vec![key.issuer()]).unwrap();
    (key, verifier)
}
