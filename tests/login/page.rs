//! The page: a browser that asks nobody but the person in front of it.

use c2l_testkit::{Answer, FakeAgent, tokens};

use super::{Begun, Forms, account, relay, tokens_of};

const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// The status and the page. Whatever it says, it is stored and framed nowhere, and runs nothing.
async fn page(answer: Answer) -> (u16, String) {
    let policy = answer.header("content-security-policy").to_owned();
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(
        !policy.contains("script") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("referrer-policy"), "same-origin");
    assert!(answer.headers().get("set-cookie").is_none());
    let status = answer.status().as_u16();
    (status, answer.text().await)
}

fn ticket(page: &str) -> String {
    let (_, rest) = page.split_once("name=ticket value=\"").expect("a ticket");
    rest.split_once('"').expect("its end").0.to_owned()
}

async fn type_code(forms: &Forms, begun: &Begun, token: &str) -> (u16, String) {
    let fields = [("code", begun.user_code.as_str()), ("token", token)];
    page(forms.send_with("/login", &fields, &[OWN]).await).await
}

async fn press(forms: &Forms, begun: &Begun, ticket: &str, word: &str) -> u16 {
    let code = begun.user_code.as_str();
    let fields = [("code", code), ("ticket", ticket), ("word", word)];
    let answer = forms.send_with("/login", &fields, &[OWN]).await;
    page(answer).await.0
}

#[tokio::test]
async fn a_person_with_a_browser_sees_who_asks_and_says_yes_or_no() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    for (word, is_let_in) in [("approve", true), ("deny", false)] {
        let begun = forms.start("desk").await;
        let asks = forms
            .0
            .get(&format!("/login?code={}", begun.user_code))
            .await;
        let (status, asks) = page(asks).await;
        assert_eq!(status, 200);
        assert!(
            asks.contains(&begun.user_code) && !asks.contains("desk"),
            "{asks}"
        );
        let token = account(&relay, "ada");
        let (status, shown) = type_code(&forms, &begun, &token).await;
        assert_eq!(status, 200);
        for said in ["desk", "127.0.0.1", "s ago", "ada", &begun.user_code] {
            assert!(shown.contains(said), "{said} in {shown}");
        }
        assert!(!shown.contains(&token), "the token goes nowhere");
        let ticket = ticket(&shown);
        assert_eq!(press(&forms, &begun, &ticket, word).await, 200);
        assert_eq!(press(&forms, &begun, &ticket, "approve").await, 404);
        let (status, said) = forms.poll(&begun).await;
        if is_let_in {
            let (access, _) = tokens_of(&said);
            let agent = FakeAgent::connect(relay.address(), &access, "desk").await;
            agent.expect("a session");
        } else {
            assert_eq!(
                (status, said["error"].as_str()),
                (400, Some("access_denied"))
            );
        }
    }
    let style = forms.0.get("/login/style.css").await;
    assert_eq!(
        (style.status().as_u16(), style.header("content-type")),
        (200, "text/css")
    );
}

#[tokio::test]
async fn a_form_of_another_site_or_a_credential_that_may_not_changes_nothing() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    let begun = forms.start("desk").await;
    let token = account(&relay, "ada");
    let fields = [
        ("code", begun.user_code.as_str()),
        ("token", token.as_str()),
    ];
    let address = relay.address().to_string();
    let foreign: [&[(&str, &str)]; 6] = [
        &[],
        &[("sec-fetch-site", "cross-site")],
        &[
            ("sec-fetch-site", "same-site"),
            ("origin", &format!("http://{address}")),
        ],
        &[("origin", "null")],
        &[("origin", "http://evil.example")],
        &[("origin", &format!("http://{address}.evil.example"))],
    ];
    for headers in foreign {
        let answer = forms.send_with("/login", &fields, headers).await;
        assert_eq!(page(answer).await.0, 403, "{headers:?}");
    }
    let older = [("origin", format!("http://{address}"))];
    let older: Vec<_> = older
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let answer = forms.send_with("/login", &fields, &older).await;
    assert_eq!(
        page(answer).await.0,
        200,
        "a browser that names the origin only"
    );

    for (token, status) in [
        (relay.api_token("ada"), 403),
        (relay.agent_token("ada"), 401),
        (relay.sign(&tokens::expired("ada")), 401),
        ("<script>".to_owned(), 401),
        (String::new(), 401),
    ] {
        let (found, text) = type_code(&forms, &begun, &token).await;
        assert_eq!(found, status);
        assert!(
            !text.contains("ticket") && !text.contains("<script>"),
            "{text}"
        );
    }
    assert_eq!(press(&forms, &begun, "a guess", "approve").await, 404);
    assert_eq!(forms.refusal(&begun).await, "authorization_pending");
}

#[tokio::test]
async fn nothing_of_an_address_is_taken_for_more_than_a_code() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    for query in [
        "code=%22%3E%3Cscript%3E",
        "code=AEIO-UAEI",
        "token=x.y.z",
        "%ff=&&=",
        "code=B&code=C",
    ] {
        let (status, text) = page(forms.0.get(&format!("/login?{query}")).await).await;
        assert_eq!(status, 200, "{query}");
        assert!(text.contains("name=code value=\"\""), "{text}");
        assert!(
            !text.contains("<script") && !text.contains("x.y.z"),
            "{text}"
        );
    }
}
