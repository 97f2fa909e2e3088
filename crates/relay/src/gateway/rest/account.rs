//! What users do with their own account over `/relay/v1`: keys, tokens, sign-outs, devices.
//!
//! Invariant: each operation is of one `UserId` and answers about that user alone; whose it is was decided before, by a
//! credential or by the operator. Once one of them has answered, what it took back reaches nothing any more.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use c2l_auth::{
    AuthError, DeviceName, KeyRecord, KeyRequest, Kind as TokenKind, Scope, Scopes, UserId,
};
use c2l_tunnel::{Fault, Kind, Origin};
use http::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    Relay, SignInLinks,
    audit::{Event, Who},
    error::{invalid, unauthenticated},
    identity::{Caller, Identities, Listed, Made, TokenName, no_such_device},
    login::{Approver, Logins, Word},
    registry::Registry,
    status::unix_seconds,
};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    ListKeys,
    MakeKey,
    RevokeKey(String),
    RotateKey(String),
    RevokeToken,
    SignOut,
    RemoveDevice(String),
    LabelDevice(String),
    DisconnectDevice(String),
    DescribeLogin,
    SayToLogin(Word),
}

/// Where operations take effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doors<'a> {
    pub(crate) identities: &'a Identities,
    /// Of a relay that runs.
    pub(crate) registry: Option<&'a Registry>,
    /// Of a relay that runs, and logs devices in.
    pub(crate) logins: Option<&'a Logins>,
    /// Of a relay that runs, and has a web page.
    pub(crate) links: Option<&'a SignInLinks>,
    /// Who comes in; `None` is the operator.
    pub(crate) by: Option<&'a Arc<Caller>>,
}

impl<'a> Doors<'a> {
    /// All of this relay's.
    pub(crate) fn of(relay: &'a Relay) -> Self {
        Self {
            identities: &relay.identities,
            registry: Some(&relay.registry),
            logins: relay.logins.as_deref(),
            links: relay.config.web.as_ref().map(|web| &web.links),
            by: None,
        }
    }
}

impl Operation {
    /// What this path and method ask for; `None` for a path that is not one of these.
    ///
    /// # Errors
    /// `MethodNotAllowed`.
    pub(crate) fn find(method: &Method, path: &str) -> Result<Option<Self>, Fault> {
        let Some(rest) = path.strip_prefix("/relay/v1/") else {
            return Ok(None);
        };
        let segments: Vec<&str> = rest.split('/').collect();
        let found = match (segments.as_slice(), method) {
            (["keys"], &Method::GET | &Method::HEAD) => Self::ListKeys,
            (["keys"], &Method::POST) => Self::MakeKey,
            (["keys", id], &Method::DELETE) => Self::RevokeKey((*id).to_owned()),
            (["keys", id, "rotate"], &Method::POST) => Self::RotateKey((*id).to_owned()),
            (["tokens", "revoke"], &Method::POST) => Self::RevokeToken,
            (["sign-out"], &Method::POST) => Self::SignOut,
            (["devices", name], &Method::DELETE) => Self::RemoveDevice((*name).to_owned()),
            (["devices", name, "label"], &Method::PUT) => Self::LabelDevice((*name).to_owned()),
            (["devices", name, "disconnect"], &Method::POST) => {
                Self::DisconnectDevice((*name).to_owned())
            }
            (["logins", "describe"], &Method::POST) => Self::DescribeLogin,
            (["logins", "approve"], &Method::POST) => Self::SayToLogin(Word::Approve),
            (["logins", "deny"], &Method::POST) => Self::SayToLogin(Word::Deny),
            (
                ["logins", "describe" | "approve" | "deny"]
                | ["keys"]
                | ["keys", _]
                | ["keys", _, "rotate"]
                | ["tokens", "revoke"]
                | ["sign-out"]
                | ["devices", _]
                | ["devices", _, "label" | "disconnect"],
                _,
            ) => return Err(wrong_method()),
            _ => return Ok(None),
        };
        Ok(Some(found))
    }
}

fn wrong_method() -> Fault {
    let message = "not a method of this path; GET /relay/v1/openapi.json lists them";
    Fault::new(Kind::MethodNotAllowed, Origin::Caller, message).retry_safe()
}

