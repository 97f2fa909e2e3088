//! What changes state in a real Ollama: blobs, pull, push, create, copy, delete. Here nothing is stored but the digests
//! of blobs that were uploaded.
//!
//! A blob's digest carries its switch, since there is no model name on that route: see [`KNOWN_BLOB`],
//! [`MISMATCHED_BLOB`] and [`early_blob`].

use std::collections::HashSet;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::Demo;
use crate::answer::{Answer, NATIVE_JSON, Refusal, Shape, with_body_unread};
use crate::ask::Ask;
use crate::catalogue::{DIGEST, LAYER_BYTES};
use crate::inference::read_ask;
use crate::json::{json, written};
use crate::recorder::{Ended, Exchange, Stage, lock};
use crate::stream::{Dialect, Lines, Paced};
use crate::switches::{Fault, FaultKind, Model, ModelError, Switches};
use crate::text::Text;

/// A blob that the server has from the start: HEAD finds it, and POST answers `200` without reading the body.
pub const KNOWN_BLOB: &str =
    "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A blob whose upload is read to its end and then refused with `400`, as if the digest did not match.
pub const MISMATCHED_BLOB: &str =
    "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

/// The digest of a blob whose upload is answered with this status (400 to 599) after the first piece of its body,
/// while the rest is still coming.
pub fn early_blob(status: u16) -> String {
    format!("sha256:{status:03}{:061}", 0)
}

/// Digests of uploaded blobs; the oldest ones need not be remembered, only not all of them for ever.
const MOST_BLOBS: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct Blobs(Mutex<HashSet<String>>);

impl Blobs {
    pub(crate) fn forget_all(&self) {
        lock(&self.0).clear();
    }

    fn is_known(&self, digest: &str) -> bool {
        digest == KNOWN_BLOB || lock(&self.0).contains(digest)
    }

    fn add(&self, digest: &str) {
        let mut blobs = lock(&self.0);
        if blobs.len() >= MOST_BLOBS {
            blobs.clear();
        }
        blobs.insert(digest.to_owned());
    }
}

/// HEAD and POST `/api/blobs/:digest`.
pub(crate) async fn blob(
    demo: Demo,
    mut exchange: Exchange,
    request: Request<Incoming>,
    digest: String,
) -> Answer {
    // Ollama takes both separators and checks nothing else about the name than this.
    let is_digest = digest
        .strip_prefix("sha256:")
        .or_else(|| digest.strip_prefix("sha256-"))
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !is_digest {
        return exchange.refuse(
            Shape::Native,
            &Refusal::bad_request("invalid digest format"),
        );
    }
    let is_known = demo.blobs().is_known(&digest);
    if request.method() == Method::HEAD {
        return exchange.empty(if is_known {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        });
    }
    if is_known {
        // The body is not polled: that alone keeps the server library from answering `100 Continue`.
        return with_body_unread(exchange.empty(StatusCode::OK));
    }
    let early = early_status(&digest);
    let mut body = request.into_body();
    exchange.enter(Stage::Uploading);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            exchange.ended(Ended::CallerLeft);
            return exchange.refuse(Shape::Native, &Refusal::bad_request("unexpected EOF")); // written to nobody
        };
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        exchange.body_piece(&piece);
        if let Some(status) = early {
            exchange.enter(Stage::Answering);
            let answer = exchange.refuse(Shape::Native, &Refusal::of_status(status));
            return if body.is_end_stream() {
                answer
            } else {
                with_body_unread(answer)
            };
        }
    }
    exchange.body_complete();
    if digest == MISMATCHED_BLOB {
        let message = format!("digest mismatch, expected {MISMATCHED_BLOB:?}, got {KNOWN_BLOB:?}");
        return exchange.refuse(Shape::Native, &Refusal::bad_request(message));
    }
    demo.blobs().add(&digest);
    exchange.empty(StatusCode::CREATED)
}

fn early_status(digest: &str) -> Option<StatusCode> {
    let (status, zeros) = digest.get(7..)?.split_at_checked(3)?;
    let status = status
        .parse()
        .ok()
        .filter(|status| (400..600).contains(status))?;
    if zeros.bytes().all(|byte| byte == b'0') {
        StatusCode::from_u16(status).ok()
    } else {
        None
    }
}

/// Which progress stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    Pull,
    Push,
    Create,
}

