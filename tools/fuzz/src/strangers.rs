//! What a stranger reaches before anybody knows who they are: the token verifier, and the bytes of a bridge; and what an
//! identity provider may answer.

use std::{
    io::Cursor,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use c2l_auth::{Algorithm, Issuer, Jwks, Kind, MAX_PUBLISHED_KEYS, SigningKey, Verifier};
use c2l_bridge::{ByteStream, MAX_MESSAGE_BYTES, Role};
use tokio::io::{AsyncReadExt as _, join, sink};

/// Any text as a credential: it is refused, since nobody can sign without the key, and nothing panics.
///
/// # Panics
/// When a credential that nobody signed is taken.
pub fn token(data: &[u8]) {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    let verifier = VERIFIER.get_or_init(|| {
        let key = SigningKey::ephemeral().expect("random numbers");
        Verifier::new(vec![key.issuer()]).expect("a valid issuer")
    });
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let credential = String::from_utf8_lossy(data);
    for kind in Kind::ALL {
        assert!(verifier.verify(&credential, kind, now).is_err());
    }
}

/// Any bytes as the keys of an identity provider: what is taken is bounded, and a token that nobody signed stays refused
/// whatever they are.
///
/// # Panics
/// When too many keys come out, or a forged token is taken.
pub fn jwks(data: &[u8]) {
    const ISSUER: &str = "https://id.example";
    let issuer = Issuer::new(ISSUER, "c2l").with_published_keys(Algorithm::ALL);
    let verifier = Verifier::new(vec![issuer]).expect("a valid issuer");
    let (provider, _) = verifier.providers().next().expect("one that publishes");
    let read = Jwks::read(data, &Algorithm::ALL).map(|read| read.usable());
    let published = verifier.publish(provider, data).map(|new| new.usable);
    assert_eq!(read, published);
    assert!(read.is_err() || read.is_ok_and(|keys| (1..=6 * MAX_PUBLISHED_KEYS).contains(&keys)));
    // {"alg":"…"} . {"iss":"https://id.example","aud":"c2l","sub":"a","exp":1800000060,"c2l_kind":"api"} . zeros
    let payload = "eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJjMmwiLCJzdWIiOiJhIiwiZXhwIjoxODAwMDAwMDYwLCJjMmxfa2luZCI6ImFwaSJ9";
    for header in ["eyJhbGciOiJSUzI1NiJ9", "eyJhbGciOiJFUzI1NiJ9", "eyJhbGciOiJFZERTQSJ9"] {
        let token = format!("{header}.{payload}.{}", "A".repeat(86));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        assert!(verifier.verify(&token, Kind::Api, now).is_err());
    }
}

/// Any bytes as what an agent sends behind its upgrade: they end in bytes or in an error, and never in more bytes than
/// were sent.
///
/// # Panics
/// When more comes out than went in.
pub fn bridge(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        for role in [Role::Server, Role::Client] {
            let connection = join(Cursor::new(data.to_vec()), sink());
            let mut stream = ByteStream::new(connection, role);
            let mut read = Vec::new();
            // An error is a fine answer to garbage.
            drop(stream.read_to_end(&mut read).await);
            assert!(read.len() <= data.len().max(MAX_MESSAGE_BYTES));
        }
    });
}
