//! What is made of the claims of other people's providers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::publisher::*;
use super::support::*;
use crate::{
    Algorithm, AuthError, ClaimPath, ConfigError, Grant, Issuer, Kind, MAX_LIFETIME, Mapping,
    RequiredValue, Requirement, Scope, Scopes, TokenUse, Verifier,
};

fn path(text: &str) -> ClaimPath {
    ClaimPath::parse(text).unwrap()
}

fn table<T: Copy>(rows: &[(&str, T)]) -> BTreeMap<String, T> {
    let owned = |(word, value): &(&str, T)| ((*word).to_owned(), *value);
    rows.iter().map(owned).collect()
}

/// What becomes of a token with this header and these claims, as any kind.
fn grant_of(mapping: Mapping, header: &Value, claims: &Value) -> Result<Grant, AuthError> {
    let (verifier, id) = publishing(&Algorithm::USUAL, mapping);
    verifier.publish(id, &set(&[&ED.jwk])).unwrap();
    verifier.verify_any(&ED.token_with(header, claims), &Kind::ALL, now())
}

fn grant(mapping: Mapping, claims: &Value) -> Result<Grant, AuthError> {
    grant_of(mapping, &json!({}), claims)
}

#[test]
fn the_user_is_the_configured_claim() {
    let by = |name: &str, claims: &Value| {
        let mapping = Mapping {
            user: path(name),
            ..Mapping::default()
        };
        grant(mapping, claims).map(|grant| grant.user.subject().to_owned())
    };
    let claims = claims_with("oid", "0-0-7");
    assert_eq!(by("oid", &claims), Ok("0-0-7".to_owned()));
    assert_eq!(by("sub", &claims), Ok("ada".to_owned()));
    let mut without_sub = claims_without("sub");
    without_sub["oid"] = "0-0-7".into();
    assert_eq!(by("oid", &without_sub), Ok("0-0-7".to_owned()));
    let missing = AuthError::MissingClaim("configured as user-claim");
    assert_eq!(by("email", &claims), Err(missing));
    for odd in [
        json!(7),
        json!(""),
        json!(["a"]),
        json!("a\nb"),
        Value::Null,
    ] {
        let malformed = AuthError::MalformedClaim("configured as user-claim");
        assert_eq!(by("oid", &claims_with("oid", odd)), Err(malformed));
    }
}

#[test]
fn a_claim_may_stand_inside_others_and_have_dots_in_its_name() {
    let payload = json!({
        "realm_access": { "roles": ["inner"] },
        "https://id.example/roles": "namespaced",
        "a": { "b.c": { "d": "deep" }, "b": { "c": { "d": "never" } } },
        "x.y": "whole", "x": { "y": "parted" },
    });
    let payload = payload.as_object().unwrap();
    let found = |text: &str| path(text).find(payload).cloned();
    assert_eq!(found("realm_access.roles"), Some(json!(["inner"])));
    assert_eq!(found("https://id.example/roles"), Some(json!("namespaced")));
    assert_eq!(
        found("a.b.c.d"),
        Some(json!("deep")),
        "the longest name counts"
    );
    assert_eq!(found("x.y"), Some(json!("whole")));
    for missing in [
        "realm_access.role",
        "realm_access.roles.0",
        "a.",
        ".a",
        ".",
        "a..b",
        "x.y.z",
    ] {
        assert_eq!(found(missing), None, "{missing}");
    }
    assert!(ClaimPath::parse("").is_err());
    assert!(ClaimPath::parse(&"x".repeat(257)).is_err());
}

