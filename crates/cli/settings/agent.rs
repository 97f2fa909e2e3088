//! The settings of `c2l agent`.
//!
//! Invariants: the token itself can be neither flag nor key of the file; it comes from one source, and only one. The
//! defaults here are those of [`c2l_agent::Config::new`]; a test compares them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use c2l_agent::{Policy, Proxy, Transport};
use c2l_auth::{DeviceName, Secret};
use http::{Uri, uri::Scheme};

use super::{Setting, Table, Values, carried, general, parse, proxy};
use crate::{files, login::Login, token_source::TokenOrigin};

/// Where Ollama listens unless told otherwise.
pub(super) const DEFAULT_UPSTREAM: &str = "http://127.0.0.1:11434";

pub(crate) static TABLE: Table = Table {
    section: "agent",
    settings: &[
        RELAY,
        Setting::one(
            "token-file",
            "FILE",
            "Read the agent's token from this file, anew for each connection",
        ),
        Setting::one(
            "token-command",
            "CMD",
            "Run this in a shell for the agent's token, anew for each connection; 10 s at most",
        ),
        Setting::one("token", "TOKEN", "The agent's token itself").secret_in_environment(),
        UPSTREAM,
        DEVICE,
        ALLOW_MANAGE,
        Setting::many(
            "allow-route",
            "PATTERN",
            "Forward only these paths, like /api/chat or /v1/*; may be repeated",
        )
        .or("*"),
        Setting::many(
            "deny-route",
            "PATTERN",
            "Never forward these paths; may be repeated, and counts before --allow-route",
        ),
        Setting::many(
            "allow-model",
            "PATTERN",
            "Let callers use only these models, like llama3.2, qwen3:* or hf.co/*; may be repeated",
        )
        .or("*"),
        Setting::many(
            "deny-model",
            "PATTERN",
            "Let nobody use these models; may be repeated, and counts before --allow-model",
        ),
        ALLOW_CLOUD_MODELS,
        CA_FILE,
        Setting::one(
            "transport",
            "auto|grpc|websocket",
            "How the relay is reached: HTTP/2, the same inside a WebSocket, or whatever works",
        )
        .or("auto"),
        PROXY,
        CLIENT_CERT,
        CLIENT_KEY,
        SKIP_VERIFY,
        ALLOW_INSECURE,
        Setting::one(
            "max-concurrent-requests",
            "N",
            "Most requests at the upstream at once",
        )
        .or("256")
        .rare(),
        Setting::one(
            "upstream-connect-timeout",
            "TIME",
            "How long reaching the upstream may take",
        )
        .or("5s")
        .rare(),
        Setting::one(
            "load-grace",
            "TIME",
            "How long a model may go on loading after its caller has left",
        )
        .or("5m")
        .rare(),
        DIAL_TIMEOUT,
        Setting::one(
            "drain-timeout",
            "TIME",
            "How long running requests have at shutdown",
        )
        .or("30s"),
        Setting::one(
            "backoff-min",
            "TIME",
            "First wait before dialing again; doubles each time",
        )
        .or("1s")
        .rare(),
        Setting::one("backoff-max", "TIME", "Longest wait before dialing again")
            .or("30s")
            .rare(),
        Setting::one(
            "healthy-after",
            "TIME",
            "How long a session must have lasted before the wait starts over",
        )
        .or("60s")
        .rare(),
    ],
};

/// The settings of `c2l agent status`: those by which a running agent is found.
pub(crate) static STATUS_TABLE: Table = Table {
    section: "agent",
    settings: &[DEVICE],
};

/// The settings of `c2l login` and `c2l logout` that are the agent's: how the relay is reached, and as what.
pub(crate) static WAY_TABLE: Table = Table {
    section: "agent",
    settings: &[
        RELAY,
        DEVICE,
        CA_FILE,
        PROXY,
        CLIENT_CERT,
        CLIENT_KEY,
        SKIP_VERIFY,
        ALLOW_INSECURE,
        DIAL_TIMEOUT,
    ],
};

const RELAY: Setting = Setting::one(
    "relay",
    "URL",
    "The relay's address, like https://relay.example; without it the one that this machine is logged in to",
);

const CA_FILE: Setting = Setting::one(
    "ca-file",
    "FILE",
    "Trust these roots too, PEM, beside the system's own",
);

