//! What is promised to those who stay within their limits, and to those who do not, to the millisecond.

use std::{sync::Arc, time::SystemTime};

use c2l_auth::{AuthError, Kind as TokenKind, Scopes, SigningKey, TokenRequest, Verifier};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn asker(address: &str) -> Asker {
    Asker {
        address: address.parse().expect("an address"),
        request_id: Arc::from("r-1"),
    }
}

/// A token of this user, and what it grants.
fn token(user: &str) -> (String, Grant) {
    let key = SigningKey::ephemeral().expect("random numbers");
    let request = TokenRequest {
        user: user.to_owned(),
        kind: TokenKind::Api,
        scopes: Scopes::INFER,
        ttl: Duration::from_secs(3600),
        device: None,
    };
    let token = key.issue(&request, SystemTime::now()).expect("a token");
    let verifier = Verifier::new(vec![key.issuer()]).expect("an issuer");
    let grant = verifier.verify(token.expose(), TokenKind::Api, SystemTime::now());
    (token.expose().to_owned(), grant.expect("a good token"))
}

fn payer(user: &str) -> Payer {
    let (token, grant) = token(user);
    Payer {
        user: grant.user.clone(),
        credential: CredentialName::of_grant(&grant, Fingerprint::of(&token)),
        own_requests: None,
    }
}

/// What the door does with a credential that it does not remember.
fn judge(
    guard: &Guard,
    asker: &Asker,
    credential: &str,
    verified: Result<Grant, AuthError>,
) -> Result<(), Fault> {
    guard.may_judge(asker, credential)?;
    let grant = verified.map_err(|error| guard.refused(asker, credential, &error))?;
    let fingerprint = Fingerprint::of(credential);
    let name = CredentialName::of_grant(&grant, fingerprint);
    guard.accepted(asker, fingerprint, &grant, &name);
    Ok(())
}

fn guard(change: impl FnOnce(&mut RateLimits)) -> Guard {
    let mut limits = RateLimits::off();
    change(&mut limits);
    Guard::new(limits)
}

fn wait(fault: &Fault) -> Duration {
    assert_eq!(fault.kind, FaultKind::UserOverLimit);
    assert!(fault.is_retry_safe);
    fault.retry_after.expect("a time to wait")
}

fn bad(guard: &Guard, asker: &Asker, credential: &str) -> Fault {
    let judged = judge(guard, asker, credential, Err(AuthError::BadSignature));
    judged.expect_err("a bad credential")
}

#[tokio::test(start_paused = true)]
async fn the_time_to_wait_is_true_for_every_limit_of_a_payer() {
    let (home, ada) = (asker("192.0.2.1"), payer("ada"));
    for change in [
        |limits: &mut RateLimits| limits.user_requests = Some(Rate::per_minute(4)),
        |limits: &mut RateLimits| limits.credential_requests = Some(Rate::per_minute(4)),
    ] {
        let guard = guard(change);
        for _ in 0..4 {
            guard.request(&home, &ada).expect("within the limit");
        }
        for _ in 0..3 {
            let told = wait(&guard.request(&home, &ada).expect_err("over it"));
            assert_eq!(told, MINUTE / 4, "asking again costs nothing");
        }
        tokio::time::advance(MINUTE / 4).await;
        guard.request(&home, &ada).expect("as was told");
        assert!(guard.request(&home, &ada).is_err(), "one, not more");
        guard.request(&home, &payer("bob")).expect("another user");
    }
}

#[tokio::test(start_paused = true)]
async fn a_credentials_own_rate_is_its_own() {
    let home = asker("192.0.2.1");
    let (mut narrow, wide) = (payer("ada"), payer("ada"));
    assert_ne!(narrow.credential, wide.credential);
    narrow.own_requests = Some(Rate::per_minute(1));
    let guard = guard(|limits| limits.user_requests = Some(Rate::per_minute(3)));
    guard.request(&home, &narrow).expect("the first");
    for _ in 0..10 {
        assert_eq!(
            wait(&guard.request(&home, &narrow).expect_err("over")),
            MINUTE
        );
    }
    for _ in 0..2 {
        guard
            .request(&home, &wide)
            .expect("the user's rate is not used up by refusals");
    }
    assert!(guard.request(&home, &wide).is_err());
}

#[tokio::test(start_paused = true)]
async fn bytes_go_into_debt_and_are_waited_for() {
    let (home, ada) = (asker("192.0.2.1"), payer("ada"));
    for change in [
        |limits: &mut RateLimits| limits.user_bytes = Some(Rate::per_minute(6000)),
        |limits: &mut RateLimits| limits.credential_bytes = Some(Rate::per_minute(6000)),
    ] {
        let guard = guard(change);
        assert!(guard.counts_bytes());
        guard.request(&home, &ada).expect("nothing has moved");
        guard.moved(&ada, 18_000);
        let told = wait(&guard.request(&home, &ada).expect_err("in debt"));
        assert_eq!(told, 2 * MINUTE + Duration::from_millis(10));
        tokio::time::advance(told).await;
        guard.request(&home, &ada).expect("as was told");
    }
    assert!(!guard(|_| ()).counts_bytes());
}

