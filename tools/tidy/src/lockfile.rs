//! What `Cargo.lock` may hold, as far as `deny.toml` says it: the part of that check that needs no tool and no network.

use std::fs;

use toml::{Table, Value};

use crate::{assert_none, root};

fn read(name: &str) -> Table {
    let text = fs::read_to_string(root().join(name)).unwrap();
    text.parse().unwrap()
}

fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `1.2.3`, with what is missing taken for zero; what stands behind a `-` or `+` is of no account here.
fn version(text: &str) -> Vec<u64> {
    let plain = text.split(['-', '+']).next().unwrap_or_default();
    let mut numbers: Vec<u64> = plain.split('.').map(|part| part.parse().unwrap()).collect();
    numbers.resize(3, 0);
    numbers
}

/// A ban is a name, or a name with everything below a version: `h2:<0.4.19`.
fn bans(ban: &str, name: &str, locked: &str) -> bool {
    match ban.split_once(":<") {
        Some((banned, floor)) => banned == name && version(locked) < version(floor),
        None => ban == name,
    }
}

#[test]
fn ops_10_no_version_with_an_advisory_is_locked_and_every_ban_has_its_reason() {
    let (lock, deny) = (read("Cargo.lock"), read("deny.toml"));
    let banned = deny["bans"]["deny"].as_array().unwrap();
    assert!(banned.len() > 20, "the list is there");
    let unexplained = banned.iter().filter(|ban| text(ban, "reason").is_empty());
    let unexplained: Vec<_> = unexplained.map(|entry| format!("{entry:?}")).collect();
    assert_none(&unexplained, "bans without a reason:");
    // The others are about what is linked, which `cargo deny` knows: a lock file also names what no feature switches on.
    let is_of_advisory = |ban: &&Value| {
        let reason = text(ban, "reason");
        ["RUSTSEC-", "CVE-", "advisories"]
            .iter()
            .any(|word| reason.contains(word))
    };
    let banned: Vec<_> = banned.iter().filter(is_of_advisory).collect();
    assert!(banned.len() > 15, "the advisories among them");
    let mut offences = Vec::new();
    for package in lock["package"].as_array().unwrap() {
        let (name, locked) = (text(package, "name"), text(package, "version"));
        let ban = banned
            .iter()
            .find(|ban| bans(text(ban, "crate"), name, locked));
        offences.extend(ban.map(|ban| format!("{name} {locked}: {}", text(ban, "reason"))));
    }
    assert_none(&offences, "locked, and banned in deny.toml:");
}

#[test]
fn ops_10_an_exception_has_a_reason_with_a_date() {
    let deny = read("deny.toml");
    let ignored = deny
        .get("advisories")
        .and_then(|section| section.get("ignore"));
    let ignored = ignored.and_then(Value::as_array).into_iter().flatten();
    let has_date = |reason: &str| {
        reason.split([' ', ',', ';', ':', '(', ')']).any(|word| {
            let parts: Vec<_> = word.split('-').map(str::len).collect();
            parts == [4, 2, 2] && word.bytes().all(|b| b.is_ascii_digit() || b == b'-')
        })
    };
    let unexplained = ignored.filter(|entry| !has_date(text(entry, "reason")));
    let unexplained: Vec<_> = unexplained.map(|entry| format!("{entry:?}")).collect();
    assert_none(
        &unexplained,
        "advisories that are ignored without a reason and a date:",
    );
}

#[test]
fn floors_are_compared_as_versions() {
    assert!(bans("h2:<0.4.19", "h2", "0.4.9"));
    assert!(!bans("h2:<0.4.19", "h2", "0.4.19"));
    assert!(!bans("h2:<0.4.19", "h2", "0.10.0"));
    assert!(bans("rustls:<0.39", "rustls", "0.38.9-alpha"));
    assert!(!bans("h2:<0.4.19", "h3", "0.1.0"));
    assert!(bans("paste", "paste", "1.0.0"));
}