const PROXY: Setting = Setting::one(
    "proxy",
    "URL|none",
    "Reach the relay through this proxy: http:// or socks5://, with user:password@ if it wants that; else HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY count",
)
.secret();

const CLIENT_CERT: Setting = Setting::one(
    "client-cert",
    "FILE",
    "Show this certificate to the relay, PEM with its chain; goes with --client-key",
)
.rare();

const CLIENT_KEY: Setting =
    Setting::one("client-key", "FILE", "The key of --client-cert, PEM").rare();

const SKIP_VERIFY: Setting = Setting::switch(
    "insecure-skip-verify",
    "Take any certificate of the relay's; whoever is on the way can then read and change everything",
)
.rare();

const ALLOW_INSECURE: Setting = Setting::switch(
    "allow-insecure",
    "Permit clear text to a relay that is not on this machine; tokens and prompts can be read on the way",
);

const DIAL_TIMEOUT: Setting = Setting::one(
    "dial-timeout",
    "TIME",
    "How long reaching the relay may take, greeting included",
)
.or("10s")
.rare();

const DEVICE: Setting = Setting::one(
    "device",
    "NAME",
    "Name of this device; the newest session of a name replaces the one before it",
)
.or_found("the host's name", general::host_name);

pub(super) const UPSTREAM: Setting = Setting::one(
    "upstream",
    "URL",
    "The one service that requests go to; host:port will do",
)
.or(DEFAULT_UPSTREAM);

pub(super) const ALLOW_MANAGE: Setting = Setting::switch(
    "allow-manage",
    "Let callers with the scope manage pull, push, create, copy and delete models here",
);

pub(super) const ALLOW_CLOUD_MODELS: Setting = Setting::switch(
    "allow-cloud-models",
    "Let callers use models that run at ollama.com, with the account of this machine's owner",
);

/// What `c2l agent` is started with.
#[derive(Debug)]
pub(crate) struct AgentSettings {
    pub(crate) relay: Uri,
    pub(crate) token: TokenOrigin,
    pub(crate) upstream: Uri,
    pub(crate) device: DeviceName,
    pub(crate) allow_manage: bool,
    pub(crate) policy: Policy,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) allow_insecure: bool,
    pub(crate) skip_verify: bool,
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) transport: Transport,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) data_dir: PathBuf,
    /// Where the socket of `c2l agent status` belongs, if the system says so.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there is no socket yet"))]
    pub(crate) runtime_dir: Option<PathBuf>,
    pub(crate) tuning: Tuning,
}

/// What `c2l agent status` is started with.
#[derive(Debug)]
#[cfg_attr(not(unix), allow(dead_code, reason = "there is no socket yet"))]
pub(crate) struct StatusSettings {
    pub(crate) device: DeviceName,
    pub(crate) data_dir: PathBuf,
    pub(crate) runtime_dir: Option<PathBuf>,
}

/// What `c2l agent install` is started with.
#[derive(Debug)]
pub(crate) struct ServiceSettings {
    /// Everything that was set, as a configuration file, which may hold the password of a proxy.
    pub(crate) file: String,
    /// The same to look at.
    pub(crate) shown_file: String,
    /// How long running requests have at the end.
    pub(crate) drain_grace: Duration,
}

/// Limits and times, each with the meaning of the field of that name in [`c2l_agent::Config`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    pub(crate) max_concurrent_requests: usize,
    pub(crate) upstream_connect_timeout: Duration,
    pub(crate) load_grace: Duration,
    pub(crate) dial_timeout: Duration,
    pub(crate) drain_grace: Duration,
    pub(crate) backoff_min: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) healthy_after: Duration,
}

/// How `c2l login` and `c2l logout` reach the relay, and as what.
#[derive(Debug)]
pub(crate) struct WaySettings {
    pub(crate) relay: Uri,
    pub(crate) device: DeviceName,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) allow_insecure: bool,
    pub(crate) skip_verify: bool,
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) dial_timeout: Duration,
    pub(crate) data_dir: PathBuf,
}

