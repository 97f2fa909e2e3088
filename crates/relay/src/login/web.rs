//! `/login`: the page on which somebody with a browser says yes to a login.
//!
//! Two steps, each a form: a code with a token of whoever types it, then, beside who asks, from where and when, the word.
//! Invariant: a token comes in a form and goes nowhere; the second form holds a ticket for this one login instead. A form
//! counts only when a page of this origin sent it, and no cookie plays a part.

use std::{sync::Arc, time::SystemTime};

use c2l_auth::{Kind as TokenKind, Scope};
use c2l_tunnel::{Fault, Kind, Origin};
use http::{HeaderMap, Method, Response, StatusCode, header, request};
use hyper::body::Incoming;

use super::{
    Approver, NoLogin,
    answers::{Asked, answered, host, html, seconds, with_wait},
    code::UserCode,
    form::Form,
    page,
    pending::Word,
    word::{NO_LOGIN, note},
};
use crate::{
    Relay,
    audit::Who,
    error::codes,
    gateway::{body::GatewayBody, rest::unknown},
};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Answers `/login` and its style.
///
/// # Errors
/// `RouteUnknown`, `MethodNotAllowed` or `InvalidRequest`.
pub(crate) async fn page(
    relay: &Arc<Relay>,
    path: &str,
    head: &request::Parts,
    body: Incoming,
) -> Result<Response<GatewayBody>, Fault> {
    if relay.logins.is_none() {
        return Err(unknown());
    }
    match (path, &head.method) {
        ("/login", &(Method::GET | Method::HEAD)) => {
            let query = Form::parse(head.uri.query().unwrap_or_default().as_bytes());
            // Shown only, and only what may be a code: nothing is looked up before it is known who looks.
            let code = query.and_then(|query| UserCode::parse(query.get("code")?));
            let code = code.map_or_else(String::new, |code| code.shown());
            Ok(html(StatusCode::OK, page::ask(&code, None)))
        }
        ("/login", &Method::POST) => {
            if !is_of_same_origin(head) {
                let said = page::done("This form does not come from this relay's own page.");
                return Ok(html(StatusCode::FORBIDDEN, said));
            }
            let asked = Asked::read(relay, head, body).await?;
            Ok(asked.judge().await)
        }
        ("/login/style.css", &(Method::GET | Method::HEAD)) => {
            Ok(answered(StatusCode::OK, page::STYLE.to_owned(), "text/css"))
        }
        ("/login" | "/login/style.css", _) => {
            let message = "this path is a page";
            Err(Fault::new(Kind::MethodNotAllowed, Origin::Caller, message).retry_safe())
        }
        _ => Err(unknown()),
    }
}

impl Asked {
    /// The two forms of the page: the first brings a code and a token, the second the word.
    async fn judge(&self) -> Response<GatewayBody> {
        let code = self.form.get("code").unwrap_or_default();
        match (self.form.get("ticket"), self.form.get("word")) {
            (Some(ticket), Some(word)) => self.form_of_word(code, ticket, word),
            _ => self.form_of_code(code).await,
        }
    }

    async fn form_of_code(&self, code: &str) -> Response<GatewayBody> {
        let again = |status, wrong: &str| html(status, page::ask(code, Some(wrong)));
        let token = self.form.get("token").unwrap_or_default().trim();
        let now = SystemTime::now();
        let identities = &self.relay.identities;
        let caller = match identities
            .identify(&self.asker, token, &[TokenKind::Api])
            .await
        {
            Ok(caller) => caller,
            Err(fault) => {
                let wrong = format!("This token is not accepted: {}.", fault.message);
                let answer = again(codes(fault.kind).http, &wrong);
                return match fault.retry_after {
                    Some(wait) => with_wait(answer, wait),
                    None => answer,
                };
            }
        };
        if let Err(fault) = caller.require(Scope::Account) {
            return again(StatusCode::FORBIDDEN, &format!("{}.", fault.message));
        }
        let by = Approver::Caller(Arc::clone(&caller));
        match self.logins.look_with_ticket(code, by, self.asker.address) {
            Ok((asking, ticket)) => {
                // Typed in one way or another: shown as the machine shows it.
                let code = UserCode::parse(code).map_or_else(String::new, |code| code.shown());
                let user = caller.user.subject();
                let page = page::confirm(&asking, user, &code, ticket.expose(), now);
                html(StatusCode::OK, page)
            }
            Err(NoLogin::Unknown) => again(StatusCode::NOT_FOUND, NO_LOGIN),
            Err(NoLogin::TooMany(wait)) => {
                let wrong = format!("Too many wrong codes. Try again in {} s.", seconds(wait));
                with_wait(again(StatusCode::TOO_MANY_REQUESTS, &wrong), wait)
            }
        }
    }

    fn form_of_word(&self, code: &str, ticket: &str, word: &str) -> Response<GatewayBody> {
        let word = match word {
            "approve" => Word::Approve,
            _ => Word::Deny,
        };
        let Ok((by, asking)) = self.logins.decide_by_ticket(code, ticket, word) else {
            return html(StatusCode::NOT_FOUND, page::ask("", Some(NO_LOGIN)));
        };
        let who = Who {
            user: Some(by.user()),
            ..self.who()
        };
        note(&who, &asking, word);
        let sentence = match word {
            Word::Approve => format!("{} is logged in", asking.device),
            Word::Deny => format!("{} is not logged in", asking.device),
        };
        html(StatusCode::OK, page::done(&sentence))
    }
}

/// Whether a browser vouches that its own page of ours sends this. Browsers that do not say so name the origin.
fn is_of_same_origin(head: &request::Parts) -> bool {
    let text = |headers: &HeaderMap, name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    if let Some(site) = text(&head.headers, SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let origin = text(&head.headers, header::ORIGIN.as_str());
    let authority = origin
        .as_deref()
        .and_then(|origin| origin.split_once("://"));
    authority.is_some_and(|(_, authority)| Some(authority) == host(head))
}
