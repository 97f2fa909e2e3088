//! One request: what is planned for it, its caller and its upstream. Each byte says whose it is.

use std::{future::poll_fn, rc::Rc, time::Duration};

use bytes::Bytes;
use c2l_tunnel::{Answer, Fault, Kind, Origin, RequestHead, ResponseHead, Scopes, StreamHandle};
use http::{HeaderMap, Method, StatusCode, uri::PathAndQuery};
use tokio::time::{Instant, sleep, timeout};

use super::{random::Random, session::LIMIT, world::World};

/// Longer than a limit, so that it fires; what timers round up by.
const TOO_LONG: Duration = Duration::from_secs(40);
const ROUNDING: Duration = Duration::from_millis(5);
/// With an upload, credit counts as movement, and the caller does not see it: a window of it comes in quarters.
const WITH_UPLOAD: u32 = 6;

#[derive(Clone, Debug)]
pub struct Plan {
    number: u64,
    request_bytes: usize,
    answer_bytes: usize,
    think: Duration,
    pause: Duration,
    /// The upstream breaks off there.
    breaks_at: Option<usize>,
    /// The upstream answers without reading the request.
    is_request_ignored: bool,
    /// The caller goes after so long.
    patience: Option<Duration>,
}

impl Plan {
    pub fn of(seed: u64, number: u64) -> Self {
        let mut random = Random::of(seed, number);
        let size = |random: &mut Random| match random.below(4) {
            0 => 0,
            1 => random.bytes_below(300),
            2 => random.bytes_below(20_000),
            _ => random.bytes_below(600_000),
        };
        let answer_bytes = size(&mut random);
        Self {
            number,
            request_bytes: if random.one_in(3) {
                size(&mut random)
            } else {
                0
            },
            answer_bytes,
            think: if random.one_in(15) {
                TOO_LONG
            } else {
                random.between(0, 4_000)
            },
            pause: if random.one_in(30) {
                TOO_LONG
            } else {
                random.between(0, 300)
            },
            breaks_at: random
                .one_in(12)
                .then(|| random.bytes_below(answer_bytes + 1)),
            is_request_ignored: random.one_in(10),
            patience: random.one_in(12).then(|| random.between(1, 15_000)),
        }
    }

    /// One that meets no trouble but the network's.
    pub fn easy(number: u64) -> Self {
        Self {
            number,
            request_bytes: 100,
            answer_bytes: 10_000,
            think: Duration::ZERO,
            pause: Duration::ZERO,
            breaks_at: None,
            is_request_ignored: false,
            patience: None,
        }
    }

    /// Eight bytes at this place. Up and down differ, as do two requests.
    fn word(&self, is_answer: bool, place: usize) -> [u8; 8] {
        let owner = self.number << 1 | u64::from(is_answer);
        let mixed = owner.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ place as u64;
        mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9).to_le_bytes()
    }

    fn bytes(&self, is_answer: bool, from: usize, length: usize) -> Bytes {
        let (first, end) = (from / 8, (from + length).div_ceil(8));
        let mut bytes = Vec::with_capacity(8 * (end - first));
        for place in first..end {
            bytes.extend_from_slice(&self.word(is_answer, place));
        }
        let skipped = from - 8 * first;
        Bytes::from(bytes).slice(skipped..skipped + length)
    }

    fn check(&self, is_answer: bool, from: usize, piece: &[u8]) {
        assert_eq!(
            piece,
            self.bytes(is_answer, from, piece.len()),
            "request {}: other bytes than were sent for it, from {from}",
            self.number
        );
    }

    fn head(&self) -> RequestHead {
        RequestHead {
            method: Method::POST,
            target: PathAndQuery::from_static("/api/chat"),
            headers: HeaderMap::new(),
            is_whole: self.request_bytes == 0,
            expects_continue: false,
            request_id: self.number.to_string(),
            models: Vec::new(),
            scopes: Scopes::default(),
        }
    }
}

/// How a request ended for its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Whole,
    Told(Kind),
    /// The caller did not wait.
    Left,
}

