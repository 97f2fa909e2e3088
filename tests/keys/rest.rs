//! `/relay/v1` and the document that describes it.

use c2l_testkit::{Caller, empty, full};
use http::Method;
use serde_json::{Value, json};

use super::{Stand, refusal};

/// Follows a reference within the document.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(place) => {
            let found = document.pointer(place.trim_start_matches('#'));
            found.unwrap_or_else(|| panic!("no {place}"))
        }
        None => schema,
    }
}

/// Asserts that a value is what this schema says: the types, the fields that must be there, and no other.
pub(crate) fn assert_fits(document: &Value, schema: &Value, value: &Value, place: &str) {
    let schema = resolved(document, schema);
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(
        types.contains(&json!(is)),
        "{place} is {value}, not {types:?}"
    );
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{place} is {value}");
    }
    for (place_of, item) in value.as_array().into_iter().flatten().enumerate() {
        assert_fits(
            document,
            &schema["items"],
            item,
            &format!("{place}[{place_of}]"),
        );
    }
    let Some(fields) = value.as_object() else {
        return;
    };
    let Some(known) = schema["properties"].as_object() else {
        return;
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(
            fields.contains_key(name.as_str().expect("a name")),
            "{place} lacks {name}"
        );
    }
    for (name, value) in fields {
        let known = known
            .get(name)
            .unwrap_or_else(|| panic!("{place}.{name} is in no document"));
        assert_fits(document, known, value, &format!("{place}.{name}"));
    }
}

/// A body for an operation that needs one.
fn body_for(operation: &str, token: &str) -> Option<Value> {
    match operation {
        "makeKey" => Some(json!({ "name": "x", "models": ["tiny"], "device": "laptop" })),
        "rotateKey" => Some(json!({ "overlap_seconds": 60 })),
        "revokeToken" => Some(json!({ "token": token })),
        "signOut" => Some(json!({ "keys": true })),
        "labelDevice" => Some(json!({ "label": "upstairs" })),
        _ => None,
    }
}

#[tokio::test]
async fn every_path_of_the_document_is_there_and_answers_as_it_says() {
    let stand = Stand::start().await;
    let anonymous = Caller::anonymous(stand.relay.address());
    let document = anonymous.get("/relay/v1/openapi.json").await;
    assert_eq!(document.header("content-type"), "application/json");
    let document = document.json().await;
    let mut count = 0;
    for (template, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let ada = stand.account("ada");
            let id = ada.make(json!({})).await.1;
            // One that is removed need not be there.
            let device = if template.ends_with("{name}") {
                "castle"
            } else {
                "laptop"
            };
            let path = template.replace("{id}", &id).replace("{name}", device);
            let method: Method = method.to_uppercase().parse().expect("a method");
            let name = operation["operationId"].as_str().expect("a name");
            // What devices and their owners ask is asked in `login`, on a relay that logs devices in.
            let is_of_login = path.starts_with("/relay/v1/login");
            let body = body_for(name, &stand.relay.api_token("ada"));
            assert_eq!(
                operation["requestBody"]["required"]
                    .as_bool()
                    .unwrap_or_default(),
                matches!(name, "makeKey" | "revokeToken" | "labelDevice") || is_of_login,
                "{name}"
            );
            if operation["security"].is_null() {
                let request = anonymous.request(method.clone(), &path);
                let refused = anonymous
                    .send(request.body(empty()).expect("a request"))
                    .await;
                assert_eq!(refused.status(), 401, "{name}");
                let fields = refused.json().await;
                assert_fits(
                    &document,
                    &json!({"$ref": "#/components/schemas/Error"}),
                    &fields,
                    name,
                );
            }
            if is_of_login {
                continue;
            }
            let answer = ada.ask(method, &path, body.as_ref()).await;
            let status = answer.status().as_u16().to_string();
            let said = answer.json().await;
            let schema = &operation["responses"][&status]["content"]["application/json"]["schema"];
            assert!(
                schema.is_object(),
                "{name}: {status} is not in the document: {said}"
            );
            assert_fits(&document, schema, &said, name);
            count += 1;
        }
        // And no other method is.
        let known = methods.as_object().expect("methods");
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ] {
            if !known.contains_key(&method.as_str().to_lowercase()) {
                let path = template.replace("{id}", "x").replace("{name}", "x");
                let answer = stand.account("ada").ask(method.clone(), &path, None).await;
                assert_eq!(answer.status(), 405, "{method} {path}");
            }
        }
    }
    assert_eq!(count, 14);
}

