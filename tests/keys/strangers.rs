//! What a key tells to who does not have it, and what a user's list tells to another.

use std::time::Duration;

use c2l_testkit::{Answer, tokens};
use http::Method;
use serde_json::json;
use tokio::time::Instant;

use super::{Stand, refusal};

/// Status, fields but for the date, and body.
async fn whole(answer: Answer) -> (u16, String, String) {
    let status = answer.status().as_u16();
    let mut fields = answer.headers().clone();
    fields.remove("date");
    (status, format!("{fields:?}"), answer.text().await)
}

/// The same key with other letters from `from` on, and a checksum that fits.
fn changed(key: &str, from: usize) -> String {
    let mut letters: Vec<u8> = key.bytes().collect();
    let end = letters.len() - 6;
    for letter in &mut letters[from..end] {
        *letter = if *letter == b'x' { b'y' } else { b'x' };
    }
    letters.truncate(end);
    let body = String::from_utf8(letters).expect("text");
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
    let first: [u8; 4] = sum.as_ref()[..4].try_into().expect("four");
    let mut rest = u32::from_be_bytes(first) as usize;
    let alphabet: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let mut letters = ['0'; 6];
    for letter in letters.iter_mut().rev() {
        *letter = alphabet[rest % 62];
        rest /= 62;
    }
    format!("{body}{}", letters.into_iter().collect::<String>())
}

#[tokio::test]
async fn jwt_21_unknown_and_wrong_keys_are_told_the_same_in_the_same_time() {
    let stand = Stand::start().await;
    let (key, id) = stand.account("ada").make(json!({})).await;
    let wrong = changed(&key, 14); // the secret
    let unknown = changed(&key, 4); // the id as well
    assert!(wrong.contains(&id) && !unknown.contains(&id));
    assert_eq!(changed(&changed(&key, 14), 14).len(), key.len());
    let ask = async |key: &str| {
        let caller = stand.bearer(key);
        let request = caller.request(Method::GET, "/api/tags");
        let request = request.header("x-request-id", "same");
        whole(
            caller
                .send(request.body(c2l_testkit::empty()).expect("a request"))
                .await,
        )
        .await
    };
    let told = ask(&wrong).await;
    assert_eq!(told, ask(&unknown).await);
    assert_eq!(told.0, 401);
    assert!(told.2.contains("unknown key"), "{}", told.2);
    assert!(!told.2.contains(&id) && !told.2.contains(&wrong));
    let (mut wrongs, mut unknowns) = (Vec::new(), Vec::new());
    for _ in 0..101 {
        for (key, times) in [(&wrong, &mut wrongs), (&unknown, &mut unknowns)] {
            let since = Instant::now();
            ask(key).await;
            times.push(since.elapsed());
        }
    }
    // The fastest of each: the work itself, less what else the machine does meanwhile.
    let (wrong, unknown) = (fastest(wrongs), fastest(unknowns));
    println!("wrong {wrong:?}, unknown {unknown:?}");
    let ratio = wrong.as_secs_f64() / unknown.as_secs_f64();
    assert!((0.5..2.0).contains(&ratio), "{wrong:?} against {unknown:?}");
}

fn fastest(times: Vec<Duration>) -> Duration {
    times.into_iter().min().expect("some")
}

#[tokio::test]
async fn jwt_21_a_mistyped_key_and_its_hash_are_none() {
    let stand = Stand::start().await;
    let (key, _) = stand.account("ada").make(json!({})).await;
    let hash = "ab".repeat(32);
    for (text, why) in [
        (tokens::mistyped(&key), "mistyped"),
        (key[..30].to_owned(), "cut short"),
        (format!("c2l_{hash}"), "mistyped"),
        (hash, "malformed token"),
        (format!("{key}x"), "mistyped"),
    ] {
        let (status, code, said) = refusal(stand.bearer(&text).get("/api/tags").await).await;
        assert_eq!((status, code.as_str()), (401, "unauthenticated"));
        assert!(said.contains(why), "{said}");
        assert!(!said.contains(&text), "{said}");
    }
    assert_eq!(stand.bearer(&key).get("/api/tags").await.status(), 200);
}

