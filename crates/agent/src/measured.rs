//! What benches and counts of allocations outside of this crate look at: which fields cross.
//!
//! Invariant: it is the code that forwards; nothing here decides anything. No part of what this crate promises.

use http::{HeaderMap, HeaderValue};

use crate::forward::headers;

/// The fields for the upstream, which is called `host`.
#[must_use]
pub fn toward_upstream(fields: HeaderMap, host: &HeaderValue) -> HeaderMap {
    headers::toward_upstream(fields, host)
}

/// The fields for the caller.
#[must_use]
pub fn toward_caller(fields: HeaderMap) -> HeaderMap {
    headers::toward_caller(fields)
}