#[tokio::test]
async fn what_changes_something_needs_the_scope_account_and_a_body_that_no_form_can_send() {
    let stand = Stand::start().await;
    let ada = stand.account("ada");
    for path in [
        "/relay/v1/keys",
        "/relay/v1/sign-out",
        "/relay/v1/tokens/revoke",
    ] {
        let plain = stand.bearer(&stand.relay.api_token("ada"));
        let (status, code, why) = refusal(plain.post(path, &json!({ "name": "x" })).await).await;
        assert_eq!((status, code.as_str()), (403, "forbidden"), "{path}");
        assert!(why.contains("account"), "{why}");
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "",
        ] {
            let request = ada
                .0
                .request(Method::POST, path)
                .header("content-type", content_type);
            let body = full(r#"{"name":"x"}"#);
            let answer = ada.0.send(request.body(body).expect("a request")).await;
            let (status, code, _) = refusal(answer).await;
            assert_eq!(
                (status, code.as_str()),
                (400, "invalid_request"),
                "{path} {content_type}"
            );
        }
        let cookie = Caller::anonymous(stand.relay.address());
        let token = stand.relay.sign(&super::account_token("ada"));
        let request = cookie
            .request(Method::POST, path)
            .header("cookie", format!("session={token}; token={token}"))
            .header("content-type", "application/json");
        let answer = cookie
            .send(request.body(full("{}")).expect("a request"))
            .await;
        assert_eq!(answer.status(), 401, "{path}: a cookie is no credential");
    }
    assert_eq!(ada.keys().await.len(), 0);
}

#[tokio::test]
async fn a_body_is_bounded_and_strict() {
    let stand = Stand::start().await;
    let ada = stand.account("ada");
    let (status, said) = ada
        .post("/relay/v1/keys", &json!({ "name": "x".repeat(70_000) }))
        .await;
    assert_eq!((status, &said["code"]), (413, &json!("body_too_large")));
    for body in [
        json!({ "name": "x", "scope": ["infer"] }),
        json!({ "name": "x", "scopes": ["account"] }),
        json!({ "name": "x", "kind": "web" }),
        json!({ "name": "" }),
        json!({ "name": "x", "models": [""] }),
        json!({ "name": "x", "expires_in_seconds": 0 }),
        json!(["x"]),
    ] {
        let (status, said) = ada.post("/relay/v1/keys", &body).await;
        assert_eq!(
            (status, &said["code"]),
            (400, &json!("invalid_request")),
            "{body}"
        );
    }
    let both = json!({ "token": "x", "token_id": "y" });
    assert_eq!(ada.post("/relay/v1/tokens/revoke", &both).await.0, 400);
    assert_eq!(ada.keys().await.len(), 0);
}

#[tokio::test]
async fn one_user_cannot_fill_the_relay_with_keys() {
    let stand = Stand::start().await;
    let ada = stand.account("ada");
    let mut made = 0;
    let refused = loop {
        let (status, said) = ada.post("/relay/v1/keys", &json!({ "name": "x" })).await;
        if status != 201 {
            break (status, said);
        }
        made += 1;
        assert!(made < 1000, "without end");
    };
    assert_eq!(made, 256);
    assert_eq!(
        (refused.0, &refused.1["code"]),
        (429, &json!("user_over_limit"))
    );
    stand.account("bob").make(json!({})).await;
    let id = ada.keys().await[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    ada.revoke(&id).await;
    ada.make(json!({})).await;
}
