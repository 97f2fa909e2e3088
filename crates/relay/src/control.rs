//! The operator's door: the operations of `/relay/v1` on any user's account, on the relay's own machine.
//!
//! Invariant: it is a Unix socket in the data directory, or the database itself, so whoever comes in could read the
//! relay's secrets anyway; nothing of it is reachable over the network. The user is named in the query
//! (`?issuer=…&user=…`), and the answers are those of `/relay/v1`.

#[cfg(unix)]
use std::{convert::Infallible, time::Duration};
use std::{sync::Arc, time::SystemTime};

use c2l_auth::{OWN_ISSUER, UserId, Verifier};
use c2l_tunnel::{Fault, Kind, Origin};
use http::{Method, StatusCode, uri::PathAndQuery};

use crate::{
    Accounts, Error, SignInLinks,
    audit::{Event, Who},
    error::{Dialect, codes, invalid},
    gateway::rest::{
        account::{Done, Doors, Operation, no_logins, perform_as_operator},
        unknown,
    },
    identity::Identities,
    limits::{Guard, RateLimits},
    providers::Providers,
    status::{describe_devices, unix_seconds},
    web::LINK_LIFE,
};

/// The socket of the operator's door.
#[cfg(unix)]
pub type ControlListener = tokio::net::UnixListener;
/// There is no such socket here.
#[cfg(not(unix))]
pub type ControlListener = std::convert::Infallible;

/// How the operator's door is opened: once this relay serves, since one that stands by must not take it from the one that
/// does. Whoever starts the relay binds it.
pub struct Opening(Box<dyn FnOnce() -> Option<Opened> + Send>);

/// An open door, and what is dropped when it closes.
pub type Opened = (ControlListener, Box<dyn Send>);

impl Opening {
    /// `open` may find that there can be none; the relay serves without.
    pub fn new(open: impl FnOnce() -> Option<Opened> + Send + 'static) -> Self {
        Self(Box::new(open))
    }

    #[cfg(unix)]
    pub(crate) fn open(self) -> Option<Opened> {
        (self.0)()
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opening")
    }
}

/// The devices that wait to be let in. Only the operator may see all of them.
const WAITING: &str = "/relay/v1/logins";

/// A user's devices: over the network a read of its own, which shows less to some.
const DEVICES: &str = "/relay/v1/devices";
/// One-time links to sign in with. Only the operator makes them.
const LINKS: &str = "/relay/v1/links";

/// What the operator is answered: a status and one JSON object.
pub type Reply = (StatusCode, String);

/// The same door while no relay runs: on the accounts themselves.
#[derive(Debug)]
pub struct Offline {
    identities: Arc<Identities>,
}

impl Offline {
    /// Reads the accounts. A relay that starts or runs meanwhile takes over what is changed here within a second.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn open(verifier: Arc<Verifier>, accounts: Accounts) -> Result<Self, Error> {
        // What is done here, the operator does: nobody's keys are needed.
        let providers = Arc::new(Providers::unasked(verifier));
        let identities =
            Identities::load(providers, Arc::new(Guard::new(RateLimits::off())), accounts).await;
        Ok(Self {
            identities: identities.map_err(Error::Store)?,
        })
    }

    /// Does what the method and target ask for. Dropping the future may leave it done or not.
    pub async fn answer(&self, method: &Method, target: &str, body: &[u8]) -> Reply {
        let doors = Doors {
            identities: &self.identities,
            registry: None,
            logins: None,
            links: None,
            by: None,
        };
        answer(doors, method, target, body).await
    }
}

