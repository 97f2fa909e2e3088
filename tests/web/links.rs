//! One-time links: each signs one browser in, and nobody finds one by trying.

use std::time::Duration;

use c2l_relay::{Rate, SignInLinks};
#[cfg(unix)]
use c2l_testkit::Program;
use c2l_testkit::{Answer, TestRelay};
use serde_json::json;

use super::{Browser, COOKIE, refusal};

#[cfg(unix)]
#[tokio::test]
async fn the_operator_makes_a_link_beside_a_running_relay_and_it_is_in_no_log() {
    const BINARY: &str = env!("CARGO_BIN_EXE_c2l");
    let folder = tempfile::tempdir().expect("a directory");
    let here = folder.path();
    let data_dir = here.to_str().expect("a plain name").to_owned();
    let link = async |url: &str| {
        let words = ["user", "link", "--user=ada", "--public-url", url];
        let places = [("C2L_DATA_DIR", data_dir.as_str())];
        Program::output(BINARY, here, words, &places).await
    };
    let nobody = link("https://relay.example").await;
    assert!(!nobody.status.success(), "no relay runs: {nobody:?}");
    let (relay, address, _) = Program::relay(BINARY, here, "127.0.0.1:0", &[]).await;
    let made = link(&format!("http://{address}")).await;
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).expect("text");
    let target = format!("http://{address}/#/signin?link=");
    let (_, secret) = text.split_once(&target).expect("a link");
    let browser = Browser::at_address(address);
    let said = show(&browser, secret.trim()).await.json().await;
    assert_eq!(
        (&said["user"], &said["issuer"]),
        (&json!("ada"), &json!("c2l"))
    );
    assert_eq!(browser.whose().await.as_deref(), Some("ada"));
    let log = relay.log().join("\n");
    assert!(
        log.contains("relay is ready") && !log.contains(secret.trim()),
        "{log}"
    );
}

/// A relay, and its links.
async fn relay_with(most: u64) -> (TestRelay, SignInLinks) {
    let links = SignInLinks::default();
    let own = links.clone();
    let relay = TestRelay::start_with(move |config| {
        config.web.as_mut().expect("a page").links = own;
        config.rates.address_failures = Rate::new(most, Duration::from_secs(60));
    })
    .await;
    (relay, links)
}

async fn show(browser: &Browser, link: &str) -> Answer {
    browser
        .post("/web/v1/session", &json!({ "link": link }))
        .await
}

#[tokio::test]
async fn a_link_signs_one_browser_in() {
    let (relay, links) = relay_with(100).await;
    let link = links.make("c2l", "ada").expect("random numbers");
    let target = SignInLinks::target(&link);
    assert_eq!(target, format!("/#/signin?link={}", link.expose()));
    let browser = Browser::at(&relay);
    let said = show(&browser, link.expose()).await.json().await;
    assert_eq!(
        (&said["signed_in"], &said["user"]),
        (&json!(true), &json!("ada"))
    );
    assert_eq!(browser.whose().await.as_deref(), Some("ada"));
    let second = Browser::at(&relay);
    let answer = show(&second, link.expose()).await;
    assert_eq!(refusal(answer).await, (401, "unauthenticated".to_owned()));
    assert_eq!(second.cookie(COOKIE), None);
}

#[tokio::test]
async fn a_sign_out_everywhere_ends_links_that_were_made_before() {
    let (relay, links) = relay_with(100).await;
    let link = links.make("c2l", "ada").expect("random numbers");
    let browser = Browser::of(&relay, "ada").await;
    assert_eq!(
        browser
            .post("/web/v1/account/sign-out", &json!({}))
            .await
            .status(),
        200
    );
    let late = Browser::at(&relay);
    assert_eq!(show(&late, link.expose()).await.status(), 401);
    assert_eq!(late.cookie(COOKIE), None);
    let fresh = links.make("c2l", "ada").expect("random numbers");
    assert_eq!(show(&late, fresh.expose()).await.status(), 200);
}

#[tokio::test]
async fn who_tries_links_waits_and_takes_nobody_elses_place() {
    let (relay, links) = relay_with(5).await;
    let browser = Browser::of(&relay, "ada").await;
    let stranger = Browser::at(&relay);
    let mut said = Vec::new();
    for guess in 0..7 {
        let answer = show(&stranger, &format!("guess-{guess}")).await;
        said.push(answer.status().as_u16());
        assert_eq!(
            answer.status() == 429,
            answer.headers().contains_key("retry-after")
        );
    }
    assert_eq!(said, [401, 401, 401, 401, 401, 429, 429]);
    let link = links.make("c2l", "ada").expect("random numbers");
    assert_eq!(
        show(&stranger, link.expose()).await.status(),
        429,
        "a right one, too"
    );
    assert_eq!(
        browser.whose().await.as_deref(),
        Some("ada"),
        "who is in stays in"
    );
}
