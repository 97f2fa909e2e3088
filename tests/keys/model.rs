//! Random users, devices, tokens, keys, revocations, reconnects and requests, against a model of who may see what.
//!
//! The model is small: a list of credentials with whether each counts, and which devices are connected. After every
//! step the relay must do as it says: no answer from anybody else's machine, nothing for what was taken back, no
//! refusal of what was not. The seed is printed; `C2L_SEED` and `C2L_STEPS` repeat or lengthen a run.

use std::{collections::BTreeMap, env};

use c2l_testkit::{Caller, Dice, TestAgent, TestRelay, TestUpstream, empty, full, tokens};
use http::Method;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::Account;

const USERS: [&str; 4] = ["ada", "bob", "Ada", "\u{430}da"];
/// Everybody's devices are called alike.
const DEVICES: [&str; 2] = ["desk", "laptop"];
const STEPS: u64 = 3000;

#[derive(Clone, Debug)]
enum Name {
    Token,
    Key(String),
}

#[derive(Clone, Debug)]
struct Credential {
    text: String,
    user: &'static str,
    name: Name,
    device: Option<&'static str>,
    counts: bool,
}

/// A machine: its upstream stays, its agent comes and goes.
struct Machine {
    upstream: TestUpstream,
    agent: Option<TestAgent>,
}

#[derive(Default)]
struct Tally {
    answered: u64,
    refused: u64,
    nowhere: u64,
    revocations: u64,
    reconnects: u64,
}

struct World {
    relay: TestRelay,
    dice: Dice,
    machines: BTreeMap<(&'static str, &'static str), Machine>,
    credentials: Vec<Credential>,
    tally: Tally,
}

/// What a request must be answered.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// 200, by this user's machine; by this device, where it is said.
    Answer(&'static str, Option<&'static str>),
    Refused,
    NoSuchDevice,
    Offline,
}

impl World {
    async fn new(seed: u64) -> Self {
        let relay = TestRelay::start().await;
        let mut machines = BTreeMap::new();
        for user in USERS {
            for device in DEVICES {
                let upstream = TestUpstream::named(&format!("{user}/{device}")).await;
                let agent = None;
                machines.insert((user, device), Machine { upstream, agent });
            }
        }
        let mut world = Self {
            relay,
            dice: Dice::new(seed),
            machines,
            credentials: Vec::new(),
            tally: Tally::default(),
        };
        for user in USERS {
            world.connect(user, "desk").await;
            world.issue(user, None);
        }
        world
    }

    async fn step(&mut self) {
        let user = *self.dice.pick(&USERS);
        match self.dice.index(100) {
            0..60 => self.request().await,
            60..70 => self.burst().await,
            70..76 => {
                let device = self.bound();
                self.issue(user, device);
            }
            76..82 => self.make_key(user).await,
            82..88 => self.revoke_one().await,
            88..90 => self.rotate_one().await,
            90..91 => self.sign_out(user).await,
            91..93 => {
                let device = *self.dice.pick(&DEVICES);
                self.remove_device(user, device).await;
            }
            _ => {
                let device = *self.dice.pick(&DEVICES);
                self.connect(user, device).await;
            }
        }
    }

