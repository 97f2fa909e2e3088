//! Thousands of interleaved exchanges of users whose devices and request ids have the same names, while callers leave
//! and agents come and go.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use c2l_testkit::{Answer, Caller, Dice, PATIENCE, TestAgent, TestRelay, TestUpstream, within};
use serde_json::{Value, json};
use tokio::{sync::Mutex, task::JoinSet};

use super::caller;

const USERS: [&str; 4] = ["ada", "bob", "Ada", "eve"];
const DEVICES: [&str; 2] = ["laptop", "desk"];
const EXCHANGES: u64 = 3_000;
const WORKERS: u64 = 64;
const RECONNECTS: u64 = 60;

/// What came of the exchanges.
#[derive(Debug, Default)]
struct Tally {
    whole: AtomicU64,
    left: AtomicU64,
    refused: AtomicU64,
    torn: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One machine of one user.
struct Machine {
    user: &'static str,
    device: &'static str,
    upstream: TestUpstream,
    agent: Mutex<Option<TestAgent>>,
}

impl Machine {
    async fn start(relay: &TestRelay, user: &'static str, device: &'static str) -> Self {
        let upstream = TestUpstream::named(&format!("{user}/{device}")).await;
        let machine = Self {
            user,
            device,
            upstream,
            agent: Mutex::default(),
        };
        machine.connect(relay).await;
        machine
    }

    /// Opens a session; the one before it, if still there, is taken over from.
    async fn connect(&self, relay: &TestRelay) {
        let address = self.upstream.address();
        let agent = TestAgent::connect_with(relay, self.user, address, |config| {
            config.device_name = self.device.to_owned();
        });
        let agent = agent.await;
        self.agent.lock().await.replace(agent);
    }

    /// Ends the session as a crash would.
    async fn crash(&self) {
        if let Some(agent) = self.agent.lock().await.take() {
            agent.kill().await;
        }
    }
}

/// One request, and all that its answer may say.
struct Question {
    caller: Caller,
    user: &'static str,
    device: Option<&'static str>,
    is_device_in_path: bool,
    request_id: String,
    prompt: String,
    /// Leaves after this many pieces of the answer; with 0 before its head.
    leaves_after: Option<u64>,
}

impl Question {
    fn new(relay: &TestRelay, dice: &mut Dice) -> Self {
        let user = *dice.pick(&USERS);
        let device = dice.happens(60).then(|| *dice.pick(&DEVICES));
        let mut prompt = format!("from-{user} {:016x}", dice.roll());
        for _ in 0..dice.below(16) {
            let length = usize::try_from(dice.below(300) + 1).expect("small");
            prompt.push(' ');
            prompt.push_str(&dice.pick(&["a", "b", "c"]).repeat(length));
        }
        Self {
            caller: caller(relay, user),
            user,
            device,
            is_device_in_path: dice.happens(50),
            // Few, so that the same ids are under way for several users at once.
            request_id: format!("request-{}", dice.below(8)),
            prompt,
            leaves_after: dice.happens(15).then(|| dice.below(4)),
        }
    }

    fn request(&self) -> http::Request<c2l_testkit::RequestBody> {
        let path = match self.device {
            Some(device) if self.is_device_in_path => format!("/d/{device}/api/chat"),
            _ => "/api/chat".to_owned(),
        };
        let body = json!({
            "model": "tiny+echo",
            "messages": [{ "role": "user", "content": self.prompt }],
        });
        let mut request = self.caller.json(&path, &body);
        let headers = request.headers_mut();
        let id = self.request_id.parse().expect("a value");
        headers.insert("x-request-id", id);
        if let (Some(device), false) = (self.device, self.is_device_in_path) {
            headers.insert("x-c2l-device", device.parse().expect("a value"));
        }
        request
    }

    async fn ask(&self, tally: &Tally) {
        let exchange = self.caller.try_send(self.request());
        if self.leaves_after == Some(0) {
            // Polled for a moment, then dropped: whatever stage it is in by then.
            _ = tokio::time::timeout(std::time::Duration::from_millis(1), exchange).await;
            return count(&tally.left);
        }
        let answer = exchange.await.expect("the relay answers");
        assert_eq!(answer.header("x-request-id"), self.request_id);
        match answer.status().as_u16() {
            200 => self.listen(answer, tally).await,
            // The device was away: none connected, this one not connected, lost before the answer began.
            404 | 502 | 503 => {
                let body = answer.text().await;
                self.assert_names_nobody_else(&body);
                count(&tally.refused);
            }
            status => panic!("{status}: {}", answer.text().await),
        }
    }

