//! Which of the fields that the gateway looks for a request has at all, found in one pass over its names.
//!
//! Invariant: it only says that a field is not there, and so that nobody need look for it. What a field means is decided by
//! whoever reads the field itself.

use http::{HeaderMap, HeaderName, header};

/// What is looked for; few requests have many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Field {
    /// `origin`, or `sec-fetch-site`: a browser's.
    OfBrowser = 1,
    /// `x-forwarded-for`, or `forwarded`: a proxy's.
    OfProxy = 1 << 1,
    RequestId = 1 << 2,
    ServiceWorker = 1 << 3,
    TransferEncoding = 1 << 4,
    ContentLength = 1 << 5,
    Expect = 1 << 6,
    Device = 1 << 7,
}

/// The fields that a request has, of those.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present(u16);

impl Present {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let fields = headers.keys().filter_map(field);
        Self(fields.fold(0, |all, field| all | field as u16))
    }

    pub(crate) fn has(self, field: Field) -> bool {
        self.0 & field as u16 != 0
    }
}

fn field(name: &HeaderName) -> Option<Field> {
    Some(match *name {
        header::ORIGIN => Field::OfBrowser,
        header::FORWARDED => Field::OfProxy,
        header::TRANSFER_ENCODING => Field::TransferEncoding,
        header::CONTENT_LENGTH => Field::ContentLength,
        header::EXPECT => Field::Expect,
        _ => match name.as_str() {
            "sec-fetch-site" => Field::OfBrowser,
            "x-forwarded-for" => Field::OfProxy,
            "x-request-id" => Field::RequestId,
            "service-worker" => Field::ServiceWorker,
            "x-c2l-device" => Field::Device,
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_there_is_said_to_be_there() {
        let names = [
            ("origin", Field::OfBrowser),
            ("sec-fetch-site", Field::OfBrowser),
            ("forwarded", Field::OfProxy),
            ("x-forwarded-for", Field::OfProxy),
            ("x-request-id", Field::RequestId),
            ("service-worker", Field::ServiceWorker),
            ("transfer-encoding", Field::TransferEncoding),
            ("content-length", Field::ContentLength),
            ("expect", Field::Expect),
            ("x-c2l-device", Field::Device),
        ];
        let value = || HeaderValue::from_static("x");
        for (name, expected) in names {
            let map: HeaderMap = [("host", value()), (name, value()), ("accept", value())]
                .map(|(name, value)| (HeaderName::from_static(name), value))
                .into_iter()
                .collect();
            let present = Present::of(&map);
            for (_, field) in names {
                assert_eq!(present.has(field), field == expected, "{name}: {field:?}");
            }
        }
    }
}
