//! Which signatures count: algorithms, keys, key ids, issuers, and the configuration of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::support::*;
use crate::key_file::to_pem;
use crate::{AuthError, Flaw, Issuer, Kind, OWN_AUDIENCE, OWN_ISSUER, Part, Verifier};

#[test]
fn every_configured_algorithm_verifies_its_own_tokens() {
    for signer in SIGNERS.iter() {
        let grant = signer
            .verifier()
            .verify(&signer.token(&good_claims()), Kind::Api, now())
            .unwrap();
        assert_eq!(
            (grant.user.issuer(), grant.user.subject()),
            (ISSUER, "ada"),
            "{}",
            signer.algorithm
        );
    }
}

#[test]
fn jwt_01_alg_none_is_refused() {
    for signer in SIGNERS.iter() {
        let verifier = signer.verifier();
        for algorithm in ["none", "None", "nOnE", "NONE"] {
            let header = json!({"alg": algorithm}).to_string();
            let without = compact(&header, &good_claims().to_string(), |_| Vec::new());
            let with = signer.token_of(&header, &good_claims().to_string());
            for token in [without, with] {
                assert_eq!(
                    verifier.verify(&token, Kind::Api, now()),
                    Err(AuthError::Unsigned),
                    "{token}"
                );
            }
        }
    }
}

#[test]
fn jwt_01_an_empty_signature_is_refused() {
    for signer in SIGNERS.iter() {
        let header = json!({"alg": signer.algorithm}).to_string();
        let token = compact(&header, &good_claims().to_string(), |_| Vec::new());
        assert_eq!(
            signer.verifier().verify(&token, Kind::Api, now()),
            Err(AuthError::Unsigned)
        );
    }
}

#[test]
fn jwt_02_a_public_key_is_no_hmac_secret() {
    for signer in SIGNERS.iter().filter(|signer| signer.algorithm != "HS256") {
        let verifier = signer.verifier();
        let der = &signer.public_der;
        let pem = to_pem("PUBLIC KEY", der);
        let modulus_or_point = if signer.algorithm == "RS256" {
            &der[33..289]
        } else {
            &der[der.len() - 32..]
        };
        let encoded = URL_SAFE_NO_PAD.encode(modulus_or_point);
        let secrets: [&[u8]; 6] = [
            pem.as_bytes(),
            pem.trim_end().as_bytes(),
            der,
            &der[24..], // the PKCS#1 part of an RSA key
            modulus_or_point,
            encoded.as_bytes(),
        ];
        for secret in secrets {
            // Under its true name, and under the name that the configured key has.
            for (algorithm, expected) in [
                ("HS256", AuthError::AlgorithmNotAllowed),
                (signer.algorithm, AuthError::BadSignature),
            ] {
                let header = json!({"alg": algorithm, "typ": "JWT"}).to_string();
                let token = compact(&header, &good_claims().to_string(), |message| {
                    hmac_sha256(secret, message)
                });
                assert_eq!(
                    verifier.verify(&token, Kind::Api, now()),
                    Err(expected),
                    "{}",
                    signer.algorithm
                );
            }
        }
    }
}

#[test]
fn jwt_02_no_key_verifies_under_another_algorithm() {
    for trusted in SIGNERS.iter() {
        for other in SIGNERS
            .iter()
            .filter(|other| other.algorithm != trusted.algorithm)
        {
            let verifier = trusted.verifier();
            let plain = other.token(&good_claims());
            assert_eq!(
                verifier.verify(&plain, Kind::Api, now()),
                Err(AuthError::AlgorithmNotAllowed)
            );
            let disguised = other.token_with(&json!({"alg": trusted.algorithm}), &good_claims());
            assert_eq!(
                verifier.verify(&disguised, Kind::Api, now()),
                Err(AuthError::BadSignature)
            );
        }
    }
}

#[test]
fn jwt_02_algorithms_of_the_same_family_are_refused() {
    for (configured, header) in [
        ("RS256", "RS512"),
        ("RS256", "PS256"),
        ("HS256", "HS512"),
        ("ES256", "ES384"),
    ] {
        let signer = signer(configured);
        for name in [
            header,
            &configured.to_lowercase(),
            "",
            "RS256 ",
            "ES256K",
            "Ed25519",
        ] {
            let token = signer.token_with(&json!({"alg": name}), &good_claims());
            assert_eq!(
                signer.verifier().verify(&token, Kind::Api, now()),
                Err(AuthError::AlgorithmNotAllowed),
                "{name}"
            );
        }
    }
}

#[test]
fn jwt_03_a_key_id_is_only_compared() {
    let signer = any_signer();
    let issuer = Issuer::new(ISSUER, AUDIENCE).with_key(signer.public_key.clone().with_id("2026"));
    let verifier = Verifier::new(vec![issuer]).unwrap();
    let verify = |header: &Value| {
        verifier
            .verify(&signer.token_with(header, &good_claims()), Kind::Api, now())
            .map(|_| ())
    };
    for kid in [
        "../../../../dev/null",
        "x' OR 1=1--",
        "http://127.0.0.1:1/key",
        "2026\0",
        " 2026",
        "",
    ] {
        assert_eq!(
            verify(&json!({"alg": "EdDSA", "kid": kid})),
            Err(AuthError::UnknownKey),
            "{kid:?}"
        );
    }
    assert_eq!(
        verify(&json!({"alg": "EdDSA", "kid": "k".repeat(64 * 1024)})),
        Err(AuthError::TooLong)
    );
    for kid in [
        json!(2026),
        json!(["2026"]),
        json!({"2026": 1}),
        Value::Null,
    ] {
        let refused = verify(&json!({"alg": "EdDSA", "kid": kid}));
        assert_eq!(
            refused,
            Err(AuthError::Malformed(Part::Header, Flaw::WrongType))
        );
    }
    assert_eq!(verify(&json!({"alg": "EdDSA", "kid": "2026"})), Ok(()));
    assert_eq!(
        verify(&json!({"alg": "EdDSA"})),
        Ok(()),
        "a token without a kid is tried against the keys"
    );
}