/// POST `/api/pull`, `/api/push`, `/api/create`.
pub(crate) async fn transfer(
    demo: Demo,
    exchange: Exchange,
    request: Request<Incoming>,
    transfer: Transfer,
) -> Answer {
    let (mut exchange, ask) = match read_ask(&demo, exchange, request, Shape::Native).await {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    let name = ask
        .model
        .as_deref()
        .or(ask.name.as_deref())
        .unwrap_or_default();
    let (mut switches, exists) = match Model::parse(name) {
        Ok(model) => (model.switches, true),
        // Any name will do for a model that is made here or sent away.
        Err(ModelError::NotFound(_)) => (Switches::default(), transfer != Transfer::Pull),
        Err(error) => return exchange.refuse(Shape::Native, &error.into()),
    };
    if let Some(status) = switches.status {
        return exchange.refuse(Shape::Native, &Refusal::of_status(status));
    }
    if !exists {
        switches.fault = Some(Fault {
            after: 1,
            kind: FaultKind::Error,
        });
    }
    let lines = progress(transfer, &ask, switches.lines.unwrap_or(4).min(MOST_STEPS));
    if ask.stream == Some(false) {
        return if exists {
            exchange.answer(
                StatusCode::OK,
                NATIVE_JSON,
                written(|out| json!(out, {"status": "success"})),
            )
        } else {
            exchange.refuse(
                Shape::Native,
                &Refusal {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    message: NO_MANIFEST.to_owned(),
                },
            )
        };
    }
    exchange.enter(Stage::Transferring);
    let total = lines.len() as u64;
    let dialect = Box::new(Progress {
        lines: lines.into_iter(),
    });
    Paced::lines(
        exchange,
        None,
        &switches,
        Lines {
            dialect,
            text: Text::Paragraph,
            total,
            gap: demo.config().line_interval,
        },
    )
}

/// The lines of a progress stream are made in advance.
const MOST_STEPS: u64 = 100_000;

const NO_MANIFEST: &str = "pull model manifest: file does not exist";

/// The lines before `success`; `steps` of them count the bytes of the layer.
fn progress(transfer: Transfer, ask: &Ask, steps: u64) -> Vec<Bytes> {
    let status = |status: &str| written(|out| json!(out, {"status": status}));
    let digest = format!("sha256:{DIGEST}");
    let layer = |verb: &str| {
        let status = format!("{verb} {}", &DIGEST[..12]);
        let start =
            written(|out| json!(out, {"status": status, "digest": digest, "total": LAYER_BYTES}));
        let step = |step| {
            let completed = LAYER_BYTES * step / steps.max(1);
            written(
                |out| json!(out, {"status": status, "digest": digest, "total": LAYER_BYTES, "completed": completed}),
            )
        };
        std::iter::once(start)
            .chain((1..=steps).map(step))
            .collect::<Vec<_>>()
    };
    match transfer {
        Transfer::Pull => [
            vec![status("pulling manifest")],
            layer("pulling"),
            vec![
                status("verifying sha256 digest"),
                status("writing manifest"),
            ],
        ]
        .concat(),
        Transfer::Push => [
            vec![status("retrieving manifest")],
            layer("pushing"),
            vec![status("pushing manifest")],
        ]
        .concat(),
        Transfer::Create => {
            let first = if ask.files.is_some() {
                "parsing GGUF".to_owned()
            } else {
                format!("using existing layer {digest}")
            };
            vec![
                status(&first),
                status(&format!("creating new layer {digest}")),
                status("writing manifest"),
            ]
        }
    }
}

struct Progress {
    lines: std::vec::IntoIter<Bytes>,
}

impl Dialect for Progress {
    fn token(&mut self, _: u64, _: &str, out: &mut BytesMut) {
        if let Some(line) = self.lines.next() {
            out.extend_from_slice(&line);
            out.extend_from_slice(b"\n");
        }
    }

    fn close(&mut self, _: u64, out: &mut BytesMut) {
        out.extend_from_slice(b"{\"status\":\"success\"}\n");
    }

    fn error(&mut self, _: u64, out: &mut BytesMut) {
        json!(out, {"error": NO_MANIFEST});
        out.extend_from_slice(b"\n");
    }

    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }
}

/// POST `/api/copy`: `200` and nothing else.
pub(crate) async fn copy(demo: Demo, exchange: Exchange, request: Request<Incoming>) -> Answer {
    let (exchange, ask) = match read_ask(&demo, exchange, request, Shape::Native).await {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    let source = ask.source.unwrap_or_default();
    match (Model::parse(&source), ask.destination.as_deref()) {
        (_, None | Some("")) => exchange.refuse(
            Shape::Native,
            &Refusal::bad_request("destination \"\" is invalid"),
        ),
        (Err(ModelError::NotFound(_)), _) => exchange.refuse(
            Shape::Native,
            &Refusal::not_found(format!("model {source:?} not found")),
        ),
        (Err(error), _) => exchange.refuse(Shape::Native, &error.into()),
        (Ok(_), _) => exchange.empty(StatusCode::OK),
    }
}

/// DELETE `/api/delete`, with a JSON body: `200` and nothing else.
pub(crate) async fn delete(demo: Demo, exchange: Exchange, request: Request<Incoming>) -> Answer {
    let (exchange, ask) = match read_ask(&demo, exchange, request, Shape::Native).await {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    match ask.model() {
        Ok(_) => exchange.empty(StatusCode::OK),
        Err(refusal) => exchange.refuse(Shape::Native, &refusal),
    }
}

/// How long a caller of `/v1/audio/transcriptions` would wait is not played: the text comes at once.
pub(crate) async fn transcribe(
    demo: Demo,
    mut exchange: Exchange,
    request: Request<Incoming>,
) -> Answer {
    let body = request.into_body();
    match crate::ask::bytes(&mut exchange, body, demo.config().body_limit_bytes, false).await {
        Ok(_) => {
            let text = crate::text::answer_text(demo.config().default_tokens);
            exchange.compatible(|out| json!(out, {"text": text}))
        }
        Err(unread) => crate::inference::unread_answer(exchange, Shape::OpenAi, unread),
    }
}