#[tokio::test]
async fn iso_11_lists_and_ids_are_ones_own() {
    let stand = Stand::start().await;
    let (ada, bob) = (stand.account("ada"), stand.account("bob"));
    let (key, id) = bob.make(json!({ "name": "of bob" })).await;
    ada.make(json!({ "name": "of ada" })).await;
    let names = |keys: Vec<serde_json::Value>| {
        keys.iter()
            .map(|key| key["name"].to_string())
            .collect::<String>()
    };
    assert_eq!(names(ada.keys().await), "\"of ada\"");
    assert_eq!(names(bob.keys().await), "\"of bob\"");
    let devices = ada
        .ask(Method::GET, "/relay/v1/devices", None)
        .await
        .json()
        .await;
    assert_eq!(devices["devices"].as_array().map(Vec::len), Some(1));
    let devices = bob
        .ask(Method::GET, "/relay/v1/devices", None)
        .await
        .json()
        .await;
    assert_eq!(devices["devices"].as_array().map(Vec::len), Some(0));

    let same = async |method: Method, path: &str| {
        let request = ada.0.request(method, path).header("x-request-id", "same");
        whole(
            ada.0
                .send(request.body(c2l_testkit::empty()).expect("a request"))
                .await,
        )
        .await
    };
    for (method, after) in [(Method::DELETE, ""), (Method::POST, "/rotate")] {
        let foreign = same(method.clone(), &format!("/relay/v1/keys/{id}{after}")).await;
        let nowhere = same(method.clone(), &format!("/relay/v1/keys/0000000000{after}")).await;
        let odd = same(method, &format!("/relay/v1/keys/x{after}")).await;
        assert_eq!(foreign, nowhere);
        assert_eq!(foreign, odd);
        assert_eq!(foreign.0, 404);
        assert!(foreign.2.contains("route_unknown"), "{}", foreign.2);
    }
    // A device of bob's is to ada what one is that exists nowhere, and its removal by her harms nobody.
    let bobs = c2l_testkit::FakeAgent::connect(
        stand.relay.address(),
        &stand.relay.agent_token("bob"),
        "castle",
    )
    .await;
    let foreign = same(Method::DELETE, "/relay/v1/devices/castle").await;
    let nowhere = same(Method::DELETE, "/relay/v1/devices/nowher").await;
    assert_eq!(foreign.2.replace("castle", "nowher"), nowhere.2);
    assert_eq!((foreign.0, foreign.1), (nowhere.0, nowhere.1));
    let devices = bob
        .ask(Method::GET, "/relay/v1/devices", None)
        .await
        .json()
        .await;
    assert_eq!(devices["devices"].as_array().map(Vec::len), Some(1));
    drop(bobs);
    // A token of bob's in ada's hands is his to revoke, and a key never is a token.
    let token = stand.relay.api_token("bob");
    let (status, said) = ada
        .post("/relay/v1/tokens/revoke", &json!({ "token": token }))
        .await;
    assert_eq!((status, &said["code"]), (404, &json!("route_unknown")));
    let (status, _) = ada
        .post("/relay/v1/tokens/revoke", &json!({ "token": key }))
        .await;
    assert_eq!(status, 404);
    for good in [&key, &token] {
        assert_eq!(
            stand.bearer(good).get("/relay/v1/whoami").await.status(),
            200
        );
    }
}

#[tokio::test]
async fn iso_11_an_id_that_two_users_tokens_share_is_revoked_for_one() {
    let stand = Stand::start().await;
    // Nothing but the user tells these two ids apart.
    let (ada, bob) = (stand.account("ada"), stand.account("bob"));
    let token = stand.relay.api_token("bob");
    let payload = token.split('.').nth(1).expect("three parts");
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = base64::Engine::decode(&engine, payload).expect("base64url");
    let claims: serde_json::Value = serde_json::from_slice(&payload).expect("claims");
    let asked = json!({ "token_id": claims["jti"] });
    let (status, _) = ada.post("/relay/v1/tokens/revoke", &asked).await;
    assert_eq!(
        status, 200,
        "of ada's tokens there is none of that id; now there never is"
    );
    assert_eq!(
        stand.bearer(&token).get("/relay/v1/whoami").await.status(),
        200
    );
    let (status, _) = bob.post("/relay/v1/tokens/revoke", &asked).await;
    assert_eq!(status, 200);
    assert_eq!(
        stand.bearer(&token).get("/relay/v1/whoami").await.status(),
        401
    );
}
