//! The operator's own record: who did what with which credential from where, and how it ended.
//!
//! Every event is one [`Event`] of a closed set, and all of them are written in one place, [`Who::did`], as an event of
//! `tracing` with the target [`TARGET`]. Whoever starts the relay decides where that target goes; it is not meant for the
//! ordinary log, since it names users. Invariant: no event holds a credential; what stands for one is a
//! [`CredentialName`], from which nobody gets back to it.

use std::{fmt, net::IpAddr, sync::Arc};

use c2l_auth::{Fingerprint, Grant, UserId};

/// The `tracing` target of every event here.
pub const TARGET: &str = "c2l::audit";

/// What a credential is called where it must not be shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialName {
    /// A token, by the id that its issuer gave it (`jti`).
    Token(Arc<str>),
    /// A key for programs, by its public id.
    Key(Arc<str>),
    /// One that brings no name, by the beginning of its SHA-256.
    Hash(Fingerprint),
}

impl CredentialName {
    /// Of a credential that was verified, `fingerprint` being its own.
    #[must_use]
    pub fn of_grant(grant: &Grant, fingerprint: Fingerprint) -> Self {
        match &grant.token_id {
            Some(id) => Self::Token(Arc::clone(id)),
            None => Self::Hash(fingerprint),
        }
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token:{id}"),
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Hash(fingerprint) => write!(f, "sha256:{}", fingerprint.short()),
        }
    }
}

/// Who did it, with what, from where: as much of it as is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who<'a> {
    /// The verified user. Of somebody who was refused there is none.
    pub user: Option<&'a UserId>,
    /// What it was done with.
    pub credential: Option<&'a CredentialName>,
    /// Where it came from: the caller's address, or that of the agent.
    pub address: Option<IpAddr>,
    /// The request that it was part of.
    pub request_id: Option<&'a str>,
    /// True when the relay's operator did it, on the relay's own machine.
    pub is_operator: bool,
}

/// What happened. Texts are shown to the operator as they are; none may hold a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A credential was accepted that this relay had not accepted since it started.
    CredentialAccepted {
        /// `agent`, `api` or `web`.
        kind: &'a str,
    },
    /// A credential was judged and found bad. At most one a second from one address; `suppressed` counts the others.
    CredentialRefused {
        /// What is wrong with it.
        reason: &'a str,
        /// How many like it were not written since the last one that was.
        suppressed: u64,
    },
    /// An agent is connected.
    SessionOpened {
        /// The session's id.
        session: &'a str,
        /// The device's name.
        device: &'a str,
    },
    /// An agent with a good token was not let in.
    SessionRefused {
        /// Why.
        reason: &'a str,
    },
    /// A session ended because the same device opened another one.
    SessionReplaced {
        /// The session's id.
        session: &'a str,
        /// The device's name.
        device: &'a str,
    },
    /// A session ended in any other way.
    SessionClosed {
        /// The session's id.
        session: &'a str,
        /// The device's name.
        device: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// The credential's scopes, or the agent's owner, do not allow what was asked (403).
    PolicyRefused {
        /// Who refused: the relay or the agent.
        origin: &'a str,
        /// The path, without the credential in it.
        route: &'a str,
    },
    /// Something was refused because there was too much of it. At most one a second for one limit and address.
    LimitHit {
        /// Which limit, as the metrics call it.
        limit: &'a str,
        /// How many like it were not written since the last one that was.
        suppressed: u64,
    },
    /// A key for programs was made.
    KeyCreated {
        /// Its public id.
        key: &'a str,
        /// What its owner calls it.
        name: &'a str,
    },
    /// A key got a new secret.
    KeyRotated {
        /// The public id of the old one.
        key: &'a str,
        /// The public id of the one in its place.
        replaced_by: &'a str,
    },
    /// A key was revoked.
    KeyRevoked {
        /// Its public id.
        key: &'a str,
    },
    /// A token was revoked.
    TokenRevoked {
        /// Its id (`jti`).
        token: &'a str,
    },
    /// Everything of a user that was issued before now was revoked.
    SignedOut,
    /// Everything of one device was revoked.
    DeviceRevoked {
        /// The device's name.
        device: &'a str,
    },
    /// A device got a name for people, or lost it.
    DeviceLabelled {
        /// The device's name.
        device: &'a str,
        /// What its user calls it; empty when that was taken away.
        name: &'a str,
    },
    /// A device's connection was ended; it may come back.
    DeviceDisconnected {
        /// The device's name.
        device: &'a str,
    },
    /// A device asked to be let in, and shows its user a code.
    LoginStarted {
        /// The device's name.
        device: &'a str,
    },
    /// Its user said yes.
    LoginApproved {
        /// The device's name.
        device: &'a str,
    },
    /// Its user said no, or nobody said anything in time.
    LoginDenied {
        /// The device's name.
        device: &'a str,
        /// Which it was.
        reason: &'a str,
    },
    /// A device exchanged its refresh token for new ones.
    LoginRefreshed {
        /// The family of the refresh token.
        family: &'a str,
    },
    /// A device gave its login up.
    LoginEnded {
        /// The device's name.
        device: &'a str,
    },
    /// Somebody signed in on the web page.
    WebSignedIn {
        /// With what: `token`, `link` or `issuer`.
        way: &'a str,
    },
    /// The operator made a one-time link for a user.
    WebLinkMade,
    /// Somebody signed out there, in one browser.
    WebSignedOut,
    /// A refresh token came a second time; its family was revoked.
    RefreshReused {
        /// The family of the refresh token.
        family: &'a str,
    },
}

