//! What a page of another origin may do here: nothing, unless the operator has named its origin; and never with cookies.

use c2l_testkit::{Answer, Caller, TestAgent, TestRelay, TestUpstream, empty};
use http::{HeaderValue, Method};

const NAMED: &str = "https://app.example";
const FOREIGN: &str = "https://evil.example";

async fn ask(caller: &Caller, method: Method, origin: &str) -> Answer {
    let mut request = caller.request(method.clone(), "/api/tags");
    request = request.header("origin", origin);
    if method == Method::OPTIONS {
        request = request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization");
    }
    let request = request.body(empty()).expect("a request");
    caller.send(request).await
}

#[tokio::test]
async fn web_01_an_origin_that_nobody_named_gets_no_permission() {
    let upstream = TestUpstream::start().await;
    let relay = TestRelay::start_with(|config| {
        config.cors_origins = vec![HeaderValue::from_static(NAMED)];
    })
    .await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    for (origin, permission) in [
        (NAMED, Some(NAMED)),
        (FOREIGN, None),
        ("null", None),
        ("https://app.example.evil.example", None),
        ("http://app.example", None),
    ] {
        for method in [Method::OPTIONS, Method::GET] {
            let answer = ask(&caller, method.clone(), origin).await;
            let fields = answer.headers();
            let allowed = fields.get("access-control-allow-origin");
            let allowed = allowed.map(|value| value.to_str().expect("a text"));
            assert_eq!(allowed, permission, "{method} from {origin}");
            assert!(!fields.contains_key("access-control-allow-credentials"));
            let vary = fields.get_all("vary").iter();
            let varies = vary.map(|value| value.to_str().expect("a text").to_lowercase());
            assert!(varies.into_iter().any(|value| value.contains("origin")));
            let is_preflight = method == Method::OPTIONS;
            assert_eq!(
                fields.contains_key("access-control-allow-methods"),
                is_preflight && permission.is_some(),
                "{method} from {origin}"
            );
        }
    }
}
