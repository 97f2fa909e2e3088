//! The logins that wait for somebody's word, as a pure state machine: codes and time are arguments.
//!
//! ```text
//!           look (a page was shown)          approve
//! Waiting ──────────────────────▶ Waiting ─────────────▶ Approved ──▶ redeemed once, then gone
//!    └──────────────────────────────┴── deny ──▶ Denied ──▶ told once, then gone
//! any ── the lifetime is over ──▶ gone
//! ```
//!
//! Invariant: however many strangers ask, there are at most [`Terms::most`] logins, and of one place on the network at
//! most [`Terms::most_of_a_place`]. All live equally long, so the order of starting is the order of ending.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant, SystemTime},
};

use c2l_auth::{DeviceName, Fingerprint, UserId};

use super::{code::UserCode, guesses::Guesses};

/// A poll may come so much early: two requests need not take equally long.
const EARLY: Duration = Duration::from_secs(1);
/// By how much polling too fast lengthens the interval (RFC 8628 §3.5), and the longest that it gets.
const SLOWER: Duration = Duration::from_secs(5);
pub(super) const SLOWEST: Duration = Duration::from_secs(60);

/// Bounds and times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Between two polls of a device.
    pub(crate) interval: Duration,
    /// From the start to the end.
    pub(crate) lifetime: Duration,
    /// Most logins at once.
    pub(crate) most: usize,
    /// Most logins at once of one address, or of one IPv6 network.
    pub(crate) most_of_a_place: usize,
}

/// What is to be known before saying yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    /// What the device calls itself.
    pub(crate) device: DeviceName,
    /// From where it asked.
    pub(crate) address: IpAddr,
    /// When.
    pub(crate) at: SystemTime,
}

/// The three codes of a new login, as they are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codes {
    pub(super) device: Fingerprint,
    pub(super) user: UserCode,
}

/// There is no room for another login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// This place has enough of them; a place is free after so long.
    OfPlace(Duration),
    /// The relay has.
    Everywhere(Duration),
    /// The code is taken, by chance. Another one will do.
    Taken,
}

/// What a device hears that asks whether it is approved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Polled<A> {
    /// Nobody has said anything yet.
    Pending,
    /// It asks too often; from now on this is the interval.
    SlowDown(Duration),
    /// Somebody said yes. This is said once.
    Approved {
        /// Who.
        by: A,
        /// What was approved.
        asking: Asking,
    },
    /// Somebody said no. This is said once.
    Denied,
    /// No login waits under this code: it has run out, was redeemed, or never was.
    Gone,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Approve,
    Deny,
}

/// Why a typed code leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoLogin {
    /// No login waits for a word under this code.
    Unknown,
    /// Too many wrong codes; the next may come after so long.
    TooMany(Duration),
}

/// Who counts when codes are guessed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Guesser {
    /// Somebody who is known.
    User(UserId),
    /// All who come from there.
    Place(IpAddr),
    /// Whoever sits at the relay itself.
    Operator,
}

impl Guesser {
    /// One for an address.
    pub(super) fn at(address: IpAddr) -> Self {
        Self::Place(place(address))
    }

    /// Wrong codes before a wait. Many may come from one address, as from behind a proxy.
    fn most(&self) -> u32 {
        match self {
            Self::User(_) | Self::Operator => 10,
            Self::Place(_) => 100,
        }
    }
}

#[derive(Debug)]
enum Stage<A> {
    Waiting {
        /// That of the page that was shown last, and to whom.
        ticket: Option<(Fingerprint, A)>,
    },
    Approved(A),
    Denied,
}

#[derive(Debug)]
struct Login<A> {
    codes: Codes,
    asking: Asking,
    ends: Instant,
    interval: Duration,
    polled: Instant,
    stage: Stage<A>,
}

/// Every login that waits. `A` is whoever has a word.
#[derive(Debug)]
pub(crate) struct Pending<A> {
    terms: Terms,
    /// By their number, and so by their end.
    logins: BTreeMap<u64, Login<A>>,
    next: u64,
    by_device_code: HashMap<Fingerprint, u64>,
    by_user_code: HashMap<UserCode, u64>,
    by_place: HashMap<IpAddr, usize>,
    guesses: Guesses<Guesser>,
}

