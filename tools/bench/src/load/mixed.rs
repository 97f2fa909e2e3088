//! Chats beside something that fills the line, or that has filled it and takes nothing more.
//!
//! Invariant: the others are as far as their kind says before the first chat begins, and a transfer goes on until the last has
//! ended; one that ends fails the job. Readers that stopped keep their connections, and nobody looks whether the system does:
//! a round has to be shorter than it bears with them.

use std::{cell::Cell, rc::Rc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    bulk,
    chats::{self, chat_all},
    witness::Witness,
};
use crate::http1::{Connection, Target};

#[derive(Debug, Deserialize)]
pub(crate) struct Load {
    beside: Beside,
    /// How many of those.
    others: u32,
    chats: chats::Load,
    /// The upstream's own address: what it gave and took is asked past the system measured.
    upstream: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Beside {
    /// Downloads at full speed.
    Downloads,
    /// Uploads at full speed.
    Uploads,
    /// Answers whose readers took the first piece and nothing since: the buffers on the way fill while the chats go on.
    Stopping,
    /// The same once those are full and nothing moves any more.
    Stopped,
}

/// Bytes that a transfer must have moved before the line counts as full.
const UNDER_WAY_BYTES: u64 = 256 * 1024;
/// Longer than any run takes.
const ENDLESS_BYTES: u64 = 1 << 40;
/// Between two looks at what the upstream has moved.
const LOOK: Duration = Duration::from_millis(20);
/// Looks in a row that must find the same: half a second in which nothing moved.
const SAME_LOOKS: u32 = 25;
/// How long the others may take to be as far as they must.
const PATIENCE: Duration = Duration::from_secs(30);

/// Chats beside the others.
pub(super) async fn run(target: &Target, load: &Load) -> anyhow::Result<Value> {
    let witness = Witness::at(&load.upstream)?;
    let taken_before = witness.bytes("taken").await?;
    let (over, is_over) = watch::channel(false);
    let mut others = Others::start(target, load, &is_over);
    drop(is_over);
    let ready = ready(load, Rc::clone(&others.progress), &witness, taken_before);
    let ready = timeout(PATIENCE, others.meanwhile(ready)).await;
    ready.context("what the chats run beside is not so far in time")??;
    let (began, before) = (Instant::now(), others.moved(load, &witness).await?);
    let seen = others.meanwhile(chat_all(target, &load.chats)).await?;
    let seconds = began.elapsed().as_secs_f64();
    let moved = others.moved(load, &witness).await? - before;
    over.send_replace(true);
    others.end().await?;
    let is_full_speed = matches!(load.beside, Beside::Downloads | Beside::Uploads);
    ensure!(
        moved > 0 || !is_full_speed,
        "nothing moved beside the chats"
    );
    let mut result = chats::summary(seen, seconds);
    result["beside_per_second"] = json!(super::per_second(moved, seconds));
    Ok(result)
}

/// The transfers beside the chats.
struct Others {
    tasks: JoinSet<anyhow::Result<()>>,
    progress: Rc<Progress>,
}

/// How far they are.
struct Progress {
    /// One permit for each whose caller has moved what counts.
    under_way: Semaphore,
    /// Bytes of answers that their callers took.
    came: Cell<u64>,
}

impl Others {
    fn start(target: &Target, load: &Load, is_over: &watch::Receiver<bool>) -> Self {
        let progress = Rc::new(Progress {
            under_way: Semaphore::new(0),
            came: Cell::new(0),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..load.others {
            let (target, beside, progress) = (target.clone(), load.beside, Rc::clone(&progress));
            let mut is_over = is_over.clone();
            tasks.spawn_local(async move {
                tokio::select! {
                    result = other(&target, beside, &progress) => result,
                    _ = is_over.changed() => Ok(()),
                }
            });
        }
        Self { tasks, progress }
    }

    /// The work's outcome, or an error when one of the others has ended before it.
    async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            Some(ended) = self.tasks.join_next() => {
                ended??;
                bail!("an endless transfer ended");
            }
        }
    }

    /// Bytes so far: of uploads those that the upstream took, of the others those that came to their callers.
    async fn moved(&self, load: &Load, witness: &Witness) -> anyhow::Result<u64> {
        match load.beside {
            Beside::Uploads => witness.bytes("taken").await,
            _ => Ok(self.progress.came.get()),
        }
    }

    async fn end(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Until the others are as far as their kind says.
async fn ready(
    load: &Load,
    progress: Rc<Progress>,
    witness: &Witness,
    taken_before: u64,
) -> anyhow::Result<()> {
    let all = progress.under_way.acquire_many(load.others).await?;
    all.forget();
    match load.beside {
        Beside::Downloads | Beside::Stopping => Ok(()),
        Beside::Uploads => is_taken(witness, taken_before, load.others).await,
        Beside::Stopped => is_still(witness).await,
    }
}

/// Until the upstream has taken so much of so many uploads.
async fn is_taken(witness: &Witness, before: u64, uploads: u32) -> anyhow::Result<()> {
    while witness.bytes("taken").await? - before < u64::from(uploads) * UNDER_WAY_BYTES {
        sleep(LOOK).await;
    }
    Ok(())
}

/// Until the upstream gives nothing more.
async fn is_still(witness: &Witness) -> anyhow::Result<()> {
    let (mut last, mut same) = (0, 0);
    while same < SAME_LOOKS {
        sleep(LOOK).await;
        let given = witness.bytes("given").await?;
        same = if given == last { same + 1 } else { 0 };
        last = given;
    }
    Ok(())
}

async fn other(target: &Target, beside: Beside, progress: &Progress) -> anyhow::Result<()> {
    let mut connection = Connection::open(target).await?;
    if beside == Beside::Uploads {
        return upload(&mut connection, target, progress).await;
    }
    let asked = json!({"model": "bench", "bytes": ENDLESS_BYTES});
    connection
        .send(&target.post("/api/generate", &asked))
        .await?;
    ensure!(connection.head().await? == 200);
    let (mut own, mut is_counted) = (0, false);
    while let Some(piece) = connection.piece().await? {
        own += piece.len() as u64;
        progress.came.set(progress.came.get() + piece.len() as u64);
        let is_stopped = beside != Beside::Downloads;
        if !is_counted && (own >= UNDER_WAY_BYTES || is_stopped) {
            is_counted = true;
            progress.under_way.add_permits(1);
        }
        if is_stopped {
            std::future::pending::<()>().await;
        }
    }
    bail!("an endless answer ended")
}

/// Sends without end. What refuses it closes the connection, which is an error here.
async fn upload(
    connection: &mut Connection,
    target: &Target,
    progress: &Progress,
) -> anyhow::Result<()> {
    let head = target.head("POST", bulk::BLOB, Some(ENDLESS_BYTES));
    connection.send(&head).await?;
    progress.under_way.add_permits(1);
    loop {
        connection.send(bulk::PIECE).await?;
    }
}