/// What is answered when all went well.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Done {
    fn ok(body: Value) -> Result<Self, Fault> {
        let status = StatusCode::OK;
        Ok(Self { status, body })
    }

    fn created(body: Value) -> Result<Self, Fault> {
        let status = StatusCode::CREATED;
        Ok(Self { status, body })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: String,
    kind: Option<String>,
    scopes: Option<Vec<String>>,
    #[serde(default)]
    models: Vec<String>,
    device: Option<String>,
    requests_per_minute: Option<NonZeroU32>,
    expires_in_seconds: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    #[serde(default)]
    overlap_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenToRevoke {
    token_id: Option<String>,
    token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignOut {
    #[serde(default)]
    keys: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    /// `null` takes it away; leaving it out is a mistake.
    #[serde(deserialize_with = "Option::deserialize")]
    label: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeOfLogin {
    user_code: String,
}

/// Does what was asked for. Dropping the future may leave it done or not; [`super`] lets it run to its end.
///
/// # Errors
/// What the asker is told.
pub(crate) async fn perform(
    doors: Doors<'_>,
    who: &Who<'_>,
    user: &UserId,
    operation: Operation,
    body: &[u8],
) -> Result<Done, Fault> {
    let Doors {
        identities,
        registry,
        logins,
        links: _,
        by,
    } = doors;
    match operation {
        Operation::DescribeLogin => {
            let asked: CodeOfLogin = read(body)?;
            let logins = logins.ok_or_else(no_logins)?;
            let by = approver(by, user);
            Done::ok(logins.describe(who, &by, &asked.user_code)?)
        }
        Operation::SayToLogin(word) => {
            let asked: CodeOfLogin = read(body)?;
            let logins = logins.ok_or_else(no_logins)?;
            let by = approver(by, user);
            Done::ok(logins.say(who, by, &asked.user_code, word)?)
        }
        Operation::ListKeys => {
            let keys: Vec<_> = identities.keys_of(user).iter().map(listed).collect();
            Done::ok(json!({ "keys": keys }))
        }
        Operation::MakeKey => {
            let made = identities.make_key(user, &new_key(body)?).await?;
            revoke_unless_still_allowed(identities, by, user, &made).await?;
            let (key, name) = (made.record.id.as_str(), made.record.name.as_str());
            who.did(Event::KeyCreated { key, name });
            Done::created(shown_once(&made))
        }
        Operation::RevokeKey(id) => {
            let record = identities.revoke_key(user, &id).await;
            close_revoked(identities, registry, user);
            let record = record?;
            let key = record.id.as_str();
            who.did(Event::KeyRevoked { key });
            Done::ok(json!({ "revoked": key }))
        }
        Operation::RotateKey(id) => {
            let asked: Rotation = read_or_default(body)?;
            let overlap = Duration::from_secs(asked.overlap_seconds);
            let made = identities.rotate_key(user, &id, overlap).await?;
            revoke_unless_still_allowed(identities, by, user, &made).await?;
            let replaced_by = made.record.id.as_str();
            who.did(Event::KeyRotated {
                key: &id,
                replaced_by,
            });
            let mut shown = shown_once(&made);
            shown["replaces"] = id.into();
            Done::created(shown)
        }
        Operation::RevokeToken => {
            let asked: TokenToRevoke = read(body)?;
            let name = match (asked.token_id, asked.token) {
                (Some(id), None) => TokenName::Id(id),
                (None, Some(token)) => TokenName::Whole(token.into()),
                _ => return Err(invalid("give either token_id or token")),
            };
            let revoked = identities.revoke_token(user, name).await;
            close_revoked(identities, registry, user);
            let revoked = revoked?;
            who.did(Event::TokenRevoked { token: &revoked });
            Done::ok(json!({ "revoked": *revoked }))
        }
        Operation::SignOut => {
            let asked: SignOut = read_or_default(body)?;
            let time = identities.sign_out(user, asked.keys).await;
            close_revoked(identities, registry, user);
            let time = unix_seconds(time?);
            who.did(Event::SignedOut);
            Done::ok(json!({ "not_before_unix_seconds": time, "keys_revoked": asked.keys }))
        }
        Operation::RemoveDevice(name) => {
            let device = named(&name)?;
            // Counted before: they begin to end with the removal.
            let sessions = registry.map_or(0, |registry| {
                let own = registry.sessions_of(user);
                own.iter()
                    .filter(|session| session.device == device)
                    .count()
            });
            let removed = identities.remove_device(user, &device).await;
            close_revoked(identities, registry, user);
            let removed = removed?;
            who.did(Event::DeviceRevoked { device: &name });
            Done::ok(json!({
                "removed": name,
                "sessions": sessions,
                "keys": removed.keys,
                "logins": removed.logins,
            }))
        }
        Operation::LabelDevice(name) => label_device(doors, who, user, &name, body).await,
        Operation::DisconnectDevice(name) => disconnect_device(registry, who, user, &name),
    }
}

/// Says what the user calls a device that is connected or was.
async fn label_device(
    doors: Doors<'_>,
    who: &Who<'_>,
    user: &UserId,
    name: &str,
    body: &[u8],
) -> Result<Done, Fault> {
    let (device, asked) = (named(name)?, read::<Label>(body)?);
    let label = asked.label.as_deref();
    let is_connected = doors.registry.is_some_and(|registry| {
        let own = registry.sessions_of(user);
        own.iter().any(|session| session.device == device)
    });
    let identities = doors.identities;
    identities
        .label_device(user, &device, label, is_connected)
        .await?;
    let event = Event::DeviceLabelled {
        device: device.as_str(),
        name: label.unwrap_or_default(),
    };
    who.did(event);
    Done::ok(json!({ "device": device.as_str(), "label": label }))
}

/// Ends a device's connection. It dials again by itself.
fn disconnect_device(
    registry: Option<&Registry>,
    who: &Who<'_>,
    user: &UserId,
    name: &str,
) -> Result<Done, Fault> {
    let device = named(name)?;
    let sessions = registry.map_or(0, |registry| registry.disconnect(user, &device));
    if sessions == 0 {
        return Err(no_such_device());
    }
    let device = device.as_str();
    who.did(Event::DeviceDisconnected { device });
    Done::ok(json!({ "device": device, "sessions": sessions }))
}

fn named(device: &str) -> Result<DeviceName, Fault> {
    DeviceName::parse(device).map_err(|error| invalid(error.to_string()))
}

/// Sessions would end by themselves a moment later; nothing may reach them even in that moment.
pub(crate) fn close_revoked(identities: &Identities, registry: Option<&Registry>, user: &UserId) {
    if let Some(registry) = registry {
        registry.close_revoked(user, |session| {
            identities.still_stands(&session.caller(), Some(&session.device))
        });
    }
}

/// Whoever asked may have been signed out while the key was stored. Such a sign-out lists the keys that there are after it
/// counts; this asks after the key is among them: one of the two sees the other.
async fn revoke_unless_still_allowed(
    identities: &Identities,
    by: Option<&Arc<Caller>>,
    user: &UserId,
    made: &Made,
) -> Result<(), Fault> {
    if by.is_none_or(|by| identities.still_stands(by, None)) {
        return Ok(());
    }
    identities.revoke_key(user, made.record.id.as_str()).await?;
    Err(unauthenticated(AuthError::Revoked.to_string()))
}

fn approver(by: Option<&Arc<Caller>>, user: &UserId) -> Approver {
    match by {
        Some(caller) => Approver::Caller(Arc::clone(caller)),
        None => Approver::Operator(user.clone()),
    }
}

pub(crate) fn no_logins() -> Fault {
    let message = "devices that wait are known to a running relay alone, and there is none here, or it logs none in";
    Fault::new(Kind::RouteUnknown, Origin::Relay, message).retry_safe()
}

fn new_key(body: &[u8]) -> Result<KeyRequest, Fault> {
    let asked: NewKey = read(body)?;
    let kind = match asked.kind {
        Some(word) => word
            .parse()
            .map_err(|_| invalid("a key is of kind api or agent"))?,
        None => TokenKind::Api,
    };
    let scopes = match (asked.scopes, kind) {
        (Some(words), _) => {
            Scopes::parse(&words.join(" ")).map_err(|error| invalid(error.to_string()))?
        }
        (None, TokenKind::Agent) => Scopes::NONE,
        (None, TokenKind::Api | TokenKind::Web) => Scopes::INFER,
    };
    let device = asked.device.as_deref().map(DeviceName::parse).transpose();
    Ok(KeyRequest {
        name: asked.name,
        kind,
        scopes,
        device: device.map_err(|error| invalid(error.to_string()))?,
        models: asked.models,
        requests_per_minute: asked.requests_per_minute,
        ttl: asked.expires_in_seconds.map(Duration::from_secs),
    })
}

fn listed(key: &Listed) -> Value {
    let mut shown = described(&key.record);
    shown["last_used_unix_seconds"] = key.last_used_at.map(unix_seconds).into();
    shown
}

fn shown_once(made: &Made) -> Value {
    let mut shown = described(&made.record);
    shown["key"] = made.text.expose().into();
    shown
}

fn described(key: &KeyRecord) -> Value {
    let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
    json!({
        "id": key.id.as_str(),
        "name": key.name,
        "kind": key.kind.as_str(),
        "scopes": scopes,
        "models": &*key.models,
        "device": key.device.as_ref().map(DeviceName::as_str),
        "requests_per_minute": key.requests_per_minute,
        "created_unix_seconds": unix_seconds(key.created_at),
        "expires_unix_seconds": key.expires_at.map(unix_seconds),
    })
}

/// A body of which everything may be left out, and so itself.
fn read_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Fault> {
    if body.is_empty() {
        return Ok(T::default());
    }
    read(body)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| invalid(format!("the body: {error}")))
}

/// The door that the operator comes in by: any user's account, by name, without a credential of theirs.
pub(crate) async fn perform_as_operator(
    doors: Doors<'_>,
    (issuer, subject): (&str, &str),
    operation: Operation,
    body: &[u8],
) -> Result<Done, Fault> {
    let user = doors.identities.name_user(issuer, subject)?;
    let who = Who {
        user: Some(&user),
        ..Who::operator()
    };
    perform(doors, &who, &user, operation, body).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::rest::OPENAPI;

    /// Every path and method of this module. A segment in braces is any one segment.
    const ROUTES: [(&str, &str); 12] = [
        ("GET", "/relay/v1/keys"),
        ("POST", "/relay/v1/keys"),
        ("DELETE", "/relay/v1/keys/{id}"),
        ("POST", "/relay/v1/keys/{id}/rotate"),
        ("POST", "/relay/v1/tokens/revoke"),
        ("POST", "/relay/v1/sign-out"),
        ("DELETE", "/relay/v1/devices/{name}"),
        ("PUT", "/relay/v1/devices/{name}/label"),
        ("POST", "/relay/v1/devices/{name}/disconnect"),
        ("POST", "/relay/v1/logins/describe"),
        ("POST", "/relay/v1/logins/approve"),
        ("POST", "/relay/v1/logins/deny"),
    ];

    /// What devices ask: `login::oauth`.
    const OF_DEVICES: [&str; 3] = [
        "/relay/v1/login/device",
        "/relay/v1/login/token",
        "/relay/v1/login/revoke",
    ];

    /// What is only read.
    const READ: [&str; 5] = [
        "/relay/v1/openapi.json",
        "/relay/v1/version",
        "/relay/v1/whoami",
        "/relay/v1/devices",
        "/relay/v1/requests",
    ];

    #[test]
    fn the_document_lists_every_route_and_no_other() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut said = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                said.push((method.to_uppercase(), path.clone()));
            }
        }
        let read = READ.map(|path| ("GET", path));
        let of_devices = OF_DEVICES.map(|path| ("POST", path));
        let mut routes: Vec<_> = ROUTES
            .into_iter()
            .chain(read)
            .chain(of_devices)
            .map(|(method, path)| (method.to_owned(), path.to_owned()))
            .collect();
        said.sort();
        routes.sort();
        assert_eq!(said, routes);
    }

    #[test]
    fn every_route_is_found_and_no_other_method_is() {
        let methods = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        let mut found = 0;
        for (_, template) in ROUTES {
            let path = template.replace("{id}", "x").replace("{name}", "x");
            for method in &methods {
                let is_listed = ROUTES.contains(&(method.as_str(), template));
                match Operation::find(method, &path) {
                    Ok(Some(_)) => {
                        assert!(is_listed, "{method} {path}");
                        found += 1;
                    }
                    Ok(None) => panic!("{path} is unknown"),
                    Err(fault) => {
                        assert_eq!(fault.kind, Kind::MethodNotAllowed);
                        assert!(!is_listed, "{method} {path}");
                    }
                }
            }
        }
        assert_eq!(found, ROUTES.len() + 2, "/keys is there twice");
        for path in [
            "/relay/v1/key",
            "/relay/v1/keys/x/y",
            "/relay/v1/tokens",
            "/v1/keys",
        ] {
            assert_eq!(Operation::find(&Method::GET, path), Ok(None), "{path}");
        }
    }

    #[test]
    fn a_body_is_read_strictly() {
        assert!(new_key(br#"{"name":"x"}"#).is_ok());
        for body in [
            &b""[..],
            b"{}",
            b"[]",
            br#"{"name":"x","name":"y"}"#,
            br#"{"name":"x","scope":["infer"]}"#,
            br#"{"name":"x","scopes":["admin"]}"#,
            br#"{"name":"x","kind":"root"}"#,
            br#"{"name":"x","device":"../x"}"#,
            br#"{"name":"x","requests_per_minute":0}"#,
            br#"{"name":"x","expires_in_seconds":-1}"#,
            br#"{"name":"x"} more"#,
        ] {
            let refused = new_key(body).map(|_| ());
            assert_eq!(refused.unwrap_err().kind, Kind::InvalidRequest, "{body:?}");
        }
    }
}
