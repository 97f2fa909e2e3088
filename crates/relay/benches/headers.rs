//! What it costs to let the fields of a small request cross, at the relay.
//!
//! `cargo bench -p c2l-relay --bench headers`.

use c2l_relay::measured::{toward_caller, toward_upstream};
use http::{HeaderMap, HeaderName, HeaderValue};

/// What a client of Ollama's API sends.
const ASKED: &[(&str, &str)] = &[
    ("host", "relay.example"),
    (
        "user-agent",
        "ollama-python/0.6.0 (x86_64 linux) Python/3.13",
    ),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate"),
    ("connection", "keep-alive"),
    (
        "authorization",
        "Bearer c2l_0123456789abcdef0123456789abcdef",
    ),
    ("content-type", "application/json"),
    ("content-length", "123"),
];
/// What Ollama answers with.
const ANSWERED: &[(&str, &str)] = &[
    ("content-type", "application/x-ndjson"),
    ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ("transfer-encoding", "chunked"),
];

fn main() {
    divan::main();
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    };
    pairs.iter().map(field).collect()
}

/// Of a request.
#[divan::bench]
fn request(bencher: divan::Bencher<'_, '_>) {
    bencher
        .with_inputs(|| fields(ASKED))
        .bench_values(toward_upstream);
}

/// Of its answer.
#[divan::bench]
fn answer(bencher: divan::Bencher<'_, '_>) {
    let device = HeaderValue::from_static("desk");
    bencher
        .with_inputs(|| fields(ANSWERED))
        .bench_values(|fields| toward_caller(fields, &device));
}