/// Asks as a caller of the relay does, to the end.
pub async fn ask(world: &World, plan: &Plan) -> Outcome {
    let Some(link) = world.session() else {
        return Outcome::Told(Kind::AgentOffline);
    };
    let handle = match link.open(plan.head(), world.relay_clock.now()) {
        Ok(handle) => handle,
        Err(fault) => return Outcome::Told(fault.kind),
    };
    let mut moved_at = Instant::now();
    let exchange = async {
        let sending = async {
            send(world, plan, &handle, false, plan.request_bytes).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            ended = take(world, plan, &handle, &mut moved_at) => ended,
            () = sending => unreachable!("it waits for the answer"),
        }
    };
    let patience = plan.patience.unwrap_or(Duration::MAX);
    let outcome = match timeout(patience, exchange).await {
        Err(_) => Outcome::Left,
        Ok(Ok(())) => Outcome::Whole,
        Ok(Err(fault)) => Outcome::Told(fault.kind),
    };
    let waited = moved_at.elapsed();
    let most = match plan.request_bytes {
        0 => LIMIT + ROUNDING,
        _ => WITH_UPLOAD * LIMIT,
    };
    assert!(
        waited <= most,
        "request {}: nothing for {waited:?}, and then {outcome:?}",
        plan.number
    );
    outcome
}

/// Takes the answer and holds every byte against the plan. What ends well is whole.
async fn take(
    world: &World,
    plan: &Plan,
    handle: &StreamHandle,
    moved_at: &mut Instant,
) -> Result<(), Fault> {
    while let Answer::Continue = poll_fn(|cx| handle.poll_answer(cx)).await? {}
    *moved_at = Instant::now();
    let mut taken = 0;
    let now = || world.relay_clock.now();
    while let Some(piece) = poll_fn(|cx| handle.poll_body(now(), cx)).await? {
        *moved_at = Instant::now();
        plan.check(true, taken, &piece);
        taken += piece.len();
    }
    let number = plan.number;
    assert_eq!(
        plan.breaks_at, None,
        "request {number}: torn, and looks whole"
    );
    assert_eq!(
        taken, plan.answer_bytes,
        "request {number}: torn, and looks whole"
    );
    Ok(())
}

/// Sends so many bytes of a body and, unless it fails, its end. A failure shows where the answer is awaited.
async fn send(world: &World, plan: &Plan, handle: &StreamHandle, is_answer: bool, length: usize) {
    let clock = match is_answer {
        true => &world.agent_clock,
        false => &world.relay_clock,
    };
    let mut sent = 0;
    while sent < length {
        let Ok(room) = poll_fn(|cx| handle.poll_capacity(cx)).await else {
            return;
        };
        let mut piece = plan.bytes(is_answer, sent, room.min(length - sent).min(30_000));
        let before = piece.len();
        if handle.send_body(&mut piece, clock.now()).is_err() {
            return;
        }
        sent += before - piece.len();
    }
    if is_answer && plan.breaks_at.is_some() {
        handle.break_off(Fault::new(Kind::UpstreamFailed, Origin::Upstream, "broken"));
    } else if handle.send_end(HeaderMap::new()).is_err() {
        // it failed meanwhile
    }
}

/// Answers as an agent and its upstream do.
pub async fn serve(world: Rc<World>, head: Box<RequestHead>, handle: StreamHandle) {
    let number = head.request_id.parse().expect("a number");
    let plan = world.plan(number);
    world.note_seen(number);
    let work = async {
        tokio::join!(read(&world, &plan, &handle), answer(&world, &plan, &handle));
    };
    // A reset drops the request to the upstream at once.
    tokio::select! {
       biased;
        _fault = poll_fn(|cx| handle.poll_fault(cx)) => {}
        () = work => {}
    }
}

async fn read(world: &World, plan: &Plan, handle: &StreamHandle) {
    let mut taken = 0;
    if plan.is_request_ignored || plan.request_bytes == 0 {
        return;
    }
    loop {
        match poll_fn(|cx| handle.poll_body(world.agent_clock.now(), cx)).await {
            Ok(Some(piece)) => {
                plan.check(false, taken, &piece);
                taken += piece.len();
            }
            Ok(None) => {
                let number = plan.number;
                assert_eq!(taken, plan.request_bytes, "upload {number}: looks whole");
                return;
            }
            Err(_) => return,
        }
    }
}

async fn answer(world: &World, plan: &Plan, handle: &StreamHandle) {
    sleep(plan.think).await;
    let head = ResponseHead {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        is_whole: plan.answer_bytes == 0 && plan.breaks_at.is_none(),
        model: String::new(),
    };
    let is_whole = head.is_whole;
    if handle.answer(head).is_err() || is_whole {
        return;
    }
    sleep(plan.pause).await;
    let length = plan.breaks_at.unwrap_or(plan.answer_bytes);
    send(world, plan, handle, true, length).await;
}