    async fn listen(&self, mut answer: Answer, tally: &Tally) {
        let device = answer.header("x-c2l-device").to_owned();
        assert!(self.device.is_none_or(|asked| asked == device), "{device}");
        let expected = format!("{}/{device} heard: {}", self.user, self.prompt);
        let mut received = Vec::new();
        let mut pieces = 0;
        let is_whole = loop {
            if self.leaves_after.is_some_and(|after| pieces >= after) {
                assert_said(&received, &expected, false);
                return count(&tally.left);
            }
            match answer.piece().await {
                Ok(Some(piece)) => received.extend_from_slice(&piece),
                Ok(None) => break true,
                Err(_) => break false,
            }
            pieces += 1;
        };
        assert_said(&received, &expected, is_whole);
        count(if is_whole { &tally.whole } else { &tally.torn });
    }

    fn assert_names_nobody_else(&self, text: &str) {
        for user in USERS.iter().filter(|user| **user != self.user) {
            assert!(!text.contains(&format!("from-{user}")), "{text}");
            assert!(!text.contains(&format!("{user}/")), "{text}");
        }
    }
}

/// True for an error record, and for what has come of one.
fn is_record(line: &[u8]) -> bool {
    let record = serde_json::from_slice::<Value>(line);
    record.map_or(!line.ends_with(b"\n"), |record| {
        record.get("error").is_some()
    })
}

/// Asserts that these lines say the text, or the beginning of it where the answer is not whole.
fn assert_said(received: &[u8], expected: &str, is_whole: bool) {
    let mut said = String::new();
    let mut is_done = false;
    let mut lines = received.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        if !line.ends_with(b"\n") || line == b"\n" {
            continue; // torn inside a line, and the line end before an error record
        }
        let Ok(line) = serde_json::from_slice::<Value>(line) else {
            // Torn inside a line as well, where the line end before the error record has made it one.
            let is_torn = lines.peek().is_none_or(|next| is_record(next));
            let text = String::from_utf8_lossy(received);
            assert!(!is_whole && is_torn, "no line of JSON: {text}");
            continue;
        };
        if line.get("error").is_some() {
            assert!(!is_whole, "{line}");
            continue;
        }
        said.push_str(line["message"]["content"].as_str().expect("content"));
        is_done |= line["done"] == true;
    }
    if is_whole {
        assert!(is_done, "a torn answer looks whole: {said:?}");
        assert_eq!(said, expected);
    } else {
        assert!(expected.starts_with(&said), "{said:?} is not {expected:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn iso_01_no_byte_crosses_between_users_with_the_same_device_names_and_request_ids() {
    let seed = Dice::seed();
    println!("C2L_TEST_SEED={seed}");
    let mut dice = Dice::new(seed);
    let relay = Arc::new(TestRelay::start().await);
    let mut machines = Vec::new();
    for user in USERS {
        for device in DEVICES {
            machines.push(Machine::start(&relay, user, device).await);
        }
    }
    let machines = Arc::new(machines);
    let tally = Arc::new(Tally::default());
    let next = Arc::new(AtomicU64::new(0));

    let mut crowd = JoinSet::new();
    for _ in 0..WORKERS {
        let (relay, tally, next) = (Arc::clone(&relay), Arc::clone(&tally), Arc::clone(&next));
        let mut dice = Dice::new(dice.roll());
        crowd.spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < EXCHANGES {
                Question::new(&relay, &mut dice).ask(&tally).await;
            }
        });
    }
    {
        let (relay, machines, next) = (Arc::clone(&relay), Arc::clone(&machines), next);
        let mut dice = Dice::new(dice.roll());
        // One reconnect each so many exchanges, whatever the speed of the machine.
        crowd.spawn(async move {
            for turn in 1..RECONNECTS {
                while next.load(Ordering::Relaxed) < turn * EXCHANGES / RECONNECTS {
                    tokio::task::yield_now().await;
                }
                let machine = dice.pick(&machines);
                if dice.happens(50) {
                    machine.crash().await;
                }
                machine.connect(&relay).await;
            }
        });
    }
    let limit = PATIENCE * 18; // 3,000 exchanges, on a machine that may be busy with others
    within(limit, "every exchange ends", crowd.join_all()).await;

    println!("{tally:?}");
    assert_nobody_elses_prompts(&machines);
    let whole = tally.whole.load(Ordering::Relaxed);
    assert!(whole > EXCHANGES / 2, "too few to say anything: {tally:?}");
}

/// Asserts that each upstream has received the prompts of its own user alone.
fn assert_nobody_elses_prompts(machines: &[Machine]) {
    for machine in machines {
        let own = format!("from-{} ", machine.user);
        let recorded = machine.upstream.demo.recorded();
        assert!(!recorded.is_empty(), "{}/{}", machine.user, machine.device);
        for request in recorded {
            let body = request.body.unwrap_or_default();
            let body = String::from_utf8_lossy(&body);
            let is_own = !body.contains("from-") || body.contains(&own);
            assert!(is_own, "at {}: {body}", machine.user);
        }
    }
}