#[tokio::test(start_paused = true)]
async fn who_guesses_is_slowed_and_who_is_known_is_not() {
    let guard = guard(|limits| limits.address_failures = Some(Rate::per_minute(3)));
    let shared = asker("192.0.2.1");
    let (known, grant) = token("ada");
    let judge = |credential: &str| judge(&guard, &shared, credential, Ok(grant.clone()));
    for _ in 0..100 {
        judge(&known).expect("a good one does not count");
    }
    for _ in 0..3 {
        assert_eq!(
            bad(&guard, &shared, "guess").kind,
            FaultKind::Unauthenticated
        );
    }
    for _ in 0..50 {
        assert_eq!(wait(&bad(&guard, &shared, "guess")), MINUTE / 3);
    }
    judge(&known).expect("known good, from the same address");
    // A good one that nobody has seen waits: nobody can tell it from a guess without judging it.
    assert_eq!(wait(&judge("new").expect_err("unknown")), MINUTE / 3);
    assert_eq!(
        bad(&guard, &asker("192.0.2.2"), "guess").kind,
        FaultKind::Unauthenticated
    );
    tokio::time::advance(MINUTE / 3).await;
    judge("new").expect("as was told");
    assert_eq!(guard.hits().map(|(_, hits)| hits).sum::<u64>(), 51);
}

#[tokio::test(start_paused = true)]
async fn a_known_credential_that_turns_bad_is_no_longer_known() {
    let guard = guard(|limits| limits.address_failures = Some(Rate::per_minute(1)));
    let (home, (known, grant)) = (asker("192.0.2.1"), token("ada"));
    judge(&guard, &home, &known, Ok(grant)).expect("good");
    assert_eq!(bad(&guard, &home, &known).kind, FaultKind::Unauthenticated);
    assert_eq!(bad(&guard, &home, &known).kind, FaultKind::UserOverLimit);
}

#[tokio::test(start_paused = true)]
async fn a_good_credential_in_the_wrong_place_stays_known() {
    let guard = guard(|limits| limits.address_failures = Some(Rate::per_minute(1)));
    let (home, (known, grant)) = (asker("192.0.2.1"), token("ada"));
    judge(&guard, &home, &known, Ok(grant.clone())).expect("good");
    let found = TokenKind::Api;
    let misplaced = Err(AuthError::WrongKind { found });
    judge(&guard, &home, &known, misplaced).expect_err("not here");
    assert_eq!(bad(&guard, &home, "guess").kind, FaultKind::UserOverLimit);
    judge(&guard, &home, &known, Ok(grant)).expect("still known");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_refused_is_served_when_its_time_has_come() {
    let guard = guard(|limits| limits.address_connections = Some(Rate::per_minute(60)));
    let peer = "192.0.2.1".parse().expect("an address");
    let mut welcome = Welcome::Served;
    while welcome == Welcome::Served {
        welcome = guard.connection(peer, Instant::now());
    }
    let Welcome::Refused { until } = welcome else {
        panic!("{welcome:?}");
    };
    let told = wait(
        &guard
            .refused_connection(peer, until)
            .expect_err("too early"),
    );
    tokio::time::advance(told).await;
    guard.refused_connection(peer, until).expect("as was told");
    assert!(
        guard.refused_connection(peer, until).is_err(),
        "as another connection would be"
    );
}

#[tokio::test(start_paused = true)]
async fn sessions_are_counted_by_the_64_of_an_address() {
    let guard = guard(|limits| limits.address_sessions = Some(Rate::per_minute(2)));
    guard.session(&asker("2001:db8::1")).expect("the first");
    guard.session(&asker("2001:db8::2")).expect("the second");
    let told = wait(&guard.session(&asker("2001:db8::3")).expect_err("over"));
    assert_eq!(told, MINUTE / 2);
    guard
        .session(&asker("2001:db8:0:1::1"))
        .expect("another customer");
    guard
        .session(&asker("::ffff:192.0.2.1"))
        .expect("the first");
    guard
        .session(&asker("192.0.2.1"))
        .expect("the second of the same");
    assert!(guard.session(&asker("192.0.2.1")).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_connections_is_told_so_a_hundred_times_a_second_and_else_closed() {
    let guard = guard(|limits| {
        limits.address_connections = Some(Rate::per_minute(60));
        limits.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
    });
    let peer = "192.0.2.1".parse().expect("an address");
    let proxy = "::ffff:10.1.2.3".parse().expect("an address");
    let mut counts = [0; 3];
    for _ in 0..1000 {
        let welcome = guard.connection(peer, Instant::now());
        match welcome {
            Welcome::Served => counts[0] += 1,
            Welcome::Refused { until } => {
                counts[1] += 1;
                assert_eq!(until - Instant::now(), Duration::from_secs(1));
            }
            Welcome::Closed => counts[2] += 1,
        }
        assert_eq!(guard.connection(proxy, Instant::now()), Welcome::Served);
    }
    assert_eq!(counts, [60, 100, 840]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(guard.connection(peer, Instant::now()), Welcome::Served);
}

#[tokio::test(start_paused = true)]
async fn who_is_let_past_the_look_locks_nobody_out_for_longer() {
    let guard = guard(|limits| limits.address_failures = Some(Rate::per_minute(3)));
    let shared = asker("192.0.2.1");
    let found = TokenKind::Api;
    for _ in 0..100_000 {
        guard.refused(
            &shared,
            "known, and in the wrong place",
            &AuthError::WrongKind { found },
        );
    }
    assert_eq!(wait(&bad(&guard, &shared, "new")), MINUTE / 3);
    guard.vouch("made by the relay");
    assert!(guard.may_judge(&shared, "made by the relay").is_ok());
}
