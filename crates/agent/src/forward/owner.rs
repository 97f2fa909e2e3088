//! What the owner of the machine allows, beside the classes of `policy`: which routes, and which models.
//!
//! Invariant: read once, from the configuration; a request can only be allowed less than this, whatever the relay says
//! of it.

use std::sync::Arc;

use c2l_models::{Gate, Glance, Judge, Refusal, Rules, Who, boundary, pattern::matches};
use c2l_tunnel::{Fault, Kind, Origin, RequestHead};
use http::{HeaderMap, header, uri::PathAndQuery};

use super::{
    body::Reader,
    ollama::{ENDPOINTS, Endpoint, Names},
};
use crate::config::{Config, Policy};

/// The owner's allow-list, ready for use.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) allow_manage: bool,
    allow_routes: Vec<String>,
    deny_routes: Vec<String>,
    models: Arc<Rules>,
}

impl Owner {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Every mistake in it.
    pub(crate) fn new(config: &Config) -> Result<Self, Vec<String>> {
        let Policy {
            allow_routes,
            deny_routes,
            allow_models,
            deny_models,
            allow_cloud_models,
        } = &config.policy;
        let mut problems: Vec<String> = [allow_routes, deny_routes]
            .into_iter()
            .flatten()
            .filter(|pattern| !ENDPOINTS.iter().any(|e| matches(pattern, e.template)))
            .map(|pattern| format!("policy: `{pattern}` matches no route of Ollama's"))
            .collect();
        let models = Rules::new(allow_models, deny_models, *allow_cloud_models);
        match models {
            Ok(models) if problems.is_empty() => Ok(Self {
                allow_manage: config.allow_manage,
                allow_routes: allow_routes.clone(),
                deny_routes: deny_routes.clone(),
                models: Arc::new(models),
            }),
            models => {
                let bad = models.err().into_iter().flatten();
                problems.extend(bad.map(|problem| format!("policy: {problem}")));
                Err(problems)
            }
        }
    }

    /// True when requests may go there, if their class may be done at all.
    pub(crate) fn allows_route(&self, endpoint: &Endpoint) -> bool {
        let covers = |patterns: &[String]| patterns.iter().any(|p| matches(p, endpoint.template));
        covers(&self.allow_routes) && !covers(&self.deny_routes)
    }

    /// Judges the model that a request names in its path, and gives what reads a body that may name one: a gate where
    /// models are limited; `None` when there is nothing to read.
    ///
    /// # Errors
    /// When it is refused by its head alone.
    pub(super) fn judge_models(
        &self,
        head: &RequestHead,
        target: &PathAndQuery,
        endpoint: &Endpoint,
    ) -> Result<Option<Reader>, Fault> {
        let judge = Judge::new(Arc::clone(&self.models), &head.models);
        if judge.is_open() {
            let glance = match endpoint.names {
                Names::InJson(members) if !head.is_whole => Some(Glance::for_json(members)),
                _ => None,
            };
            return Ok(glance.map(Reader::Glance));
        }
        let has_body = match endpoint.names {
            Names::Nowhere => return Ok(None),
            Names::InPath => {
                let name = target.path().rsplit('/').next().unwrap_or_default();
                judge.name(&unescaped(name)).map_err(fault)?;
                return Ok(None);
            }
            Names::InJson(_) | Names::InForm => !head.is_whole,
        };
        if !has_body {
            judge.no_name().map_err(fault)?;
            return Ok(None);
        }
        if head.headers.contains_key(header::CONTENT_ENCODING) {
            let why = "the body is encoded, so the model that it names cannot be judged; send it as it is";
            return Err(unreadable(why));
        }
        let gate = match endpoint.names {
            Names::InJson(members) => Gate::for_json(members, judge),
            _ => form_gate(&head.headers, target, judge)?,
        };
        Ok(Some(Reader::Gate(Box::new(gate))))
    }
}

