//! Where somebody asks from: for limits and for the audit log, and for nothing else.
//!
//! Invariant: what a request says of itself is believed only as far as trusted proxies wrote it. An address decides
//! nothing about who somebody is.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use http::{HeaderMap, HeaderName, header};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Hops that are looked at, from the nearest on. More than there are proxies in front of anything.
const MAX_HOPS: usize = 32;

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix_bits: u8,
}

/// The text is no range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a range of addresses, like 10.0.0.0/8, fd00::/8 or 192.0.2.7")]
pub struct InvalidNetwork;

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().map_err(|_| InvalidNetwork)?
            }
            Some(_) => return Err(InvalidNetwork),
        };
        if prefix_bits > most {
            return Err(InvalidNetwork);
        }
        Ok(Self { first, prefix_bits })
    }
}

impl Network {
    /// Whether the address is in the range.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let (first, address, width) = match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => (
                u128::from(first.to_bits()),
                u128::from(address.to_bits()),
                32,
            ),
            (IpAddr::V6(first), IpAddr::V6(address)) => (first.to_bits(), address.to_bits(), 128),
            _ => return false,
        };
        let host_bits = width - u32::from(self.prefix_bits);
        first.checked_shr(host_bits).unwrap_or(0) == address.checked_shr(host_bits).unwrap_or(0)
    }
}

/// Whose word counts for where a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedBy {
    /// `X-Forwarded-For`: what nearly every proxy writes.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// What limits are counted by: an IPv4 address, or the /64 of an IPv6 one, which is what one customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            IpAddr::V4(address) => IpAddr::V4(address),
        })
    }

    /// The first address of it.
    pub(crate) fn address(self) -> IpAddr {
        self.0
    }
}

/// The address that a request comes from: the peer's own, or, where trusted proxies stand in front, the last one that
/// none of them is. A hop that cannot be read ends the search at the proxy that wrote it.
pub(crate) fn client(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[Network],
    written_by: ForwardedBy,
) -> IpAddr {
    let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer.to_canonical();
    if !is_trusted(nearest) {
        return nearest;
    }
    let name = match written_by {
        ForwardedBy::XForwardedFor => &X_FORWARDED_FOR,
        ForwardedBy::Forwarded => &header::FORWARDED,
    };
    let lines = headers.get_all(name).iter().rev();
    let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops.take(MAX_HOPS) {
        let text = std::str::from_utf8(hop).unwrap_or_default();
        let text = match written_by {
            ForwardedBy::XForwardedFor => Some(text),
            ForwardedBy::Forwarded => named("for", text),
        };
        let Some(address) = text.and_then(node) else {
            return nearest;
        };
        nearest = address.to_canonical();
        if !is_trusted(nearest) {
            return nearest;
        }
    }
    nearest
}

/// Whether a trusted proxy says that the request came to it in TLS: all of them, where several say it.
pub(crate) fn is_tls_before(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[Network],
    written_by: ForwardedBy,
) -> bool {
    let peer = peer.to_canonical();
    if !trusted.iter().any(|network| network.contains(peer)) {
        return false;
    }
    let (name, key) = match written_by {
        ForwardedBy::XForwardedFor => (&X_FORWARDED_PROTO, None),
        ForwardedBy::Forwarded => (&header::FORWARDED, Some("proto")),
    };
    let lines = headers.get_all(name).iter();
    let mut hops = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let is_https = |hop: &[u8]| {
        let text = std::str::from_utf8(hop).unwrap_or_default();
        let text = key.map_or(Some(text), |key| named(key, text));
        text.is_some_and(|text| text.trim().eq_ignore_ascii_case("https"))
    };
    hops.next().is_some_and(is_https) && hops.all(is_https)
}

/// Whether somebody near writes what only proxies write.
pub(crate) fn looks_like_proxy(peer: IpAddr, headers: &HeaderMap) -> bool {
    let is_near = match peer.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    };
    is_near && (headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(header::FORWARDED))
}

/// The value of this name in one element of `Forwarded`. A quoted comma or semicolon has no place in an address, so what has one
/// falls apart into pieces that are none.
fn named<'a>(wanted: &str, element: &'a str) -> Option<&'a str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let is_wanted = name.trim().eq_ignore_ascii_case(wanted);
        is_wanted.then(|| value.trim().trim_matches('"'))
    })
}

/// An address as proxies write it: bare, in brackets, with a port.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bracketed = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port)
}