#[test]
fn words_of_the_provider_stand_for_our_scopes_and_nothing_else_does() {
    let mapping = || Mapping {
        scope: path("realm_access.roles"),
        scopes: table(&[
            ("models", Scopes::INFER),
            ("model-admin", Scopes::INFER.with(Scope::Manage)),
        ]),
        ..Mapping::default()
    };
    let scopes = |roles: Value| {
        let claims = claims_with("realm_access", json!({ "roles": roles }));
        grant(mapping(), &claims).map(|grant| grant.scopes)
    };
    assert_eq!(
        scopes(json!(["offline_access", "models"])),
        Ok(Scopes::INFER)
    );
    let both = Scopes::INFER.with(Scope::Manage);
    assert_eq!(scopes(json!(["models", "model-admin"])), Ok(both));
    assert_eq!(scopes(json!("model-admin x")), Ok(both), "words of a text");
    for nothing in [
        json!([]),
        json!(["infer", "manage"]),
        json!(["Models"]),
        json!(""),
    ] {
        assert_eq!(scopes(nothing), Ok(Scopes::NONE));
    }
    let malformed = AuthError::MalformedClaim("configured as scopes-claim");
    for odd in [
        json!([1]),
        json!({ "models": true }),
        json!(true),
        Value::Null,
    ] {
        assert_eq!(scopes(odd), Err(malformed));
    }
    let without = grant(mapping(), &good_claims()).unwrap().scopes;
    assert_eq!(without, Scopes::NONE, "a provider leaves out what is empty");
}

#[test]
fn another_claim_without_a_table_has_our_own_words() {
    let mapping = || Mapping {
        scope: path("permissions"),
        ..Mapping::default()
    };
    let scopes = |claims: &Value| grant(mapping(), claims).map(|grant| grant.scopes);
    let claims = claims_with("permissions", json!(["infer", "read:things"]));
    assert_eq!(scopes(&claims), Ok(Scopes::INFER));
    assert_eq!(
        scopes(&good_claims()),
        Ok(Scopes::NONE),
        "`scope` is not asked"
    );
}

#[test]
fn jwt_08_a_kind_comes_from_one_word_or_the_default() {
    let kind = |default_kind, claims: &Value| {
        let mapping = Mapping {
            kind: path("azp"),
            kinds: table(&[
                ("desktop", Kind::Agent),
                ("site", Kind::Api),
                ("shop", Kind::Api),
            ]),
            default_kind,
            ..Mapping::default()
        };
        grant(mapping, claims).map(|grant| grant.kind)
    };
    assert_eq!(kind(None, &claims_with("azp", "desktop")), Ok(Kind::Agent));
    assert_eq!(
        kind(None, &claims_with("azp", json!(["site", "shop"]))),
        Ok(Kind::Api)
    );
    let both = claims_with("azp", json!(["site", "desktop"]));
    assert_eq!(kind(Some(Kind::Api), &both), Err(AuthError::AmbiguousKind));
    let missing = AuthError::MissingClaim("configured as kind-claim");
    for other in [
        claims_with("azp", "other"),
        claims_with("azp", "agent"),
        good_claims(),
    ] {
        assert_eq!(kind(None, &other), Err(missing), "c2l_kind is not asked");
        assert_eq!(kind(Some(Kind::Web), &other), Ok(Kind::Web));
    }
    let odd = claims_with("azp", 7);
    let malformed = AuthError::MalformedClaim("configured as kind-claim");
    assert_eq!(kind(Some(Kind::Api), &odd), Err(malformed));
}

