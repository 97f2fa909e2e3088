//! `c2l doctor`: tries everything between the models and the relay, in order, and says what to do about what fails.
//!
//! Invariant: it changes nothing and disturbs no agent, and no secret is in what it prints or writes.
//!
//! 1. The settings, then the token; nothing is dialed before these.
//! 2. [`way`]: the hops to the relay, and both transports.
//! 3. [`session`]: a session of its own.
//! 4. [`models`]: the upstream.
//! 5. One request through all of it, for whoever has an api token.

mod advice;
mod models;
mod report;
mod session;
mod token;
mod way;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use c2l_agent::{TokenSource, probe::Probe};
use c2l_auth::Secret;
use serde_json::{Value, json};
use tokio::time::timeout;

use self::{
    report::{Check, Report},
    token::Claimed,
};
use super::{
    agent,
    config_show::{HIDDEN, row},
    probe::Model,
};
#[cfg(unix)]
use crate::face::socket;
use crate::{
    build_info, device, output,
    settings::{Values, agent::AgentSettings, doctor::DoctorSettings},
    token_source::TokenOrigin,
};

/// How long each check may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Every check, in order.
const CHECKS: [&str; 14] = [
    "config",
    "token",
    "dns",
    "tcp",
    "proxy",
    "tls",
    "http2",
    "websocket",
    "clock",
    "session",
    "upstream",
    "host",
    "models",
    "first token",
];

/// Who is examined.
pub(crate) struct Patient {
    /// `None` when there are mistakes.
    pub(crate) settings: Option<AgentSettings>,
    pub(crate) mistakes: Vec<String>,
    pub(crate) values: Values,
}

/// Examines, prints, writes the bundle. Fails when a check did.
pub(crate) async fn run(patient: Patient, own: DoctorSettings) -> anyhow::Result<()> {
    let mut report = Report::new(!own.is_json);
    for entry in patient
        .values
        .entries()
        .iter()
        .filter(|entry| entry.setting.is_secret)
    {
        for text in entry.effective().into_iter().flat_map(|given| &given.texts) {
            report.hide(text);
            report.hide(password_in(text).unwrap_or_default());
        }
    }
    // Boxed: the session's state is large, and this future only passes through here.
    Box::pin(examine(
        &mut report,
        patient.settings,
        patient.mistakes,
        own.api_token,
    ))
    .await;
    let text = match own.is_json {
        true => format!("{:#}\n", report.json()),
        false => format!("{}\n", report.summary()),
    };
    output::print(&text).context("cannot print")?;
    if let Some(file) = &own.bundle {
        write_bundle(file, &report, &patient.values)?;
    }
    if report.failures() > 0 {
        bail!("{}", report.summary());
    }
    Ok(())
}

async fn examine(
    report: &mut Report,
    settings: Option<AgentSettings>,
    mistakes: Vec<String>,
    api_token: Option<TokenOrigin>,
) {
    let own_name = match &settings {
        Some(settings) => own_name(settings).await,
        None => None,
    };
    let Some(subject) = settle(report, settings, mistakes, own_name) else {
        for name in &CHECKS[1..] {
            report.may_try(name, &["config"]);
        }
        return;
    };
    let token = fetch_token(report, &subject.token, &subject.source).await;
    let probe = &subject.probe;
    let wanted = way::Wanted {
        host: &subject.host,
        proxy: subject.proxy.as_ref(),
        transport: subject.transport,
        is_unverified: subject.is_unverified,
        token: token.as_ref().map(|(token, _)| token.expose()),
    };
    let way = way::examine(report, probe, &wanted).await;
    let session = session_with(report, &subject, way, token.as_ref()).await;
    let model = models::examine(report, probe, &subject.upstream).await;
    if report.may_try("first token", &["session", "upstream", "host", "models"]) {
        let check = first_token(report, probe, session, api_token, model).await;
        report.add(check);
    }
    subject.probe.close().await;
}

