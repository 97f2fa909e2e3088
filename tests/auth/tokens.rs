//! Tokens that are not what they claim.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use c2l_testkit::FakeAgent;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    Stand,
    forge::{
        self, RSA, RSA_KEY, at, claims, token, token_of, token_with_header, unsigned, with, without,
    },
};

/// The same claims, as an agent's.
fn as_agent(mut claims: Value) -> Value {
    claims["c2l_kind"] = json!("agent");
    claims
}

/// Refuses well-signed tokens with these claims, at the gateway and at the tunnel.
async fn assert_claims_refused(cases: impl IntoIterator<Item = (Value, &'static str)>) {
    let stand = Stand::start().await;
    let mut sent = Vec::new();
    for (claims, why) in cases {
        let (api, agent) = (token(&claims), token(&as_agent(claims)));
        stand.assert_refused(&api, why).await;
        stand.assert_refused_at_the_tunnel(&agent, why).await;
        sent.extend([api, agent]);
    }
    stand.assert_untouched(&sent);
}

#[tokio::test]
async fn jwt_01_an_unsigned_token_is_no_token() {
    let stand = Stand::start().await;
    let payload = claims().to_string();
    let mut sent = Vec::new();
    for algorithm in ["none", "None", "nOnE", "NONE"] {
        let header = json!({ "alg": algorithm, "typ": "JWT" }).to_string();
        let message = unsigned(&header, &payload);
        // Without a signature, and with one that would be right.
        for token in [format!("{message}."), token_of(&header, &payload)] {
            stand.assert_refused_everywhere(&token, "not signed").await;
            sent.push(token);
        }
    }
    let header = json!({ "alg": "HS256" }).to_string();
    let token = format!("{}.", unsigned(&header, &payload));
    stand.assert_refused_everywhere(&token, "not signed").await;
    let two_parts = unsigned(&header, &payload);
    stand
        .assert_refused_everywhere(&two_parts, "three parts")
        .await;
    sent.extend([token, two_parts]);
    stand.assert_untouched(&sent);
}

#[tokio::test]
async fn jwt_02_a_public_key_is_never_a_shared_secret() {
    let stand = Stand::start().await;
    let key = &*RSA_KEY;
    let secrets = [
        key.pem.clone().into_bytes(),
        key.pem.trim_end().as_bytes().to_vec(),
        key.der.clone(),
        key.modulus.clone(),
        STANDARD.encode(&key.der).into_bytes(),
    ];
    let payload = with("iss", RSA).to_string();
    let mut sent = Vec::new();
    for secret in secrets {
        let header = r#"{"alg":"HS256","typ":"JWT"}"#;
        let token = forge::signed_with(&secret, header, &payload);
        stand.assert_refused_everywhere(&token, "alg").await;
        sent.push(token);
    }
    stand.assert_untouched(&sent);
}

#[tokio::test]
async fn jwt_03_a_key_id_is_only_compared() {
    let stand = Stand::start_with(|config| config.max_head_bytes = 256 * 1024).await;
    let long = "k".repeat(64 * 1024);
    let mut sent = Vec::new();
    for key_id in [
        "../../../../dev/null",
        "x' OR 1=1--",
        "http://127.0.0.1:9/key",
        "a\0b",
        &long,
    ] {
        // Under the relay's own issuer, whose key has an id to compare with.
        let mut own = claims();
        own["iss"] = json!("c2l");
        own["aud"] = json!("c2l");
        let header = json!({ "alg": "EdDSA", "kid": key_id }).to_string();
        let token = token_of(&header, &own.to_string());
        let why = if token.len() > 8 * 1024 {
            "longer"
        } else {
            "kid"
        };
        stand.assert_refused_everywhere(&token, why).await;
        sent.push(token);
    }
    stand.assert_untouched(&sent);
}

#[tokio::test]
async fn jwt_04_a_token_ends_when_it_says() {
    assert_claims_refused([
        (with("exp", at(-3600)), "expired"),
        (without("exp"), "lacks the claim exp"),
        (
            with("exp", at(600).to_string()),
            "claim exp has the wrong type",
        ),
        (with("exp", Value::Null), "claim exp has the wrong type"),
        (with("exp", -1), "claim exp"),
        (with("exp", 1e300), "claim exp"),
        // Milliseconds instead of seconds.
        (with("exp", at(600) * 1000), "claim exp"),
    ])
    .await;
}

#[tokio::test]
async fn jwt_05_a_token_begins_when_it_says() {
    assert_claims_refused([
        (with("nbf", at(600)), "not yet valid"),
        (
            with("nbf", at(-600).to_string()),
            "claim nbf has the wrong type",
        ),
        (with("nbf", json!([1])), "claim nbf has the wrong type"),
        (with("iat", at(600)), "not yet valid"),
    ])
    .await;
}

#[tokio::test]
async fn jwt_06_a_token_for_another_service_is_not_for_us() {
    assert_claims_refused([
        (with("aud", "https://other.example"), "audience"),
        (with("aud", format!("{}/", forge::AUDIENCE)), "audience"),
        (without("aud"), "lacks the claim aud"),
        (with("aud", json!(["https://other.example"])), "audience"),
        (with("aud", json!([])), "aud"),
        (with("aud", 1), "claim aud has the wrong type"),
    ])
    .await;
    // An array with ours is in `a_good_token_of_a_trusted_issuer_is_accepted`.
}

#[tokio::test]
async fn jwt_07_a_key_speaks_for_its_own_issuer_alone() {
    assert_claims_refused([
        (with("iss", "https://nobody.example"), "unknown issuer"),
        (without("iss"), "lacks the claim iss"),
        (
            with("iss", json!([forge::SHARED])),
            "claim iss has the wrong type",
        ),
        // Trusted both, but it is the other one's key.
        (with("iss", RSA), "alg"),
        (with("iss", "c2l"), "alg"),
    ])
    .await;
}

#[tokio::test]
async fn jwt_10_a_key_that_comes_with_the_token_is_not_used_nor_fetched() {
    let stand = Stand::start().await;
    let lure = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/keys", lure.local_addr().expect("an address"));
    let mut sent = Vec::new();
    for more in [
        json!({ "jku": url }),
        json!({ "x5u": url }),
        json!({ "jwk": { "kty": "oct", "k": "YQ" } }),
        json!({ "x5c": [STANDARD.encode(&RSA_KEY.der)] }),
    ] {
        let token = token_with_header(&more, &claims());
        stand.assert_refused(&token, "carries key material").await;
        let agents = token_with_header(&more, &as_agent(claims()));
        stand
            .assert_refused_at_the_tunnel(&agents, "carries key material")
            .await;
        sent.extend([token, agents]);
    }
    let crit = token_with_header(&json!({ "crit": ["exp"] }), &claims());
    stand.assert_refused(&crit, "crit").await;
    let fetched = tokio::time::timeout(std::time::Duration::from_millis(100), lure.accept()).await;
    assert!(fetched.is_err(), "somebody came for the key");
    stand.assert_untouched(&sent);
}

#[tokio::test]
async fn jwt_19_clocks_may_differ_by_thirty_seconds_and_no_more() {
    assert_eq!(c2l_auth::LEEWAY.as_secs(), 30, "the documented leeway");
    let stand = Stand::start().await;
    for inside in [
        with("exp", at(-20)),
        with("nbf", at(20)),
        with("iat", at(20)),
    ] {
        stand.assert_accepted(&token(&inside)).await;
    }
    let outside = [
        (token(&with("exp", at(-31))), "expired"),
        // A few seconds more than the leeway: time goes on while this runs.
        (token(&with("nbf", at(40))), "not yet valid"),
    ];
    for (token, why) in &outside {
        stand.assert_refused(token, why).await;
    }
    stand.assert_unlogged(&outside.map(|(token, _)| token));
}

#[tokio::test]
async fn jwt_20_strange_json_is_refused_and_survived() {
    let stand = Stand::start_with(|config| config.max_head_bytes = 512 * 1024).await;
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    let good = claims().to_string();
    let good = good.trim_end_matches('}');
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{good},"deep":{open}{close}}}"#)
    };
    let twice = |name: &str, value: &str| format!(r#"{good},"{name}":{value}}}"#);
    let cases = [
        ("[]".to_owned(), "not a JSON object"),
        (format!("[{good}}}]"), "not a JSON object"),
        ("null".to_owned(), "not a JSON object"),
        (String::new(), "not a JSON object"),
        ("\u{feff}{}".to_owned(), "not a JSON object"),
        (nested(100_000), "longer"),
        (nested(2_500), "nested too deeply"),
        ("[".repeat(5_000), ""),
        (twice("sub", r#""bob""#), "same member twice"),
        (twice("sub", r#""ada""#), "same member twice"),
        (twice("s\\u0075b", r#""bob""#), "same member twice"),
        (twice("exp", "9999999999"), "same member twice"),
    ];
    let mut sent = Vec::new();
    for (payload, why) in cases {
        let token = token_of(header, &payload);
        stand.assert_refused(&token, why).await;
        if token.len() < 64 * 1024 {
            stand.assert_refused_at_the_tunnel(&token, why).await;
        } else {
            // HTTP/2 itself turns away a field of so many frames.
            let refused = FakeAgent::dial(stand.relay.address(), &token).await;
            assert!(refused.is_err(), "no session");
        }
        sent.push(token);
    }
    let header = r#"{"alg":"HS256","alg":"none"}"#;
    let token = token_of(header, &claims().to_string());
    stand
        .assert_refused_everywhere(&token, "same member twice")
        .await;
    sent.push(token);
    stand.assert_untouched(&sent);
}