/// Stands for an address that nobody knows.
pub(crate) const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn web_04_only_a_trusted_proxy_says_that_it_was_in_tls() {
        let trusted = ["10.0.0.0/8".parse().expect("a network")];
        let says = |peer: &str, name: &'static str, values: &[&'static str], by| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name, HeaderValue::from_static(value));
            }
            is_tls_before(ip(peer), &headers, &trusted, by)
        };
        let plain = |peer, values| {
            says(
                peer,
                "x-forwarded-proto",
                values,
                ForwardedBy::XForwardedFor,
            )
        };
        assert!(plain("10.1.2.3", &["https"]) && plain("::ffff:10.1.2.3", &["HTTPS, https"]));
        for values in [
            &[][..],
            &["http"],
            &["https, http"],
            &["https", "http"],
            &["", "https"],
        ] {
            assert!(!plain("10.1.2.3", values), "{values:?}");
        }
        assert!(!plain("192.0.2.7", &["https"]), "a stranger");
        let standard = |value| says("10.1.2.3", "forwarded", &[value], ForwardedBy::Forwarded);
        assert!(standard("for=192.0.2.7;proto=https") && standard("Proto=\"https\";for=x"));
        assert!(!standard("for=192.0.2.7") && !standard("proto=https, for=x;proto=http"));
        let other = says(
            "10.1.2.3",
            "x-forwarded-proto",
            &["https"],
            ForwardedBy::Forwarded,
        );
        assert!(!other, "the field that nobody writes");
    }

    fn found(peer: &str, name: &'static str, lines: &[&str], written_by: ForwardedBy) -> IpAddr {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_str(line).expect("a value"));
        }
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1"];
        let trusted = trusted.map(|text| text.parse().expect("a network"));
        client(ip(peer), &headers, &trusted, written_by)
    }

    #[test]
    fn networks_are_read_strictly_and_contain_what_they_say() {
        let network = |text: &str| text.parse::<Network>().expect("a network");
        assert!(network("10.0.0.0/8").contains(ip("10.255.0.1")));
        assert!(!network("10.0.0.0/8").contains(ip("11.0.0.1")));
        assert!(network("10.0.0.0/8").contains(ip("::ffff:10.1.1.1")));
        assert!(network("0.0.0.0/0").contains(ip("203.0.113.9")));
        assert!(!network("0.0.0.0/0").contains(ip("::1")));
        assert!(network("::/0").contains(ip("2001:db8::1")));
        assert!(network("192.0.2.7").contains(ip("192.0.2.7")));
        assert!(!network("192.0.2.7").contains(ip("192.0.2.8")));
        for bad in [
            "",
            "x",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10/8",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(InvalidNetwork), "{bad:?}");
        }
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let said = &["1.2.3.4"];
        let peer = ip("203.0.113.9");
        for (name, by) in [
            ("x-forwarded-for", ForwardedBy::XForwardedFor),
            ("forwarded", ForwardedBy::Forwarded),
        ] {
            assert_eq!(found("203.0.113.9", name, said, by), peer);
        }
    }

    #[test]
    fn behind_proxies_it_is_the_last_that_is_none_of_them() {
        let by = ForwardedBy::XForwardedFor;
        for (lines, expected) in [
            (&["198.51.100.7"][..], "198.51.100.7"),
            (&["1.1.1.1, 198.51.100.7"], "198.51.100.7"), // the first is what the caller made up
            (&["1.1.1.1", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            (&["198.51.100.7:4711"], "198.51.100.7"),
            (&["[2001:db8::7]:4711"], "2001:db8::7"),
            (&["[2001:db8::7]"], "2001:db8::7"),
            (&["::ffff:198.51.100.7"], "198.51.100.7"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"), // all of them are proxies
            (&["198.51.100.7, unknown"], "10.0.0.1"),
            (&["198.51.100.7, garbage, 10.0.0.2"], "10.0.0.2"),
            (&["198.51.100.7,"], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(
                found("10.0.0.1", "x-forwarded-for", lines, by),
                ip(expected),
                "{lines:?}"
            );
        }
        let both = &["for=6.6.6.6"];
        assert_eq!(
            found("10.0.0.1", "forwarded", both, by),
            ip("10.0.0.1"),
            "not the header that counts"
        );
    }

    #[test]
    fn the_standard_header_is_read_as_well() {
        let by = ForwardedBy::Forwarded;
        for (line, expected) in [
            ("for=198.51.100.7", "198.51.100.7"),
            (
                "for=1.1.1.1, For=198.51.100.7;proto=https;by=10.0.0.9",
                "198.51.100.7",
            ),
            ("proto=http;for=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            ("for=\"198.51.100.7:80\"", "198.51.100.7"),
            ("for=_hidden", "10.0.0.1"),
            ("for=unknown", "10.0.0.1"),
            ("for=\"1.1.1.1, 2.2.2.2\"", "10.0.0.1"),
            ("proto=https", "10.0.0.1"),
        ] {
            assert_eq!(
                found("10.0.0.1", "forwarded", &[line], by),
                ip(expected),
                "{line}"
            );
        }
    }

    #[test]
    fn sources_are_what_one_customer_has() {
        assert_eq!(
            Source::of(ip("2001:db8::1")),
            Source::of(ip("2001:db8::ffff:1"))
        );
        assert_ne!(
            Source::of(ip("2001:db8::1")),
            Source::of(ip("2001:db8:0:1::1"))
        );
        assert_eq!(
            Source::of(ip("::ffff:192.0.2.1")),
            Source::of(ip("192.0.2.1"))
        );
        assert_ne!(Source::of(ip("192.0.2.1")), Source::of(ip("192.0.2.2")));
        assert_eq!(Source::of(ip("2001:db8::7")).address(), ip("2001:db8::"));
    }
}
