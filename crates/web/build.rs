//! Makes the table of the page's files from `dist/`: each with its compressed forms, its type and a hash of its content.
//!
//! Invariant: what lies in `dist/` is served as it lies there; a file beside another with `.br` or `.gz` at the end of its
//! name is that one, compressed.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

const DIST: &str = "dist";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={DIST}");
    println!("cargo::rerun-if-changed=build.rs");
    let dist = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join(DIST);
    let mut files = BTreeMap::new();
    collect(&dist, "", &mut files)?;
    let out = PathBuf::from(variable("OUT_DIR")?).join("table.rs");
    fs::write(out, table(&files)?)
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(io::Error::other)
}

/// Every file below `folder`, by its path in an address.
fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string();
        let name = name.map_err(|name| io::Error::other(format!("{}: no text", name.display())))?;
        let path = format!("{prefix}/{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else if !name.starts_with('.') {
            files.insert(path, entry.path());
        }
    }
    Ok(())
}

/// The source of the table, in the order of the paths: it is searched by halves.
fn table(files: &BTreeMap<String, PathBuf>) -> io::Result<String> {
    let mut text = String::from("static FILES: &[File] = &[\n");
    let is_form = |path: &str| {
        let plain = path
            .strip_suffix(".br")
            .or_else(|| path.strip_suffix(".gz"));
        plain.is_some_and(|plain| files.contains_key(plain))
    };
    for (path, file) in files.iter().filter(|(path, _)| !is_form(path)) {
        let form = |end: &str| match files.get(&format!("{path}{end}")) {
            Some(file) => format!("Some(include_bytes!({:?}))", file.display().to_string()),
            None => "None".to_owned(),
        };
        let hash = fnv(&fs::read(file)?);
        let plain = file.display().to_string();
        let (brotli, gzip) = (form(".br"), form(".gz"));
        writeln!(
            text,
            "    File {{ path: {path:?}, hash: \"{hash:032x}\", plain: include_bytes!({plain:?}), brotli: {brotli}, \
             gzip: {gzip} }},"
        )
        .map_err(io::Error::other)?;
    }
    text.push_str("];\n");
    Ok(text)
}

/// FNV-1a over 128 bits: tells one build's file from another's, and protects nothing.
fn fnv(bytes: &[u8]) -> u128 {
    let start = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}
