//! Issuers that publish their keys: which tokens count while keys come and go.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::publisher::*;
use super::support::*;
use crate::{
    Algorithm, AuthError, ConfigError, Issuer, JwksError, Kind, Mapping, ProviderId, Published,
    Verifier,
};

fn verify(verifier: &Verifier, token: &str) -> Result<(), AuthError> {
    verifier.verify(token, Kind::Api, now()).map(|_| ())
}

fn all() -> (Verifier, ProviderId) {
    publishing(&Algorithm::ALL, Mapping::default())
}

#[test]
fn every_algorithm_is_verified_with_its_published_key() {
    let (verifier, id) = all();
    let signers = Algorithm::ALL.map(|algorithm| Publisher::new(algorithm, algorithm.as_str()));
    let entries: Vec<_> = signers.iter().map(|signer| signer.jwk.clone()).collect();
    let published = verifier.publish(id, &set(&entries)).unwrap();
    assert_eq!((published.usable, published.unusable), (9, 0));
    for signer in &signers {
        assert_eq!(verify(&verifier, &signer.token(&good_claims())), Ok(()));
        let nameless = signer.token_with(&json!({}), &good_claims());
        assert_eq!(verify(&verifier, &nameless), Ok(()), "without a kid");
        for other in &signers {
            // Named with another key's id, the algorithm does not fit that key.
            let header = json!({ "kid": other.jwk["kid"] });
            let refused = verify(&verifier, &signer.token_with(&header, &good_claims()));
            let is_same = other.algorithm == signer.algorithm;
            assert_eq!(
                refused.is_ok(),
                is_same,
                "{} as {}",
                signer.algorithm,
                other.algorithm
            );
        }
    }
}

#[test]
fn jwt_02_only_allowed_algorithms_count_whatever_is_published() {
    let (verifier, id) = publishing(&[Algorithm::Es256], Mapping::default());
    let entries = [RSA.jwk.clone(), EC.jwk.clone(), ED.jwk.clone()];
    assert_eq!(verifier.publish(id, &set(&entries)).unwrap().usable, 1);
    assert_eq!(verify(&verifier, &EC.token(&good_claims())), Ok(()));
    for refused in [RSA.token(&good_claims()), ED.token(&good_claims())] {
        let outcome = verify(&verifier, &refused);
        assert_eq!(outcome, Err(AuthError::AlgorithmNotAllowed));
    }
    let secret = EC.jwk.to_string();
    let header = json!({ "alg": "HS256", "kid": "ec" }).to_string();
    let forged = compact(&header, &good_claims().to_string(), |message| {
        hmac_sha256(secret.as_bytes(), message)
    });
    assert_eq!(
        verify(&verifier, &forged),
        Err(AuthError::AlgorithmNotAllowed)
    );
}

#[test]
fn jwt_16_keys_come_and_go_while_the_verifier_runs() {
    let (verifier, id) = all();
    let token = EC.token(&good_claims());
    assert_eq!(
        verify(&verifier, &token),
        Err(AuthError::KeysNotFetched(id))
    );
    let publish = |entries: &[&Value]| verifier.publish(id, &set(entries)).unwrap();
    let changes = |published: Published| (published.added, published.removed);

    assert_eq!(changes(publish(&[&RSA.jwk])), (1, 0));
    assert_eq!(
        verify(&verifier, &token),
        Err(AuthError::UnpublishedKey(id))
    );
    assert_eq!(changes(publish(&[&RSA.jwk, &EC.jwk])), (1, 0));
    assert_eq!(verify(&verifier, &token), Ok(()));
    assert_eq!(
        verify(&verifier, &RSA.token(&good_claims())),
        Ok(()),
        "while published"
    );
    assert_eq!(verifier.key_removals(), 0);

    assert_eq!(changes(publish(&[&EC.jwk, &RSA.jwk])), (0, 0));
    assert_eq!(changes(publish(&[&EC.jwk])), (0, 1));
    assert_eq!(
        verifier.key_removals(),
        1,
        "what is remembered is looked at again"
    );
    let withdrawn = verify(&verifier, &RSA.token(&good_claims()));
    assert_eq!(withdrawn, Err(AuthError::UnpublishedKey(id)));
}

