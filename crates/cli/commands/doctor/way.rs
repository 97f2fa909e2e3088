//! The way to the relay, hop by hop: name, port, proxy, TLS, and the two transports.

use std::time::{Duration, SystemTime};

use c2l_agent::{
    Proxy, Transport, Way,
    probe::{Cause, Failure, Health, Probe, Tls},
};
use c2l_auth::LEEWAY;

use super::{
    advice,
    report::{Check, Report},
    token::rounded,
};

/// A certificate that runs out sooner is worth a word.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// What is to be known of the way beside the probe itself.
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) transport: Transport,
    pub(super) is_unverified: bool,
    /// `None` when there is none to be had.
    pub(super) token: Option<&'a str>,
}

fn failed(name: &'static str, failure: &Failure) -> Check {
    Check::failed(name, failure.to_string(), advice::on(failure))
}

/// Goes the whole way; returns how a session can be opened, if at all.
pub(super) async fn examine(
    report: &mut Report,
    probe: &Probe,
    wanted: &Wanted<'_>,
) -> Option<Way> {
    report.add(match wanted.proxy {
        Some(_) => Check::needless("dns", "the proxy looks the relay's name up"),
        None => dns(probe, wanted.host).await,
    });
    if report.may_try("tcp", &["dns"]) {
        report.add(match probe.first_hop().await {
            Err(failure) => failed("tcp", &failure),
            Ok(address) => {
                let whose = wanted.proxy.map_or("the relay", |_| "the proxy");
                Check::ok("tcp", format!("{whose} takes connections at {address}"))
            }
        });
    }
    if report.may_try("proxy", &["tcp"]) {
        report.add(proxy(probe, wanted.proxy).await);
    }
    if report.may_try("tls", &["tcp", "proxy"]) {
        report.add(match probe.is_encrypted() {
            true => tls(probe.tls().await, wanted.is_unverified, SystemTime::now()),
            false => Check::needless("tls", "the relay is reached in clear, over http://"),
        });
    }
    transports(report, probe, wanted).await
}

async fn dns(probe: &Probe, host: &str) -> Check {
    match probe.look_up().await {
        Err(failure) => failed("dns", &failure),
        Ok(found) => {
            let mut all: Vec<String> = found
                .iter()
                .map(|address| address.ip().to_string())
                .collect();
            all.dedup();
            Check::ok("dns", format!("{host} is at {}", all.join(", ")))
        }
    }
}

async fn proxy(probe: &Probe, proxy: Option<&Proxy>) -> Check {
    let Some(proxy) = proxy else {
        return Check::needless("proxy", "none is set for this relay");
    };
    match probe.proxy().await {
        Err(failure) => failed("proxy", &failure).and(format!("asked: {}", proxy.address())),
        Ok(()) => Check::ok("proxy", format!("{} leads to the relay", proxy.address())),
    }
}

fn tls(seen: Result<Tls, Failure>, is_unverified: bool, now: SystemTime) -> Check {
    let seen = match seen {
        Ok(seen) => seen,
        Err(failure) => return failed("tls", &failure),
    };
    let trust = if is_unverified {
        "not verified"
    } else {
        "trusted"
    };
    let mut check = Check::ok(
        "tls",
        format!("certificate {trust}, for {}", listed(&seen.names)),
    );
    if is_unverified {
        check = check.but(
            "--insecure-skip-verify: whoever is on the way can read and change everything",
            "leave out --insecure-skip-verify, and give the relay's authority with --ca-file",
        );
    }
    let left = seen
        .expires
        .map(|expires| expires.duration_since(now).unwrap_or_default());
    check = match left {
        None => check.and("until when it holds cannot be read"),
        Some(left) if left < SOON => check.but(
            format!("it runs out in {}", rounded(left)),
            "renew the relay's certificate; the relay takes a new one without a restart",
        ),
        Some(left) => check.and(format!("it holds for {}", rounded(left))),
    };
    let spoken: Vec<&str> = [(seen.has_http2, "h2"), (seen.has_http1, "http/1.1")]
        .into_iter()
        .filter_map(|(is_spoken, name)| is_spoken.then_some(name))
        .collect();
    match spoken[..] {
        [] => check.and("no protocol by ALPN"),
        _ => check.and(format!("by ALPN it speaks {}", spoken.join(" and "))),
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "names that cannot be read".to_owned(),
        [one, two, three, _, ..] => format!("{one}, {two}, {three} and {} more", names.len() - 3),
        few => few.join(", "),
    }
}

