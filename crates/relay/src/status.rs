//! What a user may know of themselves here, over gRPC and REST alike: who they are, which devices are connected.
//!
//! Invariant: every answer is made from one caller's `UserId`; there is no call that lists anybody else.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};

use c2l_auth::{DeviceName, Grant, Kind, LEEWAY, UserId};
use c2l_proto::relay::{
    Device, ListDevicesRequest, ListDevicesResponse, WatchDevicesRequest, WatchDevicesResponse,
    WhoAmIRequest, WhoAmIResponse, status_service_server::StatusService,
};
use c2l_store::KnownDevice;
use futures_core::Stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tonic::{Code, Request, Response, Status, metadata::MetadataMap};

use crate::{
    error::to_status,
    gateway::{
        admission::{Admission, Full},
        listener::Life,
    },
    identity::{Caller, Identities, Standing},
    limits::{Asker, Guard, Payer},
    registry::{Registry, is_draining},
};

/// Most open calls of `WatchDevices` of one user. Each is a task, and each change of any session wakes all of them.
const MAX_WATCHES_PER_USER: usize = 16;
/// Most of all users.
const MAX_WATCHES: usize = 4096;

/// The read-only status service.
#[derive(Clone, Debug)]
pub(crate) struct StatusServer {
    identities: Arc<Identities>,
    guard: Arc<Guard>,
    registry: Arc<Registry>,
    watches: Arc<Admission<UserId>>,
    life: Life,
}

impl StatusServer {
    pub(crate) fn new(
        identities: Arc<Identities>,
        guard: Arc<Guard>,
        registry: Arc<Registry>,
        life: &Life,
    ) -> Self {
        Self {
            identities,
            guard,
            registry,
            // Apart from the requests: a watch is nothing that a relay waits for when it leaves.
            watches: Admission::new(MAX_WATCHES_PER_USER, MAX_WATCHES),
            life: life.clone(),
        }
    }

    async fn caller<T>(&self, request: &Request<T>) -> Result<Arc<Caller>, Status> {
        let asker = Asker::of(request.extensions());
        // Nothing of the request is borrowed while this waits: its body is not to be shared.
        let token = bearer(request.metadata())?.to_owned();
        let guard = &self.guard;
        let identified = identify(&self.identities, &asker, &token, Kind::Api).await;
        let caller = identified?;
        let within = guard.request(&asker, &Payer::of(&caller));
        within.map_err(|fault| to_status(&fault))?;
        Ok(caller)
    }
}

/// Whose token this is.
pub(crate) async fn identify(
    identities: &Identities,
    asker: &Asker,
    token: &str,
    kind: Kind,
) -> Result<Arc<Caller>, Status> {
    let identified = identities.identify(asker, token, &[kind]).await;
    identified.map_err(|fault| to_status(&fault))
}

/// The token of `authorization: Bearer …` in the metadata of a call.
pub(crate) fn bearer(metadata: &MetadataMap) -> Result<&str, Status> {
    let mut values = metadata.get_all("authorization").iter();
    let value = values.next().ok_or_else(|| {
        Status::unauthenticated("no credential: send `authorization: Bearer <token>`")
    })?;
    if values.next().is_some() {
        return Err(Status::unauthenticated("more than one `authorization`"));
    }
    value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| Status::unauthenticated("`authorization` does not hold a bearer token"))
}

/// Who a grant belongs to.
pub(crate) fn who_am_i(grant: &Grant) -> WhoAmIResponse {
    WhoAmIResponse {
        user: grant.user.subject().to_owned(),
        issuer: grant.user.issuer().to_owned(),
        kind: grant.kind.as_str().to_owned(),
        scopes: grant
            .scopes
            .iter()
            .map(|scope| scope.as_str().to_owned())
            .collect(),
        expires_unix_seconds: unix_seconds(grant.expires_at),
    }
}

/// This user's devices, the one connected last first.
pub(crate) fn devices(registry: &Registry, user: &UserId) -> Vec<Device> {
    registry
        .sessions_of(user)
        .iter()
        .map(|session| Device {
            name: session.device.to_string(),
            session_id: session.id.clone(),
            connected_unix_seconds: unix_seconds(session.connected_at),
            build: session.build.clone(),
            active_streams: u32::try_from(session.link.active_streams()).unwrap_or(u32::MAX),
            total_streams: session.link.total_streams(),
            is_draining: is_draining(session),
        })
        .collect()
}

