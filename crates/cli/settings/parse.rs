//! From text to value, one function for each kind of value.
//!
//! Invariant: the reason never quotes what may hold a password, and quotes the rest with its control characters escaped.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    time::Duration,
};

use c2l_agent::Transport;
use c2l_auth::{DeviceName, Kind, Scopes};
use c2l_relay::{ForwardedBy, Network, Rate};
use http::{HeaderValue, Uri, uri::Scheme};

pub(crate) type Parsed<T> = Result<T, String>;

/// Most threads that a relay is given.
const MAX_THREADS: usize = 512;
/// The port that Ollama listens on when nobody says otherwise.
const OLLAMA_PORT: u16 = 11434;

pub(super) fn switch(text: &str) -> Parsed<bool> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}

pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| {
        format!("{text:?} is not an address with a port, like 127.0.0.1:8080 or [::]:8080")
    })
}

/// An address, or `off` for none.
pub(super) fn address_or_off(text: &str) -> Parsed<Option<SocketAddr>> {
    match text {
        "off" => Ok(None),
        other => address(other).map(Some),
    }
}

/// A time limit: zero would always have passed.
pub(super) fn limit(text: &str) -> Parsed<Duration> {
    match duration(text)? {
        Duration::ZERO => Err("a time limit is longer than zero".to_owned()),
        limit => Ok(limit),
    }
}

/// A length of time that may be zero.
pub(crate) fn duration(text: &str) -> Parsed<Duration> {
    // A bare zero needs no unit for humantime; nothing else may do without.
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a length of time, like 500ms, 30s, 5m, 12h or 30d"))
}

/// How many; at least one.
pub(super) fn count(text: &str) -> Parsed<usize> {
    text.parse::<NonZeroUsize>()
        .map(NonZeroUsize::get)
        .map_err(|_| format!("{text:?} is not a whole number of at least 1"))
}

pub(crate) fn count_u32(text: &str) -> Parsed<u32> {
    u32::try_from(count(text)?).map_err(|_| format!("{text:?} is too large"))
}

/// A number of bytes; at least one.
pub(super) fn size(text: &str) -> Parsed<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: Option<u64> = match unit.trim() {
        "" | "B" => Some(1),
        "kB" | "KB" => Some(1000),
        "MB" => Some(1000 * 1000),
        "GB" => Some(1000 * 1000 * 1000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    number
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("{text:?} is not a number of bytes, like 65536, 64KiB or 1GB"))
}

pub(super) fn size_usize(text: &str) -> Parsed<usize> {
    usize::try_from(size(text)?).map_err(|_| format!("{text:?} is too large"))
}

pub(super) fn size_u32(text: &str) -> Parsed<u32> {
    u32::try_from(size(text)?).map_err(|_| format!("{text:?} is too large"))
}

/// A number of bytes, or `none` for no limit.
pub(super) fn size_or_none(text: &str) -> Parsed<Option<u64>> {
    match text {
        "none" => Ok(None),
        other => size(other).map(Some),
    }
}

/// So many in a time, or `none` for no limit.
pub(super) fn rate_or_none(text: &str) -> Parsed<Option<Rate>> {
    rate(text, |count| {
        u64::try_from(self::count(count)?).map_err(|error| error.to_string())
    })
}

/// So many bytes in a time, or `none` for no limit.
pub(super) fn byte_rate_or_none(text: &str) -> Parsed<Option<Rate>> {
    rate(text, size)
}

fn rate(text: &str, amount: impl Fn(&str) -> Parsed<u64>) -> Parsed<Option<Rate>> {
    if text == "none" {
        return Ok(None);
    }
    let (many, time) = text
        .split_once('/')
        .ok_or_else(|| format!("{text:?} is not so many in a time, like 600/1m or 20GiB/1d"))?;
    Ok(Rate::new(amount(many)?, limit(time)?))
}

/// How many at least one, or `none` for no limit.
pub(super) fn count_or_none(text: &str) -> Parsed<Option<usize>> {
    match text {
        "none" => Ok(None),
        other => count(other).map(Some),
    }
}