    fn bound(&mut self) -> Option<&'static str> {
        self.dice.happens(30).then(|| *self.dice.pick(&DEVICES))
    }

    fn account(&self, user: &str) -> Account {
        Account::of(&self.relay, user)
    }

    fn issue(&mut self, user: &'static str, device: Option<&'static str>) {
        let mut token = tokens::api(user);
        if let Some(device) = device {
            token = token.bound_to(device);
        }
        self.credentials.push(Credential {
            text: self.relay.sign(&token),
            user,
            name: Name::Token,
            device,
            counts: true,
        });
    }

    async fn make_key(&mut self, user: &'static str) {
        let device = self.bound();
        let (text, id) = self.account(user).make(json!({ "device": device })).await;
        self.credentials.push(Credential {
            text,
            user,
            name: Name::Key(id),
            device,
            counts: true,
        });
    }

    /// A new session of the device, with a fresh token; the one before it, if any, is cut.
    async fn connect(&mut self, user: &'static str, device: &'static str) {
        let token = tokens::agent(user);
        let token = match self.dice.happens(50) {
            true => token.bound_to(device),
            false => token,
        };
        let token = self.relay.sign(&token);
        let machine = self.machines.get_mut(&(user, device)).expect("a machine");
        let upstream = machine.upstream.address();
        let mut agent = TestAgent::start(&self.relay.url(), token, upstream, |config| {
            config.device_name = device.to_owned();
        });
        agent.connected().await;
        if let Some(before) = machine.agent.replace(agent) {
            before.kill().await;
        }
        self.tally.reconnects += 1;
    }

    fn is_connected(&self, user: &'static str, device: &'static str) -> bool {
        self.machines[&(user, device)].agent.is_some()
    }

    /// The sessions of these machines have ended, as the relay said; their agents say so.
    async fn disconnect(&mut self, user: &'static str, device: Option<&'static str>) {
        for name in DEVICES {
            if device.is_none_or(|device| device == name) {
                let machine = self.machines.get_mut(&(user, name)).expect("a machine");
                if let Some(mut agent) = machine.agent.take() {
                    let ended = agent.ended().await.expect_err("it is refused");
                    assert!(ended.to_string().contains("revoked"), "{ended}");
                }
            }
        }
    }

    fn pick(&mut self) -> usize {
        self.dice.index(self.credentials.len())
    }

    async fn revoke_one(&mut self) {
        let picked = self.pick();
        let credential = self.credentials[picked].clone();
        let account = self.account(credential.user);
        // Sometimes somebody else tries it first, and gets nowhere.
        if self.dice.happens(30) {
            let other = *self.dice.pick(&USERS);
            if other != credential.user {
                let status = take_back(&self.account(other), &credential).await;
                assert!(
                    matches!(status, 404 | 400),
                    "{other} took back {credential:?}: {status}"
                );
            }
        }
        let status = take_back(&account, &credential).await;
        if credential.counts {
            assert_eq!(status, 200, "{credential:?}");
            self.tally.revocations += 1;
        }
        self.credentials[picked].counts = false;
        self.expect(picked, None).await;
    }

    async fn rotate_one(&mut self) {
        let picked = self.pick();
        let credential = self.credentials[picked].clone();
        let Name::Key(id) = &credential.name else {
            return;
        };
        let body = json!({ "overlap_seconds": if self.dice.happens(50) { 600 } else { 0 } });
        let path = format!("/relay/v1/keys/{id}/rotate");
        let (status, made) = self.account(credential.user).post(&path, &body).await;
        assert_eq!(status, if credential.counts { 201 } else { 404 }, "{made}");
        if !credential.counts {
            return;
        }
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        self.credentials.push(Credential {
            text: text("key"),
            name: Name::Key(text("id")),
            ..credential
        });
        if body["overlap_seconds"] == 0 {
            self.credentials[picked].counts = false;
            self.tally.revocations += 1;
        }
    }

    async fn sign_out(&mut self, user: &'static str) {
        let keys = self.dice.happens(30);
        let body = json!({ "keys": keys });
        let (status, said) = self.account(user).post("/relay/v1/sign-out", &body).await;
        assert_eq!(status, 200, "{said}");
        for credential in &mut self.credentials {
            let is_key = matches!(credential.name, Name::Key(_));
            if credential.user == user && (keys || !is_key) {
                credential.counts = false;
            }
        }
        self.tally.revocations += 1;
        self.try_some_of(user).await;
        self.disconnect(user, None).await;
        self.issue(user, None);
    }

    async fn remove_device(&mut self, user: &'static str, device: &'static str) {
        let (status, said) = self
            .account(user)
            .delete(&format!("/relay/v1/devices/{device}"))
            .await;
        assert_eq!(status, 200, "{said}");
        for credential in &mut self.credentials {
            if credential.user == user && credential.device == Some(device) {
                credential.counts = false;
            }
        }
        self.tally.revocations += 1;
        self.disconnect(user, Some(device)).await;
        self.try_some_of(user).await;
    }

    /// At once after the answer: what was taken back opens nothing.
    async fn try_some_of(&mut self, user: &'static str) {
        let own: Vec<_> = (0..self.credentials.len())
            .rev()
            .filter(|index| self.credentials[*index].user == user)
            .filter(|index| !self.credentials[*index].counts)
            .take(5)
            .collect();
        for index in own {
            self.expect(index, None).await;
        }
    }

    fn expected(&self, credential: &Credential, named: Option<&'static str>) -> Expected {
        if !credential.counts {
            return Expected::Refused;
        }
        let device = match (credential.device, named) {
            (Some(bound), Some(named)) if bound != named => return Expected::NoSuchDevice,
            (bound, named) => bound.or(named),
        };
        let user = credential.user;
        let is_connected = match device {
            Some(device) => DEVICES.contains(&device) && self.is_connected(user, device),
            None => DEVICES.iter().any(|device| self.is_connected(user, device)),
        };
        match (is_connected, device) {
            (true, device) => Expected::Answer(user, device),
            (false, Some(_)) => Expected::NoSuchDevice,
            (false, None) => Expected::Offline,
        }
    }

    async fn request(&mut self) {
        // Mostly of the newest: the others are taken back in time.
        let recent = self.credentials.len().min(40);
        let picked = match self.dice.happens(70) {
            true => self.credentials.len() - 1 - self.dice.index(recent),
            false => self.pick(),
        };
        let named = match self.dice.index(4) {
            0 => Some(*self.dice.pick(&DEVICES)),
            1 => Some("castle"), // nobody's
            _ => None,
        };
        self.expect(picked, named).await;
    }

    async fn expect(&mut self, picked: usize, named: Option<&'static str>) {
        let credential = self.credentials[picked].clone();
        let expected = self.expected(&credential, named);
        let address = self.relay.address();
        let outcome = ask(Caller::anonymous(address), &credential.text, named).await;
        check(&outcome, &expected, &credential);
        self.count(&expected);
    }

    fn count(&mut self, expected: &Expected) {
        match expected {
            Expected::Answer(..) => self.tally.answered += 1,
            Expected::Refused => self.tally.refused += 1,
            Expected::NoSuchDevice | Expected::Offline => self.tally.nowhere += 1,
        }
    }

    /// Many at once, of everybody, and one who tries what was never a credential.
    async fn burst(&mut self) {
        let mut asking = JoinSet::new();
        for _ in 0..8 {
            let picked = self.pick();
            let credential = self.credentials[picked].clone();
            let expected = self.expected(&credential, None);
            self.count(&expected);
            let caller = Caller::anonymous(self.relay.address());
            asking.spawn(async move {
                let outcome = ask(caller, &credential.text, None).await;
                check(&outcome, &expected, &credential);
            });
        }
        let picked = self.pick();
        let mut never = self.credentials[picked].clone();
        let place = 14 + self.dice.index(8);
        let letter = if never.text.as_bytes()[place] == b'x' {
            "y"
        } else {
            "x"
        };
        never.text.replace_range(place..=place, letter);
        let caller = Caller::anonymous(self.relay.address());
        let outcome = ask(caller, &never.text, None).await;
        check(&outcome, &Expected::Refused, &never);
        while let Some(asked) = asking.join_next().await {
            asked.expect("as the model says");
        }
    }
}

