//! Names of models, read as Ollama reads them.
//!
//! Invariant: two spellings that Ollama takes for one model give the same [`ModelName`]; what Ollama would not take for
//! a name gives none. Followed are `types/model/name.go` and `internal/modelref/modelref.go` of Ollama 0.33.

/// Where a model comes from when its name does not say.
pub(crate) const DEFAULT_HOST: &str = "registry.ollama.ai";
/// Whose it is when its name does not say.
pub(crate) const DEFAULT_NAMESPACE: &str = "library";
/// Which one it is when its name does not say.
pub(crate) const DEFAULT_TAG: &str = "latest";
const CLOUD: &str = "cloud";
const MAX_HOST_BYTES: usize = 350;
const MAX_PART_BYTES: usize = 80;

/// A model as Ollama knows it, whatever the spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// Lower case, with its tag, and without what goes without saying: `llama3.2:latest`, `hf.co/a/b:q4`.
    short: String,
    /// Where the name proper begins, behind host and namespace.
    model_at: usize,
    is_cloud: bool,
    /// The same text taken for a plain name, where that would be another model: `x:local` is `x` on this machine where
    /// a source may be named, and the tag `local` elsewhere.
    plain: Option<Box<ModelName>>,
}

impl ModelName {
    /// Reads a name; `None` when Ollama would not take it for one.
    #[must_use]
    pub fn parse(raw: &str) -> Option<Self> {
        // Ollama trims what Unicode calls white space. Where that is not ASCII the rest is refused below.
        let raw = raw.trim_ascii();
        if raw.is_empty() || !raw.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let lower = raw.to_ascii_lowercase(); // names differ in more than case only
        let plain = Parts::of(&lower).map(|parts| parts.named(false));
        let Some((base, is_cloud)) = source_suffix(&lower) else {
            return plain;
        };
        if source_suffix(base).is_some() {
            return None; // `x:cloud:local`, which Ollama calls a conflict
        }
        let mut name = Parts::of(base)?.named(is_cloud);
        name.plain = plain
            .filter(|plain| plain.short != name.short)
            .map(|mut plain| {
                plain.is_cloud = is_cloud;
                Box::new(plain)
            });
        Some(name)
    }

    /// The shortest spelling, with its tag, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.short
    }

    /// True for a model that runs at ollama.com, with the account of the machine's owner.
    #[must_use]
    pub fn is_cloud(&self) -> bool {
        self.is_cloud
    }

    /// The name without its tag, and the tag.
    pub(crate) fn split_tag(&self) -> (&str, &str) {
        self.short.rsplit_once(':').unwrap_or((&self.short, ""))
    }

    /// True when neither host nor namespace has to be said: a model of Ollama's own library.
    pub(crate) fn is_of_the_library(&self) -> bool {
        self.model_at == 0
    }

    /// This name, and what the same text means elsewhere.
    pub(crate) fn readings(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.plain.as_deref())
    }
}

/// The parts of a name that were told, or go without saying.
struct Parts<'a> {
    host: &'a str,
    namespace: &'a str,
    model: &'a str,
    tag: &'a str,
}

impl<'a> Parts<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let (rest, tag) = match name.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, tag),
            _ => (name, DEFAULT_TAG),
        };
        let (rest, model) = match rest.rsplit_once('/') {
            Some((rest, model)) => (Some(rest), model),
            None => (None, rest),
        };
        let (host, namespace) = match rest.map(|rest| rest.rsplit_once('/').ok_or(rest)) {
            None => (DEFAULT_HOST, DEFAULT_NAMESPACE),
            Some(Err(namespace)) => (DEFAULT_HOST, namespace),
            Some(Ok((host, namespace))) => (host, namespace),
        };
        let host = host.split_once("://").map_or(host, |(_, host)| host);
        let parts = Self {
            host,
            namespace,
            model,
            tag,
        };
        parts.are_valid().then_some(parts)
    }

    fn are_valid(&self) -> bool {
        is_part(self.host, MAX_HOST_BYTES, ".:")
            && is_part(self.namespace, MAX_PART_BYTES, "")
            && is_part(self.model, MAX_PART_BYTES, ".")
            && is_part(self.tag, MAX_PART_BYTES, ".")
    }

    fn named(&self, is_cloud: bool) -> ModelName {
        let mut short = String::new();
        if self.host != DEFAULT_HOST {
            short.push_str(self.host);
            short.push('/');
        }
        if self.host != DEFAULT_HOST || self.namespace != DEFAULT_NAMESPACE {
            short.push_str(self.namespace);
            short.push('/');
        }
        let model_at = short.len();
        short.push_str(self.model);
        short.push(':');
        match (is_cloud, self.tag) {
            (false, tag) => short.push_str(tag),
            (true, DEFAULT_TAG) => short.push_str(CLOUD),
            (true, tag) => {
                short.push_str(tag);
                short.push_str("-cloud");
            }
        }
        ModelName {
            short,
            model_at,
            is_cloud,
            plain: None,
        }
    }
}

