//! Whatever anyone sends: no panic, and no grant but for the token that was signed.

use proptest::prelude::*;
use serde_json::Value;

use super::publisher::*;
use super::support::*;
use crate::{Algorithm, Kind, Mapping, Scopes};

/// Any JSON value, deep and odd enough to reach every branch of the readers.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{0,4}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn claim_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "iss",
        "aud",
        "sub",
        "exp",
        "nbf",
        "iat",
        "jti",
        "c2l_kind",
        "scope",
        "c2l_device",
        "x",
    ])
}

#[test]
fn a_token_with_any_one_byte_changed_is_refused() {
    for signer in SIGNERS.iter() {
        let verifier = signer.verifier();
        let token = signer.token(&good_claims());
        for place in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            // The nearest neighbours in the alphabet change the fewest bits, so spare bits would show here.
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(
                verifier.verify(&changed, Kind::Api, now()).is_err(),
                "{} at {place}",
                signer.algorithm
            );
        }
    }
}

proptest! {
    #[test]
    fn a_token_with_a_random_byte_changed_is_refused(
        which in 0_usize..4, place in any::<prop::sample::Index>(), byte in 0_u8..128,
    ) {
        let signer = &SIGNERS[which];
        let token = signer.token(&good_claims());
        let mut bytes = token.clone().into_bytes();
        *place.get_mut(&mut bytes) = byte;
        let changed = String::from_utf8(bytes).unwrap();
        let outcome = signer.verifier().verify(&changed, Kind::Api, now());
        prop_assert_eq!(outcome.is_ok(), changed == token);
    }

    #[test]
    fn a_token_cut_or_lengthened_is_refused(cut in any::<prop::sample::Index>(), more in "[A-Za-z0-9_.=-]{1,40}") {
        let signer = any_signer();
        let token = signer.token(&good_claims());
        let short = &token[..cut.index(token.len())];
        prop_assert!(signer.verifier().verify(short, Kind::Api, now()).is_err());
        let long = format!("{token}{more}");
        prop_assert!(signer.verifier().verify(&long, Kind::Api, now()).is_err());
    }

    #[test]
    fn arbitrary_text_is_refused(credential in any::<String>()) {
        prop_assert!(any_signer().verifier().verify(&credential, Kind::Api, now()).is_err());
    }

    #[test]
    fn arbitrary_parts_are_refused(credential in "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert!(any_signer().verifier().verify(&credential, Kind::Api, now()).is_err());
    }

    #[test]
    fn arbitrary_unsigned_json_is_refused(header in json_value(), payload in json_value()) {
        let token = compact(&header.to_string(), &payload.to_string(), |_| vec![0; 64]);
        prop_assert!(any_signer().verifier().verify(&token, Kind::Api, now()).is_err());
    }

    /// A trusted issuer may sign nonsense. It never gets further than its own users.
    #[test]
    fn a_well_signed_odd_claim_never_panics_and_never_changes_the_issuer(name in claim_name(), value in json_value()) {
        if let Ok(grant) = verify_claims(&claims_with(name, value)) {
            prop_assert_eq!(grant.user.issuer(), ISSUER);
            prop_assert!(name == "sub" || grant.user.subject() == "ada");
            prop_assert!(name == "scope" || grant.scopes == Scopes::INFER);
            prop_assert_eq!(grant.kind, Kind::Api);
        }
    }

    #[test]
    fn an_odd_header_never_panics(name in prop::sample::select(vec!["alg", "kid", "typ", "cty", "crit", "jwk", "enc", "zip", "x"]), value in json_value()) {
        let signer = any_signer();
        let mut header = serde_json::json!({"alg": "EdDSA"});
        header[name] = value;
        // Accepted or not depends on the member; the claims are good either way.
        if let Ok(grant) = signer.verifier().verify(&signer.token_with(&header, &good_claims()), Kind::Api, now()) {
            prop_assert_eq!(grant.user.subject(), "ada");
        }
    }

    /// A provider may publish nonsense. It never panics, is never more than was there, and lets no forger in.
    #[test]
    fn an_odd_key_set_never_panics_and_never_makes_a_forgery_good(
        name in prop::sample::select(vec!["kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e", "d", "z"]),
        value in json_value(),
        text in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let (verifier, id) = publishing(&Algorithm::ALL, Mapping::default());
        prop_assert!(verifier.publish(id, &text).is_err());
        let entries = [&*RSA, &*EC, &*ED].map(|key| key.jwk_with(name, value.clone()));
        if let Ok(published) = verifier.publish(id, &set(&entries)) {
            prop_assert!(published.usable <= 3 * Algorithm::ALL.len());
        }
        let forged = Publisher::new(Algorithm::EdDsa, "ed");
        prop_assert!(verifier.verify(&forged.token(&good_claims()), Kind::Api, now()).is_err());
    }
}
