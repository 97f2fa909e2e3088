//! What is found, what is refused, and that neither depends on how a body is cut into pieces.

use super::*;
use crate::members;

/// What is found, and where the object ends, in pieces of this many bytes.
fn scan(
    members: &'static [Member],
    body: &[u8],
    piece_bytes: usize,
) -> Result<(Vec<String>, Option<usize>), String> {
    let mut scanner = Scanner::new(members);
    let (mut found, mut end) = (Vec::new(), None);
    for (index, piece) in body.chunks(piece_bytes).enumerate() {
        let fed = scanner.feed(piece, |one| {
            found.push(one.text.to_owned());
            Ok(())
        });
        if let Some(at) = fed.map_err(|refusal| refusal.message)? {
            assert_eq!(end.replace(index * piece_bytes + at), None, "it ends once");
        }
    }
    assert_eq!(end.is_some(), scanner.is_ended());
    Ok((found, end))
}

/// The same, however it is cut.
fn found(members: &'static [Member], body: &str) -> Vec<String> {
    let whole = scan(members, body.as_bytes(), body.len()).expect(body);
    for piece_bytes in 1..body.len().min(70) {
        let cut = scan(members, body.as_bytes(), piece_bytes).expect(body);
        assert_eq!(cut, whole, "{piece_bytes}: {body}");
    }
    assert_eq!(whole.1, body.rfind('}'), "{body}");
    whole.0
}

fn refusal(members: &'static [Member], body: &[u8]) -> String {
    let whole = scan(members, body, body.len().max(1)).expect_err("a refusal");
    assert_eq!(scan(members, body, 1).expect_err("a refusal"), whole);
    whole
}

#[test]
fn the_members_are_found_wherever_they_stand_and_however_they_are_written() {
    let long = format!("{{\"images\":[\"{}\"],\"model\":\"x\"}}", "A".repeat(500));
    for (body, expected) in [
        (r#"{"model":"x"}"#, &["x"][..]),
        (" \r\n\t{ \"model\" : \"x\" } \n", &["x"]),
        (r#"{"stream":false,"MODEL":"x:1b"}"#, &["x:1b"]),
        (r#"{"\u006dode\u006C":"\u0078\/y"}"#, &["x/y"]),
        (
            r#"{"a":{"model":"no"},"b":[{"model":"no"}],"model":"x"}"#,
            &["x"],
        ),
        (r#"{"a":"{\"model\":\"no\"}","model":"x"}"#, &["x"]),
        (r#"{"a":"\\","model":"x"}"#, &["x"]),
        (
            r#"{"a":[[],{},[{}]],"b":-1.5E+3,"c":null,"model":"x","d":true}"#,
            &["x"],
        ),
        (r#"{"model":null}"#, &[]),
        (r#"{"model":""}"#, &[""]),
        (r#"{"model":"a\u0000b"}"#, &["a\0b"]),
        ("{\"model\":\"\u{e9}\"}", &["\u{e9}"]),
        (
            r#"{"models":"no","mode":"no","model ":"no","\u00e9model":"no"}"#,
            &[],
        ),
        ("{}", &[]),
        (&long, &["x"]),
    ] {
        assert_eq!(found(members::MODEL, body), expected, "{body}");
    }
    let body = r#"{"name":"a","from":"b","x":1,"remote_host":"c","Path":"d"}"#;
    assert_eq!(found(members::NEW_MODEL, body), ["a", "b", "c", "d"]);
    let body = "{\"\u{17f}ource\":\"a\",\"de\\u017Ftination\":\"b\"}";
    assert_eq!(found(members::SOURCE_AND_DESTINATION, body), ["a", "b"]);
}

#[test]
fn the_two_letters_beyond_ascii_fold_as_go_folds_them() {
    assert!(is_folded("\u{212a}ey\u{17f}".as_bytes(), "keys"));
    assert!(is_folded(b"KEYS", "keys"));
    for other in ["key", "keyss", "\u{17f}eys", "k\u{e9}ys", "\u{fffd}eys"] {
        assert!(!is_folded(other.as_bytes(), "keys"), "{other}");
    }
    assert!(!is_folded(&[0xC5], "s") && !is_folded(&[0xE2, 0x84], "k"));
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for body in [
        r#"{"model":"x","model":"y"}"#,
        r#"{"model":"x","Model":"x"}"#,
        r#"{"model":null,"mod\u0065l":"x"}"#,
    ] {
        let why = refusal(members::MODEL, body.as_bytes());
        assert_eq!(why, "the body says `model` more than once", "{body}");
    }
    for body in [
        r#"{"model":["x"]}"#,
        r#"{"model":{"a":"x"}}"#,
        r#"{"model":1}"#,
        r#"{"model":true}"#,
    ] {
        let why = refusal(members::MODEL, body.as_bytes());
        assert_eq!(why, "`model` is not a string", "{body}");
    }
    for body in [r#"["model"]"#, "\u{feff}{}", "null", "x", "\0{}", "model=x"] {
        let why = refusal(members::MODEL, body.as_bytes());
        assert_eq!(why, "the body is not a JSON object", "{body}");
    }
    for body in ["{}{", "{}x", "{} \0", "{}{\"model\":\"x\"}"] {
        let why = refusal(members::MODEL, body.as_bytes());
        assert_eq!(why, "something follows the body's JSON object", "{body}");
    }
    for body in [
        "{model:\"x\"}",
        "{'model':\"x\"}",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1 2}",
        "{\"a\":1,}",
        "{\"a\":[}",
        "{\"a\":[1]]}",
        "{\"a\":[/*\"*/]}",
        "{\"a\":[']",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\0\"}",
    ] {
        let why = refusal(members::MODEL, body.as_bytes());
        assert_eq!(why, "the body is not valid JSON", "{body}");
    }
}

#[test]
fn a_value_that_is_too_long_or_no_unicode_is_told_as_no_name() {
    let long = format!("{{\"model\":\"{}\"}}", "x".repeat(MAX_TEXT_BYTES + 1));
    assert_eq!(found(members::MODEL, &long), ["\0"]);
    assert_eq!(found(members::MODEL, r#"{"model":"\ud800"}"#), ["\0"]);
    let bytes = b"{\"model\":\"\xFF\"}";
    assert_eq!(scan(members::MODEL, bytes, 3).unwrap().0, ["\0"]);
}

#[test]
fn a_name_that_is_too_long_is_nobodys() {
    let long = format!("{{\"model{}\":\"x\"}}", "\\u0000".repeat(MAX_TEXT_BYTES));
    assert_eq!(found(members::MODEL, &long), [""; 0]);
}

#[test]
fn nesting_is_bounded() {
    let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(
        scan(members::MODEL, deep(MAX_DEPTH).as_bytes(), 99)
            .unwrap()
            .1
            .is_some()
    );
    let why = refusal(members::MODEL, deep(MAX_DEPTH + 1).as_bytes());
    assert_eq!(why, "the body's JSON is nested too deeply");
    let mixed = "[{\"a\":".repeat(300) + "1" + &"}]".repeat(300);
    assert_eq!(
        found(
            members::MODEL,
            &format!("{{\"a\":{mixed},\"model\":\"x\"}}")
        ),
        ["x"]
    );
}

#[test]
fn a_body_that_stops_in_the_middle_has_no_end() {
    let body = r#"{"a":[{"b":"\u00e9"}],"model":"x"}"#;
    for length in 0..body.len() {
        let cut = scan(members::MODEL, &body.as_bytes()[..length], 5).unwrap();
        assert_eq!(cut.1, None, "{length}");
    }
}
