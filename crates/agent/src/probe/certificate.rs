//! The few words of a certificate that a person wants to hear: until when it holds, and for which names.
//!
//! Invariant: nothing is decided by these. Whether a certificate is trusted is rustls' judgement alone; what cannot be
//! read here is left out.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const OCTETS: u8 = 0x04;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// `subjectAltName`, 2.5.29.17, with its tag and length.
const SUBJECT_ALT_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x11];

/// One element of DER, and what stands behind it.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let (&tag, bytes) = bytes.split_first()?;
    let (&first, bytes) = bytes.split_first()?;
    let (length, bytes) = if first < 0x80 {
        (usize::from(first), bytes)
    } else {
        let digits = usize::from(first & 0x7f);
        let (length, bytes) = bytes.split_at_checked(digits)?;
        let length = length.iter().try_fold(0_usize, |sum, byte| {
            sum.checked_mul(256)?.checked_add(usize::from(*byte))
        })?;
        (length, bytes)
    };
    let (content, rest) = bytes.split_at_checked(length)?;
    Some(Element { tag, content, rest })
}

/// The elements that stand side by side in `bytes`, as far as they can be read.
fn elements(mut bytes: &[u8]) -> impl Iterator<Item = Element<'_>> {
    std::iter::from_fn(move || {
        let element = element(bytes)?;
        bytes = element.rest;
        Some(element)
    })
}

fn signed_part(certificate: &[u8]) -> Option<&[u8]> {
    Some(element(element(certificate)?.content)?.content)
}

/// The last moment at which it holds (RFC 5280 §4.1.2.5).
pub(super) fn expires(certificate: &[u8]) -> Option<SystemTime> {
    let fields = elements(signed_part(certificate)?).filter(|field| field.tag != VERSION);
    // Serial number, algorithm, issuer, validity.
    let validity = fields.skip(3).find(|field| field.tag == SEQUENCE)?;
    let not_after = elements(validity.content).nth(1)?;
    let text = std::str::from_utf8(not_after.content)
        .ok()?
        .strip_suffix('Z')?;
    let (year, rest) = match not_after.tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let days = days_since_1970(year, part(0)?, part(2)?)?;
    let seconds = days * 86_400 + part(4)? * 3600 + part(6)? * 60 + part(8)?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Counts a year from its March, so that the leap day comes last.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (month, year_of_era) = ((month + 9) % 12, year % 400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (year / 400 * 146_097 + day_of_era).checked_sub(719_468)
}

/// The names and addresses that it is for (RFC 5280 §4.2.1.6).
pub(super) fn names(certificate: &[u8]) -> Vec<String> {
    let found = || {
        let fields = elements(signed_part(certificate)?);
        let extensions = fields.last().filter(|field| field.tag == EXTENSIONS)?;
        let all = element(extensions.content)?.content;
        let own = elements(all).find(|one| one.content.starts_with(SUBJECT_ALT_NAME))?;
        let value = elements(own.content).find(|part| part.tag == OCTETS)?;
        Some(element(value.content)?.content)
    };
    elements(found().unwrap_or_default())
        .filter_map(|name| shown(&name))
        .collect()
}

fn shown(name: &Element<'_>) -> Option<String> {
    match name.tag {
        DNS_NAME => String::from_utf8(name.content.to_vec()).ok(),
        IP_ADDRESS => match name.content.len() {
            4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(name.content).ok()?).to_string()),
            16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(name.content).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        match u8::try_from(content.len()) {
            Ok(length) if length < 0x80 => bytes.push(length),
            Ok(length) => bytes.extend([0x81, length]),
            Err(_) => bytes.extend([
                0x82,
                u8::try_from(content.len() / 256).unwrap(),
                u8::try_from(content.len() % 256).unwrap(),
            ]),
        }
        bytes.extend(content);
        bytes
    }

    fn certificate(not_after: &[u8]) -> Vec<u8> {
        let names = [
            tagged(DNS_NAME, b"relay.example"),
            tagged(IP_ADDRESS, &[127, 0, 0, 1]),
        ];
        let names = tagged(OCTETS, &tagged(SEQUENCE, &names.concat()));
        let extension = tagged(SEQUENCE, &[SUBJECT_ALT_NAME, &names].concat());
        let validity = [&tagged(UTC_TIME, b"200101000000Z"), not_after].concat();
        let fields = [
            tagged(VERSION, &tagged(2, &[2])),
            tagged(2, &[1; 20]),
            tagged(SEQUENCE, &[6, 1, 42]),
            tagged(SEQUENCE, b""),
            tagged(SEQUENCE, &validity),
            tagged(SEQUENCE, b""),
            tagged(SEQUENCE, &[0; 300]),
            tagged(EXTENSIONS, &tagged(SEQUENCE, &extension)),
        ];
        tagged(SEQUENCE, &tagged(SEQUENCE, &fields.concat()))
    }

    #[test]
    fn the_end_and_the_names_of_a_certificate_are_read() {
        for (not_after, seconds) in [
            (tagged(UTC_TIME, b"300229120000Z"), None),
            (tagged(UTC_TIME, b"260301000001Z"), Some(1_772_323_201)),
            (
                tagged(GENERALIZED_TIME, b"20000229235959Z"),
                Some(951_868_799),
            ),
            (tagged(UTC_TIME, b"nonsense"), Some(0)),
        ] {
            let read = expires(&certificate(&not_after));
            match seconds {
                None => assert!(read.is_some(), "a day too many is the next month"),
                Some(0) => assert_eq!(read, None),
                Some(seconds) => {
                    assert_eq!(read, Some(UNIX_EPOCH + Duration::from_secs(seconds)));
                }
            }
        }
        let whole = certificate(&tagged(UTC_TIME, b"260301000001Z"));
        assert_eq!(names(&whole), ["relay.example", "127.0.0.1"]);
    }

    #[test]
    fn what_is_cut_off_is_left_out() {
        let whole = certificate(&tagged(UTC_TIME, b"260301000001Z"));
        for length in 0..whole.len() {
            assert_eq!(expires(&whole[..length]), None);
            assert!(names(&whole[..length]).is_empty());
        }
    }
}