/// What the settings come to.
struct Subject {
    probe: Probe,
    /// What the probe calls itself.
    device: String,
    relay: String,
    host: String,
    upstream: http::Uri,
    proxy: Option<c2l_agent::Proxy>,
    transport: c2l_agent::Transport,
    is_unverified: bool,
    token: TokenOrigin,
    source: TokenSource,
}

/// Judges the settings as a whole, the way the agent does when it starts.
fn settle(
    report: &mut Report,
    settings: Option<AgentSettings>,
    mistakes: Vec<String>,
    own_name: Option<String>,
) -> Option<Subject> {
    let fix = "correct what is named; `c2l config show agent` tells where each value came from";
    let Some(settings) = settings else {
        let mut mistakes = mistakes.into_iter();
        let first = mistakes
            .next()
            .unwrap_or_else(|| "a setting is missing".to_owned());
        report.add(mistakes.fold(Check::failed("config", first, fix), Check::and));
        return None;
    };
    match subject(settings, own_name) {
        Ok(subject) => {
            report.add(Check::ok(
                "config",
                format!("no mistakes; the relay is {}", subject.relay),
            ));
            Some(subject)
        }
        Err(why) => {
            report.add(Check::failed("config", format!("{why:#}"), fix));
            None
        }
    }
}

/// A login is that of one device. While no agent uses it here, a session of that name replaces nobody's.
async fn own_name(settings: &AgentSettings) -> Option<String> {
    let TokenOrigin::Login(login) = &settings.token else {
        return None;
    };
    let is_free = !is_running(settings).await;
    is_free.then(|| login.device.as_str().to_owned())
}

#[cfg(unix)]
async fn is_running(settings: &AgentSettings) -> bool {
    let device = settings.device.as_str();
    let places = socket::places(device, settings.runtime_dir.as_deref(), &settings.data_dir);
    // Who does not answer may run all the same.
    !matches!(socket::ask(&places).await, Ok(None))
}

/// Nobody can be asked here.
#[cfg(not(unix))]
async fn is_running(_settings: &AgentSettings) -> bool {
    true
}

fn subject(settings: AgentSettings, own_name: Option<String>) -> anyhow::Result<Subject> {
    let device_id = device::load_or_create(&settings.data_dir)?;
    let mut random = [0; 2];
    getrandom::fill(&mut random).context("the system gives no random bytes")?;
    let another = session::device_name(&settings.device, u16::from_ne_bytes(random));
    let device = own_name.unwrap_or(another);
    let relay = settings.relay.to_string().trim_end_matches('/').to_owned();
    let host = settings.relay.host().unwrap_or_default().to_owned();
    let (upstream, proxy) = (settings.upstream.clone(), settings.proxy.clone());
    let (transport, is_unverified) = (settings.transport, settings.skip_verify);
    let token = settings.token.clone();
    let mut config = agent::of_settings(settings, device_id);
    config.device_name.clone_from(&device);
    let source = TokenSource::clone(&config.token);
    Ok(Subject {
        probe: Probe::new(config, LIMIT)?,
        device,
        relay,
        host,
        upstream,
        proxy,
        transport,
        is_unverified,
        token,
        source,
    })
}

/// The token and what it claims, unless it is one that no relay would take.
async fn fetch_token(
    report: &mut Report,
    origin: &TokenOrigin,
    source: &TokenSource,
) -> Option<(Secret, Option<Claimed>)> {
    let fix = match origin {
        TokenOrigin::Login(_) => "log this machine in again with `c2l login`",
        TokenOrigin::Text(_) | TokenOrigin::File(_) | TokenOrigin::Command(_) => {
            "make the token available there; `c2l token issue --kind agent` on the relay's machine makes one"
        }
    };
    let token = match timeout(LIMIT, source()).await {
        Ok(Ok(token)) => token,
        Ok(Err(error)) => {
            report.add(Check::failed(token::NAME, error.to_string(), fix));
            return None;
        }
        Err(_) => {
            let seen = format!("nothing from {} within {LIMIT:?}", origin.name());
            report.add(Check::failed(token::NAME, seen, fix));
            return None;
        }
    };
    report.hide(&token);
    let claimed = token::claimed(&token);
    let check = token::check(claimed.as_ref(), origin, SystemTime::now());
    let is_usable = !check.is_obstacle;
    report.add(check);
    is_usable.then(|| (Secret::new(token), claimed))
}