pub(crate) fn read_way(values: &mut Values) -> Option<WaySettings> {
    let data_dir = general::read_data_dir(values);
    let allow_insecure = values.switch("allow-insecure");
    let relay = relay(values, data_dir.as_deref(), allow_insecure);
    let proxy = proxy::read(values, relay.as_ref());
    Some(WaySettings {
        device: values.get("device", parse::device),
        ca_file: values.path("ca-file"),
        allow_insecure,
        skip_verify: values.switch("insecure-skip-verify"),
        client_certificate: client_certificate(values),
        proxy,
        dial_timeout: values.get("dial-timeout", parse::limit),
        // Last, so that everything above has been read.
        relay: relay?,
        data_dir: data_dir?,
    })
}

pub(crate) fn read(values: &mut Values) -> Option<AgentSettings> {
    let data_dir = general::read_data_dir(values);
    let allow_insecure = values.switch("allow-insecure");
    let relay = relay(values, data_dir.as_deref(), allow_insecure);
    let login = match (&relay, &data_dir) {
        (Some(relay), Some(data_dir)) => Login::find(data_dir, relay),
        _ => None,
    };
    let token = token(values, login.clone());
    let device = device(values, token.as_ref());
    let proxy = proxy::read(values, relay.as_ref());
    Some(AgentSettings {
        skip_verify: values.switch("insecure-skip-verify"),
        client_certificate: client_certificate(values),
        transport: values.get("transport", parse::transport),
        proxy,
        upstream: values.get("upstream", parse::upstream),
        device,
        allow_manage: values.switch("allow-manage"),
        policy: policy(values),
        ca_file: values.path("ca-file"),
        allow_insecure,
        runtime_dir: values.runtime_dir.clone(),
        tuning: tuning(values),
        // Last, so that everything above has been read.
        relay: relay?,
        token: token?,
        data_dir: data_dir?,
    })
}

pub(crate) fn read_status(values: &mut Values) -> Option<StatusSettings> {
    let data_dir = general::read_data_dir(values);
    let wanted = values.get("device", parse::device);
    let is_said = values.is_said("device");
    let login = data_dir.as_deref().filter(|_| !is_said);
    let login = login.and_then(Login::only);
    Some(StatusSettings {
        device: login.map_or(wanted, |login| login.device),
        runtime_dir: values.runtime_dir.clone(),
        data_dir: data_dir?,
    })
}

/// An agent's settings, for one that is started by the system: without whatever the environment says now.
pub(crate) fn read_service(values: &mut Values) -> Option<ServiceSettings> {
    let settings = read(values);
    if values.entry("token").effective().is_some() {
        values.mistake(
            "a service takes its token from --token-file or --token-command: C2L_TOKEN is not there when the system starts it",
        );
    }
    let settings = settings?;
    Some(ServiceSettings {
        file: carried::file(values, &settings.relay, false),
        shown_file: carried::file(values, &settings.relay, true),
        drain_grace: settings.tuning.drain_grace,
    })
}

fn relay(values: &mut Values, data_dir: Option<&Path>, allow_insecure: bool) -> Option<Uri> {
    let is_said = values.is_said("relay");
    let relay = match data_dir.filter(|_| !is_said).and_then(Login::only_relay) {
        Some(relay) => relay,
        None => values.required("relay", parse::relay)?,
    };
    if relay.scheme() == Some(&Scheme::HTTP) && !parse::is_loopback(&relay) && !allow_insecure {
        values.mistake(
            "--relay is http:// to another machine: tokens and prompts could be read on the way; use https://, or --allow-insecure where the network itself is private",
        );
    }
    Some(relay)
}

/// What the patterns may be is the agent's to say, which does so before it opens anything.
fn policy(values: &mut Values) -> Policy {
    Policy {
        allow_routes: values.many("allow-route", parse::plain),
        deny_routes: values.many("deny-route", parse::plain),
        allow_models: values.many("allow-model", parse::plain),
        deny_models: values.many("deny-model", parse::plain),
        allow_cloud_models: values.switch("allow-cloud-models"),
    }
}

fn client_certificate(values: &mut Values) -> Option<(PathBuf, PathBuf)> {
    match (values.path("client-cert"), values.path("client-key")) {
        (Some(certificate), Some(key)) => return Some((certificate, key)),
        (None, None) => {}
        (Some(_), None) => {
            values.mistake("--client-cert without --client-key: give both or neither")
        }
        (None, Some(_)) => {
            values.mistake("--client-key without --client-cert: give both or neither")
        }
    }
    None
}

