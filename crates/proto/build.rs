//! Compiles ../../proto with a pure-Rust compiler, so that nobody needs protoc, and keeps the descriptors for reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 2] = ["c2l/tunnel/v1/tunnel.proto", "c2l/relay/v1/status.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    for file in FILES {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(FILES, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("c2l.descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Bodies and header values stay slices of the received message instead of copies.
        .bytes(".c2l.tunnel.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
