//! What the owner of the machine allows, and what a caller's credential does.
//!
//! Invariant: both have to allow a model; a denial wins; where models are limited by name, what is not a name of a model
//! is allowed by nobody.

use std::sync::Arc;

use crate::{
    name::ModelName,
    pattern::{Pattern, PatternError},
};

/// Most characters of a name that a message repeats.
const MAX_SHOWN: usize = 120;

/// Whose doing a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The request cannot be read in one way only.
    Request,
    /// The owner of the machine does not allow it.
    Owner,
    /// The caller's credential does not.
    Credential,
}

/// Why a request may not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Whose doing it is.
    pub who: Who,
    /// One sentence that the caller may read. It repeats nothing of the body but the name of a model.
    pub message: String,
}

impl Refusal {
    pub(crate) fn of_request(message: &str) -> Self {
        Self {
            who: Who::Request,
            message: message.to_owned(),
        }
    }
}

/// What the owner of the machine allows.
#[derive(Clone, Debug)]
pub struct Rules {
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
    are_cloud_models_allowed: bool,
}

impl Rules {
    /// Reads the patterns.
    ///
    /// # Errors
    /// Every pattern that no model could match.
    pub fn new(
        allow: &[String],
        deny: &[String],
        are_cloud_models_allowed: bool,
    ) -> Result<Self, Vec<PatternError>> {
        let mut problems = Vec::new();
        let mut read = |texts: &[String]| -> Vec<Pattern> {
            let patterns = texts.iter().map(|text| Pattern::parse(text));
            patterns
                .filter_map(|pattern| pattern.map_err(|problem| problems.push(problem)).ok())
                .collect()
        };
        let (allow, deny) = (read(allow), read(deny));
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            allow,
            deny,
            are_cloud_models_allowed,
        })
    }

    fn allows_any_name(&self) -> bool {
        self.deny.is_empty() && self.allow.iter().any(Pattern::is_everything)
    }
}

/// What counts for one request.
#[derive(Clone, Debug)]
pub struct Judge {
    owner: Arc<Rules>,
    /// `None` when the credential does not limit models.
    credential: Option<Vec<Pattern>>,
}

impl Judge {
    /// The owner's rules and those of the caller's credential; no pattern means that it does not limit models.
    #[must_use]
    pub fn new(owner: Arc<Rules>, credential: &[String]) -> Self {
        // A pattern that cannot be read covers nothing; the others still do.
        let patterns = || {
            credential
                .iter()
                .filter_map(|text| Pattern::parse(text).ok())
        };
        Self {
            owner,
            credential: (!credential.is_empty()).then(|| patterns().collect()),
        }
    }

    /// True when every name passes, so that nobody need look.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.owner.are_cloud_models_allowed && !self.needs_a_name()
    }

    /// True when more than cloud models is limited: a request that names no model could then mean a default one.
    #[must_use]
    pub fn needs_a_name(&self) -> bool {
        !self.owner.allows_any_name() || self.credential.is_some()
    }

    /// Lets a name pass as it stands in the request, or says why not. An empty one is none.
    ///
    /// # Errors
    /// When it is not allowed; where models are limited by name, also when Ollama would not take it for a name.
    pub fn name(&self, raw: &str) -> Result<(), Refusal> {
        if raw.is_empty() {
            return Ok(());
        }
        let Some(name) = ModelName::parse(raw) else {
            // Ollama refuses it as well. Some that are not Ollama know such names.
            if !self.needs_a_name() && is_surely_local(raw) {
                return Ok(());
            }
            let why = "what the request names is not the name of a model";
            return Err(refusal(Who::Owner, why));
        };
        name.readings()
            .try_for_each(|reading| self.reading(reading))
    }

    fn reading(&self, name: &ModelName) -> Result<(), Refusal> {
        let shown = name.as_str();
        let shown = &shown[..shown.floor_char_boundary(MAX_SHOWN)];
        if name.is_cloud() && !self.owner.are_cloud_models_allowed {
            return Err(refusal(
                Who::Owner,
                format!(
                    "`{shown}` runs at ollama.com with the account of this machine's owner, who does not allow that; \
                     `c2l agent --allow-cloud-models` would"
                ),
            ));
        }
        let is_denied = self.owner.deny.iter().any(|pattern| pattern.denies(name));
        if is_denied || !self.owner.allow.iter().any(|pattern| pattern.allows(name)) {
            let why = format!("the owner of this machine does not allow the model `{shown}`");
            return Err(refusal(Who::Owner, why));
        }
        if let Some(patterns) = &self.credential
            && !patterns.iter().any(|pattern| pattern.allows(name))
        {
            let why = format!("this credential is not for the model `{shown}`");
            return Err(refusal(Who::Credential, why));
        }
        Ok(())
    }

    /// Judges a request that names no model at all.
    ///
    /// # Errors
    /// When models are limited: the upstream might take one by default.
    pub fn no_name(&self) -> Result<(), Refusal> {
        if self.needs_a_name() {
            let why = "the request names no model, and not every model is allowed here";
            return Err(refusal(Who::Owner, why));
        }
        Ok(())
    }

    /// Judges a request that would make a model which runs somewhere else, under whatever name.
    ///
    /// # Errors
    /// When cloud models are not allowed.
    pub fn elsewhere(&self) -> Result<(), Refusal> {
        if self.owner.are_cloud_models_allowed {
            return Ok(());
        }
        let why = "this makes a model that runs elsewhere, which the owner of this machine does not allow; \
                   `c2l agent --allow-cloud-models` would";
        Err(refusal(Who::Owner, why))
    }
}

