//! Credentials that are no tokens, or not the one honest way to write one.

use serde_json::{Value, json};

use super::support::*;
use crate::{AuthError, Flaw, Kind, MAX_TOKEN_BYTES, Part};

fn verify(credential: &str) -> Result<(), AuthError> {
    any_signer()
        .verifier()
        .verify(credential, Kind::Api, now())
        .map(|_| ())
}

fn verify_texts(header: &str, payload: &str) -> Result<(), AuthError> {
    verify(&any_signer().token_of(header, payload))
}

const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;

#[test]
fn what_is_no_token_is_refused_by_its_shape() {
    assert_eq!(verify(""), Err(AuthError::Missing));
    for credential in ["x", "a.b", "a.b.c.d", "a.b.c.d.e", "ollama", "Bearer x"] {
        assert_eq!(
            verify(credential),
            Err(AuthError::NotAToken),
            "{credential}"
        );
    }
    for credential in ["..", "a.b.c", " . . ", "é.é.é", "\0.\0.\0"] {
        assert!(
            matches!(
                verify(credential),
                Err(AuthError::Malformed(Part::Header, _))
            ),
            "{credential}"
        );
    }
}

#[test]
fn a_token_has_one_spelling() {
    let token = any_signer().token(&good_claims());
    assert_eq!(verify(&token), Ok(()));
    let standard = |text: &str| text.replace('-', "+").replace('_', "/");
    for other in [
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("{token}="),
        format!("{token}=="),
        format!("Bearer {token}"),
        token.replacen('.', "=.", 1),
        token.replacen('.', "..", 1),
        format!("{token}."),
        format!(".{token}"),
        token.to_uppercase(),
    ] {
        assert!(verify(&other).is_err(), "{other}");
    }
    if standard(&token) != token {
        assert!(verify(&standard(&token)).is_err());
    }
}

#[test]
fn jwt_14_a_huge_credential_is_refused_by_its_length() {
    let huge = "a".repeat(1024 * 1024);
    let dots = ".".repeat(1024 * 1024);
    assert_eq!(verify(&huge), Err(AuthError::TooLong));
    assert_eq!(verify(&dots), Err(AuthError::TooLong));
}

#[test]
fn jwt_14_the_length_limit_is_exact() {
    let token_of_padding = |bytes: usize| any_signer().token(&claims_with("x", "y".repeat(bytes)));
    let longest = (1..MAX_TOKEN_BYTES)
        .rev()
        .find(|bytes| token_of_padding(*bytes).len() <= MAX_TOKEN_BYTES)
        .unwrap();
    assert!(token_of_padding(longest).len() > MAX_TOKEN_BYTES - 4);
    assert_eq!(verify(&token_of_padding(longest)), Ok(()));
    assert_eq!(
        verify(&token_of_padding(longest + 3)),
        Err(AuthError::TooLong)
    );
}

#[test]
fn jwt_20_payload_and_header_are_objects() {
    let claims = good_claims().to_string();
    for odd in [
        format!("[{claims}]"),
        "[]".to_owned(),
        "1".to_owned(),
        "\"x\"".to_owned(),
        String::new(),
        format!("{claims}{claims}"),
    ] {
        assert_eq!(
            verify_texts(HEADER, &odd),
            Err(AuthError::Malformed(Part::Payload, Flaw::NotAnObject)),
            "{odd}"
        );
        assert_eq!(
            verify_texts(&odd, &claims),
            Err(AuthError::Malformed(Part::Header, Flaw::NotAnObject)),
            "{odd}"
        );
    }
}

