//! Signing in at an identity provider: who comes back with a code is let in, in the browser that was sent, as who the provider
//! says; and nobody else.

use std::{sync::Arc, time::Duration};

use c2l_auth::{SigningKey, Verifier};
use c2l_relay::{PublicUrl, Rate};
use c2l_testkit::{
    Answer, CapturedLog, PATIENCE, TestRelay, empty, eventually,
    provider::{Mood, ProviderKey, TestProvider},
};
use http::Method;
use serde_json::{Value, json};

use super::{Browser, COOKIE, refusal};

const SIGN_IN: &str = "__Host-c2l-signin";

struct Stand {
    relay: TestRelay,
    provider: TestProvider,
    key: ProviderKey,
}

impl Stand {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut c2l_relay::Config)) -> Self {
        let key = ProviderKey::es256("k");
        let provider = TestProvider::start(&[&key]).await;
        let own = Arc::new(SigningKey::ephemeral().expect("random numbers"));
        let issuers = vec![provider.as_issuer(), own.issuer()];
        let verifier = Verifier::new(issuers).expect("sound issuers");
        let relay = TestRelay::start_on("127.0.0.1:0", own, |config| {
            config.verifier = Arc::new(verifier);
            config.providers = vec![provider.as_sign_in()];
            change(config);
        })
        .await;
        let stand = Self {
            relay,
            provider,
            key,
        };
        eventually(PATIENCE, "the provider has said where", async || {
            let said = stand.leave(&Browser::at(&stand.relay)).await;
            said.header("location")
                .contains("/authorize?")
                .then_some(())
        })
        .await;
        stand
    }

    /// Where the browser is sent.
    async fn leave(&self, browser: &Browser) -> Answer {
        navigate(browser, "/web/v1/signin/0").await
    }

    /// A browser that is away, and with what it comes back: the ID token says what `change` makes of it.
    async fn away(&self, change: impl FnOnce(&mut Value)) -> (Browser, String) {
        let browser = Browser::at(&self.relay);
        let answer = self.leave(&browser).await;
        assert_eq!(answer.status(), 303);
        let address = answer.header("location");
        let query = self.provider.sign_in(address, &self.key, "ada", change);
        (browser, query)
    }
}

/// A navigation: the browser sends nothing but its cookies.
async fn navigate(browser: &Browser, path: &str) -> Answer {
    let request = browser
        .bare(Method::GET, path)
        .header("sec-fetch-site", "cross-site");
    browser
        .send(request.body(empty()).expect("a request"))
        .await
}

/// Where the page stands after the way back.
async fn back(browser: &Browser, query: &str) -> String {
    back_at(browser, "/web/v1/callback", query).await
}

/// The same, at this address.
async fn back_at(browser: &Browser, path: &str, query: &str) -> String {
    let answer = navigate(browser, &format!("{path}?{query}")).await;
    assert_eq!(answer.status(), 303);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(browser.cookie(SIGN_IN), None, "it is over, either way");
    answer.header("location").to_owned()
}

async fn assert_out(browser: &Browser, query: &str, why: &str) {
    assert_eq!(back(browser, query).await, format!("/#/signin?error={why}"));
    assert_eq!(browser.cookie(COOKIE), None, "{why}");
}