/// Tries both transports. One of them is enough where the agent may choose.
async fn transports(report: &mut Report, probe: &Probe, wanted: &Wanted<'_>) -> Option<Way> {
    let is_there = ["tcp", "proxy", "tls"];
    if !report.may_try("http2", &is_there) {
        report.may_try("websocket", &is_there);
        report.may_try("clock", &is_there);
        return None;
    }
    let http2 = probe.health(Way::Grpc, "").await;
    let web_socket = match wanted.token {
        Some(token) => Some(probe.web_socket(token).await),
        None => None,
    };
    let (has_http2, has_web_socket) = (http2.is_ok(), matches!(web_socket, Some(Ok(()))));
    let is_spare = |own: Transport, has_other: bool| {
        wanted.transport != own && (wanted.transport != Transport::Auto || has_other)
    };
    report.add(http2_check(
        &http2,
        is_spare(Transport::Grpc, has_web_socket),
    ));
    if let Some(web_socket) = &web_socket {
        let is_spare = is_spare(Transport::WebSocket, has_http2);
        report.add(web_socket_check(web_socket, is_spare));
    } else {
        report.may_try("websocket", &["token"]);
    }
    let way = match wanted.transport {
        Transport::Grpc => has_http2.then_some(Way::Grpc),
        Transport::WebSocket => has_web_socket.then_some(Way::WebSocket),
        Transport::Auto if has_http2 => Some(Way::Grpc),
        Transport::Auto => has_web_socket.then_some(Way::WebSocket),
    };
    let health = match (http2, wanted.token) {
        (Ok(health), _) => Some(health),
        (Err(_), Some(token)) if has_web_socket => probe.health(Way::WebSocket, token).await.ok(),
        (Err(_), _) => None,
    };
    report.add(clock(health, SystemTime::now()));
    way
}

fn http2_check(seen: &Result<Health, Failure>, is_spare: bool) -> Check {
    match seen {
        Ok(health) if health.is_serving => {
            Check::ok("http2", "the relay answers that it is serving")
        }
        Ok(_) => Check::failed(
            "http2",
            "the relay answers that it is not serving: it is leaving",
            "wait until the relay has been started again; the agent connects by itself then",
        ),
        Err(failure) if is_spare => Check::warning(
            "http2",
            failure.to_string(),
            "nothing has to be done: the agent uses the WebSocket instead; to do better, ask whoever runs the network to pass HTTP/2",
        ),
        Err(failure) => failed("http2", failure),
    }
}

/// A token that is refused here would be refused the other way, too.
fn web_socket_check(seen: &Result<(), Failure>, is_spare: bool) -> Check {
    match seen {
        Ok(()) => Check::ok("websocket", "the relay takes the token and upgrades"),
        Err(failure) if is_spare && !matches!(failure.cause, Cause::Refused(_)) => Check::warning(
            "websocket",
            failure.to_string(),
            "nothing has to be done: the agent uses HTTP/2 directly",
        ),
        Err(failure) => failed("websocket", failure),
    }
}

/// The relay's date has whole seconds, and took its time to come.
fn clock(health: Option<Health>, now: SystemTime) -> Check {
    let Some(date) = health.and_then(|health| health.date) else {
        return Check::needless("clock", "the relay has not said what time it is");
    };
    let (ahead, by) = match now.duration_since(date) {
        Ok(by) => ("ahead of", by),
        Err(behind) => ("behind", behind.duration()),
    };
    let by_text = rounded(by);
    if by > LEEWAY {
        return Check::warning(
            "clock",
            format!("this machine's clock is {by_text} {ahead} the relay's"),
            "switch on time synchronisation on the machine that is wrong; tokens are judged by the relay's clock",
        );
    }
    Check::ok("clock", format!("as the relay's, give or take {by_text}"))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::{super::report::Status, *};

    #[test]
    fn a_certificate_that_runs_out_soon_is_worth_a_word() {
        let seen = |days: u64| {
            let tls = Tls {
                has_http2: true,
                has_http1: false,
                expires: Some(UNIX_EPOCH + Duration::from_secs(days * 86_400)),
                names: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            };
            tls_of(tls, false)
        };
        fn tls_of(seen: Tls, is_unverified: bool) -> Check {
            tls(Ok(seen), is_unverified, UNIX_EPOCH)
        }
        assert_eq!(seen(20).status, Status::Ok);
        assert!(
            seen(20)
                .seen
                .join("; ")
                .contains("for a, b, c and 1 more; it holds for 20days; by ALPN it speaks h2")
        );
        assert_eq!(seen(3).status, Status::Warning);
        assert_eq!(tls_of(Tls::default(), true).status, Status::Warning);
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_and_which_way() {
        let health = |seconds: u64| {
            Some(Health {
                is_serving: true,
                date: Some(UNIX_EPOCH + Duration::from_secs(seconds)),
            })
        };
        let now = UNIX_EPOCH + Duration::from_secs(10_000);
        assert_eq!(clock(health(10_002), now).status, Status::Ok);
        assert!(clock(health(2_800), now).seen[0].contains("2h ahead"));
        assert!(clock(health(10_120), now).seen[0].contains("2m behind"));
        assert_eq!(clock(None, now).status, Status::Skipped);
    }
}
