//! Which published keys are used, and which sets are refused.

use serde_json::{Value, json};

use super::publisher::*;
use super::support::hmac_sha256;
use crate::{Algorithm, Flaw, Jwks, JwksError, MAX_JWKS_BYTES, MAX_PUBLISHED_KEYS};

fn usable(entry: Value) -> Result<usize, JwksError> {
    Jwks::read(&set(&[entry]), &Algorithm::ALL).map(|read| read.usable())
}

fn error(text: &[u8]) -> JwksError {
    Jwks::read(text, &Algorithm::ALL).unwrap_err()
}

#[test]
fn the_keys_of_the_standards_are_read() {
    // RFC 7517 appendix A.1 (its first key is for encryption) and RFC 8037 appendix A.2.
    let text = br#"{"keys":[
        {"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
         "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"},
        {"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
         "e":"AQAB","alg":"RS256","kid":"2011-04-29"},
        {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    ]}"#;
    let read = Jwks::read(text, &Algorithm::USUAL).unwrap();
    let ids: Vec<_> = read.keys.iter().map(|key| key.id.as_deref()).collect();
    assert_eq!(ids, [Some("2011-04-29"), None]);
    assert_eq!(read.unusable, 1);
}

#[test]
fn a_key_is_for_its_own_algorithm_or_for_each_allowed_one_that_fits() {
    let read = |entry: Value, allowed: &[Algorithm]| {
        Jwks::read(&set(&[entry]), allowed).map(|read| read.usable())
    };
    let unnamed = RSA.jwk_without("alg");
    assert_eq!(read(unnamed.clone(), &Algorithm::USUAL), Ok(1), "RS256");
    assert_eq!(read(unnamed.clone(), &Algorithm::ALL), Ok(6));
    assert_eq!(read(RSA.jwk.clone(), &Algorithm::ALL), Ok(1));
    let ps256 = [Algorithm::Ps256];
    assert_eq!(read(unnamed, &ps256), Ok(1));
    for refused in [RSA.jwk.clone(), EC.jwk.clone(), ED.jwk_without("alg")] {
        assert_eq!(read(refused, &ps256), Err(JwksError::NoUsableKey));
    }
}

#[test]
fn only_sound_keys_for_signatures_are_used() {
    for entry in [&RSA.jwk, &EC.jwk, &ED.jwk] {
        assert_eq!(usable(entry.clone()), Ok(1));
    }
    let unknown = RSA.jwk_with("x5t", json!({ "whatever": [1] }));
    assert_eq!(usable(unknown), Ok(1), "members of others are passed over");
    let mut padded = RSA.jwk_without("kid");
    padded["n"] = format!("AAAA{}", RSA.jwk["n"].as_str().unwrap()).into();
    assert_eq!(usable(padded), Ok(1), "leading zeros, which some write");
    for good in [json!(["verify"]), json!(["sign", "verify"])] {
        assert_eq!(usable(EC.jwk_with("key_ops", good)), Ok(1));
    }
    let odd = [
        RSA.jwk_with("use", "enc"),
        RSA.jwk_with("use", 1),
        RSA.jwk_with("key_ops", json!(["encrypt"])),
        RSA.jwk_with("key_ops", "verify"),
        RSA.jwk_with("alg", "RSA-OAEP"),
        RSA.jwk_with("alg", "HS256"),
        RSA.jwk_with("alg", "none"),
        RSA.jwk_with("alg", 256),
        RSA.jwk_with("kid", 7),
        RSA.jwk_with("kid", "k".repeat(257)),
        RSA.jwk_with("kty", "EC"),
        RSA.jwk_with("kty", "rsa"),
        RSA.jwk_without("kty"),
        RSA.jwk_without("n"),
        RSA.jwk_with("n", ""),
        RSA.jwk_with("n", "AAAA"),
        RSA.jwk_with("n", "w".repeat(100)),  // some 600 bits
        RSA.jwk_with("n", "w".repeat(2000)), // some 12,000
        RSA.jwk_with("e", "AQ"),             // 1
        RSA.jwk_with("e", "Ag"),             // 2
        RSA.jwk_with("e", "AQAAAAE"),        // 2^32 + 1
        RSA.jwk_with("e", "AQAB="),
        RSA.jwk_with("d", "AQAB"),
        EC.jwk_with("crv", "P-384"),
        EC.jwk_with("crv", "secp256k1"),
        EC.jwk_with("x", EC.jwk["y"].clone()), // not on the curve
        EC.jwk_with("x", "AQAB"),
        EC.jwk_without("y"),
        EC.jwk_with("d", "AQAB"),
        ED.jwk_with("crv", "X25519"),
        ED.jwk_with("x", "AQAB"),
        ED.jwk_with("kty", "EC"),
        json!("RSA"),
        json!({}),
    ];
    for entry in odd {
        let refused = usable(entry.clone());
        assert_eq!(refused, Err(JwksError::NoUsableKey), "{entry}");
        // Beside a good one it is left out, and hurts nobody.
        let read = Jwks::read(&set(&[entry, ED.jwk.clone()]), &Algorithm::ALL).unwrap();
        assert_eq!((read.usable(), read.unusable), (1, 1));
    }
}