#[test]
fn what_is_required_must_be_there_and_be_that() {
    let require = |claim: &str, value: RequiredValue, claims: &Value| {
        let mapping = Mapping {
            requirements: vec![Requirement {
                claim: path(claim),
                value,
            }],
            ..Mapping::default()
        };
        grant(mapping, claims).map(|_| ())
    };
    let unmet = Err(AuthError::RequirementUnmet);
    let verified = |value: Value| {
        let claims = claims_with("email_verified", value);
        require("email_verified", RequiredValue::Flag(true), &claims)
    };
    assert_eq!(verified(json!(true)), Ok(()));
    for other in [json!(false), json!("true"), json!(1), Value::Null] {
        assert_eq!(verified(other), unmet);
    }
    let text = |value: Value| {
        let wanted = RequiredValue::Text("home".to_owned());
        require("groups", wanted, &claims_with("groups", value))
    };
    assert_eq!(text(json!("home")), Ok(()));
    assert_eq!(text(json!(["work", "home"])), Ok(()));
    for other in [json!("home work"), json!([]), json!(["Home"])] {
        assert_eq!(text(other), unmet);
    }
    let number =
        |value: Value| require("ver", RequiredValue::Number(2), &claims_with("ver", value));
    assert_eq!((number(json!(2)), number(json!("2"))), (Ok(()), unmet));
    assert_eq!(
        require("tid", RequiredValue::Number(2), &good_claims()),
        unmet
    );
}

#[test]
fn an_id_token_is_no_access_token_unless_the_operator_says_so() {
    let taken = |token_use, header: Option<&str>, claims: &Value| {
        let mapping = Mapping {
            token_use,
            ..Mapping::default()
        };
        let header = header.map_or(json!({}), |name| json!({ "typ": name }));
        grant_of(mapping, &header, claims).map(|_| ())
    };
    let (id, odd) = (Err(AuthError::IdToken), Err(AuthError::WrongType));
    let plain = good_claims();
    for header in [None, Some("JWT"), Some("jwt"), Some("application/JWT")] {
        assert_eq!(taken(TokenUse::Access, header, &plain), Ok(()));
        assert_eq!(taken(TokenUse::Id, header, &plain), Ok(()));
        assert_eq!(taken(TokenUse::StrictAccess, header, &plain), odd);
        for mark in ["nonce", "at_hash", "c_hash", "s_hash"] {
            let marked = claims_with(mark, "x");
            assert_eq!(taken(TokenUse::Access, header, &marked), id, "{mark}");
            assert_eq!(taken(TokenUse::Id, header, &marked), Ok(()));
        }
    }
    for header in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        let marked = claims_with("nonce", "x");
        assert_eq!(taken(TokenUse::Access, Some(header), &marked), Ok(()));
        assert_eq!(taken(TokenUse::StrictAccess, Some(header), &plain), Ok(()));
        assert_eq!(taken(TokenUse::Id, Some(header), &plain), odd);
    }
    for header in [
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "",
        "text/jwt",
        "applicatioñ/jwt",
    ] {
        for token_use in [TokenUse::Access, TokenUse::StrictAccess, TokenUse::Id] {
            assert_eq!(taken(token_use, Some(header), &plain), odd, "{header}");
        }
    }
    // Keycloak says it in the claims, and wrote `nonce` into access tokens once.
    let mut keycloak = claims_with("typ", "ID");
    assert_eq!(taken(TokenUse::Access, Some("JWT"), &keycloak), id);
    keycloak["typ"] = "Bearer".into();
    keycloak["nonce"] = "x".into();
    assert_eq!(taken(TokenUse::Access, Some("JWT"), &keycloak), Ok(()));
}

#[test]
fn an_issuer_may_have_a_shorter_longest_lifetime() {
    let lives = |seconds: i64| {
        let mapping = Mapping {
            max_lifetime: Duration::from_secs(3600),
            ..Mapping::default()
        };
        let mut claims = claims_with("iat", at(0));
        claims["exp"] = at(seconds).into();
        grant(mapping, &claims).map(|_| ())
    };
    assert_eq!(lives(3600), Ok(()));
    assert_eq!(lives(3601), Err(AuthError::LifetimeTooLong));
    let longer = Issuer::new("a", "b")
        .with_key(any_signer().public_key.clone())
        .with_mapping(Mapping {
            max_lifetime: MAX_LIFETIME + Duration::from_secs(1),
            ..Mapping::default()
        });
    let refused = Verifier::new(vec![longer]).unwrap_err();
    assert_eq!(refused, ConfigError::LifetimeTooLong("a".into()));
}
