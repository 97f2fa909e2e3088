//! Which claims are accepted, and which grant comes of them.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::*;
use crate::{
    AuthError, DeviceName, Issuer, KeyError, Kind, LEEWAY, MAX_LIFETIME, OWN_ISSUER, Scope, Scopes,
    TokenRequest, Verifier,
};

/// Seconds, for claims.
fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap()
}

#[test]
fn an_own_token_grants_what_was_asked_for() {
    let (key, verifier) = own();
    let request = TokenRequest {
        user: "ada \"ü\" \\ @example.org".to_owned(),
        kind: Kind::Agent,
        scopes: Scopes::INFER.with(Scope::Manage),
        ttl: Duration::from_secs(3600),
        device: Some(DeviceName::parse("desk").unwrap()),
    };
    let token = key.issue(&request, now()).unwrap();
    let grant = verifier.verify(token.expose(), Kind::Agent, now()).unwrap();
    assert_eq!(
        (grant.user.issuer(), grant.user.subject()),
        (OWN_ISSUER, request.user.as_str())
    );
    assert_eq!(
        (grant.kind, grant.scopes, grant.device),
        (request.kind, request.scopes, request.device.clone())
    );
    assert_eq!(grant.expires_at, now() + request.ttl);
    assert_eq!(grant.issued_at, Some(now()));
    let again = key.issue(&request, now()).unwrap();
    let other = verifier.verify(again.expose(), Kind::Agent, now()).unwrap();
    assert_eq!(grant.user, other.user);
    assert_ne!(grant.token_id, other.token_id, "each token has its own id");
    assert_eq!(grant.token_id.unwrap().len(), 22, "128 bits in base64url");
}

#[test]
fn when_a_token_was_made_is_known_where_it_says() {
    let issued = |claims: &Value| verify_claims(claims).unwrap().issued_at;
    let at_60 = now() - Duration::from_secs(60);
    assert_eq!(issued(&good_claims()), Some(at_60));
    assert_eq!(issued(&claims_without("iat")), None);
}

#[test]
fn the_longest_user_name_fits_into_a_token() {
    let (key, verifier) = own();
    for user in ["\\".repeat(256), "ü".repeat(128)] {
        let token = key
            .issue(
                &TokenRequest {
                    user: user.clone(),
                    ..request(Kind::Api)
                },
                now(),
            )
            .unwrap();
        assert_eq!(
            verifier
                .verify(token.expose(), Kind::Api, now())
                .unwrap()
                .user
                .subject(),
            user
        );
    }
}

#[test]
fn a_request_that_no_verifier_would_accept_is_refused() {
    let (key, _) = own();
    for user in [
        String::new(),
        "a".repeat(257),
        "a\nb".to_owned(),
        "\u{85}".to_owned(),
    ] {
        let refused = key.issue(
            &TokenRequest {
                user,
                ..request(Kind::Api)
            },
            now(),
        );
        assert!(matches!(refused, Err(KeyError::InvalidUser)));
    }
    for ttl in [
        Duration::ZERO,
        Duration::from_millis(999),
        MAX_LIFETIME + Duration::from_secs(1),
        Duration::MAX,
    ] {
        let refused = key.issue(
            &TokenRequest {
                ttl,
                ..request(Kind::Api)
            },
            now(),
        );
        assert!(matches!(refused, Err(KeyError::InvalidLifetime)));
    }
}

#[test]
fn jwt_04_exp_must_be_there_a_number_and_not_past() {
    let expired = verify_claims(&claims_with("exp", at(-3600))).unwrap_err();
    assert_eq!(expired, AuthError::Expired);
    assert!(expired.is_expired());
    assert_eq!(
        verify_claims(&claims_without("exp")),
        Err(AuthError::MissingClaim("exp"))
    );
    let odd = [
        json!(at(600).to_string()),
        json!([at(600)]),
        json!({}),
        Value::Null,
        json!(true),
        json!(-1),
        json!(-0.5),
        json!(1e300),
        json!(u64::MAX),
        json!(at(600) * 1000),
    ];
    for value in odd {
        let refused = verify_claims(&claims_with("exp", value.clone())).unwrap_err();
        assert_eq!(refused, AuthError::MalformedClaim("exp"), "{value}");
        assert!(!refused.is_expired());
    }
    assert!(
        verify_claims(&claims_with("exp", json!(1_800_000_600.5))).is_ok(),
        "RFC 7519 allows fractions"
    );
}

#[test]
fn jwt_05_nbf_and_iat_must_be_numbers_and_not_ahead() {
    for name in ["nbf", "iat"] {
        assert_eq!(
            verify_claims(&claims_with(name, at(600))),
            Err(AuthError::NotYetValid)
        );
        for odd in [json!("0"), Value::Null, json!([0]), json!(-5)] {
            assert_eq!(
                verify_claims(&claims_with(name, odd)),
                Err(AuthError::MalformedClaim(name))
            );
        }
        assert!(verify_claims(&claims_without(name)).is_ok());
    }
}