/// Ollama reads a field of a form in the query as well, and there first.
fn form_gate(headers: &HeaderMap, target: &PathAndQuery, judge: Judge) -> Result<Gate, Fault> {
    if target.query().is_some_and(|query| !query.is_empty()) {
        return Err(unreadable("a query beside a form could name another model"));
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let only = types.next().filter(|_| types.next().is_none());
    let boundary = only.and_then(|said| boundary(said.to_str().ok()?));
    let why = "a form (multipart/form-data) with a plain boundary is needed here";
    let boundary = boundary.ok_or_else(|| unreadable(why))?;
    Ok(Gate::for_form(boundary, judge))
}

/// What a refusal is for the caller. Nothing was done: the upstream has had no whole request.
pub(crate) fn fault(refusal: Refusal) -> Fault {
    let (kind, origin) = match refusal.who {
        Who::Request => (Kind::InvalidRequest, Origin::Caller),
        Who::Owner => (Kind::Forbidden, Origin::Agent),
        Who::Credential => (Kind::Forbidden, Origin::Caller),
    };
    Fault::new(kind, origin, refusal.message).retry_safe()
}

fn unreadable(why: &'static str) -> Fault {
    Fault::new(Kind::InvalidRequest, Origin::Caller, why).retry_safe()
}

/// The segment as Ollama decodes it; `policy::target` has passed its escapes. What is no text is no name either.
fn unescaped(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = || u8::from_str_radix(str::from_utf8(after.get(..2)?).ok()?, 16).ok();
        match (*byte == b'%').then(escaped).flatten() {
            Some(meant) => {
                bytes.push(meant);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use c2l_tunnel::Scopes;
    use http::{HeaderValue, Method};

    use super::*;
    use crate::forward::policy::{Route, classify};

    fn owner(change: impl FnOnce(&mut Policy)) -> Result<Owner, Vec<String>> {
        let mut config = crate::tests::config();
        config.policy = Policy::default();
        change(&mut config.policy);
        Owner::new(&config)
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn endpoint(method: &Method, path: &str) -> &'static Endpoint {
        match classify(method, path) {
            Route::Known(endpoint) => endpoint,
            other => panic!("{path}: {other:?}"),
        }
    }

    fn judged(
        owner: &Owner,
        method: &Method,
        target: &str,
        change: impl FnOnce(&mut RequestHead),
    ) -> Result<bool, Kind> {
        let target: PathAndQuery = target.parse().unwrap();
        let mut head = RequestHead {
            method: method.clone(),
            target: target.clone(),
            headers: HeaderMap::new(),
            is_whole: false,
            expects_continue: false,
            request_id: String::new(),
            scopes: Scopes::default(),
            models: Vec::new(),
        };
        change(&mut head);
        let gate = owner.judge_models(&head, &target, endpoint(method, target.path()));
        let is_gate = |reader| matches!(reader, Some(Reader::Gate(_)));
        gate.map(is_gate).map_err(|fault| {
            assert!(fault.is_retry_safe, "nothing was sent");
            fault.kind
        })
    }

    #[test]
    fn routes_are_allowed_by_pattern_and_a_denial_wins() {
        let owner = owner(|policy| {
            policy.allow_routes = texts(&["/", "/api/*", "/v1/models"]);
            policy.deny_routes = texts(&["/api/blobs/*", "/api/generate"]);
        });
        let owner = owner.unwrap();
        for (method, path, is_allowed) in [
            (Method::GET, "/", true),
            (Method::POST, "/api/chat", true),
            (Method::POST, "/api/generate", false),
            (Method::HEAD, "/api/blobs/sha256:0", false),
            (Method::GET, "/v1/models", true),
            (Method::GET, "/v1/models/x", false),
            (Method::POST, "/v1/messages", false),
        ] {
            assert_eq!(
                owner.allows_route(endpoint(&method, path)),
                is_allowed,
                "{path}"
            );
        }
    }

    #[test]
    fn every_mistake_in_the_policy_is_told() {
        let problems = owner(|policy| {
            policy.allow_routes = texts(&["/api/chatt", "/v1/*"]);
            policy.deny_routes = texts(&[""]);
            policy.deny_models = texts(&["a b"]);
        });
        let problems = problems.unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("/api/chatt"), "{problems:?}");
    }

    #[test]
    fn bodies_are_looked_at_where_they_may_name_a_model() {
        let default = owner(|_| {}).unwrap();
        for (method, path, is_looked_at) in [
            (Method::POST, "/api/chat", true),
            (Method::DELETE, "/api/delete", true),
            (Method::POST, "/v1/messages", true),
            (Method::POST, "/api/blobs/sha256:0", false),
            (Method::GET, "/api/tags", false),
            (Method::GET, "/v1/models/x", false),
        ] {
            assert_eq!(
                judged(&default, &method, path, |_| {}),
                Ok(is_looked_at),
                "{path}"
            );
        }
        let open = owner(|policy| policy.allow_cloud_models = true).unwrap();
        assert_eq!(judged(&open, &Method::POST, "/api/chat", |_| {}), Ok(false));
        let limited = judged(&open, &Method::POST, "/api/chat", |head| {
            head.models = texts(&["x"]);
        });
        assert_eq!(limited, Ok(true), "a credential's models count as well");
    }

    #[test]
    fn a_model_in_the_path_is_judged_as_it_is_decoded() {
        let owner = owner(|policy| policy.allow_models = texts(&["x"])).unwrap();
        let ask = |path| judged(&owner, &Method::GET, path, |_| {});
        assert_eq!(ask("/v1/models/x"), Ok(false));
        assert_eq!(ask("/v1/models/%58:%4catest"), Ok(false));
        for path in [
            "/v1/models/y",
            "/v1/models/%79",
            "/v1/models/x%3acloud",
            "/v1/models/%ff",
        ] {
            assert_eq!(ask(path), Err(Kind::Forbidden), "{path}");
        }
    }

    #[test]
    fn what_cannot_be_looked_at_is_refused() {
        let owner = owner(|_| {}).unwrap();
        let form = "/v1/audio/transcriptions";
        let typed = |said: &'static str| {
            move |head: &mut RequestHead| {
                let said = HeaderValue::from_static(said);
                head.headers.append(header::CONTENT_TYPE, said);
            }
        };
        let post = |path: &str, change: &dyn Fn(&mut RequestHead)| {
            judged(&owner, &Method::POST, path, |head| change(head))
        };
        let good = typed("multipart/form-data; boundary=x");
        assert_eq!(post(form, &good), Ok(true));
        assert_eq!(
            post(&format!("{form}?model=y"), &good),
            Err(Kind::InvalidRequest)
        );
        assert_eq!(post(form, &|_| {}), Err(Kind::InvalidRequest));
        let twice = |head: &mut RequestHead| {
            good(head);
            typed("multipart/form-data; boundary=y")(head);
        };
        assert_eq!(post(form, &twice), Err(Kind::InvalidRequest));
        let encoded = |head: &mut RequestHead| {
            let zstd = HeaderValue::from_static("zstd");
            head.headers.insert(header::CONTENT_ENCODING, zstd);
        };
        assert_eq!(post("/v1/responses", &encoded), Err(Kind::InvalidRequest));
    }

    #[test]
    fn a_request_without_a_body_names_no_model() {
        let whole = |head: &mut RequestHead| head.is_whole = true;
        let default = owner(|_| {}).unwrap();
        assert_eq!(
            judged(&default, &Method::POST, "/api/chat", whole),
            Ok(false)
        );
        let limited = owner(|policy| policy.deny_models = texts(&["x"])).unwrap();
        let refused = judged(&limited, &Method::POST, "/api/chat", whole);
        assert_eq!(refused, Err(Kind::Forbidden));
    }
}
