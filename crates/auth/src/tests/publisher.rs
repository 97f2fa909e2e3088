//! Keys as an issuer publishes them, with the private halves to sign with.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::support::*;
use crate::{Algorithm, Issuer, Mapping, ProviderId, Verifier};

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// One key of an issuer.
pub(super) struct Publisher {
    pub(super) algorithm: Algorithm,
    /// With `kid` and `alg`, as a provider writes it.
    pub(super) jwk: Value,
    sign: Sign,
}

impl Publisher {
    pub(super) fn new(algorithm: Algorithm, id: &str) -> Self {
        let (mut jwk, sign) = match algorithm {
            Algorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&RSA_PSS_SHA512),
            Algorithm::Es256 => ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ec("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::EdDsa => ed25519(),
        };
        jwk["kid"] = id.into();
        jwk["alg"] = algorithm.as_str().into();
        jwk["use"] = "sig".into();
        Self {
            algorithm,
            jwk,
            sign,
        }
    }

    /// The key's entry with one member replaced.
    pub(super) fn jwk_with(&self, name: &str, value: impl Into<Value>) -> Value {
        let mut jwk = self.jwk.clone();
        jwk[name] = value.into();
        jwk
    }

    /// The key's entry with one member left out.
    pub(super) fn jwk_without(&self, name: &str) -> Value {
        let mut jwk = self.jwk.clone();
        jwk.as_object_mut().unwrap().remove(name).unwrap();
        jwk
    }

    /// A token that names the key.
    pub(super) fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({ "kid": self.jwk["kid"], "typ": "JWT" }), claims)
    }

    /// A token with these members in its header beside the algorithm.
    pub(super) fn token_with(&self, more: &Value, claims: &Value) -> String {
        let mut header = json!({ "alg": self.algorithm.as_str() });
        let members = header.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        compact(&header.to_string(), &claims.to_string(), &self.sign)
    }
}

/// One for each sort of key, shared since they are slow to make.
pub(super) static RSA: LazyLock<Publisher> =
    LazyLock::new(|| Publisher::new(Algorithm::Rs256, "rsa"));
pub(super) static EC: LazyLock<Publisher> =
    LazyLock::new(|| Publisher::new(Algorithm::Es256, "ec"));
pub(super) static ED: LazyLock<Publisher> =
    LazyLock::new(|| Publisher::new(Algorithm::EdDsa, "ed"));

/// A set of these entries, as it is served.
pub(super) fn set(entries: &[impl Serialize]) -> Vec<u8> {
    json!({ "keys": entries }).to_string().into_bytes()
}

/// A verifier that trusts [`ISSUER`] with keys that it publishes; none yet.
pub(super) fn publishing(allowed: &[Algorithm], mapping: Mapping) -> (Verifier, ProviderId) {
    let issuer = Issuer::new(ISSUER, AUDIENCE)
        .with_published_keys(allowed.iter().copied())
        .with_mapping(mapping);
    let verifier = Verifier::new(vec![issuer]).unwrap();
    let id = verifier.providers().next().unwrap().0;
    (verifier, id)
}

pub(super) fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(encoding: &'static dyn RsaEncoding) -> (Value, Sign) {
    static PAIR: LazyLock<Arc<RsaKeyPair>> =
        LazyLock::new(|| Arc::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
    let pair = Arc::clone(&PAIR);
    let public = pair.public_key();
    let jwk = json!({
        "kty": "RSA",
        "n": encoded(public.modulus().big_endian_without_leading_zero()),
        "e": encoded(public.exponent().big_endian_without_leading_zero()),
    });
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
            .unwrap();
        signature
    };
    (jwk, Box::new(sign))
}

fn ec(curve: &str, algorithm: &'static EcdsaSigningAlgorithm) -> (Value, Sign) {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let point = pair.public_key().as_ref()[1..].to_vec();
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({ "kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y) });
    let sign = move |message: &[u8]| {
        let signature = pair.sign(&SystemRandom::new(), message).unwrap();
        signature.as_ref().to_vec()
    };
    (jwk, Box::new(sign))
}

fn ed25519() -> (Value, Sign) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = encoded(pair.public_key().as_ref());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
    (
        jwk,
        Box::new(move |message| pair.sign(message).as_ref().to_vec()),
    )
}
