//! Which of their requests a user asks for: `?after=<cursor>&limit=<number>`.
//!
//! Invariant: read strictly. What is not a plain number, or is there twice, is a mistake and not a guess.

use c2l_tunnel::Fault;

use crate::error::invalid;

/// Most requests of one user that are kept, and so of one answer.
pub(super) const MOST: usize = 200;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Only what began or ended after this one, or runs.
    pub(crate) after: u64,
    /// The newest so many.
    pub(crate) limit: usize,
}

impl Window {
    /// Reads the query of a request.
    ///
    /// # Errors
    /// `InvalidRequest`.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Fault> {
        let (mut after, mut limit) = (None, None);
        for pair in query.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "" if value.is_empty() => continue,
                "after" => &mut after,
                "limit" => &mut limit,
                _ => return Err(invalid("only `after` and `limit` can be asked for")),
            };
            if slot.replace(number(value)?).is_some() {
                return Err(invalid("`after` or `limit` is there twice"));
            }
        }
        let limit = limit.unwrap_or(MOST as u64);
        let limit = usize::try_from(limit).ok();
        let limit = limit.filter(|limit| (1..=MOST).contains(limit));
        Ok(Self {
            after: after.unwrap_or(0),
            limit: limit.ok_or_else(|| invalid("`limit` is a number from 1 to 200"))?,
        })
    }
}

/// Digits alone: no sign, no space, nothing encoded.
fn number(text: &str) -> Result<u64, Fault> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_plain.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| invalid("`after` and `limit` are whole numbers below 2^64"))
}
