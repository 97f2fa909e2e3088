//! Tests of the whole crate through its public face, named by the cases that they show.

mod api_keys;
mod claims;
mod configuration;
mod jwks;
mod key_file;
mod keys;
mod mapping;
mod properties;
mod published;
mod publisher;
mod shape;
mod support;