#[test]
fn jwt_02_a_shared_key_is_never_taken_from_a_set() {
    let secret = hmac_sha256(b"some", b"secret");
    let k = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, secret);
    for alg in ["HS256", "RS256", "EdDSA"] {
        let entry = json!({ "kty": "oct", "k": k, "alg": alg, "kid": "s" });
        assert_eq!(usable(entry), Err(JwksError::NoUsableKey), "{alg}");
    }
}

#[test]
fn a_key_under_which_anybody_can_sign_is_refused() {
    let zeros = "0".repeat(64);
    let ends =
        |first: &str, between: &str, last: &str| format!("{first}{}{last}", between.repeat(30));
    let points = [
        zeros.clone(),
        ends("00", "00", "80"),
        ends("01", "00", "00"),
        ends("01", "00", "80"),
        ends("ec", "ff", "7f"),
        ends("ed", "ff", "7f"),
        ends("ee", "ff", "ff"),
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05".to_owned(),
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85".to_owned(),
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a".to_owned(),
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa".to_owned(),
    ];
    for point in points {
        let byte = |at: usize| u8::from_str_radix(&point[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..64).step_by(2).map(byte).collect();
        let refused = usable(ED.jwk_with("x", encoded(&bytes)));
        assert_eq!(refused, Err(JwksError::NoUsableKey), "{point}");
    }
}

#[test]
fn two_keys_with_one_id_are_refused_unless_they_are_of_different_sorts() {
    let other = Publisher::new(Algorithm::Es256, "ec");
    assert_eq!(
        error(&set(&[EC.jwk.clone(), other.jwk.clone()])),
        JwksError::DuplicateKeyId
    );
    let read = |entries: &[Value]| Jwks::read(&set(entries), &Algorithm::ALL).unwrap();
    let twice = read(&[EC.jwk.clone(), EC.jwk.clone()]);
    assert_eq!(twice.usable(), 1, "the same key twice is one key");
    // RFC 7517 §4.5: equivalent keys of different types may share an id.
    let sorts = read(&[EC.jwk.clone(), ED.jwk_with("kid", "ec")]);
    assert_eq!(sorts.usable(), 2);
    let nameless = read(&[EC.jwk_without("kid"), other.jwk_without("kid")]);
    assert_eq!(nameless.usable(), 2);
}

#[test]
fn what_is_no_set_is_refused() {
    let malformed = [
        (&b""[..], Flaw::NotAnObject),
        (b"[]", Flaw::NotAnObject),
        (b"<html>", Flaw::NotAnObject),
        (br#"{"keys":[]} {}"#, Flaw::NotAnObject),
        (br#"{"keys":[],"keys":[]}"#, Flaw::DuplicateMember),
        (
            br#"{"keys":[{"kid":"a","kid":"b"}]}"#,
            Flaw::DuplicateMember,
        ),
    ];
    for (text, flaw) in malformed {
        assert_eq!(error(text), JwksError::Malformed(flaw));
    }
    let deep = format!("{{\"keys\":{}", "[".repeat(100_000));
    assert_eq!(error(deep.as_bytes()), JwksError::Malformed(Flaw::TooDeep));
    for text in ["{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, r#"{"Keys":[]}"#] {
        assert_eq!(error(text.as_bytes()), JwksError::NoList, "{text}");
    }
    assert_eq!(error(br#"{"keys":[]}"#), JwksError::NoUsableKey);
    let many = vec![ED.jwk_without("kid"); MAX_PUBLISHED_KEYS + 1];
    assert_eq!(error(&set(&many)), JwksError::TooManyKeys);
    assert!(Jwks::read(&set(&many[1..]), &Algorithm::ALL).is_ok());
    let mut long = set(&[&ED.jwk]);
    long.resize(MAX_JWKS_BYTES, b' ');
    assert!(Jwks::read(&long, &Algorithm::ALL).is_ok());
    long.push(b' ');
    assert_eq!(error(&long), JwksError::TooLong);
}