#[tokio::test]
async fn who_signs_in_at_the_provider_is_its_user_here() {
    let log = CapturedLog::start();
    let stand = Stand::start().await;
    let browser = Browser::at(&stand.relay);
    let offered = browser.look().await["ways"]["issuers"].clone();
    let issuer = stand.provider.issuer();
    assert_eq!(
        offered,
        json!([{ "id": "0", "name": issuer, "url": "/web/v1/signin/0" }])
    );
    let answer = stand.leave(&browser).await;
    let set = answer.header("set-cookie").to_owned();
    assert!(
        set.ends_with("; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"),
        "{set}"
    );
    let address = answer.header("location").to_owned();
    let seed = browser.cookie(SIGN_IN).expect("a seed");
    let secret = seed.rsplit('.').next().expect("its secret part");
    assert!(!address.contains(secret));
    let query = stand.provider.sign_in(&address, &stand.key, "ada", |_| {});
    assert_eq!(back(&browser, &query).await, "/");
    let said = browser.look().await;
    assert_eq!(
        (&said["user"], &said["issuer"]),
        (&json!("ada"), &json!(issuer))
    );
    assert_eq!(browser.whose().await.as_deref(), Some("ada"));
    // The same name at the relay itself is somebody else.
    let own = Browser::of(&stand.relay, "ada").await;
    own.post("/web/v1/account/keys", &json!({ "name": "x" }))
        .await;
    assert_eq!(
        browser.get("/web/v1/account/keys").await.json().await,
        json!({ "keys": [] })
    );
    browser.sign_out().await;
    assert_eq!(browser.whose().await, None);
    let code = query.split(['=', '&']).nth(1).expect("a code");
    log.assert_without([secret, &format!("code={code}")]);
}

#[tokio::test]
async fn a_code_counts_once_and_only_in_the_browser_that_was_sent() {
    let stand = Stand::start().await;
    let (victim, query) = stand.away(|_| {}).await;
    let seed = victim.cookie(SIGN_IN).expect("a seed");
    // Somebody else's browser, with nothing, or sent by itself.
    assert_out(&Browser::at(&stand.relay), &query, "expired").await;
    let (other, _) = stand.away(|_| {}).await;
    assert_out(&other, &query, "expired").await;
    assert_eq!(stand.provider.exchanges(), 0, "nobody was asked");
    assert_eq!(back(&victim, &query).await, "/");
    let again = Browser::at(&stand.relay);
    again.put(SIGN_IN, &seed);
    assert_out(&again, &query, "refused").await;
    // One that began too long ago, or was made up.
    let (late, query) = stand.away(|_| {}).await;
    let seed = late.cookie(SIGN_IN).expect("a seed");
    let (began, rest) = seed.split_once('.').expect("a time");
    let began: i64 = began.parse().expect("a time");
    for forged in [
        format!("{}.{rest}", began - 601),
        format!("{}.{rest}", began + 60),
        format!("{began}.7.x"),
        "x".to_owned(),
    ] {
        late.put(SIGN_IN, &forged);
        assert_out(&late, &query, "expired").await;
    }
}

#[tokio::test]
async fn an_id_token_that_was_made_for_something_else_signs_nobody_in() {
    let stand = Stand::start().await;
    type Change = fn(&mut Value);
    let changes: [Change; 8] = [
        |claims| claims["nonce"] = "another".into(),
        |claims| drop(claims.as_object_mut().expect("claims").remove("nonce")),
        |claims| claims["aud"] = "another".into(),
        |claims| claims["aud"] = c2l_testkit::provider::AUDIENCE.into(),
        |claims| claims["azp"] = "another".into(),
        |claims| claims["iss"] = "c2l".into(),
        |claims| claims["exp"] = 1.into(),
        |claims| drop(claims.as_object_mut().expect("claims").remove("sub")),
    ];
    for change in changes {
        let (browser, query) = stand.away(change).await;
        assert_out(&browser, &query, "refused").await;
    }
    let (browser, _) = stand.away(|_| {}).await;
    let answer = stand.leave(&browser).await;
    let stranger = ProviderKey::es256("k");
    let query = stand
        .provider
        .sign_in(answer.header("location"), &stranger, "ada", |_| {});
    assert_out(&browser, &query, "refused").await;
    // And an ID token is no token of the API, though it signed somebody in.
    let (browser, query) = stand
        .away(|claims| claims["aud"] = json!([c2l_testkit::provider::CLIENT, "x"]))
        .await;
    assert_eq!(back(&browser, &query).await, "/");
}