async fn answer(doors: Doors<'_>, method: &Method, target: &str, body: &[u8]) -> Reply {
    let outcome = async {
        let target = PathAndQuery::try_from(target).map_err(|_| invalid("no such target"))?;
        let (issuer, subject) = named(target.query().unwrap_or_default())
            .ok_or_else(|| invalid("which user is meant? (?user=…)"))?;
        if target.path() == WAITING {
            let logins = doors.logins.ok_or_else(no_logins)?;
            return Ok(Done {
                status: StatusCode::OK,
                body: logins.list(),
            });
        }
        if target.path() == DEVICES && method == Method::GET {
            return devices(doors, &issuer, &subject).await;
        }
        if target.path() == LINKS {
            let user = doors.identities.name_user(&issuer, &subject)?;
            return link_for(doors.links, method, &user);
        }
        let operation = Operation::find(method, target.path())?.ok_or_else(unknown)?;
        let user = (issuer.as_str(), subject.as_str());
        perform_as_operator(doors, user, operation, body).await
    };
    match outcome.await {
        Ok(Done { status, body }) => (status, format!("{body}\n")),
        Err(fault) => {
            let body = Dialect::Ollama.error_body(&fault, "operator");
            (codes(fault.kind).http, format!("{body}\n"))
        }
    }
}

async fn devices(doors: Doors<'_>, issuer: &str, subject: &str) -> Result<Done, Fault> {
    let user = doors.identities.name_user(issuer, subject)?;
    let known = doors.identities.devices_of(&user).await?;
    Ok(Done {
        status: StatusCode::OK,
        body: describe_devices(doors.registry, &user, &known, true),
    })
}

/// A link for this user.
fn link_for(links: Option<&SignInLinks>, method: &Method, user: &UserId) -> Result<Done, Fault> {
    if *method != Method::POST {
        return Err(unknown());
    }
    let links = links.ok_or_else(|| {
        let message = "links are known to a running relay alone, and there is none here, or it has no web page";
        Fault::new(Kind::RouteUnknown, Origin::Relay, message).retry_safe()
    })?;
    let link = links.make(user.issuer(), user.subject()).ok_or_else(|| {
        let message = "no random bytes for a link";
        Fault::new(Kind::Internal, Origin::Relay, message)
    })?;
    let who = Who {
        user: Some(user),
        ..Who::operator()
    };
    who.did(Event::WebLinkMade);
    let until = unix_seconds(SystemTime::now() + LINK_LIFE);
    Ok(Done {
        status: StatusCode::CREATED,
        body: serde_json::json!({
            "target": SignInLinks::target(&link),
            "expires_unix_seconds": until,
        }),
    })
}

/// Issuer and name of the user in this query. Without an issuer it is the relay's own.
fn named(query: &str) -> Option<(String, String)> {
    let mut issuer = Some(OWN_ISSUER.to_owned());
    let mut subject = None;
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("issuer", value)) => issuer = decoded(value),
            Some(("user", value)) => subject = decoded(value),
            _ => return None,
        }
    }
    issuer.zip(subject)
}

/// Undoes percent-encoding (RFC 3986 §2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Text as it stands in a query, for whoever asks.
#[must_use]
pub fn encoded(text: &str) -> String {
    let letter = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(letter).collect()
}

/// Most connections at once; more wait in the system's queue.
#[cfg(unix)]
const MAX_CONNECTIONS: usize = 16;
/// For a request's head, and for the rest of it.
#[cfg(unix)]
const LIMIT: Duration = Duration::from_secs(10);
/// How long the loop rests when the system has no descriptor left.
#[cfg(unix)]
const EXHAUSTED_REST: Duration = Duration::from_millis(50);

