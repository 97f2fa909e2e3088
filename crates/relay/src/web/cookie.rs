//! What the browser keeps for the relay.
//!
//! Invariant (WEB-06): each name begins with `__Host-`, so a browser takes it from this very host alone, in a secure context
//! alone, and for all of it; no script sees one.

use std::time::Duration;

use c2l_auth::Secret;
use http::{HeaderMap, HeaderValue, header};

/// Who has signed in.
pub(super) const SESSION: &str = "__Host-c2l";

/// The value of this cookie; none where two claim to be it.
pub(super) fn find(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs
        .filter(|(found, _)| *found == name)
        .map(|(_, value)| value);
    let value = values.next().filter(|value| !value.is_empty())?;
    values.next().is_none().then(|| Secret::new(value))
}

/// Has the browser keep a cookie for so long, and send it with what our own page sends.
pub(super) fn strict(name: &str, value: &Secret, life: Duration) -> Option<HeaderValue> {
    set(name, value.expose(), life, "Strict")
}

/// The same, sent as well when another site leads the browser here: to come back with a code.
pub(super) fn lax(name: &str, value: &Secret, life: Duration) -> Option<HeaderValue> {
    set(name, value.expose(), life, "Lax")
}

/// Has the browser forget a cookie.
pub(super) fn forgotten(name: &str) -> Option<HeaderValue> {
    set(name, "", Duration::ZERO, "Strict")
}

fn set(name: &str, value: &str, life: Duration, same_site: &str) -> Option<HeaderValue> {
    let seconds = life.as_secs();
    let text = format!(
        "{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite={same_site}"
    );
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        find(&headers, SESSION).map(|value| value.expose().to_owned())
    }

    #[test]
    fn the_one_cookie_is_found_and_two_are_none() {
        assert_eq!(found(&["__Host-c2l=a.b.c"]).as_deref(), Some("a.b.c"));
        assert_eq!(found(&["x=1; __Host-c2l=a=b;y=2"]).as_deref(), Some("a=b"));
        assert_eq!(found(&["x=1", "__Host-c2l=a"]).as_deref(), Some("a"));
        for none in [
            &[][..],
            &["__Host-c2l="],
            &["__host-c2l=a"],
            &["c2l=a"],
            &["__Host-c2l-signin=a"],
            &["__Host-c2l=a; __Host-c2l=b"],
            &["__Host-c2l=a", "__Host-c2l=a"],
        ] {
            assert_eq!(found(none), None, "{none:?}");
        }
    }

    #[test]
    fn web_06_a_cookie_is_kept_for_this_host_alone_and_shown_to_no_script() {
        let set = strict(SESSION, &Secret::new("v"), Duration::from_secs(60)).unwrap();
        assert_eq!(
            set.to_str().unwrap(),
            "__Host-c2l=v; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict"
        );
        assert!(set.is_sensitive());
        assert_eq!(
            strict(SESSION, &Secret::new("v\r\nx"), Duration::ZERO),
            None
        );
    }
}