/// The fields that an event may have beside those of [`Who`].
#[derive(Debug, Default)]
struct Fields<'a> {
    event: &'static str,
    outcome: &'static str,
    kind: Option<&'a str>,
    session: Option<&'a str>,
    device: Option<&'a str>,
    route: Option<&'a str>,
    limit: Option<&'a str>,
    key: Option<&'a str>,
    name: Option<&'a str>,
    replaced_by: Option<&'a str>,
    token: Option<&'a str>,
    family: Option<&'a str>,
    way: Option<&'a str>,
    origin: Option<&'a str>,
    reason: Option<&'a str>,
    suppressed: Option<u64>,
}

impl<'a> Event<'a> {
    fn fields(&self) -> Fields<'a> {
        let ok = |event| Fields {
            event,
            outcome: "ok",
            ..Fields::default()
        };
        let refused = |event| Fields {
            outcome: "refused",
            ..ok(event)
        };
        let of_session = |fields, session, device| Fields {
            session: Some(session),
            device: Some(device),
            ..fields
        };
        match *self {
            Self::CredentialAccepted { kind } => Fields {
                kind: Some(kind),
                ..ok("credential_accepted")
            },
            Self::CredentialRefused { reason, suppressed } => Fields {
                reason: Some(reason),
                suppressed: Some(suppressed),
                ..refused("credential_refused")
            },
            Self::SessionOpened { session, device } => {
                of_session(ok("session_opened"), session, device)
            }
            Self::SessionRefused { reason } => Fields {
                reason: Some(reason),
                ..refused("session_refused")
            },
            Self::SessionReplaced { session, device } => {
                of_session(ok("session_replaced"), session, device)
            }
            Self::SessionClosed {
                session,
                device,
                reason,
            } => Fields {
                reason: Some(reason),
                ..of_session(ok("session_closed"), session, device)
            },
            Self::PolicyRefused { origin, route } => Fields {
                origin: Some(origin),
                route: Some(route),
                ..refused("policy_refused")
            },
            Self::LimitHit { limit, suppressed } => Fields {
                limit: Some(limit),
                suppressed: Some(suppressed),
                ..refused("limit_hit")
            },
            Self::KeyCreated { key, name } => Fields {
                key: Some(key),
                name: Some(name),
                ..ok("key_created")
            },
            Self::KeyRotated { key, replaced_by } => Fields {
                key: Some(key),
                replaced_by: Some(replaced_by),
                ..ok("key_rotated")
            },
            Self::KeyRevoked { key } => Fields {
                key: Some(key),
                ..ok("key_revoked")
            },
            Self::TokenRevoked { token } => Fields {
                token: Some(token),
                ..ok("token_revoked")
            },
            Self::SignedOut => ok("signed_out"),
            Self::DeviceRevoked { device } => Fields {
                device: Some(device),
                ..ok("device_revoked")
            },
            Self::DeviceLabelled { device, name } => Fields {
                device: Some(device),
                name: Some(name).filter(|name| !name.is_empty()),
                ..ok("device_labelled")
            },
            Self::DeviceDisconnected { device } => Fields {
                device: Some(device),
                ..ok("device_disconnected")
            },
            Self::LoginStarted { device } => Fields {
                device: Some(device),
                ..ok("login_started")
            },
            Self::LoginApproved { device } => Fields {
                device: Some(device),
                ..ok("login_approved")
            },
            Self::LoginDenied { device, reason } => Fields {
                device: Some(device),
                reason: Some(reason),
                ..refused("login_denied")
            },
            Self::LoginRefreshed { family } => Fields {
                family: Some(family),
                ..ok("login_refreshed")
            },
            Self::LoginEnded { device } => Fields {
                device: Some(device),
                ..ok("login_ended")
            },
            Self::WebSignedIn { way } => Fields {
                way: Some(way),
                ..ok("web_signed_in")
            },
            Self::WebLinkMade => ok("web_link_made"),
            Self::WebSignedOut => ok("web_signed_out"),
            Self::RefreshReused { family } => Fields {
                family: Some(family),
                ..refused("refresh_reused")
            },
        }
    }
}

impl Who<'_> {
    /// The relay's operator, on the relay's own machine.
    #[must_use]
    pub fn operator() -> Self {
        Self {
            is_operator: true,
            ..Self::default()
        }
    }

    /// Writes the event. Does not wait: where it goes is the affair of whoever collects [`TARGET`].
    pub fn did(&self, event: Event<'_>) {
        let fields = event.fields();
        tracing::info!(
            target: TARGET,
            event = fields.event,
            outcome = fields.outcome,
            by = if self.is_operator { "operator" } else { "caller" },
            issuer = self.user.map(UserId::issuer),
            subject = self.user.map(UserId::subject),
            user_hash = self.user.map(|user| tracing::field::display(user.log_id())),
            credential = self.credential.map(tracing::field::display),
            address = self.address.map(tracing::field::display),
            request_id = self.request_id,
            kind = fields.kind,
            session = fields.session,
            device = fields.device,
            route = fields.route,
            limit = fields.limit,
            key = fields.key,
            name = fields.name,
            replaced_by = fields.replaced_by,
            token = fields.token,
            family = fields.family,
            way = fields.way,
            origin = fields.origin,
            reason = fields.reason,
            suppressed = fields.suppressed,
        );
    }
}
