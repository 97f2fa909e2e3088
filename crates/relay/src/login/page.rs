//! The pages on which somebody says yes to a login: plain HTML that works without scripts.
//!
//! Invariant: whatever came from elsewhere is escaped; and a page never holds a credential, only a ticket that is good for
//! one word on one login.

use std::{fmt::Write as _, time::SystemTime};

use super::pending::Asking;

/// Of all pages; the only thing beside the page itself that a browser loads.
pub(super) const STYLE: &str = "\
body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}\
label{display:block;margin:1rem 0 .25rem}\
input{font:inherit;width:100%;padding:.5rem;box-sizing:border-box}\
button{font:inherit;padding:.5rem 1.5rem;margin:1.5rem .5rem 0 0}\
dt{float:left;clear:left;width:6rem}\
dd{margin:0 0 0 7rem;font-weight:bold;overflow-wrap:anywhere}\
.wrong{border-left:4px solid #c00;padding-left:1rem}\n";

/// Asks for the code and for a token of whoever types it.
pub(super) fn ask(code: &str, wrong: Option<&str>) -> String {
    let mut body = String::from("<h1>Log a device in</h1>\n");
    if let Some(wrong) = wrong {
        writes(
            &mut body,
            format_args!("<p class=wrong>{}</p>\n", escaped(wrong)),
        );
    }
    writes(
        &mut body,
        format_args!(
            "<p>Somebody runs <code>c2l login</code> on a machine of yours, and it shows a code. If nobody does, close \
             this page.</p>\n\
             <form method=post action=/login>\n\
             <label for=code>The code, as the machine shows it</label>\n\
             <input id=code name=code value=\"{}\" autocomplete=off autocapitalize=characters spellcheck=false required>\n\
             <label for=token>A token of yours with the scope <code>account</code></label>\n\
             <input id=token name=token type=password autocomplete=off required>\n\
             <button>Go on</button>\n</form>\n\
             <p>Such a token is made on the relay's own machine: <code>c2l token issue --user owner --kind api --scope \
             account --ttl 10m</code>. Or say yes there at once: <code>c2l device approve CODE</code>.</p>\n",
            escaped(code)
        ),
    );
    whole(&body)
}

/// Shows who asks, and asks for a word.
pub(super) fn confirm(
    asking: &Asking,
    user: &str,
    code: &str,
    ticket: &str,
    now: SystemTime,
) -> String {
    let seconds = now.duration_since(asking.at).unwrap_or_default().as_secs();
    let ago = match seconds {
        0..60 => format!("{seconds} s ago"),
        more => format!("{} min ago", more / 60),
    };
    let mut body = String::from("<h1>Is this machine yours?</h1>\n<dl>\n");
    for (name, value) in [
        ("Code", code),
        ("Device", asking.device.as_str()),
        ("Asks from", &asking.address.to_canonical().to_string()),
        ("Asked", &ago),
        ("For user", user),
    ] {
        writes(
            &mut body,
            format_args!("<dt>{name}</dt><dd>{}</dd>\n", escaped(value)),
        );
    }
    writes(
        &mut body,
        format_args!(
            "</dl>\n<p>If you say yes, what you send to your models may go to that machine. Say yes only if it shows this \
             very code, and you have just started <code>c2l login</code> there yourself.</p>\n\
             <form method=post action=/login>\n\
             <input type=hidden name=code value=\"{}\">\n<input type=hidden name=ticket value=\"{}\">\n\
             <button name=word value=approve>Yes, log it in</button><button name=word value=deny>No</button>\n</form>\n",
            escaped(code),
            escaped(ticket)
        ),
    );
    whole(&body)
}

/// Says how it ended.
pub(super) fn done(sentence: &str) -> String {
    whole(&format!(
        "<h1>{}</h1>\n<p>You can close this page.</p>\n",
        escaped(sentence)
    ))
}

fn whole(body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width\">\n\
         <title>c2l: log a device in</title>\n<link rel=stylesheet href=/login/style.css>\n{body}</html>\n"
    )
}

fn writes(text: &mut String, piece: std::fmt::Arguments<'_>) {
    // Writing into a text cannot fail.
    text.write_fmt(piece).unwrap_or_default();
}

/// For a text, and for a value in double quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use c2l_auth::DeviceName;

    use super::*;

    #[test]
    fn what_comes_from_elsewhere_stays_text() {
        let hostile = "\"><script>alert('x')</script>&\u{1b}";
        let asking = Asking {
            device: DeviceName::parse("desk").unwrap(),
            address: [192, 0, 2, 7].into(),
            at: SystemTime::UNIX_EPOCH,
        };
        let now = SystemTime::UNIX_EPOCH;
        for page in [
            ask(hostile, Some(hostile)),
            confirm(&asking, hostile, hostile, hostile, now),
            done(hostile),
        ] {
            assert!(
                !page.contains("<script") && !page.contains('\u{1b}'),
                "{page}"
            );
            assert!(page.contains("&lt;script&gt;"), "{page}");
            for part in page.split('"').skip(1).step_by(2) {
                assert!(!part.contains(['<', '>', '\'']), "{part}");
            }
        }
    }

    #[test]
    fn the_page_says_who_asks_from_where_and_when() {
        let asking = Asking {
            device: DeviceName::parse("desk").unwrap(),
            address: "::ffff:192.0.2.7".parse().unwrap(),
            at: SystemTime::UNIX_EPOCH,
        };
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(130);
        let page = confirm(&asking, "ada", "BCDF-GHJK", "t", now);
        for said in ["desk", "192.0.2.7", "2 min ago", "ada", "BCDF-GHJK"] {
            assert!(
                page.contains(&format!("<dd>{said}</dd>")),
                "{said} in {page}"
            );
        }
    }
}