#[tokio::test]
async fn who_says_no_and_a_provider_that_is_away_are_told_apart() {
    let stand = Stand::start().await;
    let (browser, query) = stand.away(|_| {}).await;
    let state = query.split("state=").nth(1).expect("a state").to_owned();
    assert_out(
        &browser,
        &format!("error=access_denied&state={state}"),
        "denied",
    )
    .await;
    let (browser, query) = stand.away(|_| {}).await;
    assert_out(
        &browser,
        &format!("{query}&iss=https://evil.example"),
        "refused",
    )
    .await;
    let (browser, query) = stand.away(|_| {}).await;
    assert_out(&browser, &format!("{query}&{query}"), "denied").await;
    let (browser, query) = stand.away(|_| {}).await;
    stand.provider.become_(Mood::Answers(503, None));
    assert_out(&browser, &query, "unreachable").await;
    stand
        .provider
        .become_(Mood::Answers(302, Some("http://127.0.0.1:1/".to_owned())));
    let (browser, query) = stand.away(|_| {}).await;
    assert_out(&browser, &query, "unreachable").await;
}

#[tokio::test]
async fn guessed_codes_are_not_carried_to_the_provider_for_ever() {
    let stand = Stand::start_with(|config| {
        config.rates.address_failures = Rate::new(3, Duration::from_secs(60));
    })
    .await;
    let mut said = Vec::new();
    for _ in 0..5 {
        let (browser, query) = stand.away(|_| {}).await;
        let state = query.split("state=").nth(1).expect("a state").to_owned();
        said.push(back(&browser, &format!("code=guess&state={state}")).await);
    }
    let words: Vec<_> = said
        .iter()
        .map(|place| place.rsplit('=').next().expect("a word"))
        .collect();
    assert_eq!(words, ["refused", "refused", "refused", "busy", "busy"]);
    assert_eq!(stand.provider.exchanges(), 3);
}

#[tokio::test]
async fn what_the_operator_wants_of_every_token_is_wanted_here_as_well() {
    let key = ProviderKey::es256("k");
    let provider = TestProvider::start(&[&key]).await;
    let own = Arc::new(SigningKey::ephemeral().expect("random numbers"));
    let claim = |name: &str| c2l_auth::ClaimPath::parse(name).expect("a claim");
    let mapping = c2l_auth::Mapping {
        scope: claim("groups"),
        scopes: [("friends".to_owned(), c2l_auth::Scopes::INFER)].into(),
        user: claim("oid"),
        ..c2l_auth::Mapping::default()
    };
    let issuers = vec![provider.as_issuer().with_mapping(mapping), own.issuer()];
    let verifier = Verifier::new(issuers).expect("sound issuers");
    let relay = TestRelay::start_on("127.0.0.1:0", own, |config| {
        config.verifier = Arc::new(verifier);
        config.providers = vec![provider.as_sign_in()];
        let web = config.web.as_mut().expect("a page");
        web.public_url = Some(PublicUrl::parse("https://relay.example").expect("an address"));
    })
    .await;
    let stand = Stand {
        relay,
        provider,
        key,
    };
    let browser = Browser::at(&stand.relay);
    let answer = stand.leave(&browser).await;
    assert_eq!(
        answer.header("location"),
        "https://relay.example/web/v1/signin/0",
        "where its cookie will be"
    );
    let named = |browser: &Browser, path: &str| {
        let mut request = browser.bare(Method::GET, path);
        let fields = request.headers_mut().expect("fields");
        fields.insert("host", "relay.example".parse().expect("a host"));
        request.body(empty()).expect("a request")
    };
    for (groups, place) in [("friends", "/"), ("others", "/#/signin?error=refused")] {
        let address = eventually(PATIENCE, "the provider has said where", async || {
            let answer = browser.send(named(&browser, "/web/v1/signin/0")).await;
            let address = answer.header("location").to_owned();
            address.contains("/authorize?").then_some(address)
        })
        .await;
        assert!(address.contains("redirect_uri=https%3A%2F%2Frelay.example%2Fweb%2Fv1%2Fcallback"));
        let query = stand.provider.sign_in(&address, &stand.key, "x", |claims| {
            claims["groups"] = json!([groups]);
            claims["oid"] = "ada".into();
        });
        let path = format!("/web/v1/callback?{query}");
        let answer = browser.send(named(&browser, &path)).await;
        assert_eq!(answer.header("location"), place, "{groups}");
    }
    assert_eq!(
        browser.whose().await.as_deref(),
        Some("ada"),
        "by the claim that is the user"
    );
}