/// A login is that of one device, which then is this one, whatever the host is called.
fn device(values: &mut Values, token: Option<&TokenOrigin>) -> DeviceName {
    let wanted = values.get("device", parse::device);
    let Some(TokenOrigin::Login(login)) = token else {
        return wanted;
    };
    if wanted != login.device && values.is_said("device") {
        values.mistake(format!(
            "--device is {wanted}, and this machine is logged in as {}: log in again with `c2l login --device {wanted}`, or leave --device away",
            login.device
        ));
    }
    login.device.clone()
}

/// What is said counts; a login is used when nothing is.
fn token(values: &mut Values, login: Option<Login>) -> Option<TokenOrigin> {
    let text = values.optional("token", parse::plain);
    let file = values.path("token-file");
    let command = values.optional("token-command", parse::plain);
    if let Some(warning) = file.as_deref().and_then(files::warning_if_shared) {
        values.warn(warning);
    }
    let given: Vec<TokenOrigin> = [
        text.map(|text| TokenOrigin::Text(Secret::new(text.trim()))),
        file.map(TokenOrigin::File),
        command.map(TokenOrigin::Command),
    ]
    .into_iter()
    .flatten()
    .collect();
    match <[TokenOrigin; 1]>::try_from(given) {
        Ok([one]) => return Some(one),
        Err(none) if none.is_empty() => match login {
            Some(login) => {
                if let Some(warning) = files::warning_if_shared(&login.place.file) {
                    values.warn(warning);
                }
                return Some(TokenOrigin::Login(login));
            }
            None => values.mistake(
                "no token: log this machine in with `c2l login`, or give --token-file or --token-command, or set C2L_TOKEN",
            ),
        },
        Err(several) => {
            let names: Vec<_> = several.iter().map(TokenOrigin::name).collect();
            values.mistake(format!(
                "the token comes from one source, not from {} at once",
                names.join(" and ")
            ));
        }
    }
    None
}

fn tuning(values: &mut Values) -> Tuning {
    let tuning = Tuning {
        max_concurrent_requests: values.get("max-concurrent-requests", parse::count),
        upstream_connect_timeout: values.get("upstream-connect-timeout", parse::limit),
        load_grace: values.get("load-grace", parse::duration),
        dial_timeout: values.get("dial-timeout", parse::limit),
        drain_grace: values.get("drain-timeout", parse::duration),
        backoff_min: values.get("backoff-min", parse::limit),
        backoff_max: values.get("backoff-max", parse::limit),
        healthy_after: values.get("healthy-after", parse::duration),
    };
    if tuning.backoff_min > tuning.backoff_max {
        values.mistake("--backoff-min is longer than --backoff-max");
    }
    tuning
}

/// Where an agent forwards to whom nobody has told.
pub(crate) fn default_upstream() -> Uri {
    Uri::from_static(DEFAULT_UPSTREAM)
}

/// What an agent does that nobody has tuned: for `dev`.
pub(crate) fn default_tuning() -> Tuning {
    tuning(&mut Values::resolve(
        &[&TABLE],
        &super::Flags::new(),
        &|_| None,
        None,
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use c2l_agent::{Config, TokenError, TokenSource};

    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let relay = Uri::from_static("https://relay.example");
        let token: TokenSource =
            Arc::new(|| Box::pin(async { Err(TokenError::new("nobody asks for it")) }));
        let library = Config::new(relay, token, "desk".to_owned(), [0; 16]);
        let (tuning, upstream) = (default_tuning(), default_upstream());
        assert_eq!(upstream, library.upstream);
        let number = tuning.max_concurrent_requests;
        assert_eq!(number, library.max_concurrent_requests);
        for (name, ours, theirs) in [
            (
                "connect",
                tuning.upstream_connect_timeout,
                library.upstream_connect_timeout,
            ),
            ("load grace", tuning.load_grace, library.load_grace),
            ("dial", tuning.dial_timeout, library.dial_timeout),
            ("drain", tuning.drain_grace, library.drain_grace),
            ("first wait", tuning.backoff_min, library.backoff_min),
            ("longest wait", tuning.backoff_max, library.backoff_max),
            ("healthy after", tuning.healthy_after, library.healthy_after),
        ] {
            assert_eq!(ours, theirs, "{name}");
        }
    }
}
