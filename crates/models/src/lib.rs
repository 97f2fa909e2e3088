//! Which models a request names, and whether its caller may have them: Ollama's names, patterns over them, and scanners
//! that find the names in a body while it passes.
//!
//! Invariant: pure; no socket, no clock, no task. Memory is bounded whatever the body holds, and a body is never
//! gathered. What Ollama would read as a model's name, from whatever spelling, has been judged before the end of the
//! body is let go.
//!
//! 1. [`name`] reads a name as Ollama does, so that every spelling of a model is one name.
//! 2. [`pattern`] says which names a pattern stands for, and [`rules`] what the owner and a credential allow.
//! 3. `json` and `form` find names in the two kinds of bodies that hold any, [`members`] where.
//! 4. [`gate`] lets a body through piece by piece and holds its end back for the verdict; [`glance`] only looks, where
//!    there is nothing to judge.
//!
//! Read next: [`gate::Gate`].

mod form;
pub mod gate;
pub mod glance;
mod json;
pub mod members;
pub mod name;
pub mod pattern;
pub mod rules;

pub use form::boundary;
pub use gate::Gate;
pub use glance::Glance;
pub use members::{Holds, Member};
pub use name::ModelName;
pub use pattern::Pattern;
pub use rules::{Judge, Refusal, Rules, Who};
