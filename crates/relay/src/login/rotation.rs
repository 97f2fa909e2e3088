//! The refresh tokens of a login against a model: whichever is presented, by whomever, in whatever order.

use std::{sync::Arc, time::SystemTime};

use c2l_auth::{Attempt, DeviceName, Kind, SigningKey, Verifier};
use proptest::prelude::*;

use super::{LoginConfig, Logins};
use crate::{
    Accounts,
    identity::{Going, Identities, NotRefreshed},
    limits::{Asker, Guard, RateLimits},
    providers::Providers,
};

/// What somebody does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Presents the token of a generation, counted back from the present one, naming one of three attempts or none.
    Present { back: usize, attempt: usize },
    /// Two present it at the same time.
    PresentTwice { back: usize, attempts: [usize; 2] },
    /// Logs out with the token of a generation.
    End { back: usize },
    /// The relay starts anew, with what is stored.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let back = || prop_oneof![8 => Just(0_usize), 2 => Just(1_usize), 1 => 0_usize..6];
    prop_oneof![
        12 => (back(), 0_usize..4).prop_map(|(back, attempt)| Step::Present { back, attempt }),
        3 => (back(), [0_usize..4, 0_usize..4])
            .prop_map(|(back, attempts)| Step::PresentTwice { back, attempts }),
        1 => back().prop_map(|back| Step::End { back }),
        2 => Just(Step::Restart),
    ]
}

/// What is to be expected: which attempt made the present generation, and whether the login has ended.
#[derive(Debug)]
struct Model {
    generation: usize,
    attempt: usize,
    is_ended: bool,
}

impl Model {
    /// Whether it is answered.
    fn present(&mut self, generation: usize, attempt: usize) -> bool {
        let is_repeat = generation + 1 == self.generation && attempt > 0 && attempt == self.attempt;
        if self.is_ended {
            return false;
        }
        if generation == self.generation {
            self.generation += 1;
            self.attempt = attempt;
            return true;
        }
        self.is_ended = !is_repeat;
        is_repeat
    }
}

/// A relay's part in it, and every token that it ever gave.
struct Scene {
    providers: Arc<Providers>,
    accounts: Accounts,
    identities: Arc<Identities>,
    logins: Logins,
    refresh: Vec<String>,
    access: Vec<String>,
}

impl Scene {
    async fn new() -> Self {
        let key = Arc::new(SigningKey::ephemeral().unwrap());
        let verifier = Arc::new(Verifier::new(vec![key.issuer()]).unwrap());
        let accounts = Accounts::in_memory().unwrap();
        let providers = Arc::new(Providers::unasked(verifier));
        let identities = Identities::load(Arc::clone(&providers), guard(), accounts.clone()).await;
        let mut scene = Self {
            identities: identities.unwrap(),
            providers,
            accounts,
            logins: Logins::new(LoginConfig::new(key)),
            refresh: Vec::new(),
            access: Vec::new(),
        };
        let idle = scene.logins.config.idle;
        let ada = scene.identities.name_user("c2l", "ada").unwrap();
        let (identities, desk) = (&scene.identities, desk());
        let begun = identities.begin_login(&ada, &desk, SystemTime::now(), idle);
        let going = begun.await.unwrap();
        scene.take(&going);
        scene
    }

    /// Keeps what was given; the number of the refresh token among them.
    fn take(&mut self, going: &Going) -> usize {
        let access = self.logins.token(going).unwrap();
        self.access.push(access.expose().to_owned());
        let text = going.refresh.expose();
        match self.refresh.iter().position(|known| known == text) {
            Some(known) => known,
            None => {
                self.refresh.push(text.to_owned());
                self.refresh.len() - 1
            }
        }
    }

    fn nth(&self, back: usize) -> usize {
        self.refresh.len().saturating_sub(1 + back)
    }

    async fn present(&self, number: usize, attempt: usize) -> Result<Going, NotRefreshed> {
        let idle = self.logins.config.idle;
        let attempt = ["", "a", "b", "c"][attempt].repeat(22);
        let token = &self.refresh[number];
        let refreshed = self
            .identities
            .refresh_login(token, Attempt::of(&attempt), idle);
        refreshed.await
    }

    /// How many of the agent's tokens are accepted.
    async fn accepted(&self) -> usize {
        let mut good = 0;
        for token in &self.access {
            let caller = self
                .identities
                .identify(&nobody(), token, &[Kind::Agent])
                .await;
            let is_good = caller.is_ok_and(|caller| caller.grant.device == Some(desk()));
            good += usize::from(is_good);
        }
        good
    }

    async fn restart(&mut self) {
        let loaded = Identities::load(Arc::clone(&self.providers), guard(), self.accounts.clone());
        self.identities = loaded.await.unwrap();
    }
}

fn guard() -> Arc<Guard> {
    Arc::new(Guard::new(RateLimits::off()))
}

fn nobody() -> Asker {
    Asker::of(&http::Extensions::new())
}

fn desk() -> DeviceName {
    DeviceName::parse("desk").unwrap()
}

async fn play(steps: Vec<Step>) {
    let mut scene = Scene::new().await;
    let mut model = Model {
        generation: 0,
        attempt: 0,
        is_ended: false,
    };
    for step in steps {
        match step {
            Step::Present { back, attempt } => {
                let number = scene.nth(back);
                let expected = model.present(number, attempt);
                let going = scene.present(number, attempt).await;
                assert_eq!(going.is_ok(), expected, "{step:?} {model:?}");
                if let Ok(going) = going {
                    assert_eq!(scene.take(&going), model.generation);
                }
            }
            Step::PresentTwice { back, attempts } => {
                let number = scene.nth(back);
                let [one, other] = attempts.map(|attempt| scene.present(number, attempt));
                let answers: [_; 2] = tokio::join!(one, other).into();
                // Which of them was first is open, and shows in who was answered; if both or none were, it is the same.
                let order = match (&answers[0], &answers[1]) {
                    (Err(_), Ok(_)) => [1, 0],
                    _ => [0, 1],
                };
                let expected = order.map(|which| model.present(number, attempts[which]));
                let found = order.map(|which| answers[which].is_ok());
                assert_eq!(found, expected, "{step:?} {model:?}");
                for going in answers.into_iter().flatten() {
                    scene.take(&going);
                }
            }
            Step::End { back } => {
                let token = scene.refresh[scene.nth(back)].clone();
                let ended = scene.identities.end_login(&token).await.unwrap();
                assert_eq!(ended.is_some(), !model.is_ended);
                model.is_ended = true;
            }
            Step::Restart => scene.restart().await,
        }
        let expected = if model.is_ended {
            0
        } else {
            scene.access.len()
        };
        assert_eq!(scene.accepted().await, expected, "after {step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_is_presented_a_login_goes_on_for_one_or_ends_for_all(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(play(steps));
    }
}