/// True when no reading of this text could be a model at ollama.com.
fn is_surely_local(raw: &str) -> bool {
    !raw.contains(char::is_control) && !raw.to_lowercase().contains("cloud")
}

fn refusal(who: Who, message: impl Into<String>) -> Refusal {
    Refusal {
        who,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(allow: &[&str], deny: &[&str], cloud: bool, credential: &[&str]) -> Judge {
        let owned = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        let rules = Rules::new(&owned(allow), &owned(deny), cloud).unwrap();
        Judge::new(Arc::new(rules), &owned(credential))
    }

    fn refuser(judge: &Judge, raw: &str) -> Option<Who> {
        judge.name(raw).err().map(|refusal| refusal.who)
    }

    #[test]
    fn owner_and_credential_both_have_to_allow_and_a_denial_wins() {
        let judge = judge(&["llama*", "qwen3"], &["llama2"], false, &["*:latest"]);
        assert_eq!(refuser(&judge, "llama3.2"), None);
        assert_eq!(
            refuser(&judge, "Registry.ollama.ai/library/QWEN3:LATEST"),
            None
        );
        assert_eq!(refuser(&judge, "llama3.2:1b"), Some(Who::Credential));
        assert_eq!(refuser(&judge, "llama2:7b"), Some(Who::Owner));
        assert_eq!(refuser(&judge, "phi4"), Some(Who::Owner));
        assert_eq!(refuser(&judge, "llama3.2:cloud"), Some(Who::Owner));
        assert_eq!(refuser(&judge, "not a name"), Some(Who::Owner));
        assert_eq!(refuser(&judge, "llama3.2:local"), Some(Who::Credential));
        assert!(judge.needs_a_name() && judge.no_name().is_err());
    }

    #[test]
    fn by_default_only_cloud_models_are_kept_out() {
        let judge = judge(&["*"], &[], false, &[]);
        assert_eq!(refuser(&judge, "hf.co/a/b:q4"), None);
        for raw in ["", "tiny+load=5s", "qwen@q4", "/models/\u{e9} b.gguf"] {
            assert_eq!(refuser(&judge, raw), None, "{raw}");
        }
        for raw in [
            "x+y:cloud",
            "x: Cloud",
            "x:cloud:local",
            "x:cloud\u{a0}",
            "\0",
        ] {
            assert_eq!(refuser(&judge, raw), Some(Who::Owner), "{raw:?}");
        }
        let refusal = judge.name("gpt-oss:120b:cloud").unwrap_err();
        assert_eq!(refusal.who, Who::Owner);
        assert!(
            refusal.message.contains("`gpt-oss:120b-cloud`"),
            "{refusal}"
        );
        assert!(
            refusal.message.contains("--allow-cloud-models"),
            "{refusal}"
        );
        assert!(judge.elsewhere().is_err() && judge.no_name().is_ok() && !judge.is_open());
    }

    #[test]
    fn nobody_looks_when_everything_is_allowed() {
        assert!(judge(&["x", "*"], &[], true, &[]).is_open());
        assert!(!judge(&["*"], &["x"], true, &[]).is_open());
        assert!(!judge(&["*"], &[], true, &["*"]).is_open());
        assert!(!judge(&[], &[], true, &[]).is_open());
    }

    #[test]
    fn a_credentials_pattern_that_cannot_be_read_covers_nothing() {
        let judge = judge(&["*"], &[], true, &["a b"]);
        assert_eq!(refuser(&judge, "x"), Some(Who::Credential));
    }

    #[test]
    fn every_bad_pattern_is_told() {
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        let problems = Rules::new(&texts(&["a b", "c"]), &texts(&["ä"]), true).unwrap_err();
        assert_eq!(problems.len(), 2);
    }
}