#[test]
fn jwt_06_aud_must_name_us() {
    assert_eq!(
        verify_claims(&claims_with("aud", "https://other.example")),
        Err(AuthError::WrongAudience)
    );
    assert_eq!(
        verify_claims(&claims_without("aud")),
        Err(AuthError::MissingClaim("aud"))
    );
    for others in [
        json!([]),
        json!(["x", "y"]),
        json!(""),
        json!("https://relay.example/"),
        json!(["https://Relay.example"]),
    ] {
        assert_eq!(
            verify_claims(&claims_with("aud", others)),
            Err(AuthError::WrongAudience)
        );
    }
    for odd in [
        json!(1),
        Value::Null,
        json!({}),
        json!([AUDIENCE, 1]),
        json!([[AUDIENCE]]),
    ] {
        assert_eq!(
            verify_claims(&claims_with("aud", odd)),
            Err(AuthError::MalformedClaim("aud"))
        );
    }
    assert!(verify_claims(&claims_with("aud", json!(["x", AUDIENCE]))).is_ok());
}

#[test]
fn jwt_08_kinds_never_interchange() {
    let (key, verifier) = own();
    for kind in Kind::ALL {
        let token = key.issue(&request(kind), now()).unwrap();
        for wanted in Kind::ALL {
            let grant = verifier.verify(token.expose(), wanted, now());
            if wanted == kind {
                assert_eq!(grant.unwrap().kind, kind);
            } else {
                assert_eq!(grant, Err(AuthError::WrongKind { found: kind }));
            }
        }
        let several = verifier.verify_any(token.expose(), &[Kind::Api, Kind::Web], now());
        assert_eq!(several.is_ok(), kind != Kind::Agent);
        assert_eq!(
            verifier.verify_any(token.expose(), &[], now()),
            Err(AuthError::WrongKind { found: kind })
        );
    }
}

#[test]
fn jwt_08_a_kind_is_one_known_word() {
    for odd in [
        json!("admin"),
        json!("API"),
        json!(""),
        json!(["api"]),
        json!(1),
        Value::Null,
    ] {
        assert_eq!(
            verify_claims(&claims_with("c2l_kind", odd)),
            Err(AuthError::MalformedClaim("c2l_kind"))
        );
    }
}

#[test]
fn jwt_08_a_token_without_a_kind_is_refused_unless_its_issuer_has_a_default() {
    let claims = claims_without("c2l_kind");
    assert_eq!(
        verify_claims(&claims),
        Err(AuthError::MissingClaim("c2l_kind"))
    );
    let signer = any_signer();
    let issuer = Issuer::new(ISSUER, AUDIENCE)
        .with_key(signer.public_key.clone())
        .with_default_kind(Kind::Web);
    let verifier = Verifier::new(vec![issuer]).unwrap();
    let verify = |claims: &Value, kind| {
        verifier
            .verify(&signer.token(claims), kind, now())
            .map(|grant| grant.kind)
    };
    assert_eq!(verify(&claims, Kind::Web), Ok(Kind::Web));
    assert_eq!(
        verify(&claims, Kind::Api),
        Err(AuthError::WrongKind { found: Kind::Web })
    );
    assert_eq!(
        verify(&good_claims(), Kind::Api),
        Ok(Kind::Api),
        "what the token says wins"
    );
}

#[test]
fn jwt_09_scopes_are_what_the_token_says() {
    let scopes = |claims: &Value| verify_claims(claims).map(|grant| grant.scopes);
    assert_eq!(scopes(&claims_with("scope", "infer")), Ok(Scopes::INFER));
    assert_eq!(
        scopes(&claims_with("scope", "openid manage")),
        Ok(Scopes::NONE.with(Scope::Manage))
    );
    assert_eq!(scopes(&claims_with("scope", "openid")), Ok(Scopes::NONE));
    assert_eq!(scopes(&claims_with("scope", "")), Ok(Scopes::NONE));
    assert_eq!(scopes(&claims_without("scope")), Ok(Scopes::INFER));
    assert_eq!(
        scopes(&claims_with("scope", json!(["openid", "infer"]))),
        Ok(Scopes::INFER),
        "a list of words is how some providers write it"
    );
    for odd in [
        json!(["infer", 1]),
        json!({"infer": true}),
        json!(1),
        Value::Null,
    ] {
        assert_eq!(
            scopes(&claims_with("scope", odd)),
            Err(AuthError::MalformedClaim("scope"))
        );
    }
}

