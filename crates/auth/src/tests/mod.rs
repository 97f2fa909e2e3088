//! Tests of the whole crate through its public face, named by the cases that they show.

mod claims;
mod configuration;
mod key_file;
mod keys;
mod properties;
mod shape;
mod support;
