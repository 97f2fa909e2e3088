//! A waker for what a task polls itself, which is silent while the task looks.
//!
//! A connection and the body that it fills wake each other's reader whenever something passes between them. One task moves
//! both, so each such call would make it look once more, at nothing: a second poll for each token.
//!
//! Invariant: no call is lost. One that comes after the last look has begun makes the task look again.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// The task waits: a call wakes it.
const RESTING: u8 = 0;
/// The task looks at everything that a call could tell of.
const LOOKING: u8 = 1;
/// The same, and there was a call meanwhile.
const CALLED: u8 = 2;

/// Stands between one task and what it polls.
#[derive(Debug)]
pub(super) struct Quiet {
    calls: Arc<Calls>,
    waker: Waker,
}

#[derive(Debug)]
struct Calls {
    state: AtomicU8,
    task: Mutex<Waker>,
}

impl Default for Quiet {
    fn default() -> Self {
        let calls = Arc::new(Calls {
            state: AtomicU8::new(RESTING),
            task: Mutex::new(Waker::noop().clone()),
        });
        let waker = Waker::from(Arc::clone(&calls));
        Self { calls, waker }
    }
}

impl Quiet {
    /// What is to be called.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// The task begins a look at everything: what was called before is seen by it.
    pub(super) fn look(&self, cx: &Context<'_>) {
        if self.calls.state.swap(LOOKING, Ordering::AcqRel) == RESTING {
            let mut task = self.calls.lock();
            task.clone_from(cx.waker());
        }
    }

    /// The task has seen nothing more and will wait. Where there was a call meanwhile, it is woken at once.
    pub(super) fn rest(&self) {
        if self.calls.state.swap(RESTING, Ordering::AcqRel) == CALLED {
            self.calls.lock().wake_by_ref();
        }
    }
}

impl Calls {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waker> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let called =
            self.state
                .compare_exchange(LOOKING, CALLED, Ordering::AcqRel, Ordering::Acquire);
        if called == Err(RESTING) {
            self.lock().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_call_wakes_a_task_that_rests_and_none_that_looks() {
        let count = Arc::<Count>::default();
        let task = Waker::from(Arc::clone(&count));
        let woken = || count.0.load(Ordering::Relaxed);
        let quiet = Quiet::default();
        quiet.look(&Context::from_waker(&task));
        quiet.waker().wake_by_ref();
        quiet.look(&Context::from_waker(&task)); // which sees what that was about
        quiet.rest();
        assert_eq!(woken(), 0);
        quiet.waker().wake_by_ref();
        assert_eq!(woken(), 1);
        quiet.look(&Context::from_waker(&task));
        quiet.waker().wake_by_ref();
        quiet.waker().wake_by_ref();
        assert_eq!(woken(), 1, "it is looking");
        quiet.rest();
        assert_eq!(woken(), 2, "and may have looked there before");
    }

    #[test]
    fn the_task_that_looked_last_is_the_one_that_is_woken() {
        let counts = [Arc::<Count>::default(), Arc::<Count>::default()];
        let quiet = Quiet::default();
        for count in &counts {
            let task = Waker::from(Arc::clone(count));
            quiet.look(&Context::from_waker(&task));
            quiet.rest();
        }
        quiet.waker().wake_by_ref();
        let woken = counts.map(|count| count.0.load(Ordering::Relaxed));
        assert_eq!(woken, [0, 1]);
    }
}