impl<A: Clone> Pending<A> {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            logins: BTreeMap::new(),
            next: 0,
            by_device_code: HashMap::new(),
            by_user_code: HashMap::new(),
            by_place: HashMap::new(),
            guesses: Guesses::new(),
        }
    }

    /// Begins a login.
    pub(super) fn start(&mut self, codes: Codes, asking: Asking, now: Instant) -> Result<(), Full> {
        self.sweep(now);
        let place = place(asking.address);
        let of_place = self.by_place.get(&place).copied().unwrap_or_default();
        if of_place >= self.terms.most_of_a_place {
            let mut all = self.logins.values();
            let first = all.find(|login| self::place(login.asking.address) == place);
            return Err(Full::OfPlace(left(first, now)));
        }
        if self.logins.len() >= self.terms.most {
            return Err(Full::Everywhere(left(self.logins.values().next(), now)));
        }
        if self.by_user_code.contains_key(&codes.user) {
            return Err(Full::Taken);
        }
        let number = self.next;
        self.next += 1;
        self.by_device_code.insert(codes.device, number);
        self.by_user_code.insert(codes.user, number);
        self.by_place.insert(place, of_place + 1);
        let login = Login {
            codes,
            asking,
            ends: now + self.terms.lifetime,
            interval: self.terms.interval,
            polled: now,
            stage: Stage::Waiting { ticket: None },
        };
        self.logins.insert(number, login);
        Ok(())
    }

    /// The device asks. What is final is said once.
    pub(super) fn poll(&mut self, device_code: &Fingerprint, now: Instant) -> Polled<A> {
        self.sweep(now);
        let Some(number) = self.by_device_code.get(device_code).copied() else {
            return Polled::Gone;
        };
        let Some(login) = self.logins.get_mut(&number) else {
            return Polled::Gone;
        };
        let waited = now.saturating_duration_since(login.polled);
        login.polled = now;
        if waited + EARLY.min(login.interval / 4) < login.interval {
            login.interval = (login.interval + SLOWER).min(SLOWEST);
            return Polled::SlowDown(login.interval);
        }
        if let Stage::Waiting { .. } = login.stage {
            return Polled::Pending;
        }
        match self.remove(number) {
            Some(Login {
                stage: Stage::Approved(by),
                asking,
                ..
            }) => Polled::Approved { by, asking },
            Some(Login {
                stage: Stage::Denied,
                ..
            }) => Polled::Denied,
            _ => Polled::Gone,
        }
    }

    /// What waits under this code, for somebody who has typed it; a ticket is then good for one word of whoever it is of.
    pub(super) fn look(
        &mut self,
        code: Option<UserCode>,
        who: &[Guesser],
        given: Option<(Fingerprint, A)>,
        now: Instant,
    ) -> Result<Asking, NoLogin> {
        let login = self.waiting(code, who, now)?;
        if let (Stage::Waiting { ticket }, Some(given)) = (&mut login.stage, given) {
            *ticket = Some(given);
        }
        Ok(login.asking.clone())
    }

    /// Somebody's word on the login under this code.
    pub(super) fn decide(
        &mut self,
        code: Option<UserCode>,
        who: &[Guesser],
        by: A,
        word: Word,
        now: Instant,
    ) -> Result<Asking, NoLogin> {
        let login = self.waiting(code, who, now)?;
        Ok(login.end(by, word))
    }

    /// The word of whoever was shown a page with this ticket, and who that is.
    pub(super) fn decide_by_ticket(
        &mut self,
        code: Option<UserCode>,
        ticket: &Fingerprint,
        word: Word,
        now: Instant,
    ) -> Result<(A, Asking), NoLogin> {
        self.sweep(now);
        let number = code.and_then(|code| self.by_user_code.get(&code));
        let login = number.and_then(|number| self.logins.get_mut(number));
        let login = login.ok_or(NoLogin::Unknown)?;
        match &login.stage {
            Stage::Waiting {
                ticket: Some((shown, by)),
            } if shown == ticket => {
                let by = by.clone();
                let asking = login.end(by.clone(), word);
                Ok((by, asking))
            }
            _ => Err(NoLogin::Unknown),
        }
    }

    /// Those that wait for a word, the oldest first: half of the code, and who asks.
    pub(super) fn list(&mut self, now: Instant) -> Vec<(String, Asking)> {
        self.sweep(now);
        let waiting = self.logins.values().filter(|login| login.is_waiting());
        waiting
            .map(|login| (login.codes.user.half_shown(), login.asking.clone()))
            .collect()
    }

    /// The login that waits under a typed code. A wrong one is counted, and after too many no code is right.
    fn waiting(
        &mut self,
        code: Option<UserCode>,
        who: &[Guesser],
        now: Instant,
    ) -> Result<&mut Login<A>, NoLogin> {
        self.sweep(now);
        let waits = who
            .iter()
            .filter_map(|who| self.guesses.wait(who, who.most(), now));
        if let Some(wait) = waits.max() {
            return Err(NoLogin::TooMany(wait));
        }
        let number = code.and_then(|code| self.by_user_code.get(&code).copied());
        let is_there = number
            .and_then(|number| self.logins.get(&number))
            .is_some_and(Login::is_waiting);
        if !is_there {
            for who in who {
                self.guesses.note(who, now);
            }
        }
        number
            .filter(|_| is_there)
            .and_then(|number| self.logins.get_mut(&number))
            .ok_or(NoLogin::Unknown)
    }

    /// How many of each there are; a test compares them.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        [
            self.logins.len(),
            self.by_device_code.len(),
            self.by_user_code.len(),
            self.by_place.values().sum(),
        ]
    }

    fn sweep(&mut self, now: Instant) {
        while let Some((number, login)) = self.logins.first_key_value()
            && login.ends <= now
        {
            let number = *number;
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Login<A>> {
        let login = self.logins.remove(&number)?;
        self.by_device_code.remove(&login.codes.device);
        self.by_user_code.remove(&login.codes.user);
        let place = place(login.asking.address);
        match self.by_place.get_mut(&place) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.by_place.remove(&place)),
        }
        Some(login)
    }
}

impl<A> Login<A> {
    fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. })
    }

    fn end(&mut self, by: A, word: Word) -> Asking {
        self.stage = match word {
            Word::Approve => Stage::Approved(by),
            Word::Deny => Stage::Denied,
        };
        self.asking.clone()
    }
}

fn left<A>(login: Option<&Login<A>>, now: Instant) -> Duration {
    login.map_or(Duration::ZERO, |login| {
        login.ends.saturating_duration_since(now)
    })
}

/// What one subscriber has: an IPv4 address, or the first 64 bits of an IPv6 one.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let network = u128::from(six) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        four @ IpAddr::V4(_) => four,
    }
}