#[test]
fn jwt_20_nesting_is_bounded() {
    let claims = good_claims().to_string();
    let open = claims.trim_end_matches('}');
    for depth in [20, 2_000] {
        let (left, right) = ("[".repeat(depth), "]".repeat(depth));
        for payload in [
            format!("{open},\"x\":{left}{right}}}"),
            format!("{open},\"x\":{left}"),
            format!("{left}{right}"),
        ] {
            assert_eq!(
                verify_texts(HEADER, &payload),
                Err(AuthError::Malformed(Part::Payload, Flaw::TooDeep))
            );
        }
        let header = format!(r#"{{"alg":"EdDSA","x":{left}{right}}}"#);
        assert_eq!(
            verify_texts(&header, &claims),
            Err(AuthError::Malformed(Part::Header, Flaw::TooDeep))
        );
    }
    let brackets = format!("{{\"a\":{}", "[".repeat(100_000));
    assert_eq!(verify_texts(HEADER, &brackets), Err(AuthError::TooLong));
    let honest = format!("{open},\"realm_access\":{{\"roles\":[{{\"name\":[\"x\"]}}]}}}}");
    assert_eq!(verify_texts(HEADER, &honest), Ok(()));
}

#[test]
fn jwt_20_duplicate_members_are_refused() {
    let claims = good_claims().to_string();
    let open = claims.trim_end_matches('}');
    for again in [
        r#""sub":"bob""#,
        r#""sub":"ada""#,
        r#""s\u0075b":"bob""#,
        r#""exp":1"#,
        r#""x":{"a":1,"a":1}"#,
    ] {
        let refused = verify_texts(HEADER, &format!("{open},{again}}}"));
        assert_eq!(
            refused,
            Err(AuthError::Malformed(Part::Payload, Flaw::DuplicateMember)),
            "{again}"
        );
    }
    for header in [
        r#"{"alg":"none","alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","kid":"a","kid":"b"}"#,
        r#"{"alg":"EdDSA","x":[{"a":1,"a":2}]}"#,
    ] {
        let refused = verify_texts(header, &claims);
        assert_eq!(
            refused,
            Err(AuthError::Malformed(Part::Header, Flaw::DuplicateMember)),
            "{header}"
        );
    }
}

#[test]
fn critical_extensions_are_refused() {
    for crit in [
        json!(["b64"]),
        json!([]),
        json!(["exp"]),
        json!("x"),
        Value::Null,
    ] {
        let header = json!({"alg": "EdDSA", "b64": false, "crit": crit}).to_string();
        assert_eq!(
            verify_texts(&header, &good_claims().to_string()),
            Err(AuthError::CriticalHeader),
            "{crit}"
        );
    }
}

#[test]
fn header_members_of_a_wrong_type_are_refused() {
    for header in [
        r#"{"alg":1}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["EdDSA"]}"#,
        r#"{"alg":"EdDSA","typ":1}"#,
        r#"{"alg":"EdDSA","cty":{}}"#,
    ] {
        let refused = verify_texts(header, &good_claims().to_string());
        assert_eq!(
            refused,
            Err(AuthError::Malformed(Part::Header, Flaw::WrongType)),
            "{header}"
        );
    }
    let refused = verify_texts("{}", &good_claims().to_string());
    assert_eq!(
        refused,
        Err(AuthError::AlgorithmNotAllowed),
        "alg is missing"
    );
}

#[test]
fn unknown_header_members_and_claims_are_ignored() {
    let header = r#"{"alg":"EdDSA","typ":"at+jwt","x5t":"AAAA","zip":"DEF","http://x":{"y":[1]}}"#;
    assert_eq!(
        verify_texts(
            header,
            &claims_with("groups", json!(["a", "b"])).to_string()
        ),
        Ok(())
    );
}

#[test]
fn messages_are_lower_case_and_tell_what_to_mend() {
    let all = [
        AuthError::Missing,
        AuthError::TooLong,
        AuthError::NotAToken,
        AuthError::Malformed(Part::Header, Flaw::DuplicateMember),
        AuthError::Unsigned,
        AuthError::CriticalHeader,
        AuthError::KeyInHeader,
        AuthError::UnknownIssuer,
        AuthError::AlgorithmNotAllowed,
        AuthError::UnknownKey,
        AuthError::BadSignature,
        AuthError::Expired,
        AuthError::NotYetValid,
        AuthError::LifetimeTooLong,
        AuthError::WrongAudience,
        AuthError::WrongKind { found: Kind::Agent },
        AuthError::MissingClaim("exp"),
        AuthError::MalformedClaim("exp"),
    ];
    for error in all {
        let message = error.to_string();
        assert!(
            message.starts_with(|first: char| first.is_ascii_lowercase()),
            "{message}"
        );
        assert!(message.is_ascii() && !message.ends_with('.'), "{message}");
    }
    assert_eq!(
        AuthError::Expired.to_string(),
        "the token has expired (exp)"
    );
    assert_eq!(
        AuthError::Malformed(Part::Payload, Flaw::DuplicateMember).to_string(),
        "malformed token: the payload has the same member twice"
    );
    assert!(
        AuthError::WrongKind { found: Kind::Api }
            .to_string()
            .starts_with("wrong kind of token")
    );
}
