//! What strangers can do: little, and at a bounded cost.

use tokio::time::Instant;

use c2l_testkit::{Caller, FakeAgent, Program, RawConnection, full, tokens};
use http::Method;
use tokio::task::JoinSet;

use super::{Forms, logged_in, relay, relay_with_failures, tokens_of};

const BINARY: &str = env!("CARGO_BIN_EXE_c2l");
const STARTS: usize = 30_000;

#[tokio::test]
async fn one_address_has_ten_logins_that_wait_and_is_told_when_to_come_back() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    let mut begun = Vec::new();
    for _ in 0..10 {
        begun.push(forms.start("desk").await);
    }
    let answer = forms
        .send("/relay/v1/login/device", &[("device_name", "desk")])
        .await;
    assert_eq!(answer.status(), 429);
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((590..=600).contains(&wait), "{wait}");
    assert_eq!(answer.json().await["error"], "slow_down");
    // Whoever waits is not disturbed.
    for begun in &begun {
        assert_eq!(forms.refusal(begun).await, "authorization_pending");
    }
}

#[tokio::test]
async fn who_guesses_refresh_tokens_is_slowed_and_a_login_of_the_same_address_goes_on() {
    let relay = relay_with_failures(3).await;
    let forms = Forms::to(relay.address());
    let (_, good) = logged_in(&relay, "ada", "desk").await;
    let guess = tokens::mistyped(&good);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(forms.refresh(&guess, "a").await.0);
    }
    assert_eq!(statuses, [400, 400, 400, 429, 429, 429]);
    let (status, said) = forms.refresh(&good, &"a".repeat(22)).await;
    assert_eq!(status, 200, "{said}");
    let (access, next) = tokens_of(&said);
    let agent = FakeAgent::connect(relay.address(), &access, "desk").await;
    agent.expect("the token is the relay's own, and no guess");
    let (status, said) = forms.refresh(&next, &"b".repeat(22)).await;
    assert_eq!(status, 200, "{said}");
}

#[tokio::test]
async fn what_is_no_form_or_no_name_of_a_device_begins_nothing() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    for name in ["", "..", "a b", "a\u{1b}[2J", &"x".repeat(65)] {
        let (status, said) = forms.ask("device", &[("device_name", name)]).await;
        assert_eq!(
            (status, said["error"].as_str()),
            (400, Some("invalid_request"))
        );
    }
    let caller = Caller::anonymous(relay.address());
    for (body, status) in [
        ("device_name=a&device_name=b".to_owned(), 400),
        ("device_name=%zz".to_owned(), 400),
        (format!("device_name=a&x={}", "x".repeat(100_000)), 413),
    ] {
        let request = caller.request(Method::POST, "/relay/v1/login/device");
        let answer = caller
            .send(request.body(full(body)).expect("a request"))
            .await;
        assert_eq!(answer.status(), status);
    }
    for path in ["device", "token", "revoke"] {
        let answer = caller.get(&format!("/relay/v1/login/{path}")).await;
        assert_eq!(answer.status(), 405, "{path}");
    }
    for path in [
        "/relay/v1/login/",
        "/relay/v1/login/x",
        "/login/x",
        "/k/x/login",
    ] {
        assert_eq!(caller.get(path).await.status(), 404, "{path}");
    }
    forms.start("desk").await; // and this one still can
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn thirty_thousand_logins_begun_cost_bounded_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let (relay, address, _) = Program::relay(BINARY, folder.path(), "127.0.0.1:0", &[]).await;
    // A few first, so that what is there from then on is counted as before.
    start_many(address, 1_000).await;
    let before = relay.resident_bytes();
    let began = Instant::now();
    let (started, refused) = start_many(address, STARTS).await;
    let grown = relay.resident_bytes().saturating_sub(before);
    println!(
        "{STARTS} starts: {started} begun, {refused} refused, {grown} bytes more, {:?}",
        began.elapsed()
    );
    assert_eq!((started, refused), (0, STARTS), "ten wait already");
    assert!(grown < 8 * 1024 * 1024, "{grown} bytes more");
}

/// How many were begun, and how many refused.
#[cfg(target_os = "linux")]
async fn start_many(address: std::net::SocketAddr, count: usize) -> (usize, usize) {
    const TASKS: usize = 8;
    const BODY: &str = "device_name=desk";
    let length = BODY.len();
    let request = format!(
        "POST /relay/v1/login/device HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{BODY}"
    );
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let request = request.clone();
        tasks.spawn(async move {
            let mut connection = RawConnection::open(address).await;
            let (mut started, mut refused) = (0, 0);
            for _ in 0..count / TASKS {
                connection.send(&request).await;
                let answer = connection.read_until(b"}\n").await.expect("an answer");
                if answer.starts_with(b"HTTP/1.1 200 ") {
                    started += 1;
                } else {
                    assert!(answer.starts_with(b"HTTP/1.1 429 "), "{answer:?}");
                    refused += 1;
                }
            }
            (started, refused)
        });
    }
    let counts = tasks.join_all().await;
    let add = |sum: (usize, usize), one: (usize, usize)| (sum.0 + one.0, sum.1 + one.1);
    counts.into_iter().fold((0, 0), add)
}
