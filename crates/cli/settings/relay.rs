//! The settings of `c2l relay`.
//!
//! Invariant: the defaults here are those of [`c2l_relay::Config::new`]; a test compares them.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, thread, time::Duration};

use c2l_auth::{MAX_LIFETIME, SigningKey, Verifier};
use c2l_relay::{LoginConfig, Network, PublicUrl, RateLimits, WebConfig};
use c2l_tunnel::{Limits, wire::check_limits};
use http::HeaderValue;
use rustls::ServerConfig;

use super::{
    Setting, Table, Values, general,
    issuers::{self, Trusted},
    parse, tls,
};
use crate::build_info;

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) static TABLE: Table = Table {
    section: "relay",
    settings: &[
        Setting::one(
            "listen",
            "ADDR",
            "Address of the public port, for callers and agents alike",
        )
        .or("127.0.0.1:8080"),
        Setting::one(
            "ops-listen",
            "ADDR",
            "Address of the operators' port (/metrics, /livez, /readyz), or off",
        )
        .or("127.0.0.1:8081"),
        Setting::switch(
            "reuse-port",
            "Share the public port with the relay that follows this one (SO_REUSEPORT)",
        )
        .or("false"),
        Setting::one(
            "startup-grace",
            "TIME",
            "How long requests wait for their agent after this relay has taken the port over from another",
        )
        .or("5s")
        .rare(),
        Setting::one(
            "public-url",
            "URL",
            "The relay's address as people know it; the web page is served under its name",
        ),
        Setting::many(
            "host",
            "NAME",
            "Another name that the web page is served under; may be repeated",
        ),
        Setting::one(
            "tls-cert",
            "FILE",
            "Certificate chain of the public port, PEM; without it the port is clear text",
        ),
        Setting::one("tls-key", "FILE", "Private key of that certificate, PEM"),
        Setting::one(
            "tls-client-ca",
            "FILE",
            "Ask agents for a certificate that one of these signed, PEM, beside their token",
        )
        .rare(),
        Setting::many(
            "clear-from",
            "CIDR",
            "Take clear text beside TLS from here, where a proxy ends TLS for its callers; may be repeated",
        )
        .rare(),
        Setting::one(
            "login-token-ttl",
            "TIME",
            "How long a token lives that a logged-in device gets; it gets the next one in time",
        )
        .or("15m")
        .rare(),
        Setting::one(
            "login-idle",
            "TIME",
            "How long a device stays logged in that does not come",
        )
        .or("90d")
        .rare(),
        Setting::one(
            "login-interval",
            "TIME",
            "How often a device may ask whether it is approved",
        )
        .or("5s")
        .rare(),
        Setting::one(
            "worker-threads",
            "N",
            "Threads that serve; auto is one on up to two cores, and one for each core where there are more",
        )
        .or("auto")
        .rare(),
        Setting::many(
            "cors-origin",
            "ORIGIN",
            "Origin that browsers may call from, beside the relay's own; may be repeated",
        ),
        Setting::switch(
            "reflection",
            "Serve gRPC reflection; it lists public services only",
        )
        .or("true")
        .rare(),
        Setting::one(
            "heartbeat-interval",
            "TIME",
            "How often each side of a session says something; two silent intervals end it",
        )
        .or("10s")
        .rare(),
        Setting::one(
            "greeting-timeout",
            "TIME",
            "From an agent's call to its hello",
        )
        .or("10s")
        .rare(),
        Setting::one(
            "first-byte-timeout",
            "TIME",
            "From a request's last sign of life to the first byte of its answer",
        )
        .or("30s"),
        Setting::one("gap-timeout", "TIME", "Between two movements of an answer").or("30s"),
        Setting::one(
            "head-timeout",
            "TIME",
            "From a connection to its first byte, and to the end of each request head",
        )
        .or("15s")
        .rare(),
        Setting::one("tls-handshake-timeout", "TIME", "For a TLS handshake")
            .or("10s")
            .rare(),
        Setting::one(
            "idle-timeout",
            "TIME",
            "How long a kept-alive connection may be idle between requests",
        )
        .or("75s")
        .rare(),
        Setting::one(
            "drain-timeout",
            "TIME",
            "How long running answers have at shutdown",
        )
        .or("30s"),
        Setting::one(
            "max-connections",
            "N",
            "Most connections at once; more wait",
        )
        .or("16384")
        .rare(),
        Setting::one(
            "max-requests-per-user",
            "N",
            "Most requests of one user at once",
        )
        .or("256")
        .rare(),
        Setting::one(
            "max-requests-per-key",
            "N",
            "Most requests with one key or token at once, or none for no limit",
        )
        .or("none")
        .rare(),
        Setting::one(
            "limit-user-requests",
            "N/TIME",
            "Requests of one user: so many at once, refilled evenly within the time; none for no limit",
        )
        .or("6000/1m"),
        Setting::one(
            "limit-key-requests",
            "N/TIME",
            "The same for one key or token",
        )
        .or("none")
        .rare(),
        Setting::one(
            "limit-user-bytes",
            "SIZE/TIME",
            "Bytes of one user, both directions together, like 20GiB/1d; what runs is let end, what comes then waits",
        )
        .or("none"),
        Setting::one(
            "limit-key-bytes",
            "SIZE/TIME",
            "The same for one key or token",
        )
        .or("none")
        .rare(),
        Setting::one(
            "limit-address-connections",
            "N/TIME",
            "Connections from one address (of IPv6 one /64), trusted proxies aside",
        )
        .or("6000/1m")
        .rare(),
        Setting::one(
            "limit-address-failures",
            "N/TIME",
            "Bad credentials from one address; beyond it only those that were accepted before are taken from there",
        )
        .or("100/1m")
        .rare(),
        Setting::one(
            "limit-address-sessions",
            "N/TIME",
            "Attempts of agents to connect from one address",
        )
        .or("3000/1m")
        .rare(),
        Setting::many(
            "trusted-proxy",
            "CIDR",
            "Proxy in front of the relay that says truly whom a request comes from; may be repeated",
        ),
        Setting::one(
            "forwarded-header",
            "FIELD",
            "Where such a proxy says it: x-forwarded-for or forwarded",
        )
        .or("x-forwarded-for")
        .rare(),
        Setting::one(
            "max-sessions-per-user",
            "N",
            "Most devices of one user at once",
        )
        .or("32")
        .rare(),
        Setting::one(
            "max-body-bytes",
            "SIZE",
            "Most bytes of a request body, or none for no limit",
        )
        .or("none")
        .rare(),
        Setting::one("max-head-bytes", "SIZE", "Most bytes of a request head")
            .or("64KiB")
            .rare(),
        Setting::one(
            "max-body-frame-bytes",
            "SIZE",
            "Most body bytes in one frame of the tunnel",
        )
        .or("64KiB")
        .rare(),
        Setting::one(
            "initial-window-bytes",
            "SIZE",
            "Bytes in flight per direction of a stream before its reader takes some",
        )
        .or("256KiB")
        .rare(),
        Setting::one(
            "max-concurrent-streams",
            "N",
            "Most streams of one session at once",
        )
        .or("1024")
        .rare(),
        Setting::one(
            "max-message-bytes",
            "SIZE",
            "Most bytes of one message of the tunnel",
        )
        .or("1MiB")
        .rare(),
    ],
};