#[test]
fn jwt_18_a_set_without_use_changes_nothing() {
    let (verifier, id) = all();
    verifier.publish(id, &set(&[&EC.jwk])).unwrap();
    for broken in [
        &b"<html>502 Bad Gateway</html>"[..],
        b"{}",
        br#"{"keys":[]}"#,
    ] {
        assert!(verifier.publish(id, broken).is_err());
    }
    assert_eq!(verify(&verifier, &EC.token(&good_claims())), Ok(()));
    let strange = ProviderId(7);
    let refused = verifier.publish(strange, &set(&[&EC.jwk]));
    assert_eq!(refused, Err(JwksError::NoUsableKey));
}

#[test]
fn a_bad_signature_asks_for_fresh_keys_only_where_no_key_is_named() {
    let (verifier, id) = all();
    verifier.publish(id, &set(&[&EC.jwk])).unwrap();
    let impostor = Publisher::new(Algorithm::Es256, "ec");
    let named = verify(&verifier, &impostor.token(&good_claims()));
    assert_eq!(
        named,
        Err(AuthError::BadSignature),
        "the key is known, and it is not its"
    );
    let nameless = verify(&verifier, &impostor.token_with(&json!({}), &good_claims()));
    assert_eq!(nameless, Err(AuthError::UnpublishedKey(id)));
    assert_eq!(nameless.unwrap_err().wants_keys_of(), Some(id));
    assert_eq!(AuthError::BadSignature.wants_keys_of(), None);
}

#[test]
fn jwt_07_a_published_key_speaks_for_its_own_issuer_alone() {
    let second = "https://other.example";
    let issuer = |name: &str| Issuer::new(name, AUDIENCE).with_published_keys(Algorithm::USUAL);
    let verifier = Verifier::new(vec![issuer(ISSUER), issuer(second)]).unwrap();
    let ids: Vec<_> = verifier.providers().collect();
    assert_eq!(
        ids.iter().map(|(_, name)| *name).collect::<Vec<_>>(),
        [ISSUER, second]
    );
    let (one, two) = (ids[0].0, ids[1].0);
    verifier.publish(one, &set(&[&EC.jwk])).unwrap();
    verifier.publish(two, &set(&[&ED.jwk])).unwrap();
    let users = [
        EC.token(&good_claims()),
        ED.token(&claims_with("iss", second)),
    ]
    .map(|token| verifier.verify(&token, Kind::Api, now()).unwrap().user);
    assert_eq!(users[0].subject(), users[1].subject());
    assert_ne!(
        users[0], users[1],
        "the same sub of two issuers is two users"
    );
    let crossed = EC.token(&claims_with("iss", second));
    assert_eq!(
        verify(&verifier, &crossed),
        Err(AuthError::UnpublishedKey(two))
    );
}

#[test]
fn an_issuer_has_one_source_of_keys() {
    let error = |issuer| Verifier::new(vec![issuer]).unwrap_err();
    let both = Issuer::new("a", "b")
        .with_published_keys(Algorithm::USUAL)
        .with_key(any_signer().public_key.clone());
    assert_eq!(error(both), ConfigError::TwoKeySources("a".into()));
    let none = Issuer::new("a", "b").with_published_keys([]);
    assert_eq!(error(none), ConfigError::NoKey("a".into()));
}

#[test]
fn any_of_several_audiences_will_do() {
    let issuer = Issuer::new(ISSUER, "one")
        .with_audience("two")
        .with_published_keys(Algorithm::USUAL);
    let verifier = Verifier::new(vec![issuer]).unwrap();
    let id = verifier.providers().next().unwrap().0;
    verifier.publish(id, &set(&[&ED.jwk])).unwrap();
    for (audience, outcome) in [
        (json!("one"), Ok(())),
        (json!(["x", "two"]), Ok(())),
        (json!("three"), Err(AuthError::WrongAudience)),
    ] {
        let token = ED.token(&claims_with("aud", audience));
        assert_eq!(verify(&verifier, &token), outcome);
    }
}

#[test]
fn keys_may_be_replaced_while_others_verify() {
    let (verifier, id) = all();
    let sets = [
        set(&[EC.jwk.clone(), ED.jwk.clone()]),
        set(&[ED.jwk.clone(), RSA.jwk.clone()]),
    ];
    verifier.publish(id, &sets[0]).unwrap();
    let token = ED.token(&good_claims());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200 {
                verifier.publish(id, &sets[round % 2]).unwrap();
            }
            is_over.store(true, Ordering::Release);
        });
        while !is_over.load(Ordering::Acquire) {
            assert_eq!(verify(&verifier, &token), Ok(()), "it is in every set");
        }
    });
}
