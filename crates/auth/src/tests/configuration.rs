//! What an operator may configure, and what is refused before the first token is seen.

use super::support::*;
use crate::key_file::to_pem;
use crate::{ConfigError, Issuer, Key, Kind, MAX_KEYS_PER_ISSUER, Verifier};

#[test]
fn a_configuration_with_a_mistake_is_refused() {
    let key = || any_signer().public_key.clone();
    let issuer = || Issuer::new("a", "b").with_key(key());
    let error = |issuers| Verifier::new(issuers).unwrap_err();
    assert_eq!(error(vec![]), ConfigError::NoIssuer);
    assert_eq!(
        error(vec![Issuer::new("", "b").with_key(key())]),
        ConfigError::EmptyIssuer
    );
    assert_eq!(
        error(vec![Issuer::new("a", "").with_key(key())]),
        ConfigError::EmptyAudience("a".into())
    );
    assert_eq!(
        error(vec![Issuer::new("a", "b")]),
        ConfigError::NoKey("a".into())
    );
    assert_eq!(
        error(vec![issuer(), issuer()]),
        ConfigError::DuplicateIssuer("a".into())
    );
    let twice = Issuer::new("a", "b")
        .with_key(key().with_id("1"))
        .with_key(key().with_id("1"));
    assert_eq!(error(vec![twice]), ConfigError::DuplicateKeyId("a".into()));
    let many =
        (0..=MAX_KEYS_PER_ISSUER).fold(Issuer::new("a", "b"), |issuer, _| issuer.with_key(key()));
    assert_eq!(error(vec![many]), ConfigError::TooManyKeys("a".into()));
}

#[test]
fn only_public_keys_of_the_right_sort_are_configured() {
    type FromPem = fn(&str) -> Result<Key, ConfigError>;
    let constructors: [(&str, FromPem); 3] = [
        ("EdDSA", Key::eddsa_pem),
        ("ES256", Key::es256_pem),
        ("RS256", Key::rs256_pem),
    ];
    for (algorithm, from_pem) in constructors {
        let refused = Err(ConfigError::NotAPublicKey { algorithm });
        for other in SIGNERS.iter() {
            let pem = to_pem("PUBLIC KEY", &other.public_der);
            assert_eq!(
                from_pem(&pem).is_ok(),
                other.algorithm == algorithm,
                "{} as {algorithm}",
                other.algorithm
            );
            let cut = to_pem(
                "PUBLIC KEY",
                &other.public_der[..other.public_der.len() / 2],
            );
            assert_eq!(from_pem(&cut).map(|_| ()), refused, "cut short");
        }
        for text in [
            "",
            "ssh-ed25519 AAAA",
            "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        ] {
            assert_eq!(from_pem(text).map(|_| ()), refused, "{text}");
        }
        let private = to_pem("PRIVATE KEY", &[0x30, 0]);
        assert_eq!(from_pem(&private).map(|_| ()), Err(ConfigError::PrivateKey));
    }
    assert_eq!(
        Key::rs256_pem(WEAK_RSA_TEST_KEY).map(|_| ()),
        Err(ConfigError::NotAPublicKey { algorithm: "RS256" })
    );
    assert_eq!(
        Key::es256_pem(P384_TEST_KEY).map(|_| ()),
        Err(ConfigError::NotAPublicKey { algorithm: "ES256" })
    );
}

#[test]
fn an_rsa_key_may_have_either_public_form_and_no_certificate_is_taken() {
    let der = &signer("RS256").public_der;
    assert!(Key::rs256_pem(&to_pem("RSA PUBLIC KEY", &der[24..])).is_ok());
    assert!(Key::rs256_pem(&to_pem("CERTIFICATE", der)).is_err());
}

#[test]
fn jwt_02_a_shared_secret_is_long_and_no_pem() {
    assert_eq!(
        Key::hs256(&SECRET[1..]).map(|_| ()),
        Err(ConfigError::SecretTooShort)
    );
    assert_eq!(
        Key::hs256(WEAK_RSA_TEST_KEY.as_bytes()).map(|_| ()),
        Err(ConfigError::SecretIsPem)
    );
}

#[test]
fn debug_output_shows_no_secret() {
    let secret = std::str::from_utf8(SECRET).unwrap();
    let signer = signer("HS256");
    let (key, verifier) = own();
    let token = key.issue(&request(Kind::Api), now()).unwrap();
    let shown = format!(
        "{:?} {:?} {key:?} {verifier:?} {token:?}",
        signer.public_key,
        signer.verifier()
    );
    assert!(!shown.contains(secret), "{shown}");
    assert!(!shown.contains(&format!("{:?}", SECRET)), "{shown}");
    assert!(!shown.contains(token.expose()), "{shown}");
}

/// For tests only: the public half of a key that was thrown away. 1024 bits are too few to be accepted.
const WEAK_RSA_TEST_KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDXvylagsdGAc5WTJPCX+xbQ8Hv
xs85H25BtsyYizvjFu+KZBzTK3HhXvKUrIptMXxap5jF0yp/OtDoV1Kh2n4XVscr
7wFY9IKeHkIfY8VnXVYVL4wTz2KAvkLzMht7wjIXiT017d9KkGDsZPcmHwAq8kGS
F8boVJiddzZ4KBbWpwIDAQAB
-----END PUBLIC KEY-----
";

/// For tests only: the public half of a key that was thrown away. The curve is not the one of ES256.
const P384_TEST_KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEGoJSTteujr84kAgCU0PYYZ0owQNR6zbB
s4XVVjvZcDHDnRIo9UdeAgJWk7vBjHXEXLFsyFg9s4TUD/vSq9b3qdEtPouZuFSW
0V5TnQRilE0j5FAo1PQSR7IiKtZ9aFad
-----END PUBLIC KEY-----
";
