//! Slots and loads: what a request waits for before its first line.
//!
//! The state of a model is kept under its full name, switches included, so that tests which run at once do not share a
//! slot or a warm model unless they use one name. Invariant: a model becomes warm only when a load ends with its
//! caller still there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::Cut;
use crate::recorder::{Ended, Exchange, Stage, lock};
use crate::switches::{FaultKind, Model};

/// Beyond this many names, the states of names that nobody uses now are forgotten: those models are cold again.
const MOST_STATES: usize = 4096;

#[derive(Debug)]
struct State {
    warm: AtomicBool,
    loading: tokio::sync::Mutex<()>,
    slot: Arc<Semaphore>,
}

#[derive(Debug, Default)]
pub(crate) struct Models {
    states: Mutex<HashMap<String, Arc<State>>>,
}

impl Models {
    pub(crate) fn forget_all(&self) {
        lock(&self.states).clear();
    }

    /// Makes a model cold again.
    pub(crate) fn unload(&self, name: &str) {
        if let Some(state) = lock(&self.states).get(name) {
            state.warm.store(false, Ordering::Relaxed);
        }
    }

    /// Names of models that a load made warm.
    pub(crate) fn warm(&self) -> Vec<String> {
        let mut names: Vec<String> = lock(&self.states)
            .iter()
            .filter(|(_, state)| state.warm.load(Ordering::Relaxed))
            .map(|(name, _)| name.clone())
            .collect();
        names.sort_unstable();
        names
    }

    fn state(&self, name: &str) -> Arc<State> {
        let mut states = lock(&self.states);
        if states.len() >= MOST_STATES {
            states.retain(|_, state| {
                Arc::strong_count(state) > 1 || Arc::strong_count(&state.slot) > 1
            });
        }
        let fresh = || {
            Arc::new(State {
                warm: AtomicBool::new(false),
                loading: tokio::sync::Mutex::default(),
                slot: Arc::new(Semaphore::new(1)),
            })
        };
        Arc::clone(states.entry(name.to_owned()).or_insert_with(fresh))
    }

    /// Waits for the slot, the load and the first token, in this order, and plays the faults that come before the
    /// first byte. Dropped, the wait is given up and counted for what it was.
    pub(crate) async fn admit(
        &self,
        exchange: &mut Exchange,
        model: &Model,
    ) -> Option<OwnedSemaphorePermit> {
        let switches = &model.switches;
        let mut slot = None;
        if switches.queue || switches.load.is_some() {
            let state = self.state(&model.name);
            if switches.queue {
                exchange.enter(Stage::Waiting);
                slot = Arc::clone(&state.slot).acquire_owned().await.ok(); // the semaphore is never closed
            }
            if let Some(load) = switches.load
                && !state.warm.load(Ordering::Relaxed)
            {
                self.load(exchange, &state, load).await;
            }
        }
        exchange.enter(Stage::Generating);
        if !switches.first.is_zero() {
            tokio::time::sleep(switches.first).await;
        }
        match switches.fault {
            Some(fault) if fault.after == 0 && fault.kind != FaultKind::Error => {
                before_the_head(exchange, fault.kind).await
            }
            _ => {}
        }
        slot
    }

    async fn load(&self, exchange: &mut Exchange, state: &State, load: std::time::Duration) {
        let loading = match state.loading.try_lock() {
            Ok(loading) => loading,
            Err(_) => {
                exchange.enter(Stage::Waiting); // someone else's load; it may serve us too
                state.loading.lock().await
            }
        };
        if !state.warm.load(Ordering::Relaxed) {
            exchange.enter(Stage::Loading);
            tokio::time::sleep(load).await;
            state.warm.store(true, Ordering::Relaxed);
            exchange.load_finished();
        }
        drop(loading);
    }
}

/// Plays a fault instead of an answer; returns only by being dropped with the connection.
pub(crate) async fn before_the_head(exchange: &mut Exchange, kind: FaultKind) {
    exchange.fault_played();
    match kind {
        FaultKind::Cut | FaultKind::Tear => {
            exchange.ended(Ended::Cut);
            exchange.link.cut(if kind == FaultKind::Cut {
                Cut::Reset
            } else {
                Cut::Close
            });
        }
        FaultKind::Silent | FaultKind::Error => {}
    }
    std::future::pending::<()>().await;
}
