//! Where a caller may put a credential, and which one counts.
//!
//! Invariant: never "first wins". One credential in the path decides alone, because SDKs insist on sending a dummy
//! beside it; among the headers there is exactly one, or the request is refused.

use std::borrow::Cow;

use base64::Engine as _;
use c2l_tunnel::Fault;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::error::{invalid, unauthenticated};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// What a 401 asks for.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"c2l\"");
/// The same, where one was shown that is not good.
const BAD_ONE: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"c2l\", error=\"invalid_token\"");

/// What a 401 to this request asks for. One who showed nothing that we read has done nothing wrong, and is told no error
/// (RFC 6750 §3.1).
pub(crate) fn challenge(path: &str, headers: &HeaderMap) -> HeaderValue {
    let is_shown = path.starts_with("/k/")
        || headers
            .get_all(header::AUTHORIZATION)
            .iter()
            .any(is_of_our_schemes)
        || headers.contains_key(X_API_KEY);
    if is_shown { BAD_ONE } else { CHALLENGE }
}

fn is_of_our_schemes(value: &HeaderValue) -> bool {
    let scheme = value.as_bytes().split(|byte| *byte == b' ').next();
    scheme.is_some_and(|scheme| {
        scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"basic")
    })
}

/// The one credential of a request.
///
/// # Errors
/// `Unauthenticated` when there is none, `InvalidRequest` when there are several among the headers.
pub(crate) fn find<'a>(
    path: Option<&'a str>,
    headers: &'a HeaderMap,
) -> Result<Cow<'a, str>, Fault> {
    if let Some(credential) = path {
        return Ok(Cow::Borrowed(credential));
    }
    let bearer = single(headers, &header::AUTHORIZATION)?
        .map(from_authorization)
        .transpose()?;
    let key = single(headers, &X_API_KEY)?
        .map(text)
        .transpose()?
        .map(Cow::Borrowed);
    match (bearer, key) {
        (Some(one), Some(other)) if one != other => Err(invalid(
            "two different credentials: in `authorization` and in `x-api-key`",
        )),
        (Some(credential), _) | (None, Some(credential)) => Ok(credential),
        (None, None) => Err(unauthenticated(
            "no credential: put it in the path (/k/<credential>/…), in `authorization: Bearer` or in `x-api-key`",
        )),
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Fault> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(invalid(format!("more than one `{name}`")));
    }
    Ok(first)
}

fn text(value: &HeaderValue) -> Result<&str, Fault> {
    value
        .to_str()
        .map(str::trim)
        .map_err(|_| invalid("a credential that is not text"))
}

fn from_authorization(value: &HeaderValue) -> Result<Cow<'_, str>, Fault> {
    let value = text(value)?;
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let rest = rest.trim();
    let holds = |separator| rest.as_bytes().contains(separator);
    if holds(&b',') || holds(&b' ') {
        return Err(invalid("more than one credential in `authorization`"));
    }
    if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
        Ok(Cow::Borrowed(rest))
    } else if scheme.eq_ignore_ascii_case("basic") {
        from_basic(rest).map(Cow::Owned)
    } else {
        Err(unauthenticated(
            "`authorization` holds neither a bearer token nor basic credentials",
        ))
    }
}

/// Basic: the credential is the user or the password, whichever is there.
fn from_basic(encoded: &str) -> Result<String, Fault> {
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| unauthenticated("basic credentials that cannot be decoded"))?;
    let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
    match (looks_like_credential(user), looks_like_credential(password)) {
        (true, true) if user != password => Err(invalid(
            "two different credentials in `authorization: Basic`",
        )),
        (true, _) => Ok(user.to_owned()),
        (false, true) => Ok(password.to_owned()),
        (false, false) if password.is_empty() => Ok(user.to_owned()),
        (false, false) => Ok(password.to_owned()),
    }
}

/// A JWT has two dots, a key its prefix; people put any name on the other side of the colon.
fn looks_like_credential(text: &str) -> bool {
    text.starts_with("c2l_") || text.matches('.').count() == 2
}

#[cfg(test)]
mod tests {
    use c2l_tunnel::Kind;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).expect("valid"));
        }
        map
    }

    fn kind(pairs: &[(&'static str, &str)]) -> Kind {
        find(None, &headers(pairs)).expect_err("refused").kind
    }

    #[test]
    fn every_place_is_read() {
        let basic = |text: &str| {
            format!(
                "Basic {}",
                base64::engine::general_purpose::STANDARD.encode(text)
            )
        };
        for (name, value) in [
            ("authorization", "Bearer a.b.c".to_owned()),
            ("authorization", "bearer  a.b.c".to_owned()),
            ("x-api-key", "a.b.c".to_owned()),
            ("authorization", basic("a.b.c")),
            ("authorization", basic("a.b.c:")),
            ("authorization", basic("ada:a.b.c")),
            ("authorization", basic("a.b.c:x")),
            ("authorization", basic("a.b.c:a.b.c")),
        ] {
            let headers = headers(&[(name, &value)]);
            assert_eq!(find(None, &headers).expect("found"), "a.b.c", "{value}");
        }
    }

    #[test]
    fn jwt_11_two_credentials_among_the_headers_are_refused() {
        let bearer = ("authorization", "Bearer a.b.c");
        assert_eq!(kind(&[bearer, bearer]), Kind::InvalidRequest);
        assert_eq!(
            kind(&[bearer, ("authorization", "Bearer d.e.f")]),
            Kind::InvalidRequest
        );
        assert_eq!(
            kind(&[("authorization", "Bearer a, Bearer b")]),
            Kind::InvalidRequest
        );
        assert_eq!(
            kind(&[bearer, ("x-api-key", "d.e.f")]),
            Kind::InvalidRequest
        );
        assert!(find(None, &headers(&[bearer, ("x-api-key", "a.b.c")])).is_ok());
    }

    #[test]
    fn jwt_12_the_path_wins_over_any_header() {
        let dummy = headers(&[("authorization", "Bearer ollama"), ("x-api-key", "x")]);
        assert_eq!(find(Some("p.a.th"), &dummy).expect("found"), "p.a.th");
    }

    #[test]
    fn an_error_is_told_only_to_those_who_showed_something() {
        let challenge =
            |path: &str, pairs: &[(&'static str, &str)]| challenge(path, &headers(pairs));
        assert_eq!(challenge("/api/tags", &[]), CHALLENGE);
        assert_eq!(
            challenge("/api/tags", &[("authorization", "Digest x")]),
            CHALLENGE
        );
        assert_eq!(challenge("/k/x/api/tags", &[]), BAD_ONE);
        for shown in [
            ("authorization", "Bearer x"),
            ("authorization", "bearer"),
            ("authorization", "Basic eA=="),
            ("x-api-key", "x"),
        ] {
            assert_eq!(challenge("/api/tags", &[shown]), BAD_ONE, "{shown:?}");
        }
    }

    #[test]
    fn jwt_13_a_request_without_a_credential_is_unauthenticated() {
        assert_eq!(kind(&[]), Kind::Unauthenticated);
        assert_eq!(
            kind(&[("authorization", "Digest x")]),
            Kind::Unauthenticated
        );
        assert_eq!(kind(&[("authorization", "Bearer")]), Kind::Unauthenticated);
        assert_eq!(
            kind(&[("authorization", "Basic ***")]),
            Kind::Unauthenticated
        );
    }
}