/// What `c2l relay` is started with; its own signing key, in `data_dir`, comes on top.
#[derive(Debug)]
pub(crate) struct RelaySettings {
    pub(crate) listen: SocketAddr,
    pub(crate) ops_listen: Option<SocketAddr>,
    pub(crate) is_port_reused: bool,
    pub(crate) startup_grace: Duration,
    pub(crate) data_dir: PathBuf,
    pub(crate) trusted: Trusted,
    public_url: Option<PublicUrl>,
    hosts: Vec<String>,
    login_token_life: Duration,
    login_idle: Duration,
    login_interval: Duration,
    tls: Option<Arc<ServerConfig>>,
    clear_from: Vec<Network>,
    asks_agents_for_certificate: bool,
    /// How many threads serve.
    pub(crate) worker_threads: usize,
    tuning: Tuning,
}

impl RelaySettings {
    /// How devices log in, with tokens of this key.
    pub(crate) fn login(&self, key: Arc<SigningKey>) -> LoginConfig {
        LoginConfig {
            token_life: self.login_token_life,
            idle: self.login_idle,
            interval: self.login_interval,
            ..LoginConfig::new(key)
        }
    }

    /// The web page, with sign-ins of this key.
    pub(crate) fn web(&self, key: Arc<SigningKey>) -> WebConfig {
        WebConfig {
            public_url: self.public_url.clone(),
            hosts: self.hosts.clone(),
            ..WebConfig::new(key)
        }
    }

