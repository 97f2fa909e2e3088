//! Random sign-ins, renewals, sign-outs and restarts, against a model of which cookie opens whose account.
//!
//! The model is a list of cookies, each with its user and its sign-in, and of the sign-ins that are over. After every step a
//! cookie that was ever given opens its own user's account or nothing, as the model says, and opens no other door. The seed is
//! printed; `C2L_TEST_SEED` repeats a run.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use c2l_auth::{Pepper, SigningKey};
use c2l_relay::{Accounts, Config, SignInLinks};
use c2l_testkit::{Caller, Dice, FakeAgent, TestRelay};
use serde_json::json;

use super::{Browser, account_token};

const USERS: [&str; 3] = ["ada", "bob", "Ada"];
const STEPS: u64 = 400;

#[derive(Clone, Debug)]
struct Cookie {
    text: String,
    user: &'static str,
    sign_in: usize,
}

struct World {
    relay: TestRelay,
    key: Arc<SigningKey>,
    accounts: Accounts,
    links: SignInLinks,
    dice: Dice,
    cookies: Vec<Cookie>,
    users: Vec<&'static str>,
    over: BTreeSet<usize>,
    renewals: u64,
    refusals: u64,
}

impl World {
    async fn new(seed: u64) -> Self {
        let key = Arc::new(SigningKey::ephemeral().expect("random numbers"));
        let accounts = Accounts::in_memory().expect("a database");
        let links = SignInLinks::default();
        let relay = start(&key, &accounts, &links).await;
        Self {
            relay,
            key,
            accounts,
            links,
            dice: Dice::new(seed),
            cookies: Vec::new(),
            users: Vec::new(),
            over: BTreeSet::new(),
            renewals: 0,
            refusals: 0,
        }
    }

    async fn step(&mut self) {
        match self.dice.below(20) {
            0..5 => self.sign_in().await,
            5..8 => self.age().await,
            8..11 => self.renew().await,
            11..15 => self.sign_out().await,
            15 => self.sign_out_everywhere().await,
            16 => self.restart().await,
            _ => self.other_doors().await,
        }
        self.ask().await;
    }

    fn begun(&mut self, user: &'static str, text: String) {
        let sign_in = self.users.len();
        self.users.push(user);
        self.cookies.push(Cookie {
            text,
            user,
            sign_in,
        });
    }

    async fn sign_in(&mut self) {
        let user = *self.dice.pick(&USERS);
        let browser = Browser::at(&self.relay);
        let shown = match self.dice.happens(50) {
            true => json!({ "token": account_token(&self.relay, user) }),
            false => {
                json!({ "link": self.links.make("c2l", user).expect("random numbers").expose() })
            }
        };
        let answer = browser.post("/web/v1/session", &shown).await;
        assert_eq!(answer.status(), 200);
        self.begun(user, browser.session());
    }

    /// A sign-in of some hours ago, whose next token is due.
    async fn age(&mut self) {
        let user = *self.dice.pick(&USERS);
        // A sign-out everywhere may have been since: then it never counted.
        let pepper = Pepper::ephemeral().expect("random numbers");
        let named = pepper.name_user("c2l", user).expect("a user");
        let id = pepper.family_id().expect("random numbers");
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        let text = self
            .key
            .issue_for_browser(&named, (&id, now), 12 * hour, now - 7 * hour);
        self.begun(user, text.expect("a token").expose().to_owned());
    }

    fn any(&mut self) -> Option<Cookie> {
        (!self.cookies.is_empty()).then(|| self.dice.pick(&self.cookies).clone())
    }

    async fn renew(&mut self) {
        let Some(cookie) = self.any() else { return };
        let browser = Browser::with(&self.relay, &cookie.text);
        let said = browser.look().await;
        assert_eq!(said["signed_in"], !self.over.contains(&cookie.sign_in));
        if let Some(text) = browser
            .cookie(super::COOKIE)
            .filter(|text| *text != cookie.text)
        {
            self.renewals += 1;
            self.cookies.push(Cookie { text, ..cookie });
        }
    }

    async fn sign_out(&mut self) {
        let Some(cookie) = self.any() else { return };
        Browser::with(&self.relay, &cookie.text).sign_out().await;
        self.over.insert(cookie.sign_in);
    }

    async fn sign_out_everywhere(&mut self) {
        let Some(cookie) = self.any() else { return };
        let browser = Browser::with(&self.relay, &cookie.text);
        let answer = browser.post("/web/v1/account/sign-out", &json!({})).await;
        let is_over = self.over.contains(&cookie.sign_in);
        assert_eq!(answer.status(), if is_over { 401 } else { 200 });
        if !is_over {
            let own = self
                .users
                .iter()
                .enumerate()
                .filter(|(_, user)| **user == cookie.user);
            self.over.extend(own.map(|(sign_in, _)| sign_in));
        }
    }

    async fn restart(&mut self) {
        let next = start(&self.key, &self.accounts, &self.links).await;
        std::mem::replace(&mut self.relay, next).kill().await;
    }

    /// Its value is good for no other door, dead or alive.
    async fn other_doors(&mut self) {
        let Some(cookie) = self.any() else { return };
        let bearer = Caller::new(self.relay.address(), cookie.text.clone());
        for path in [
            "/api/tags",
            "/v1/models",
            "/relay/v1/whoami",
            "/relay/v1/keys",
        ] {
            assert_eq!(bearer.get(path).await.status(), 401, "{path}");
        }
        let dialed = FakeAgent::dial(self.relay.address(), &cookie.text).await;
        assert!(dialed.is_err(), "a device connected with a cookie");
        let again = Browser::at(&self.relay);
        let answer = again
            .post("/web/v1/session", &json!({ "token": cookie.text }))
            .await;
        assert_eq!(answer.status(), 401, "a cookie began another sign-in");
    }

    async fn ask(&mut self) {
        for _ in 0..3 {
            let Some(cookie) = self.any() else { return };
            let is_over = self.over.contains(&cookie.sign_in);
            self.refusals += u64::from(is_over);
            let expected = (!is_over).then_some(cookie.user);
            let whose = Browser::with(&self.relay, &cookie.text).whose().await;
            assert_eq!(whose.as_deref(), expected, "{cookie:?}");
        }
    }
}

async fn start(key: &Arc<SigningKey>, accounts: &Accounts, links: &SignInLinks) -> TestRelay {
    let (accounts, links) = (accounts.clone(), links.clone());
    let change = |config: &mut Config| {
        config.accounts = Some(accounts);
        config.web.as_mut().expect("a page").links = links;
    };
    TestRelay::start_on("127.0.0.1:0", Arc::clone(key), change).await
}

#[tokio::test]
async fn a_dead_cookie_never_works_again_and_no_cookie_works_elsewhere() {
    let seed = Dice::seed();
    println!("C2L_TEST_SEED={seed}");
    let mut world = World::new(seed).await;
    for _ in 0..STEPS {
        world.step().await;
    }
    for cookie in world.cookies.clone() {
        let whose = Browser::with(&world.relay, &cookie.text).whose().await;
        let is_over = world.over.contains(&cookie.sign_in);
        assert_eq!(
            whose.as_deref(),
            (!is_over).then_some(cookie.user),
            "{cookie:?}"
        );
    }
    let (cookies, over) = (world.cookies.len(), world.over.len());
    println!(
        "{cookies} cookies, {over} sign-ins over, {} renewals, {} refusals",
        world.renewals, world.refusals
    );
    assert!(cookies > 50 && over > 10 && world.renewals > 0 && world.refusals > 0);
}
