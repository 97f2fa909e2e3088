//! What Ollama offers, what each of it does to the machine and to its owner, and where it names a model.
//!
//! Invariant: an allow-list. What is not in the table is not forwarded, so a path that a newer Ollama adds stays closed
//! until it is judged here.

use c2l_models::{Member, members};
use http::Method;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Looks something up.
    Read,
    /// Uses a model; its load may take minutes.
    Infer,
    /// Changes what the machine holds.
    Manage,
    /// Acts with the owner's account at ollama.com.
    Account,
}

/// Where a request names a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// It names none.
    Nowhere,
    /// As the last segment of its path.
    InPath,
    /// In these members of the JSON object that is its body.
    InJson(&'static [Member]),
    /// In the form that is its body.
    InForm,
}

/// One method on one path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The path; a segment that begins with `:` stands for any one segment.
    pub(crate) template: &'static str,
    /// Whether it has such a segment.
    is_pattern: bool,
    pub(crate) method: Method,
    pub(crate) class: Class,
    pub(crate) names: Names,
}

const fn endpoint(method: Method, template: &'static str, class: Class) -> Endpoint {
    Endpoint {
        template,
        is_pattern: is_pattern(template),
        method,
        class,
        names: Names::Nowhere,
    }
}

const fn is_pattern(template: &str) -> bool {
    let mut rest = template.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b':' {
            return true;
        }
        rest = after;
    }
    false
}

impl Endpoint {
    const fn naming(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// In the member `model` of its body.
    const fn naming_model(self) -> Self {
        self.naming(Names::InJson(members::MODEL))
    }

    const fn naming_model_or_name(self) -> Self {
        self.naming(Names::InJson(members::MODEL_OR_NAME))
    }
}

/// Everything that Ollama answers, as of its version 0.33. `HEAD` goes wherever `GET` does.
pub(crate) static ENDPOINTS: [Endpoint; 31] = [
    // Inference first: it is what is asked for most.
    endpoint(Method::POST, "/api/chat", Class::Infer).naming_model(),
    endpoint(Method::POST, "/api/generate", Class::Infer).naming_model(),
    endpoint(Method::POST, "/v1/chat/completions", Class::Infer).naming_model(),
    endpoint(Method::POST, "/v1/messages", Class::Infer).naming_model(),
    endpoint(Method::POST, "/v1/responses", Class::Infer).naming_model(),
    endpoint(Method::POST, "/v1/completions", Class::Infer).naming_model(),
    endpoint(Method::POST, "/api/embed", Class::Infer).naming_model(),
    endpoint(Method::POST, "/api/embeddings", Class::Infer).naming_model(),
    endpoint(Method::POST, "/v1/embeddings", Class::Infer).naming_model(),
    endpoint(Method::POST, "/v1/audio/transcriptions", Class::Infer).naming(Names::InForm),
    endpoint(Method::GET, "/", Class::Read),
    endpoint(Method::GET, "/api/version", Class::Read),
    endpoint(Method::GET, "/api/status", Class::Read),
    endpoint(Method::GET, "/api/tags", Class::Read),
    endpoint(Method::GET, "/api/ps", Class::Read),
    endpoint(Method::POST, "/api/show", Class::Read).naming_model_or_name(),
    endpoint(Method::GET, "/v1/models", Class::Read),
    endpoint(Method::GET, "/v1/models/:model", Class::Read).naming(Names::InPath),
    endpoint(Method::GET, MODEL_RECOMMENDATIONS, Class::Read),
    endpoint(Method::HEAD, "/api/blobs/:digest", Class::Read),
    endpoint(Method::POST, "/api/blobs/:digest", Class::Manage),
    endpoint(Method::POST, "/api/pull", Class::Manage).naming_model_or_name(),
    endpoint(Method::POST, "/api/push", Class::Manage).naming_model_or_name(),
    endpoint(Method::POST, "/api/create", Class::Manage).naming(Names::InJson(members::NEW_MODEL)),
    endpoint(Method::POST, "/api/copy", Class::Manage)
        .naming(Names::InJson(members::SOURCE_AND_DESTINATION)),
    endpoint(Method::DELETE, "/api/delete", Class::Manage).naming_model_or_name(),
    endpoint(Method::POST, "/api/me", Class::Account),
    endpoint(Method::POST, "/api/signout", Class::Account),
    endpoint(Method::DELETE, "/api/user/keys/:key", Class::Account),
    endpoint(Method::POST, "/api/experimental/web_search", Class::Account),
    endpoint(Method::POST, "/api/experimental/web_fetch", Class::Account),
];

const MODEL_RECOMMENDATIONS: &str = "/api/experimental/model-recommendations";

impl Endpoint {
    pub(crate) fn matches_path(&self, path: &str) -> bool {
        if !self.is_pattern {
            return self.template == path;
        }
        let mut segments = path.split('/');
        let is_match = self.template.split('/').all(|expected| {
            segments.next().is_some_and(|segment| {
                segment == expected || expected.starts_with(':') && !segment.is_empty()
            })
        });
        is_match && segments.next().is_none()
    }

    pub(crate) fn matches_method(&self, method: &Method) -> bool {
        self.method == *method || self.method == Method::GET && *method == Method::HEAD
    }
}