/// The name before `:cloud`, `-cloud` (in a tag) or `:local`, and whether it was one of the former.
fn source_suffix(name: &str) -> Option<(&str, bool)> {
    let colon = name.rfind(':')?;
    match &name[colon + 1..] {
        CLOUD => Some((&name[..colon], true)),
        "local" => Some((&name[..colon], false)),
        suffix if !suffix.contains('/') => Some((name.strip_suffix("-cloud")?, true)),
        _ => None,
    }
}

/// Letters, digits and `_`, then also `-` and `more`.
fn is_part(part: &str, max_bytes: usize, more: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=max_bytes).contains(&part.len())
        && part.bytes().next().is_some_and(is_word)
        && part
            .bytes()
            .all(|byte| is_word(byte) || byte == b'-' || more.as_bytes().contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(raw: &str) -> Option<String> {
        ModelName::parse(raw).map(|name| name.short)
    }

    #[test]
    fn every_spelling_of_a_model_is_one_name() {
        for (expected, spellings) in [
            (
                "llama3.2:latest",
                &[
                    "llama3.2",
                    "llama3.2:latest",
                    "LLAMA3.2:Latest",
                    " llama3.2\n",
                    "library/llama3.2",
                    "registry.ollama.ai/library/llama3.2",
                    "https://registry.ollama.ai/Library/llama3.2:latest",
                ][..],
            ),
            ("bob/x:1b", &["bob/x:1b", "registry.ollama.ai/bob/X:1b"]),
            (
                "hf.co/a/b.gguf:q4_k",
                &["hf.co/a/b.gguf:q4_K", "http://HF.co/a/b.gguf:Q4_K"],
            ),
            ("localhost:5000/a/b:latest", &["localhost:5000/a/b"]),
            (
                "gpt-oss:120b-cloud",
                &[
                    "gpt-oss:120b-cloud",
                    "gpt-oss:120b:cloud",
                    "GPT-OSS:120B-CLOUD",
                ],
            ),
            (
                "gpt-oss:cloud",
                &[
                    "gpt-oss:cloud",
                    "gpt-oss:latest:cloud",
                    "gpt-oss:latest-cloud",
                ],
            ),
        ] {
            for spelling in spellings {
                assert_eq!(short(spelling).as_deref(), Some(expected), "{spelling}");
            }
        }
    }

    #[test]
    fn what_ollama_would_not_take_for_a_name_is_none() {
        let long = "x".repeat(81);
        for raw in [
            "",
            " ",
            ":",
            "x:",
            ":x",
            "/",
            "a/",
            "/a",
            "a//b",
            "a/b/c/d",
            "a b",
            "x:y:z",
            "-x",
            ".x",
            "a.b/c",
            "x@sha256:1",
            "x:la/test",
            "x\0",
            "\u{17f}ecret",
            "x\u{a0}",
            "x: cloud",
            "x:cloud:local",
            "x:cloud:cloud",
            "x:1-cloud:local",
            "x:-cloud",
            "../x",
            "*",
            &long,
        ] {
            assert_eq!(short(raw), None, "{raw:?}");
        }
    }

    #[test]
    fn a_cloud_model_is_known_however_it_is_spelled() {
        for raw in [
            "x:cloud",
            "x:20b-cloud",
            "x:20b:cloud",
            "X:Cloud",
            "x:20B-CLOUD",
            "a/x:cloud",
            "hf.co/a/x:q-cloud",
            "localhost:5000/a/x:cloud",
            "x:cloud ",
            "x:latest-cloud",
        ] {
            assert!(
                ModelName::parse(raw).is_some_and(|name| name.is_cloud()),
                "{raw}"
            );
        }
        for raw in [
            "x",
            "x-cloud",
            "cloud",
            "x:local",
            "x:cloudy",
            "cloud/x",
            "x:cloud-1",
        ] {
            assert!(
                ModelName::parse(raw).is_some_and(|name| !name.is_cloud()),
                "{raw}"
            );
        }
    }

    #[test]
    fn what_means_another_model_elsewhere_has_both_readings() {
        let readings = |raw| {
            let name = ModelName::parse(raw).unwrap();
            name.readings()
                .map(|name| name.short.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(readings("x"), ["x:latest"]);
        assert_eq!(readings("x:local"), ["x:latest", "x:local"]);
        assert_eq!(readings("x:8b:local"), ["x:8b"]);
        assert_eq!(readings("x:8b-cloud"), ["x:8b-cloud"]);
        assert_eq!(readings("x:latest-cloud"), ["x:cloud", "x:latest-cloud"]);
    }
}
