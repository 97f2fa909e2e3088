//! How often the relay asks for memory on the way of a small request.
//!
//! Invariant: what is counted here does not grow unseen. The counts are of one thread, and the same on each run.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use c2l_auth::{SigningKey, Verifier};
use c2l_relay::{
    Accounts,
    measured::{Doorkeeper, check, route, toward_caller, toward_upstream},
};
use c2l_testkit::tokens;
use http::{HeaderMap, HeaderName, HeaderValue, Request, uri::PathAndQuery};

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    };
    pairs.iter().map(field).collect()
}

/// How often `work` allocates, once everything that is made only the first time is there.
fn allocations(mut work: impl FnMut()) -> u64 {
    work();
    measure(work).count_total
}

#[test]
fn a_credential_that_was_seen_is_looked_up_without_memory_of_its_own() {
    let key = SigningKey::ephemeral().expect("random numbers");
    let token = tokens::api("ada").signed_by(&key);
    let verifier = Verifier::new(vec![key.issuer()]).expect("sound");
    let accounts = Accounts::in_memory().expect("memory");
    let doorkeeper = Doorkeeper::new(Arc::new(verifier), accounts);
    let ask = || {
        let asking = pin!(doorkeeper.user(&token));
        let asked = asking.poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(asked, Poll::Ready(Ok(_))));
    };
    // The id of a request that has none.
    assert_eq!(allocations(ask), 1);
}

#[test]
fn a_path_is_read_with_one_copy() {
    for (path, expected) in [
        ("/api/version", 1),
        ("/v1/chat/completions?a=b", 1),
        ("/k/c2l_key/d/desk/api/chat", 4), // the credential and the device have one each
    ] {
        let target = PathAndQuery::from_static(path);
        let counted = allocations(|| route(&target).expect("a route"));
        assert_eq!(counted, expected, "{path}");
    }
}

#[test]
fn fields_cross_toward_the_upstream_with_one_list_of_what_stays() {
    let (mut head, ()) = Request::new(()).into_parts();
    let asked = [
        ("host", "relay.example"),
        ("authorization", "Bearer x"),
        ("user-agent", "curl/8"),
        ("accept", "*/*"),
    ];
    head.headers = fields(&asked);
    assert_eq!(allocations(|| check(&head).expect("sound")), 0);
    let list = |asked: &[(&'static str, &'static str)]| {
        let own = allocations(|| drop(fields(asked)));
        allocations(|| drop(toward_upstream(fields(asked)))) - own
    };
    assert_eq!(list(&asked), 1);
    assert_eq!(list(&asked[2..]), 0, "nothing stays");
}

#[test]
fn fields_cross_toward_the_caller_with_what_the_relay_adds() {
    let device = HeaderValue::from_static("desk");
    let answer = [
        ("content-type", "application/json"),
        ("content-length", "25"),
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ];
    let own = allocations(|| drop(fields(&answer)));
    let counted = allocations(|| drop(toward_caller(fields(&answer), &device)));
    // The map grows once, in two parts.
    assert_eq!(counted - own, 2);
}
