//! The proxy on the way to the relay: `--proxy`, else what the environment says in the way everybody reads it.
//!
//! Invariant: the upstream is never reached through a proxy, and a relay on this machine neither.

use c2l_agent::Proxy;
use http::{Uri, uri::Scheme};

use super::{Values, parse};

/// The variables that are read, in either case, besides our own.
pub(super) const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"];

pub(super) fn read(values: &mut Values, relay: Option<&Uri>) -> Option<Proxy> {
    let parse = |text: &str| match text {
        "none" => Ok(None),
        text => Proxy::parse(text)
            .map(Some)
            .map_err(|error| error.to_string()),
    };
    if let Some(said) = values.optional("proxy", parse) {
        return said;
    }
    let (name, text) = of_environment(values, relay?)?;
    let parsed = Proxy::parse(text);
    parsed
        .map_err(|error| values.mistake(format!("env {name}: {error}")))
        .ok()
}

/// Which variable counts for this relay when `--proxy` says nothing, and what it says.
pub(super) fn of_environment<'a>(
    values: &'a Values,
    relay: &Uri,
) -> Option<(&'static str, &'a str)> {
    let host = relay.host()?;
    let bypassed = values
        .proxy_variable("NO_PROXY")
        .is_some_and(|list| is_listed(list, host));
    if parse::is_loopback(relay) || bypassed {
        return None;
    }
    let of_scheme = if relay.scheme() == Some(&Scheme::HTTPS) {
        "HTTPS_PROXY"
    } else {
        "HTTP_PROXY"
    };
    [of_scheme, "ALL_PROXY"]
        .into_iter()
        .find_map(|name| Some((name, values.proxy_variable(name)?)))
}

/// Whether `NO_PROXY` names this host: `*`, the name itself, or a domain that it is in. Ports in the list are ignored.
fn is_listed(list: &str, host: &str) -> bool {
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase();
    list.split([',', ' '])
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .any(|item| {
            let item = item.to_ascii_lowercase();
            if item == "*" || item == host {
                return true;
            }
            let name = match item.rsplit_once(':') {
                Some((name, port))
                    if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains(':') =>
                {
                    name
                }
                _ => &item,
            };
            let name = name.trim_start_matches("*.").trim_start_matches('.');
            host == name
                || host
                    .strip_suffix(name)
                    .is_some_and(|rest| rest.ends_with('.'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        for (list, host, expected) in [
            ("*", "relay.example", true),
            ("relay.example", "relay.example", true),
            ("example", "relay.example", true),
            (".example", "relay.example", true),
            ("*.example", "relay.example", true),
            ("a.test, relay.example:443", "relay.example", true),
            ("lay.example", "relay.example", false),
            ("other.example", "relay.example", false),
            ("", "relay.example", false),
            ("10.0.0.1", "10.0.0.1", true),
        ] {
            assert_eq!(is_listed(list, host), expected, "{list} and {host}");
        }
    }
}