async fn take_back(account: &Account, credential: &Credential) -> u16 {
    match &credential.name {
        Name::Key(id) => account.delete(&format!("/relay/v1/keys/{id}")).await.0,
        Name::Token => {
            let body = json!({ "token": credential.text });
            account.post("/relay/v1/tokens/revoke", &body).await.0
        }
    }
}

/// Status, the device that answered, and the answer.
type Outcome = (u16, String, Value);

async fn ask(caller: Caller, credential: &str, named: Option<&str>) -> Outcome {
    let device = named.map(|name| format!("/d/{name}")).unwrap_or_default();
    let path = format!("/k/{credential}{device}/api/chat");
    let body = json!({
        "model": "tiny+echo", "stream": false, "messages": [{ "role": "user", "content": "whose are you" }],
    });
    let request = caller
        .request(Method::POST, &path)
        .header("content-type", "application/json")
        .body(full(body.to_string()));
    let answer = caller.send(request.expect("a request")).await;
    let device = answer.header("x-c2l-device").to_owned();
    (answer.status().as_u16(), device, answer.json().await)
}

fn check((status, device, body): &Outcome, expected: &Expected, credential: &Credential) {
    match expected {
        Expected::Answer(user, wanted) => {
            assert_eq!(*status, 200, "{credential:?}: {body}");
            let said = body["message"]["content"].as_str().expect("an answer");
            let (owner, _) = said.split_once(" heard: ").expect("a name");
            assert_eq!(owner, format!("{user}/{device}"), "{credential:?}");
            assert!(
                wanted.is_none_or(|wanted| wanted == device),
                "{credential:?}"
            );
        }
        Expected::Refused => assert_eq!(*status, 401, "{credential:?}: {body}"),
        Expected::NoSuchDevice => assert_eq!(*status, 404, "{credential:?}: {body}"),
        Expected::Offline => assert_eq!(*status, 503, "{credential:?}: {body}"),
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_ever_sees_anothers_and_what_was_taken_back_stays_so() {
    let seed = Dice::seed();
    let steps = number("C2L_STEPS").unwrap_or(STEPS);
    println!("C2L_TEST_SEED={seed} C2L_STEPS={steps}");
    let since = Instant::now();
    let mut world = World::new(seed).await;
    for _ in 0..steps {
        world.step().await;
    }
    let Tally {
        answered,
        refused,
        nowhere,
        revocations,
        reconnects,
    } = world.tally;
    println!(
        "{steps} steps in {:?}: {answered} answered, {refused} refused, {nowhere} without a device, \
         {revocations} revocations, {reconnects} connections, {} credentials",
        since.elapsed(),
        world.credentials.len()
    );
    for (what, count) in [
        ("answers", answered),
        ("refusals", refused),
        ("without a device", nowhere),
        ("revocations", revocations),
        ("connections", reconnects),
    ] {
        assert!(count >= steps / 60, "{what}: {count} in {steps} steps");
    }
    // Nothing but requests of the right users ever arrived anywhere: each upstream's count is its user's answers.
    let arrived: u64 = world
        .machines
        .values()
        .map(|machine| machine.upstream.demo.counters().requests_started)
        .sum();
    assert_eq!(arrived, answered);
    let request = Caller::anonymous(world.relay.address()).request(Method::GET, "/api/tags");
    let request = request.body(empty()).expect("a request");
    let stranger = Caller::anonymous(world.relay.address()).send(request).await;
    assert_eq!(stranger.status(), 401);
}
