//! Chats: tokens at their pace, each with the moment it was made.
//!
//! Invariant: tokens come in order and all of them, or the job fails.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::{Buf as _, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::requests::nanos_since;
use crate::{
    http1::{Connection, Target},
    report::Samples,
    wall_nanos,
};

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Load {
    chats: u32,
    tokens: u64,
    /// Between two tokens; 0: as fast as they go.
    gap_us: u64,
    /// Over which the chats begin, one after the other; one gap where it is not said.
    ramp_us: Option<u64>,
}

/// What the chats of a run saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    delay: Samples,
    first: Samples,
    tokens: u64,
}

pub(super) async fn stream(target: &Target, load: &Load) -> anyhow::Result<Value> {
    let began = Instant::now();
    let seen = chat_all(target, load).await?;
    Ok(summary(seen, began.elapsed().as_secs_f64()))
}

pub(super) async fn chat_all(target: &Target, load: &Load) -> anyhow::Result<Seen> {
    let request = target.post(
        "/api/chat",
        &json!({"model": "bench", "tokens": load.tokens, "gap_us": load.gap_us}),
    );
    let mut chats = JoinSet::new();
    for number in 0..load.chats {
        let (target, request, load) = (target.clone(), request.clone(), load.clone());
        chats.spawn_local(async move {
            // Spread, so that the tokens of all do not fall on one moment.
            let ramp = load.ramp_us.unwrap_or(load.gap_us);
            let share = u64::from(number) * ramp / u64::from(load.chats);
            sleep(Duration::from_micros(share)).await;
            chat(&target, &request, load.tokens).await
        });
    }
    let mut all = Seen::default();
    while let Some(seen) = chats.join_next().await {
        let mut seen = seen??;
        all.delay.append(&mut seen.delay);
        all.first.append(&mut seen.first);
        all.tokens += seen.tokens;
    }
    ensure!(
        all.tokens == u64::from(load.chats) * load.tokens,
        "{} tokens in all",
        all.tokens
    );
    Ok(all)
}

async fn chat(target: &Target, request: &[u8], tokens: u64) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let began = Instant::now();
    let mut connection = Connection::open(target).await?;
    connection.send(request).await?;
    let status = connection.head().await?;
    ensure!(status == 200, "a chat was answered {status}");
    let mut lines = BytesMut::new();
    while let Some(piece) = connection.piece().await? {
        let came = wall_nanos();
        lines.extend_from_slice(&piece);
        while let Some(end) = lines.iter().position(|&byte| byte == b'\n') {
            let line = lines.split_to(end);
            lines.advance(1);
            let (number, made) = token(&line).context("a line that is no token")?;
            ensure!(
                number == seen.tokens,
                "token {number} in place of {}",
                seen.tokens
            );
            if number == 0 {
                seen.first.push(nanos_since(began));
            }
            seen.delay.push(came.saturating_sub(made));
            seen.tokens += 1;
        }
    }
    ensure!(
        seen.tokens == tokens && lines.is_empty(),
        "{} tokens of {tokens}",
        seen.tokens
    );
    Ok(seen)
}

/// The number of a token, and when it was made.
fn token(line: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(line).ok()?;
    let number = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        rest[..end].parse().ok()
    };
    Some((number("\"n\":")?, number("\"at\":")?))
}

pub(super) fn summary(seen: Seen, seconds: f64) -> Value {
    json!({
        "count": seen.tokens,
        "seconds": seconds,
        "per_second": super::per_second(seen.tokens, seconds),
        "delay_us": seen.delay.summary(),
        "first_us": seen.first.summary(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_its_number_and_its_moment() {
        let line = br#"{"model":"bench","n":17,"at":1234567,"message":{}}"#;
        assert_eq!(token(line), Some((17, 1_234_567)));
        assert_eq!(token(b"{}"), None);
        assert_eq!(token(&[0xff]), None);
    }
}
