//! The logins that wait, told the time.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant, SystemTime},
};

use c2l_auth::{DeviceName, Fingerprint, Kind, Scopes, SigningKey, TokenRequest, UserId, Verifier};

use super::{
    code::UserCode,
    pending::{Asking, Codes, Full, Guesser, NoLogin, Pending, Polled, Terms, Word},
};

const TERMS: Terms = Terms {
    interval: Duration::from_secs(5),
    lifetime: Duration::from_secs(600),
    most: 10_000,
    most_of_a_place: 10,
};

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn user(name: &str) -> UserId {
    let key = SigningKey::ephemeral().unwrap();
    let request = TokenRequest {
        user: name.to_owned(),
        kind: Kind::Api,
        scopes: Scopes::INFER,
        ttl: Duration::from_secs(60),
        device: None,
    };
    let now = SystemTime::now();
    let token = key.issue(&request, now).unwrap();
    let verifier = Verifier::new(vec![key.issuer()]).unwrap();
    let grant = verifier.verify(token.expose(), Kind::Api, now).unwrap();
    grant.user
}

fn asking(address: IpAddr) -> Asking {
    Asking {
        device: DeviceName::parse("desk").unwrap(),
        address,
        at: SystemTime::UNIX_EPOCH,
    }
}

/// Some logins, and a clock that stands still until it is moved.
struct Scene {
    pending: Pending<UserId>,
    now: Instant,
    started: u32,
}

impl Scene {
    fn new() -> Self {
        Self {
            pending: Pending::new(TERMS),
            now: tokio::time::Instant::now().into_std(),
            started: 0,
        }
    }