#[test]
fn jwt_19_the_leeway_is_thirty_seconds_each_way() {
    assert_eq!(LEEWAY, Duration::from_secs(30));
    let leeway = seconds(LEEWAY);
    let times = |exp: i64, nbf: i64| {
        let mut claims = claims_with("exp", at(exp));
        claims["nbf"] = at(nbf).into();
        claims["iat"] = at(-3600).into();
        verify_claims(&claims).map(|grant| grant.expires_at)
    };
    assert_eq!(
        times(-20, -3600),
        Ok(now() - Duration::from_secs(20)),
        "the grant tells the true expiry"
    );
    assert!(times(600, 20).is_ok());
    assert!(times(-20, 20).is_ok());
    assert!(times(1 - leeway, -3600).is_ok());
    assert_eq!(times(-leeway, -3600), Err(AuthError::Expired));
    assert_eq!(times(-leeway - 1, -3600), Err(AuthError::Expired));
    assert!(times(600, leeway).is_ok());
    assert_eq!(times(600, leeway + 1), Err(AuthError::NotYetValid));
}

#[test]
fn jwt_19_time_is_the_argument_and_nothing_else() {
    let (key, verifier) = own();
    let token = key.issue(&request(Kind::Api), now()).unwrap();
    let after = |offset| {
        verifier.verify(
            token.expose(),
            Kind::Api,
            now() + Duration::from_secs(offset),
        )
    };
    assert!(after(629).is_ok());
    assert_eq!(after(630), Err(AuthError::Expired));
    assert_eq!(
        verifier.verify(token.expose(), Kind::Api, std::time::UNIX_EPOCH),
        Err(AuthError::NotYetValid)
    );
    let before = std::time::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(
        verifier.verify(token.expose(), Kind::Api, before),
        Err(AuthError::NotYetValid)
    );
    assert!(matches!(
        key.issue(&request(Kind::Api), before),
        Err(KeyError::Clock)
    ));
}

#[test]
fn a_lifetime_is_capped() {
    let longest = seconds(MAX_LIFETIME);
    let lifetime = |exp: i64, iat: Option<i64>| {
        let mut claims = claims_with("exp", at(exp));
        match iat {
            Some(iat) => claims["iat"] = at(iat).into(),
            None => drop(claims.as_object_mut().unwrap().remove("iat")),
        }
        verify_claims(&claims).map(|_| ())
    };
    assert_eq!(lifetime(longest, Some(0)), Ok(()));
    assert_eq!(lifetime(longest, None), Ok(()));
    assert_eq!(
        lifetime(longest + 31, None),
        Err(AuthError::LifetimeTooLong)
    );
    assert_eq!(
        lifetime(longest + 1, Some(0)),
        Err(AuthError::LifetimeTooLong)
    );
    assert_eq!(
        lifetime(600, Some(600 - longest - 1)),
        Err(AuthError::LifetimeTooLong),
        "counted from its issue"
    );
}

#[test]
fn sub_is_a_short_plain_text() {
    let subject = |value: Value| {
        verify_claims(&claims_with("sub", value)).map(|grant| grant.user.subject().to_owned())
    };
    assert_eq!(
        verify_claims(&claims_without("sub")),
        Err(AuthError::MissingClaim("sub"))
    );
    let odd = [
        json!(""),
        json!("a".repeat(257)),
        json!("ü".repeat(129)),
        json!("a\0"),
        json!("a\nb"),
        json!("\u{1b}[31m"),
        json!("\u{7f}"),
        json!("\u{9b}"),
        json!(1),
        json!(["ada"]),
        json!({}),
        Value::Null,
    ];
    for value in odd {
        assert_eq!(
            subject(value.clone()),
            Err(AuthError::MalformedClaim("sub")),
            "{value}"
        );
    }
    for good in [
        "a",
        " ada ",
        "ada@example.org",
        "Ада",
        "auth0|5f7c",
        &"a".repeat(256),
    ] {
        assert_eq!(
            subject(json!(good)).as_deref(),
            Ok(good),
            "kept byte for byte"
        );
    }
}

#[test]
fn optional_claims_of_a_wrong_type_are_refused() {
    for (name, odd) in [
        ("jti", json!(7)),
        ("jti", json!("a\nb")),
        ("jti", json!("a".repeat(257))),
        ("jti", Value::Null),
        ("c2l_device", json!("../x")),
        ("c2l_device", json!("")),
        ("c2l_device", json!(["desk"])),
    ] {
        assert_eq!(
            verify_claims(&claims_with(name, odd.clone())),
            Err(AuthError::MalformedClaim(name)),
            "{odd}"
        );
    }
    let grant = verify_claims(&claims_with("c2l_device", "desk")).unwrap();
    assert_eq!(grant.device, DeviceName::parse("desk").ok());
    assert_eq!(grant.token_id.as_deref(), Some("one"));
    assert_eq!(
        verify_claims(&claims_without("jti")).unwrap().token_id,
        None
    );
}

#[test]
fn what_a_claim_says_is_judged_only_after_the_signature() {
    let forger = Signer::eddsa();
    let verifier = any_signer().verifier();
    let claims = [
        claims_with("exp", at(-3600)),
        claims_with("nbf", at(3600)),
        claims_with("aud", "other"),
        claims_with("c2l_kind", "agent"),
    ];
    for claims in claims {
        assert_eq!(
            verifier.verify(&forger.token(&claims), Kind::Api, now()),
            Err(AuthError::BadSignature)
        );
    }
}
