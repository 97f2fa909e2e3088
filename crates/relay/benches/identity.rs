//! What a credential costs: verified the first time, looked up again.
//!
//! `cargo bench -p c2l-relay --bench identity`; figures of one machine are in docs/identity.md.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
};

use c2l_auth::{Algorithm, Issuer, Key, Kind, SigningKey, Verifier};
use c2l_relay::{Accounts, measured::Doorkeeper};
use c2l_testkit::{
    provider::{AUDIENCE, ProviderKey, claims_of},
    tokens,
};
use serde_json::json;

const SECRET: &[u8] = b"a-secret-of-this-bench-and-of-nobody-else";
const SHARED: &str = "https://shared.example";
const PUBLISHING: &str = "https://publishing.example";
const ALGORITHMS: [&str; 5] = ["HS256", "RS256", "ES256", "EdDSA", "EdDSA (own)"];

static STAND: LazyLock<Stand> = LazyLock::new(Stand::new);

fn main() {
    divan::main();
}

/// The first request with a credential: signature, claims, and a place in the memory.
#[divan::bench(args = ALGORITHMS)]
fn first(bencher: divan::Bencher<'_, '_>, algorithm: &str) {
    let token = STAND.token(algorithm);
    bencher
        .with_inputs(|| STAND.doorkeeper())
        .bench_refs(|doorkeeper| ask(doorkeeper, token));
}

/// Every further one, until the token runs out.
#[divan::bench(args = ALGORITHMS)]
fn again(bencher: divan::Bencher<'_, '_>, algorithm: &str) {
    let token = STAND.token(algorithm);
    let doorkeeper = STAND.doorkeeper();
    ask(&doorkeeper, token);
    bencher.bench(|| ask(&doorkeeper, token));
}

/// Nothing is waited for, since every key is known.
fn ask(doorkeeper: &Doorkeeper, token: &str) {
    let asking = pin!(doorkeeper.user(token));
    match asking.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(user)) => assert_eq!(user.subject(), "ada"),
        other => panic!("not accepted: {other:?}"),
    }
}

/// Issuers of every sort, and a token of each.
struct Stand {
    verifier: Arc<Verifier>,
    accounts: Accounts,
    tokens: Vec<(&'static str, String)>,
}

impl Stand {
    fn new() -> Self {
        let own = SigningKey::ephemeral().expect("random numbers");
        let shared = Issuer::new(SHARED, AUDIENCE)
            .with_key(Key::hs256(SECRET).expect("a secret"))
            .with_default_kind(Kind::Api);
        let publishing = Issuer::new(PUBLISHING, AUDIENCE)
            .with_published_keys(Algorithm::USUAL)
            .with_default_kind(Kind::Api);
        let verifier = Verifier::new(vec![own.issuer(), shared, publishing]).expect("sound");
        let keys = [
            ("RS256", ProviderKey::rs256("rsa")),
            ("ES256", ProviderKey::es256("ec")),
            ("EdDSA", ProviderKey::ed25519("ed")),
        ];
        let set = keys.iter().map(|(_, key)| &key.jwk).collect::<Vec<_>>();
        let (provider, _) = verifier.providers().next().expect("one that publishes");
        let set = json!({ "keys": set }).to_string();
        verifier.publish(provider, set.as_bytes()).expect("keys");
        let claims = claims_of(PUBLISHING, "ada");
        let mut tokens: Vec<_> = keys
            .iter()
            .map(|(algorithm, key)| (*algorithm, key.sign(&claims)))
            .collect();
        let secret = ProviderKey::hs256(SECRET).sign(&claims_of(SHARED, "ada"));
        tokens.push(("HS256", secret));
        tokens.push(("EdDSA (own)", tokens::api("ada").signed_by(&own)));
        Self {
            verifier: Arc::new(verifier),
            accounts: Accounts::in_memory().expect("memory"),
            tokens,
        }
    }

    fn doorkeeper(&self) -> Doorkeeper {
        Doorkeeper::new(Arc::clone(&self.verifier), self.accounts.clone())
    }

    fn token(&self, algorithm: &str) -> &str {
        let found = self.tokens.iter().find(|(name, _)| *name == algorithm);
        &found.expect("one of the algorithms").1
    }
}