    /// Where the page is, as far as the settings say.
    pub(crate) fn page_url(&self, listen: SocketAddr) -> String {
        let local = || {
            let scheme = if self.tls.is_some() { "https" } else { "http" };
            format!("{scheme}://{}", listen)
        };
        let public = self.public_url.as_ref();
        public.map_or_else(local, |url| url.as_str().to_owned())
    }

    /// The relay's own config, around whoever says who is asking.
    pub(crate) fn config(&self, verifier: Arc<Verifier>) -> c2l_relay::Config {
        let tuning = &self.tuning;
        c2l_relay::Config {
            providers: self.trusted.providers.clone(),
            tls: self.tls.clone(),
            clear_from: self.clear_from.clone(),
            asks_agents_for_certificate: self.asks_agents_for_certificate,
            build: build_info::build(),
            tunnel: tuning.tunnel,
            heartbeat_interval: tuning.heartbeat_interval,
            greeting_timeout: tuning.greeting_timeout,
            first_byte_timeout: tuning.first_byte_timeout,
            gap_timeout: tuning.gap_timeout,
            head_timeout: tuning.head_timeout,
            tls_handshake_timeout: tuning.tls_handshake_timeout,
            idle_timeout: tuning.idle_timeout,
            drain_timeout: tuning.drain_timeout,
            max_connections: tuning.max_connections,
            max_requests_per_user: tuning.max_requests_per_user,
            max_requests_per_credential: tuning.max_requests_per_key,
            rates: tuning.rates.clone(),
            max_sessions_per_user: tuning.max_sessions_per_user,
            max_body_bytes: tuning.max_body_bytes,
            max_head_bytes: tuning.max_head_bytes,
            cors_origins: tuning.cors_origins.clone(),
            is_reflection_served: tuning.is_reflection_served,
            ..c2l_relay::Config::new(verifier)
        }
    }
}

/// Limits and times, each with the meaning of the field of that name in [`c2l_relay::Config`].
#[derive(Debug)]
struct Tuning {
    tunnel: Limits,
    heartbeat_interval: Duration,
    greeting_timeout: Duration,
    first_byte_timeout: Duration,
    gap_timeout: Duration,
    head_timeout: Duration,
    tls_handshake_timeout: Duration,
    idle_timeout: Duration,
    drain_timeout: Duration,
    max_connections: usize,
    max_requests_per_user: usize,
    max_requests_per_key: Option<usize>,
    rates: RateLimits,
    max_sessions_per_user: usize,
    max_body_bytes: Option<u64>,
    max_head_bytes: usize,
    cors_origins: Vec<HeaderValue>,
    is_reflection_served: bool,
}

pub(crate) fn read(values: &mut Values) -> Option<RelaySettings> {
    let data_dir = general::read_data_dir(values);
    Some(RelaySettings {
        listen: values.get("listen", parse::address),
        ops_listen: values.get("ops-listen", parse::address_or_off),
        is_port_reused: values.switch("reuse-port"),
        startup_grace: values.get("startup-grace", parse::duration),
        trusted: issuers::read(values),
        public_url: values.optional("public-url", |text| {
            PublicUrl::parse(text).map_err(|error| error.to_string())
        }),
        hosts: values.many("host", parse::host_name),
        login_token_life: values.get("login-token-ttl", |text| at_most(text, 24 * HOUR)),
        login_idle: values.get("login-idle", |text| at_most(text, MAX_LIFETIME)),
        login_interval: values.get("login-interval", |text| at_most(text, HOUR / 60)),
        clear_from: clear_from(values),
        tls: tls::read(values),
        asks_agents_for_certificate: values.path("tls-client-ca").is_some(),
        worker_threads: values
            .get("worker-threads", parse::threads_or_auto)
            .unwrap_or_else(usual_threads),
        tuning: tuning(values),
        data_dir: data_dir?, // last, so that everything above has been read
    })
}

fn clear_from(values: &mut Values) -> Vec<Network> {
    let networks = values.many("clear-from", parse::network);
    if !networks.is_empty() && values.path("tls-cert").is_none() {
        values.mistake(
            "--clear-from without --tls-cert and --tls-key: without TLS everything is clear text",
        );
    }
    networks
}

/// On two cores, which it shares with the system's own work, a relay of one thread serves more requests than one whose threads
/// wake each other: docs/performance.md.
fn usual_threads() -> usize {
    match thread::available_parallelism().map_or(1, NonZeroUsize::get) {
        ..=2 => 1,
        cores => cores,
    }
}