/// How many threads, or `auto`. Far more than there are cores would be a mistake of the one who wrote it.
pub(super) fn threads_or_auto(text: &str) -> Parsed<Option<usize>> {
    match text {
        "auto" => Ok(None),
        other => match count(other)? {
            threads if threads > MAX_THREADS => {
                Err(format!("{text:?} is more than {MAX_THREADS} threads"))
            }
            threads => Ok(Some(threads)),
        },
    }
}

pub(super) fn network(text: &str) -> Parsed<Network> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

pub(super) fn forwarded_by(text: &str) -> Parsed<ForwardedBy> {
    match text {
        "x-forwarded-for" => Ok(ForwardedBy::XForwardedFor),
        "forwarded" => Ok(ForwardedBy::Forwarded),
        other => Err(format!(
            "{other:?} is neither x-forwarded-for nor forwarded"
        )),
    }
}

/// Where a relay is: `https://relay.example`, also without the scheme.
pub(super) fn relay(text: &str) -> Parsed<Uri> {
    url(text, "https", None)
}

/// A host's name or address, without a port.
pub(super) fn host_name(text: &str) -> Parsed<String> {
    let authority: http::uri::Authority = text
        .parse()
        .map_err(|_| format!("{text:?} is not a host's name"))?;
    if authority.host() != text {
        return Err(format!("{text:?} is more than a host's name"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Where the local service is: `http://127.0.0.1:11434`, also `host:port`, also `host`, as Ollama's own variable has it.
pub(super) fn upstream(text: &str) -> Parsed<Uri> {
    let url = url(text, "http", Some(OLLAMA_PORT))?;
    if url.scheme() == Some(&Scheme::HTTPS) {
        return Err("the upstream is reached over http, on this machine or beside it".to_owned());
    }
    Ok(url)
}

/// Scheme, host and port, and nothing more. A port is added only where the scheme was left out.
fn url(text: &str, scheme: &str, port: Option<u16>) -> Parsed<Uri> {
    if text.contains('@') {
        return Err("an address with a user name or password is not taken".to_owned());
    }
    let whole = match (text.contains("://"), port) {
        (true, _) => text.to_owned(),
        (false, Some(port)) if !has_port(text) => {
            format!("{scheme}://{}:{port}", text.trim_end_matches('/'))
        }
        (false, _) => format!("{scheme}://{text}"),
    };
    let example = format!("{scheme}://{}", "127.0.0.1:11434");
    let not_one = || format!("{text:?} is not an address like {example}");
    let uri: Uri = whole.parse().map_err(|_| not_one())?;
    let has_scheme = [&Scheme::HTTP, &Scheme::HTTPS]
        .into_iter()
        .any(|known| uri.scheme() == Some(known));
    if !has_scheme || uri.host().is_none_or(str::is_empty) {
        return Err(not_one());
    }
    // `http://host:99999` is a valid URI without a port.
    if uri
        .authority()
        .is_some_and(|authority| authority.port().is_none() && has_port(authority.as_str()))
        || uri.port_u16() == Some(0)
    {
        return Err(format!("{text:?} has a port that does not exist"));
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err(format!(
            "{text:?} has a path; an address ends after the port"
        ));
    }
    Ok(uri)
}

fn has_port(authority: &str) -> bool {
    let after_brackets = authority.rsplit(']').next().unwrap_or_default();
    after_brackets.trim_end_matches('/').contains(':')
}

/// Whether what is sent to `uri` stays on this machine.
pub(super) fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse()
            .is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

/// An origin as browsers spell it: `https://app.example`.
pub(super) fn origin(text: &str) -> Parsed<HeaderValue> {
    let not_one =
        || format!("{text:?} is not an origin as browsers send it, like https://app.example");
    let is_origin = text.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && !rest.is_empty() && !rest.contains('/')
    }) && !text.contains(['@', '*', ' ', '?', '#'])
        && *text == text.to_lowercase();
    let value = HeaderValue::from_str(text).ok();
    value.filter(|_| is_origin).ok_or_else(not_one)
}

pub(super) fn transport(text: &str) -> Parsed<Transport> {
    match text {
        "auto" => Ok(Transport::Auto),
        "grpc" => Ok(Transport::Grpc),
        "websocket" => Ok(Transport::WebSocket),
        other => Err(format!("{other:?} is not auto, grpc or websocket")),
    }
}

pub(super) fn device(text: &str) -> Parsed<DeviceName> {
    DeviceName::parse(text).map_err(|_| {
        format!("{text:?} is no device name: 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    })
}

/// A kind of token that is issued by hand.
pub(super) fn kind(text: &str) -> Parsed<Kind> {
    match text.parse() {
        Ok(kind @ (Kind::Agent | Kind::Api)) => Ok(kind),
        Ok(Kind::Web) | Err(_) => Err(format!("{text:?} is neither agent nor api")),
    }
}

pub(super) fn any_kind(text: &str) -> Parsed<Kind> {
    text.parse()
        .map_err(|_| format!("{text:?} is not one of agent, api, web"))
}

pub(super) fn scopes(words: &[String]) -> Parsed<Scopes> {
    Scopes::parse(&words.join(","))
        .map_err(|_| format!("{:?} is not made of infer and manage", words.join(",")))
}

/// Any text without control characters.
pub(super) fn plain(text: &str) -> Parsed<String> {
    if text.chars().any(char::is_control) {
        return Err("it has control characters".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_written_as_ollama_takes_them() {
        for (text, expected) in [
            ("127.0.0.1:11434", "http://127.0.0.1:11434/"),
            ("127.0.0.1", "http://127.0.0.1:11434/"),
            ("[::1]", "http://[::1]:11434/"),
            ("box.local:80", "http://box.local:80/"),
            ("http://box.local", "http://box.local/"),
            ("http://box.local:1234/", "http://box.local:1234/"),
        ] {
            assert_eq!(upstream(text).unwrap().to_string(), expected, "{text}");
        }
        for bad in [
            "",
            "https://127.0.0.1",
            "ftp://127.0.0.1",
            "http://",
            "http://x/v1",
            "http://x?y",
            "http://x:99999",
            "x:0",
            "a b",
        ] {
            assert!(upstream(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let refused = relay("https://ada:hunter2@relay.example").unwrap_err();
        assert!(!refused.contains("hunter2"), "{refused}");
        assert_eq!(
            relay("relay.example").unwrap().to_string(),
            "https://relay.example/"
        );
    }

    #[test]
    fn loopback_is_this_machine_only() {
        for (text, expected) in [
            ("http://localhost:1", true),
            ("http://127.9.9.9:1", true),
            ("http://[::1]:1", true),
            ("http://localhost.example:1", false),
            ("http://10.0.0.1:1", false),
        ] {
            assert_eq!(is_loopback(&relay(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1 GB"), Ok(1_000_000_000));
        assert_eq!(size("7"), Ok(7));
        for bad in ["", "0", "KiB", "1TiBs", "-1", "1.5MB", "99999999999GiB"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
        assert_eq!(limit("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for bad in ["", "0s", "5", "5 parsecs", "-5s"] {
            assert!(limit(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rates_are_so_many_in_a_time() {
        let minute = Duration::from_secs(60);
        assert_eq!(rate_or_none("600/1m"), Ok(Rate::new(600, minute)));
        assert_eq!(rate_or_none("none"), Ok(None));
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(byte_rate_or_none("20GiB/1d"), Ok(Rate::new(20 << 30, day)));
        for bad in [
            "", "600", "0/1m", "600/0s", "600/1", "-1/1m", "1GiB/1m", "/1m", "off",
        ] {
            assert!(rate_or_none(bad).is_err(), "{bad:?}");
        }
        assert!(byte_rate_or_none("1XB/1m").is_err());
    }

    #[test]
    fn origins_are_what_browsers_send() {
        for good in ["https://app.example", "http://localhost:3000"] {
            assert_eq!(origin(good).unwrap(), good);
        }
        for bad in [
            "*",
            "null",
            "app.example",
            "https://App.example",
            "https://a/",
            "https://a\n",
        ] {
            assert!(origin(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn threads_are_a_number_within_reason_or_left_to_the_program() {
        assert_eq!(threads_or_auto("auto"), Ok(None));
        assert_eq!(threads_or_auto("1"), Ok(Some(1)));
        assert_eq!(threads_or_auto("512"), Ok(Some(512)));
        for bad in ["0", "513", "-1", "", "none"] {
            assert!(threads_or_auto(bad).is_err(), "{bad:?}");
        }
    }
}