#[test]
fn several_keys_of_an_issuer_each_verify_their_own() {
    let (old, new) = (Signer::eddsa(), Signer::eddsa());
    let issuer = Issuer::new(ISSUER, AUDIENCE)
        .with_key(old.public_key.clone().with_id("old"))
        .with_key(new.public_key.clone().with_id("new"))
        .with_key(signer("ES256").public_key.clone());
    let verifier = Verifier::new(vec![issuer]).unwrap();
    let verify = |token: &str| verifier.verify(token, Kind::Api, now()).map(|_| ());
    let header = |kid: &str| json!({"alg": "EdDSA", "kid": kid});
    assert_eq!(
        verify(&old.token_with(&header("old"), &good_claims())),
        Ok(())
    );
    assert_eq!(
        verify(&new.token_with(&header("new"), &good_claims())),
        Ok(())
    );
    assert_eq!(verify(&new.token(&good_claims())), Ok(()));
    assert_eq!(verify(&signer("ES256").token(&good_claims())), Ok(()));
    assert_eq!(
        verify(&new.token_with(&header("old"), &good_claims())),
        Err(AuthError::BadSignature)
    );
    assert_eq!(
        verify(&Signer::eddsa().token(&good_claims())),
        Err(AuthError::BadSignature)
    );
    let wrong_audience = claims_with("aud", "someone else");
    assert_eq!(
        verify(&new.token(&wrong_audience)),
        Err(AuthError::WrongAudience)
    );
}

#[test]
fn jwt_07_a_key_vouches_only_for_its_own_issuer() {
    let (a, b) = (Signer::eddsa(), Signer::eddsa());
    let verifier = Verifier::new(vec![
        Issuer::new("https://a.example", AUDIENCE).with_key(a.public_key.clone()),
        Issuer::new("https://b.example", AUDIENCE).with_key(b.public_key.clone()),
    ])
    .unwrap();
    let verify =
        |signer: &Signer, claims: &Value| verifier.verify(&signer.token(claims), Kind::Api, now());
    let from_a = verify(&a, &claims_with("iss", "https://a.example")).unwrap();
    let from_b = verify(&b, &claims_with("iss", "https://b.example")).unwrap();
    assert_ne!(
        from_a.user, from_b.user,
        "the same name, vouched for by others"
    );
    assert_eq!(
        verify(&b, &claims_with("iss", "https://a.example")),
        Err(AuthError::BadSignature)
    );
    for unknown in [
        "https://c.example",
        "",
        "https://A.example",
        "https://a.example/",
        "https://a.example\0",
    ] {
        assert_eq!(
            verify(&a, &claims_with("iss", unknown)),
            Err(AuthError::UnknownIssuer),
            "{unknown:?}"
        );
    }
    assert_eq!(
        verify(&a, &claims_without("iss")),
        Err(AuthError::MissingClaim("iss"))
    );
    for odd in [
        json!(["https://a.example"]),
        json!(1),
        Value::Null,
        json!({}),
    ] {
        assert_eq!(
            verify(&a, &claims_with("iss", odd)),
            Err(AuthError::MalformedClaim("iss"))
        );
    }
}

#[test]
fn jwt_07_two_relays_never_accept_each_others_tokens() {
    let ((key_a, verifier_a), (key_b, verifier_b)) = (own(), own());
    assert_ne!(key_a.key_id(), key_b.key_id());
    let token = key_a.issue(&request(Kind::Api), now()).unwrap();
    assert!(verifier_a.verify(token.expose(), Kind::Api, now()).is_ok());
    assert_eq!(
        verifier_b.verify(token.expose(), Kind::Api, now()),
        Err(AuthError::UnknownKey)
    );
    // Nor does claiming the other's key id, or none, help: the signature decides.
    let claims = json!({
        "iss": OWN_ISSUER, "aud": OWN_AUDIENCE, "sub": "ada", "exp": at(600), "c2l_kind": "api", "scope": "infer",
    });
    for header in [
        json!({"alg": "EdDSA", "kid": key_b.key_id()}),
        json!({"alg": "EdDSA"}),
    ] {
        let forged = Signer::eddsa().token_with(&header, &claims);
        assert_eq!(
            verifier_b.verify(&forged, Kind::Api, now()),
            Err(AuthError::BadSignature)
        );
    }
}

#[test]
fn jwt_10_keys_in_the_header_are_never_used() {
    let attacker = Signer::eddsa();
    let trusted = any_signer();
    let x = URL_SAFE_NO_PAD.encode(&attacker.public_der[12..]);
    let certificate = base64::engine::general_purpose::STANDARD.encode(&attacker.public_der);
    for (name, value) in [
        ("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": x})),
        ("jku", json!("http://127.0.0.1:1/keys.json")),
        ("x5u", json!("http://127.0.0.1:1/chain.pem")),
        ("x5c", json!([certificate])),
        ("jwk", Value::Null),
    ] {
        let mut header = json!({"alg": "EdDSA", "typ": "JWT"});
        header[name] = value;
        for signer in [&attacker, trusted] {
            let token = signer.token_with(&header, &good_claims());
            assert_eq!(
                trusted.verifier().verify(&token, Kind::Api, now()),
                Err(AuthError::KeyInHeader),
                "{name}"
            );
        }
    }
}