/// Where the browser is sent by the provider of this number, once that has said where people sign in.
async fn sent_by(browser: &Browser, number: usize) -> String {
    eventually(PATIENCE, "the provider has said where", async || {
        let answer = navigate(browser, &format!("/web/v1/signin/{number}")).await;
        let address = answer.header("location").to_owned();
        address.contains("/authorize?").then_some(address)
    })
    .await
}

#[tokio::test]
async fn no_provider_gets_a_code_that_another_one_gave_out() {
    let key = ProviderKey::es256("k");
    let (honest, other) = (
        TestProvider::start(&[&key]).await,
        TestProvider::start(&[&key]).await,
    );
    let own = Arc::new(SigningKey::ephemeral().expect("random numbers"));
    let issuers = vec![honest.as_issuer(), other.as_issuer(), own.issuer()];
    let verifier = Verifier::new(issuers).expect("sound issuers");
    let relay = TestRelay::start_on("127.0.0.1:0", own, |config| {
        config.verifier = Arc::new(verifier);
        config.providers = vec![honest.as_sign_in(), other.as_sign_in()];
    })
    .await;
    let first = Browser::at(&relay);
    let of_honest = sent_by(&first, 0).await;
    assert!(of_honest.contains("%2Fweb%2Fv1%2Fcallback&"), "{of_honest}");

    // Whoever asks the other one is led on to the honest one, with what was meant for the other: the honest provider sends the
    // browser back to its own address alone.
    let victim = Browser::at(&relay);
    let of_other = sent_by(&victim, 1).await;
    assert!(
        of_other.contains("%2Fweb%2Fv1%2Fcallback%2F1&"),
        "{of_other}"
    );
    let field = |address: &str, name: &str| {
        let (_, query) = address.split_once('?').expect("a query");
        let mut fields = query.split('&').filter_map(|field| field.split_once('='));
        let found = fields.find(|(found, _)| *found == name);
        found.expect("a field").1.to_owned()
    };
    let mut mixed = of_other.replace(&other.issuer(), &honest.issuer());
    mixed = mixed.replace("callback%2F1&", "callback&");
    let query = honest.sign_in(&mixed, &key, "ada", |_| {});
    assert!(query.ends_with(&field(&of_other, "state")), "{query}");
    let seed = victim.cookie(SIGN_IN).expect("a seed");
    assert_out(&victim, &query, "refused").await;
    assert_eq!((honest.exchanges(), other.exchanges()), (0, 0));

    // Each at its own address signs in.
    victim.put(SIGN_IN, &seed);
    let query = other.sign_in(&of_other, &key, "ada", |_| {});
    let place = back_at(&victim, "/web/v1/callback/1", &query).await;
    assert_eq!((place.as_str(), other.exchanges()), ("/", 1));
    assert_eq!(victim.look().await["issuer"], other.issuer());
    let query = honest.sign_in(&of_honest, &key, "ada", |_| {});
    assert_eq!(back(&first, &query).await, "/");
    assert_eq!(first.look().await["issuer"], honest.issuer());
    for path in ["0", "01", "+1", "x", "1/1"] {
        let answer = navigate(&victim, &format!("/web/v1/callback/{path}?{query}")).await;
        let (status, _) = refusal(answer).await;
        assert!([403, 404].contains(&status), "{path}: {status}");
    }
}

#[tokio::test]
async fn sign_ins_at_a_provider_count_as_requests_of_their_user() {
    let stand = Stand::start_with(|config| {
        config.rates.user_requests = Rate::new(2, Duration::from_secs(3600));
    })
    .await;
    let mut said = Vec::new();
    for _ in 0..3 {
        let (browser, query) = stand.away(|_| {}).await;
        said.push(back(&browser, &query).await);
    }
    assert_eq!(said, ["/", "/", "/#/signin?error=busy"]);
}