    fn start(&mut self, address: IpAddr) -> Result<Codes, Full> {
        self.started += 1;
        let codes = Codes {
            device: Fingerprint::of(&self.started.to_string()),
            user: UserCode::mint().unwrap(),
        };
        self.pending.start(codes, asking(address), self.now)?;
        Ok(codes)
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn poll(&mut self, codes: &Codes) -> Polled<UserId> {
        self.pending.poll(&codes.device, self.now)
    }

    fn decide(&mut self, code: Option<UserCode>, user: &UserId, word: Word) -> Result<(), NoLogin> {
        let who = [Guesser::User(user.clone()), Guesser::at(HOME)];
        let decided = self
            .pending
            .decide(code, &who, user.clone(), word, self.now);
        decided.map(drop)
    }
}

#[test]
fn an_approved_login_is_redeemed_once() {
    let (mut scene, ada) = (Scene::new(), user("ada"));
    let codes = scene.start(HOME).unwrap();
    scene.pass(5);
    assert_eq!(scene.poll(&codes), Polled::Pending);
    assert_eq!(scene.decide(Some(codes.user), &ada, Word::Approve), Ok(()));
    scene.pass(5);
    let approved = Polled::Approved {
        by: ada.clone(),
        asking: asking(HOME),
    };
    assert_eq!(scene.poll(&codes), approved);
    scene.pass(5);
    assert_eq!(scene.poll(&codes), Polled::Gone);
    let again = scene.decide(Some(codes.user), &ada, Word::Approve);
    assert_eq!(again, Err(NoLogin::Unknown));
}

#[test]
fn a_denied_login_is_told_once_and_cannot_be_approved_after_all() {
    let (mut scene, ada) = (Scene::new(), user("ada"));
    let codes = scene.start(HOME).unwrap();
    assert_eq!(scene.decide(Some(codes.user), &ada, Word::Deny), Ok(()));
    let after_all = scene.decide(Some(codes.user), &ada, Word::Approve);
    assert_eq!(after_all, Err(NoLogin::Unknown));
    scene.pass(5);
    assert_eq!(scene.poll(&codes), Polled::Denied);
    scene.pass(5);
    assert_eq!(scene.poll(&codes), Polled::Gone);
}

#[test]
fn polling_too_fast_makes_it_slower_each_time() {
    let mut scene = Scene::new();
    let codes = scene.start(HOME).unwrap();
    scene.pass(1);
    let slower = |seconds| Polled::<UserId>::SlowDown(Duration::from_secs(seconds));
    assert_eq!(scene.poll(&codes), slower(10));
    scene.pass(5);
    assert_eq!(scene.poll(&codes), slower(15));
    scene.pass(14); // a second early is forgiven
    assert_eq!(scene.poll(&codes), Polled::Pending);
    for _ in 0..20 {
        scene.poll(&codes);
    }
    assert_eq!(scene.poll(&codes), slower(60), "and no slower");
}

#[test]
fn a_login_runs_out_whatever_was_said() {
    let (mut scene, ada) = (Scene::new(), user("ada"));
    let (waits, approved) = (scene.start(HOME).unwrap(), scene.start(HOME).unwrap());
    assert_eq!(
        scene.decide(Some(approved.user), &ada, Word::Approve),
        Ok(())
    );
    scene.pass(599);
    assert_eq!(scene.poll(&waits), Polled::Pending);
    scene.pass(1);
    assert_eq!(scene.poll(&waits), Polled::Gone);
    assert_eq!(scene.poll(&approved), Polled::Gone);
    assert_eq!(scene.pending.list(scene.now), []);
}

#[test]
fn wrong_codes_are_counted_by_user_and_then_the_right_one_is_refused_too() {
    let (mut scene, eve, ada) = (Scene::new(), user("eve"), user("ada"));
    let codes = scene.start(HOME).unwrap();
    for _ in 0..10 {
        let guess = UserCode::mint().filter(|guess| *guess != codes.user);
        let guessed = scene.decide(guess, &eve, Word::Approve);
        assert_eq!(guessed, Err(NoLogin::Unknown));
    }
    let wait = NoLogin::TooMany(Duration::from_secs(600));
    assert_eq!(
        scene.decide(Some(codes.user), &eve, Word::Approve),
        Err(wait)
    );
    scene.pass(5);
    assert_eq!(scene.poll(&codes), Polled::Pending);
    assert_eq!(scene.decide(Some(codes.user), &ada, Word::Approve), Ok(()));
}

#[test]
fn many_users_of_one_address_share_its_guesses() {
    let mut scene = Scene::new();
    let codes = scene.start(HOME).unwrap();
    let users: Vec<_> = (0..10).map(|number| user(&number.to_string())).collect();
    for user in &users {
        for _ in 0..10 {
            let guessed = scene.decide(None, user, Word::Approve);
            assert_eq!(guessed, Err(NoLogin::Unknown));
        }
    }
    let wait = NoLogin::TooMany(Duration::from_secs(600));
    let another = scene.decide(Some(codes.user), &user("ada"), Word::Approve);
    assert_eq!(another, Err(wait));
}

#[test]
fn a_shown_page_is_good_for_one_word_of_whoever_saw_it_last() {
    let (mut scene, ada, bob) = (Scene::new(), user("ada"), user("bob"));
    let codes = scene.start(HOME).unwrap();
    let [first, second] = ["first", "second"].map(Fingerprint::of);
    for (user, ticket) in [(&bob, first), (&ada, second)] {
        let who = [Guesser::User(user.clone())];
        let given = Some((ticket, user.clone()));
        let shown = scene.pending.look(Some(codes.user), &who, given, scene.now);
        assert_eq!(shown, Ok(asking(HOME)));
    }
    let mut say = |ticket, word| {
        let code = Some(codes.user);
        scene
            .pending
            .decide_by_ticket(code, &ticket, word, scene.now)
    };
    assert_eq!(say(first, Word::Approve), Err(NoLogin::Unknown));
    assert_eq!(say(second, Word::Approve), Ok((ada, asking(HOME))));
    assert_eq!(say(second, Word::Deny), Err(NoLogin::Unknown));
}

#[test]
fn one_place_has_ten_logins_and_ten_again_when_those_have_run_out() {
    let mut scene = Scene::new();
    let six = |text: &str| text.parse::<IpAddr>().unwrap();
    for _ in 0..10 {
        scene.start(six("2001:db8::1")).unwrap();
    }
    scene.pass(60);
    let full = Full::OfPlace(Duration::from_secs(540));
    assert_eq!(scene.start(six("2001:db8::ffff")).unwrap_err(), full);
    scene.start(six("2001:db8:0:1::1")).unwrap();
    scene.start(six("::ffff:192.0.2.7")).unwrap();
    for _ in 0..9 {
        scene.start(HOME).unwrap();
    }
    assert!(scene.start(HOME).is_err(), "the same IPv4 address");
    scene.pass(540);
    scene.start(six("2001:db8::1")).unwrap();
}

#[test]
fn thirty_thousand_logins_stay_bounded_and_all_go() {
    let mut scene = Scene::new();
    let began = std::time::SystemTime::now();
    let mut refused = 0;
    for number in 0..30_000_u32 {
        let address = IpAddr::from((number | 0x0a00_0000).to_be_bytes());
        match scene.start(address) {
            Ok(_) => {}
            Err(full) => {
                assert_eq!(full, Full::Everywhere(TERMS.lifetime));
                refused += 1;
            }
        }
    }
    println!("30,000 starts took {:?}", began.elapsed());
    assert_eq!(refused, 20_000);
    assert_eq!(scene.pending.list(scene.now).len(), TERMS.most);
    assert_eq!(scene.pending.sizes(), [TERMS.most; 4]);
    scene.pass(600);
    scene.start(HOME).unwrap();
    assert_eq!(scene.pending.sizes(), [1; 4]);
}
