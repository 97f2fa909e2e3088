//! How often the agent asks for memory to let the fields of a small request cross, and to know its model.
//!
//! Invariant: what is counted here does not grow unseen. The counts are of one thread, and the same on each run.

use allocation_counter::measure;
use c2l_agent::measured::{toward_caller, toward_upstream};
use c2l_models::{Glance, members};
use http::{HeaderMap, HeaderName, HeaderValue};

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    };
    pairs.iter().map(field).collect()
}

/// How often `cross` allocates beside what these fields take by themselves.
fn allocations(
    pairs: &[(&'static str, &'static str)],
    cross: impl Fn(HeaderMap) -> HeaderMap,
) -> u64 {
    let own = measure(|| drop(fields(pairs))).count_total;
    measure(|| drop(cross(fields(pairs)))).count_total - own
}

#[test]
fn what_the_relay_lets_through_crosses_with_room_for_the_host() {
    let host = HeaderValue::from_static("localhost:11434");
    let asked = [
        ("user-agent", "curl/8"),
        ("accept", "*/*"),
        ("content-type", "application/json"),
    ];
    let cross = |fields| toward_upstream(fields, &host);
    // The map of three fields grows, in two parts, for a fourth one; nothing else.
    assert_eq!(allocations(&asked, cross), 2);
}

#[test]
fn an_answer_crosses_with_at_most_one_list_of_what_stays() {
    let known = [
        ("content-type", "application/json"),
        ("content-length", "25"),
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ];
    assert_eq!(allocations(&known, toward_caller), 0);
    let chunked = [
        ("content-type", "application/x-ndjson"),
        ("transfer-encoding", "chunked"),
    ];
    assert_eq!(allocations(&chunked, toward_caller), 1);
}

#[test]
fn a_model_is_seen_in_passing_with_its_name_alone() {
    let look = |pieces: &[&str]| {
        let mut model = None;
        let cost = measure(|| {
            let mut glance = Glance::for_json(members::MODEL);
            model = pieces
                .iter()
                .find_map(|piece| glance.look(piece.as_bytes()));
        });
        (cost.count_total, model)
    };
    let tiny = || Some("tiny".to_owned());
    assert_eq!(look(&[r#"{"model":"tiny","messages":[]}"#]), (1, tiny()));
    assert_eq!(look(&[r#"{"messages":[]}"#]), (0, None));
    // What was read of a name that is not whole yet is kept.
    assert_eq!(look(&[r#"{"model":"ti"#, r#"ny"}"#]), (2, tiny()));
}
