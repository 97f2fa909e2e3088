//! The table against a plain list of everything that ever happened, and what may be asked for.

use proptest::prelude::*;

use super::{
    entry::{Asked, Entry, Outcome},
    table::{Bounds, Table},
    window::Window,
    *,
};
use crate::audit::CredentialName;

const SMALL: Bounds = Bounds {
    of_user: 4,
    of_all: 9,
    age: Duration::from_secs(60),
};

fn asked(number: usize, started: Instant) -> Asked {
    Asked {
        request_id: number.to_string().into(),
        method: http::Method::POST,
        route: "/api/chat".to_owned(),
        credential: CredentialName::Key("0123456789".into()),
        started,
        started_at: SystemTime::now(),
    }
}

/// What happens, of one of three users.
#[derive(Clone, Debug)]
enum Step {
    Begin(u8),
    /// The one that began so many before the last one, if it still runs.
    End(usize),
    Pass(u64),
    List {
        user: u8,
        /// So many numbers before the cursor heard last; `None` for one from nowhere.
        back: Option<u64>,
        limit: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8).prop_map(Step::Begin),
        3 => (0..8_usize).prop_map(Step::End),
        1 => (1..40_u64).prop_map(Step::Pass),
        3 => (0..3_u8, proptest::option::of(0..6_u64), 1..6_usize)
            .prop_map(|(user, back, limit)| Step::List { user, back, limit }),
    ]
}

/// A request as the model knows it.
#[derive(Clone, Debug)]
struct Known {
    user: u8,
    started: Instant,
    began: u64,
    ended: Option<u64>,
}

/// Everything, in the order of beginning: what is forgotten is taken out.
#[derive(Debug, Default)]
struct Model {
    known: Vec<(usize, Known)>,
    cursors: HashMap<u8, u64>,
}

use std::collections::HashMap;

impl Model {
    fn of(&self, user: u8) -> impl DoubleEndedIterator<Item = &(usize, Known)> {
        self.known
            .iter()
            .filter(move |(_, known)| known.user == user)
    }

    fn forget(&mut self, id: usize) {
        let place = self.known.iter().position(|(other, _)| *other == id);
        let (_, gone) = self.known.remove(place.unwrap());
        if self.of(gone.user).next().is_none() {
            self.cursors.remove(&gone.user);
        }
    }

    fn begin(&mut self, id: usize, user: u8, first: u64, started: Instant) {
        if self.known.len() == SMALL.of_all {
            self.forget(self.known[0].0);
        }
        if self.of(user).count() == SMALL.of_user {
            let ended = self.of(user).find(|(_, known)| known.ended.is_some());
            let goes = ended.or(self.of(user).next()).unwrap().0;
            self.forget(goes);
        }
        let cursor = self.cursors.entry(user).or_insert(first);
        *cursor += 1;
        let began = *cursor;
        let known = Known {
            user,
            started,
            began,
            ended: None,
        };
        self.known.push((id, known));
    }

    fn end(&mut self, id: usize) {
        if let Some((_, known)) = self.known.iter_mut().find(|(other, _)| *other == id) {
            let cursor = self.cursors.get_mut(&known.user).unwrap();
            *cursor += 1;
            known.ended = Some(*cursor);
        }
    }

    fn list(&self, user: u8, window: Window) -> (Vec<String>, u64) {
        let cursor = self.cursors.get(&user).copied().unwrap_or(0);
        let after = if window.after > cursor {
            0
        } else {
            window.after
        };
        let new = self.of(user).filter(|(_, known)| {
            known.ended.is_none_or(|ended| ended > after) || known.began > after
        });
        let mut ids: Vec<_> = new
            .rev()
            .take(window.limit)
            .map(|(id, _)| id.to_string())
            .collect();
        ids.reverse();
        (ids, cursor)
    }
}

proptest! {
    #[test]
    fn the_table_keeps_and_shows_what_a_plain_list_would(steps in proptest::collection::vec(step(), 0..120)) {
        let mut table: Table<u8> = Table::new(SMALL);
        let mut model = Model::default();
        let mut entries: Vec<(u8, Arc<Entry>)> = Vec::new();
        let mut now = Instant::now();
        for step in steps {
            match step {
                Step::Begin(user) => {
                    let (id, first) = (entries.len(), 1000 * entries.len() as u64);
                    entries.push((user, table.begin(&user, || first, asked(id, now))));
                    model.begin(id, user, first, now);
                }
                Step::End(back) => {
                    let place = entries.len().checked_sub(back + 1);
                    let running = place.filter(|place| entries[*place].1.is_running());
                    if let Some(id) = running {
                        let (user, entry) = &entries[id];
                        let outcome = Outcome { duration: Duration::ZERO, error: None };
                        table.end(user, entry, outcome);
                        model.end(id);
                    }
                }
                Step::Pass(seconds) => {
                    now += Duration::from_secs(seconds);
                    table.forget_old(now);
                    let old: Vec<_> = model.known.iter()
                        .filter(|(_, known)| now - known.started > SMALL.age && known.ended.is_some())
                        .map(|(id, _)| *id)
                        .collect();
                    old.into_iter().for_each(|id| model.forget(id));
                }
                Step::List { user, back, limit } => {
                    let cursor = model.cursors.get(&user).copied().unwrap_or(0);
                    let after = back.map_or(u64::MAX, |back| cursor.saturating_sub(back));
                    let window = Window { after, limit };
                    let (listed, next) = table.list(&user, window);
                    let ids: Vec<_> = listed
                        .iter()
                        .map(|entry| entry.describe()["id"].as_str().unwrap().to_owned())
                        .collect();
                    prop_assert_eq!((ids, next), model.list(user, window));
                    prop_assert!(listed.iter().all(|entry| entries.iter().any(|(owner, other)| *owner == user && Arc::ptr_eq(other, entry))));
                    prop_assert!(listed.is_sorted_by_key(|entry| entry.seq));
                }
            }
            prop_assert_eq!(table.sizes(), (model.known.len(), model.cursors.len()));
        }
    }

    #[test]
    fn no_query_does_harm(query in ".{0,60}") {
        if let Ok(window) = Window::parse(Some(&query)) {
            prop_assert!((1..=200).contains(&window.limit));
        }
    }
}

#[test]
fn a_window_is_read_strictly() {
    let window = |after, limit| Window { after, limit };
    for (query, wanted) in [
        (None, window(0, 200)),
        (Some(""), window(0, 200)),
        (Some("after=7"), window(7, 200)),
        (
            Some("limit=1&after=18446744073709551615"),
            window(u64::MAX, 1),
        ),
    ] {
        assert_eq!(Window::parse(query).ok(), Some(wanted), "{query:?}");
    }
    for query in [
        "after",
        "after=",
        "after=-1",
        "after=+1",
        "after=1.0",
        "after=1e3",
        "after=0x1",
        "after=%31",
        "after= 1",
        "after=18446744073709551616",
        "after=99999999999999999999999999",
        "after=NaN",
        "after=١",
        "limit=0",
        "limit=201",
        "limit=18446744073709551615",
        "after=1&after=1",
        "limit=1&limit=2",
        "user=bob",
        "after=1;limit=1",
        "=1",
    ] {
        assert!(Window::parse(Some(query)).is_err(), "{query}");
    }
}
