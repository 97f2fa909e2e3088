//! The near end: the upstream, its rules, and what it has to offer.

use c2l_agent::probe::Probe;
use http::{StatusCode, Uri};

use super::{
    advice,
    report::{Check, Report},
};
use crate::commands::probe::{Model, first_of, json, plain};

/// Looks at the upstream; returns a model to try.
pub(super) async fn examine(report: &mut Report, probe: &Probe, upstream: &Uri) -> Option<Model> {
    let check = reachable(probe, upstream).await;
    report.add(check);
    if report.may_try("host", &["upstream"]) {
        let check = host(probe).await;
        report.add(check);
    }
    if !report.may_try("models", &["upstream", "host"]) {
        return None;
    }
    let (check, model) = models(probe).await;
    report.add(check);
    model
}

async fn reachable(probe: &Probe, upstream: &Uri) -> Check {
    let place = upstream.to_string();
    let place = place.trim_end_matches('/');
    match probe.upstream("/api/version").await {
        Err(failure) => Check::failed("upstream", failure.to_string(), advice::on(&failure)),
        Ok((status, body)) => match plain(&json(&body)["version"]) {
            Some(version) if status == StatusCode::OK => {
                Check::ok("upstream", format!("Ollama {version} at {place}"))
            }
            _ => Check::ok(
                "upstream",
                format!(
                    "{place} answers, and {} to Ollama's /api/version",
                    status.as_u16()
                ),
            ),
        },
    }
}

/// Ollama refuses names that are not its machine's, and web pages that it does not know.
async fn host(probe: &Probe) -> Check {
    match probe.upstream("/").await {
        Err(failure) => Check::failed("host", failure.to_string(), advice::on(&failure)),
        Ok((StatusCode::FORBIDDEN, _)) => Check::failed(
            "host",
            "a request the way the agent sends it is answered 403: the upstream does not take this Host",
            "give --upstream the machine's IP address instead of its name; Ollama takes those",
        ),
        Ok((status, _)) => Check::ok(
            "host",
            format!(
                "a request the way the agent sends it is answered {}",
                status.as_u16()
            ),
        ),
    }
}

async fn models(probe: &Probe) -> (Check, Option<Model>) {
    let tags = probe.upstream("/api/tags").await;
    let list = |body: &[u8], name: &str| json(body)[name].as_array().map_or(0, Vec::len);
    if let Ok((StatusCode::OK, body)) = &tags
        && let Some(name) = first_of(&json(body)["models"], "name")
    {
        let seen = format!("{}, {name} among them", list(body, "models"));
        return (Check::ok("models", seen), Some(Model::Ollama(name)));
    }
    let models = probe.upstream("/v1/models").await;
    if let Ok((StatusCode::OK, body)) = &models
        && let Some(name) = first_of(&json(body)["data"], "id")
    {
        let seen = format!("{}, {name} among them", list(body, "data"));
        return (Check::ok("models", seen), Some(Model::OpenAi(name)));
    }
    let check = match (tags, models) {
        (Err(failure), Err(_)) => {
            Check::failed("models", failure.to_string(), advice::on(&failure))
        }
        _ => Check::warning(
            "models",
            "there is none that can chat",
            "get one, for example with `ollama pull llama3.2`",
        ),
    };
    (check, None)
}