/// Accepts until the relay closes; each connection's task is the tracker's.
#[cfg(unix)]
pub(crate) async fn accept(relay: Arc<crate::Relay>, (listener, _held): Opened) {
    use hyper::{server::conn::http1, service::service_fn};
    use hyper_util::rt::{TokioIo, TokioTimer};

    let places = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    let closing = relay.life.closing.clone();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let Some((place, accepted)) = closing.run_until_cancelled(next).await else {
            return;
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(EXHAUSTED_REST).await;
            continue;
        };
        let (relay, closing) = (Arc::clone(&relay), closing.clone());
        relay.life.tracker.clone().spawn(async move {
            let service = service_fn(move |request| {
                let relay = Arc::clone(&relay);
                async move { Ok::<_, Infallible>(serve(&relay, request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(LIMIT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // A broken connection is the asker's affair, and closing ends all of them.
            drop(closing.run_until_cancelled(connection).await);
            drop(place);
        });
    }
}

#[cfg(unix)]
async fn serve(
    relay: &Arc<crate::Relay>,
    request: http::Request<hyper::body::Incoming>,
) -> http::Response<http_body_util::Full<bytes::Bytes>> {
    let (head, body) = request.into_parts();
    let reading = tokio::time::timeout(LIMIT, crate::gateway::rest::collect(body));
    let (status, text) = match reading.await {
        Ok(Ok(body)) => {
            let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
            let target = target.to_owned();
            let shared = Arc::clone(relay);
            // As for callers: once begun, it is done.
            let work = relay.life.tracker.spawn(async move {
                answer(Doors::of(&shared), &head.method, &target, &body).await
            });
            let defect = |_| (StatusCode::INTERNAL_SERVER_ERROR, String::new());
            work.await.unwrap_or_else(defect)
        }
        Ok(Err(fault)) => (
            codes(fault.kind).http,
            Dialect::Ollama.error_body(&fault, "operator"),
        ),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, String::new()),
    };
    let mut response = http::Response::new(http_body_util::Full::from(text));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_whatever_they_are_called() {
        for (issuer, subject) in [
            ("c2l", "ada"),
            ("https://id.example/x?y=z&user=bob", "ада & co=%"),
        ] {
            let query = format!("issuer={}&user={}", encoded(issuer), encoded(subject));
            assert!(query.is_ascii(), "{query}");
            let found = named(&query).unwrap();
            assert_eq!(found, (issuer.to_owned(), subject.to_owned()));
        }
        assert_eq!(named("user=ada").unwrap().0, OWN_ISSUER);
        for bad in ["", "issuer=c2l", "user=%", "user=%ff", "user=a&x=y", "user"] {
            assert_eq!(named(bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn the_operator_makes_and_revokes_any_users_key() {
        let key = c2l_auth::SigningKey::ephemeral().unwrap();
        let verifier = Arc::new(Verifier::new(vec![key.issuer()]).unwrap());
        let offline = Offline::open(verifier, Accounts::in_memory().unwrap())
            .await
            .unwrap();
        let ask = async |method: Method, target: &str, body: &str| {
            let (status, text) = offline.answer(&method, target, body.as_bytes()).await;
            let body: serde_json::Value = serde_json::from_str(&text).unwrap();
            (status.as_u16(), body)
        };
        let keys = "/relay/v1/keys?user=ada";
        let (status, made) = ask(Method::POST, keys, r#"{"name":"x"}"#).await;
        assert_eq!(status, 201);
        let id = made["id"].as_str().unwrap();
        assert!(made["key"].as_str().unwrap().contains(id));
        let of_bob = format!("/relay/v1/keys/{id}?user=bob");
        assert_eq!(ask(Method::DELETE, &of_bob, "").await.0, 404);
        let elsewhere = format!("/relay/v1/keys/{id}?issuer=other&user=ada");
        assert_eq!(ask(Method::DELETE, &elsewhere, "").await.0, 404);
        let own = format!("/relay/v1/keys/{id}?user=ada");
        assert_eq!(ask(Method::DELETE, &own, "").await.0, 200);
        let (_, listed) = ask(Method::GET, keys, "").await;
        assert_eq!(listed, serde_json::json!({ "keys": [] }));
        assert_eq!(ask(Method::GET, "/relay/v1/keys", "").await.0, 400);
        assert_eq!(ask(Method::GET, "/relay/v1/x?user=ada", "").await.0, 404);
    }
}
