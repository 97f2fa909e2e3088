//! Where in a body Ollama looks for the name of a model.
//!
//! Invariant: a name in these tables is in lower case and ASCII; the scanner folds what it finds to that.

/// One member of the body's object, or one field of its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it is called.
    pub name: &'static str,
    /// What its value means.
    pub holds: Holds,
}

/// What the value of a member means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The name of a model.
    Model,
    /// Where a model runs, when not on this machine.
    RemoteHost,
    /// What an older Ollama would find a model's name inside; nothing that is used any more.
    Outdated,
}

const fn model(name: &'static str) -> Member {
    Member {
        name,
        holds: Holds::Model,
    }
}

/// Inference, in every dialect.
pub const MODEL: &[Member] = &[model("model")];
/// What took its name from `name` once, and still does.
pub const MODEL_OR_NAME: &[Member] = &[model("model"), model("name")];
/// A copy: what is read, and what is written.
pub const SOURCE_AND_DESTINATION: &[Member] = &[model("source"), model("destination")];
/// A new model from another one. Before Ollama 0.5.5 that one stood in a text or a file.
pub const NEW_MODEL: &[Member] = &[
    model("model"),
    model("name"),
    model("from"),
    Member {
        name: "remote_host",
        holds: Holds::RemoteHost,
    },
    Member {
        name: "modelfile",
        holds: Holds::Outdated,
    },
    Member {
        name: "path",
        holds: Holds::Outdated,
    },
];