/// A time from one second to `most`.
fn at_most(text: &str, most: Duration) -> parse::Parsed<Duration> {
    match parse::limit(text)? {
        time if time > most || time.as_secs() == 0 => Err(format!(
            "{text:?} is not between 1s and {}",
            humantime::format_duration(most)
        )),
        time => Ok(time),
    }
}

fn tuning(values: &mut Values) -> Tuning {
    let tunnel = tunnel(values);
    let heartbeat_interval = values.get("heartbeat-interval", parse::limit);
    if let Err((field, low, high)) = check_limits(&tunnel, heartbeat_interval) {
        values.mistake(format!(
            "{field} is not one that agents accept: from {low} to {high}"
        ));
    }
    Tuning {
        tunnel,
        heartbeat_interval,
        greeting_timeout: values.get("greeting-timeout", parse::limit),
        first_byte_timeout: values.get("first-byte-timeout", parse::limit),
        gap_timeout: values.get("gap-timeout", parse::limit),
        head_timeout: values.get("head-timeout", parse::limit),
        tls_handshake_timeout: values.get("tls-handshake-timeout", parse::limit),
        idle_timeout: values.get("idle-timeout", parse::limit),
        drain_timeout: values.get("drain-timeout", parse::duration),
        max_connections: values.get("max-connections", parse::count),
        max_requests_per_user: values.get("max-requests-per-user", parse::count),
        max_requests_per_key: values.get("max-requests-per-key", parse::count_or_none),
        rates: rates(values),
        max_sessions_per_user: values.get("max-sessions-per-user", parse::count),
        max_body_bytes: values.get("max-body-bytes", parse::size_or_none),
        max_head_bytes: values.get("max-head-bytes", parse::size_usize),
        cors_origins: values.many("cors-origin", parse::origin),
        is_reflection_served: values.switch("reflection"),
    }
}

fn rates(values: &mut Values) -> RateLimits {
    RateLimits {
        user_requests: values.get("limit-user-requests", parse::rate_or_none),
        credential_requests: values.get("limit-key-requests", parse::rate_or_none),
        user_bytes: values.get("limit-user-bytes", parse::byte_rate_or_none),
        credential_bytes: values.get("limit-key-bytes", parse::byte_rate_or_none),
        address_connections: values.get("limit-address-connections", parse::rate_or_none),
        address_failures: values.get("limit-address-failures", parse::rate_or_none),
        address_sessions: values.get("limit-address-sessions", parse::rate_or_none),
        trusted_proxies: values.many("trusted-proxy", parse::network),
        forwarded_by: values.get("forwarded-header", parse::forwarded_by),
    }
}

fn tunnel(values: &mut Values) -> Limits {
    let limits = Limits {
        max_body_frame_bytes: values.get("max-body-frame-bytes", parse::size_u32),
        initial_window_bytes: values.get("initial-window-bytes", parse::size_u32),
        max_concurrent_streams: values.get("max-concurrent-streams", parse::count_u32),
        max_message_bytes: values.get("max-message-bytes", parse::size_u32),
    };
    if limits.max_body_frame_bytes > limits.initial_window_bytes {
        values.mistake("--max-body-frame-bytes is more than --initial-window-bytes: no full frame could ever be sent");
    }
    if limits.max_body_frame_bytes > limits.max_message_bytes / 2 {
        values.mistake("--max-message-bytes is less than two of --max-body-frame-bytes: no room for a frame and what goes with it");
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_relay_itself() {
        let mut values = Values::resolve(
            &[&general::DATA, &TABLE],
            &super::super::Flags::from([("data-dir", vec!["d".to_owned()])]),
            &|_| None,
            None,
        );
        let settings = read(&mut values).unwrap();
        values.check().unwrap();
        let own = SigningKey::ephemeral().unwrap().issuer();
        let verifier = Arc::new(Verifier::new(vec![own]).unwrap());
        let key = Arc::new(SigningKey::ephemeral().unwrap());
        let web = format!("{:#?}", settings.web(Arc::clone(&key)));
        assert_eq!(web, format!("{:#?}", WebConfig::new(Arc::clone(&key))));
        let login = format!("{:#?}", settings.login(Arc::clone(&key)));
        assert_eq!(login, format!("{:#?}", LoginConfig::new(key)));
        let config = settings.config(verifier.clone());
        let expected = c2l_relay::Config {
            build: config.build.clone(),
            ..c2l_relay::Config::new(verifier)
        };
        assert_eq!(format!("{config:#?}"), format!("{expected:#?}"));
    }
}