/// The same with all that REST tells, and the devices that were here. Where an agent is, not every credential may know: a
/// key lies in places that its owner's address does not.
pub(crate) fn describe_devices(
    registry: Option<&Registry>,
    user: &UserId,
    known: &[KnownDevice],
    shows_addresses: bool,
) -> Value {
    let sessions = registry.map(|registry| registry.sessions_of(user));
    let sessions = sessions.unwrap_or_default();
    let label_of = |name: &DeviceName| {
        let known = known.iter().find(|known| known.device == *name);
        known.and_then(|known| known.label.as_deref())
    };
    let connected: Vec<_> = sessions
        .iter()
        .map(|session| {
            json!({
                "name": session.device.as_str(),
                "label": label_of(&session.device),
                "session_id": session.id,
                "connected_unix_seconds": unix_seconds(session.connected_at),
                "build": session.build,
                "transport": session.transport,
                "address": shows_addresses.then(|| session.address.to_string()),
                "active_streams": session.link.active_streams(),
                "total_streams": session.link.total_streams(),
                "is_draining": is_draining(session),
            })
        })
        .collect();
    let is_away = |known: &&KnownDevice| !sessions.iter().any(|own| own.device == known.device);
    let offline: Vec<_> = known
        .iter()
        .filter(is_away)
        .map(|known| {
            json!({
                "name": known.device.as_str(),
                "label": known.label,
                "last_seen_unix_seconds": unix_seconds(known.seen_at),
            })
        })
        .collect();
    json!({ "devices": connected, "offline": offline })
}

pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[tonic::async_trait]
impl StatusService for StatusServer {
    async fn who_am_i(
        &self,
        request: Request<WhoAmIRequest>,
    ) -> Result<Response<WhoAmIResponse>, Status> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(who_am_i(&caller.grant)))
    }

    async fn list_devices(
        &self,
        request: Request<ListDevicesRequest>,
    ) -> Result<Response<ListDevicesResponse>, Status> {
        let caller = self.caller(&request).await?;
        let devices = devices(&self.registry, &caller.user);
        Ok(Response::new(ListDevicesResponse { devices }))
    }

    type WatchDevicesStream = Watch;

    async fn watch_devices(
        &self,
        request: Request<WatchDevicesRequest>,
    ) -> Result<Response<Watch>, Status> {
        let caller = self.caller(&request).await?;
        let permit = self.watches.admit(&caller.user).map_err(|full| {
            let message = match full {
                Full::OfThisKey => "as many watches of this user are open as may be",
                Full::OfAll => "the relay has as many watches open as it takes",
            };
            let code = match full {
                Full::OfThisKey => Code::ResourceExhausted,
                Full::OfAll => Code::Unavailable,
            };
            Status::new(code, message)
        })?;
        let (sender, receiver) = mpsc::channel(1);
        let registry = Arc::clone(&self.registry);
        let stage = self.life.stage.clone();
        let standing = Standing::new(&self.identities, caller);
        self.life.tracker.spawn(async move {
            let watching = watch(&registry, standing, sender);
            tokio::select! {
                () = watching => {}
                () = stage.left() => {}
            }
            drop(permit);
        });
        Ok(Response::new(Watch(receiver)))
    }
}

/// Sends the list whenever which devices there are has changed. Slow readers see the newest list, not every one. Ends
/// when the reader leaves, or the credential runs out or is revoked.
async fn watch(
    registry: &Registry,
    mut standing: Standing,
    sender: mpsc::Sender<Result<WatchDevicesResponse, Status>>,
) {
    let mut changes = registry.watch();
    let caller = Arc::clone(standing.caller());
    let grant = &caller.grant;
    // The same leeway as at the door.
    let left = (grant.expires_at + LEEWAY)
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    let mut expiry = std::pin::pin!(tokio::time::sleep(left));
    let mut sent: Option<Vec<(String, bool)>> = None;
    loop {
        changes.mark_unchanged();
        let devices = devices(registry, &grant.user);
        let shape: Vec<_> = devices
            .iter()
            .map(|d| (d.session_id.clone(), d.is_draining))
            .collect();
        if sent.as_ref() != Some(&shape) {
            sent = Some(shape);
            if sender
                .send(Ok(WatchDevicesResponse { devices }))
                .await
                .is_err()
            {
                return;
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
            () = &mut expiry => {
                // If nobody reads any more, nobody needs to know.
                drop(sender.send(Err(Status::unauthenticated("the token has run out"))).await);
                return;
            }
            error = standing.revoked() => {
                drop(sender.send(Err(Status::unauthenticated(error.to_string()))).await);
                return;
            }
        }
    }
}

/// The answers of one `WatchDevices` call.
#[derive(Debug)]
pub(crate) struct Watch(mpsc::Receiver<Result<WatchDevicesResponse, Status>>);

impl Stream for Watch {
    type Item = Result<WatchDevicesResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}