/// What a session is opened with.
struct Opening<'a> {
    way: c2l_agent::Way,
    token: &'a str,
}

async fn session_with<'a>(
    report: &mut Report,
    subject: &Subject,
    way: Option<c2l_agent::Way>,
    token: Option<&'a (Secret, Option<Claimed>)>,
) -> Option<Opening<'a>> {
    let (Some(way), Some((token, claimed))) = (way, token) else {
        let needed = match token {
            None => ["token", "http2", "websocket"],
            Some(_) => ["http2", "websocket", "tls"],
        };
        report.may_try("session", &needed);
        return None;
    };
    if let Some(device) = claimed
        .as_ref()
        .and_then(|claimed| claimed.device.as_deref())
        .filter(|device| *device != subject.device)
    {
        let why = format!(
            "the token is bound to the device {device}, and a second session of that name would replace a running agent"
        );
        report.add(Check::skipped("session", why));
        return None;
    }
    let token = token.expose();
    let check = session::session(&subject.probe, way, token, &subject.device).await;
    let is_open = !check.is_obstacle;
    report.add(check);
    is_open.then_some(Opening { way, token })
}

async fn first_token(
    report: &mut Report,
    probe: &Probe,
    opening: Option<Opening<'_>>,
    api_token: Option<TokenOrigin>,
    model: Option<Model>,
) -> Check {
    let name = "first token";
    let (Some(opening), Some(model)) = (opening, model) else {
        return Check::skipped(name, "there is no model to ask");
    };
    let Some(origin) = api_token else {
        return Check::needless(
            name,
            "no api token: give one with --api-token-file or C2L_API_TOKEN to try the whole loop",
        );
    };
    let fix = "make the api token available there; `c2l token issue --kind api` makes one";
    let api_token = match timeout(LIMIT, origin.fetch()).await {
        Ok(Ok(token)) => Secret::new(token),
        // The source calls itself by the agent's flag or variable.
        Ok(Err(error)) => {
            let said = error.to_string();
            let why = said.split_once(": ").map_or("", |(_, why)| why);
            return Check::failed(name, format!("no api token: {why}"), fix);
        }
        Err(_) => return Check::failed(name, "no api token in time", fix),
    };
    report.hide(api_token.expose());
    session::first_token(probe, opening.way, opening.token, &api_token, &model).await
}

/// What stands between the user and the host of an address.
fn password_in(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://").unwrap_or(("", address));
    let (user, _) = rest.rsplit_once('@')?;
    Some(user.split_once(':')?.1)
}

/// Everything that support asks for first.
fn write_bundle(file: &Path, report: &Report, values: &Values) -> anyhow::Result<()> {
    let bundle = json!({
        "program": "c2l",
        "version": build_info::version(),
        "system": {
            "os": std::env::consts::OS,
            "family": std::env::consts::FAMILY,
            "architecture": std::env::consts::ARCH,
        },
        "written_at": humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        "doctor": report.json(),
        "configuration": values.entries().iter().map(configured).collect::<Vec<_>>(),
    });
    std::fs::write(file, format!("{bundle:#}\n"))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// A command may have a secret among its words.
fn configured(entry: &crate::settings::Entry) -> Value {
    let [name, value, source] = row(entry);
    let is_hidden = entry.setting.name == "token-command" && entry.effective().is_some();
    let value = if is_hidden { HIDDEN.to_owned() } else { value };
    json!({ "name": name, "value": value, "source": source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_an_address_is_found() {
        assert_eq!(
            password_in("http://ada:hunter2@proxy:3128"),
            Some("hunter2")
        );
        assert_eq!(password_in("ada:p@ss@proxy"), Some("p@ss"));
        assert_eq!(password_in("http://proxy:3128"), None);
    }
}
