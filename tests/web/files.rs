//! The page's files: what a browser is told of each, and what others get.

use c2l_relay::Network;
use c2l_testkit::{Answer, Caller, TestRelay, empty};
use http::Method;

async fn ask(relay: &TestRelay, method: Method, path: &str, fields: &[(&str, &str)]) -> Answer {
    let caller = Caller::anonymous(relay.address());
    let mut request = caller.request(method, path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    caller.send(request.body(empty()).expect("a request")).await
}

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

/// The assets that the page names.
async fn assets(relay: &TestRelay) -> Vec<String> {
    let page = ask(relay, Method::GET, "/", &[BROWSER]).await.text().await;
    let words = page.split(['"', '\'', '=', '>', ' ']);
    let assets: Vec<_> = words
        .filter(|word| word.starts_with("/assets/"))
        .map(str::to_owned)
        .collect();
    assert!(!assets.is_empty(), "{page}");
    assets
}

fn assert_page_headers(answer: &Answer) {
    let policy = answer.header("content-security-policy");
    for said in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(
            policy.split("; ").any(|part| part == said),
            "{said} in {policy}"
        );
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let permissions = answer.header("permissions-policy");
    let allowed = permissions
        .split(", ")
        .filter(|part| !part.ends_with("=()"));
    assert_eq!(allowed.collect::<Vec<_>>(), ["clipboard-write=(self)"]);
}

#[tokio::test]
async fn web_04_the_page_and_its_files_say_what_a_browser_may_do() {
    let relay = TestRelay::start_plain("whether it is in TLS is seen", |_| {}).await;
    let page = ask(&relay, Method::GET, "/", &[BROWSER]).await;
    assert_eq!(page.status(), 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-cache");
    assert_page_headers(&page);
    assert!(!page.headers().contains_key("strict-transport-security"));
    assert!(!page.headers().contains_key("set-cookie"));
    let text = page.text().await;
    assert!(!text.contains("<script>") && !text.contains("<style") && !text.contains(" style="));
    for path in assets(&relay).await {
        let asset = ask(&relay, Method::GET, &path, &[]).await;
        assert_eq!(asset.status(), 200, "{path}");
        let kept = asset.header("cache-control");
        assert_eq!(kept, "public, max-age=31536000, immutable");
        assert_page_headers(&asset);
    }
    let icon = ask(&relay, Method::GET, "/favicon.svg", &[]).await;
    assert_eq!(
        (icon.status().as_u16(), icon.header("content-type")),
        (200, "image/svg+xml")
    );
    assert_eq!(icon.header("cache-control"), "no-cache");
}

#[tokio::test]
async fn web_04_browsers_are_kept_to_tls_where_they_came_in_it() {
    let is_kept = async |relay: &TestRelay, fields: &[(&str, &str)]| {
        let mut seen = Vec::new();
        for path in ["/", "/favicon.svg", "/web/v1/session"] {
            let fields = [fields, &[BROWSER, ("x-c2l-web", "1")]].concat();
            let caller = Caller::anonymous(relay.address());
            let mut request = caller.request(Method::GET, path);
            request.headers_mut().expect("fields").remove("host");
            for (name, value) in fields {
                request = request.header(name, value);
            }
            let answer = caller.send(request.body(empty()).expect("a request")).await;
            assert_eq!(answer.status(), 200, "{path}");
            seen.push(answer.headers().contains_key("strict-transport-security"));
        }
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
        seen[0]
    };
    let named = |config: &mut c2l_relay::Config| {
        let web = config.web.as_mut().expect("a page");
        web.hosts = vec!["relay.example".to_owned()];
    };
    let alone = TestRelay::start_plain("whether it is in TLS is seen", named).await;
    let host = ("host", "relay.example");
    let https = ("x-forwarded-proto", "https");
    assert!(!is_kept(&alone, &[host]).await);
    assert!(
        !is_kept(&alone, &[host, https]).await,
        "anybody can say that"
    );
    let behind = TestRelay::start_plain("a proxy in front ends TLS", |config| {
        named(config);
        let network: Network = "127.0.0.0/8".parse().expect("a network");
        config.rates.trusted_proxies = vec![network];
    })
    .await;
    assert!(is_kept(&behind, &[host, https]).await);
    assert!(
        !is_kept(&behind, &[host]).await,
        "clear text up to the proxy"
    );
    assert!(!is_kept(&behind, &[host, ("x-forwarded-proto", "http, https")]).await);
    assert!(
        !is_kept(&behind, &[("host", "localhost"), https]).await,
        "everybody's name"
    );
}

#[tokio::test]
async fn a_program_that_looks_whether_something_answers_gets_a_text() {
    let relay = TestRelay::start().await;
    for accept in [None, Some("*/*"), Some("application/json"), Some("text/*")] {
        let fields: Vec<_> = accept.iter().map(|accept| ("accept", *accept)).collect();
        let answer = ask(&relay, Method::GET, "/", &fields).await;
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("vary"), "accept, accept-encoding");
        assert!(answer.text().await.starts_with("c2l relay"));
    }
}

#[tokio::test]
async fn a_file_that_is_known_is_not_sent_again_and_head_sends_none() {
    let relay = TestRelay::start().await;
    for path in ["/".to_owned(), assets(&relay).await.remove(0)] {
        let whole = ask(&relay, Method::GET, &path, &[BROWSER]).await;
        let (etag, length) = (
            whole.header("etag").to_owned(),
            whole.header("content-length").to_owned(),
        );
        assert_eq!(whole.text().await.len().to_string(), length);
        let head = ask(&relay, Method::HEAD, &path, &[BROWSER]).await;
        assert_eq!(
            (head.status().as_u16(), head.header("content-length")),
            (200, length.as_str())
        );
        assert_eq!(head.header("etag"), etag);
        assert_eq!(head.text().await, "");
        for known in [
            etag.clone(),
            format!("W/{etag}"),
            format!("\"x\", {etag}"),
            "*".to_owned(),
        ] {
            let known = ask(
                &relay,
                Method::GET,
                &path,
                &[BROWSER, ("if-none-match", &known)],
            )
            .await;
            assert_eq!(
                (known.status().as_u16(), known.header("etag")),
                (304, etag.as_str())
            );
            assert_page_headers(&known);
            assert_eq!(known.text().await, "");
        }
        let other = ask(
            &relay,
            Method::GET,
            &path,
            &[BROWSER, ("if-none-match", "\"x\"")],
        )
        .await;
        assert_eq!(other.status(), 200);
    }
}

#[tokio::test]
async fn a_compressed_form_is_the_same_file() {
    let relay = TestRelay::start().await;
    for path in assets(&relay).await {
        let plain = ask(&relay, Method::GET, &path, &[]).await;
        assert!(!plain.headers().contains_key("content-encoding"));
        assert_eq!(plain.header("vary"), "accept-encoding");
        let (kind, etag) = (
            plain.header("content-type").to_owned(),
            plain.header("etag").to_owned(),
        );
        for coding in ["br", "gzip"] {
            let coded = ask(&relay, Method::GET, &path, &[("accept-encoding", coding)]).await;
            assert_eq!(coded.header("content-type"), kind);
            // Whether there is such a form is up to the build; if so, it says so and has a tag of its own.
            let said = coded.header("content-encoding").to_owned();
            assert_eq!(
                said == coding,
                coded.header("etag") != etag,
                "{path} as {coding}"
            );
            assert!(said.is_empty() || said == coding);
        }
    }
}

#[tokio::test]
async fn what_there_is_not_is_not_found_and_nothing_else_is_a_file() {
    let relay = TestRelay::start().await;
    for path in [
        "/assets/nothing.js",
        "/assets",
        "/assets/",
        "/favicon.png",
        "/index.htm",
        "/k/x/assets/a.js",
    ] {
        let answer = ask(&relay, Method::GET, path, &[BROWSER]).await;
        assert_eq!(
            super::refusal(answer).await,
            (404, "route_unknown".to_owned()),
            "{path}"
        );
    }
    let asset = assets(&relay).await.remove(0);
    for path in ["/", asset.as_str()] {
        let answer = ask(&relay, Method::POST, path, &[BROWSER]).await;
        assert_eq!(
            super::refusal(answer).await,
            (405, "method_not_allowed".to_owned()),
            "{path}"
        );
    }
    let none = TestRelay::start_with(|config| config.web = None).await;
    let page = ask(&none, Method::GET, "/", &[BROWSER]).await;
    assert_eq!(page.header("content-type"), "text/plain; charset=utf-8");
    let session = ask(&none, Method::GET, "/web/v1/session", &[("x-c2l-web", "1")]).await;
    assert_eq!(session.status(), 404);
}
