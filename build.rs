//! Build identity of the `c2l` binary: the git revision and a fingerprint of `proto/`.
//!
//! Invariant: nothing here fails a build. A source archive has no git, and then the revision is `unknown` or whatever
//! the packager says in `C2L_GIT_REVISION`. Read next: `crates/cli/build_info.rs`, which shows both.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// What the binary is made of. A change anywhere else does not make a build "dirty", nor is this script run again.
const SOURCES: [&str; 5] = ["crates", "proto", "build.rs", "Cargo.toml", "Cargo.lock"];

fn main() {
    for path in SOURCES {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=C2L_GIT_REVISION");
    println!("cargo::rustc-env=C2L_GIT_REVISION={}", revision());
    let schema = fingerprint(Path::new("proto")).unwrap_or_else(|error| {
        println!("cargo::warning=cannot read proto/: {error}; --version will not name the schema");
        "unknown".to_owned()
    });
    println!("cargo::rustc-env=C2L_SCHEMA={schema}");
}

/// The short hash of the commit, with `-dirty` where the sources differ from it.
fn revision() -> String {
    if let Some(given) = env::var("C2L_GIT_REVISION")
        .ok()
        .filter(|given| !given.is_empty())
    {
        return given;
    }
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        println!("cargo::warning=no git revision here; set C2L_GIT_REVISION to name one");
        return "unknown".to_owned();
    };
    watch_head();
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(SOURCES);
    let is_dirty = git(&status).is_none_or(|changes| !changes.is_empty());
    format!("{commit}{}", if is_dirty { "-dirty" } else { "" })
}

/// Runs this script again when the checked-out commit changes: another branch, or the same branch moved.
fn watch_head() {
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    // Branches live in files of their own or, packed, in one. Cargo takes a file that is not there for a change.
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", name])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// FNV-1a over the names and contents of every file below `folder`, in order of name: the same on every machine.
fn fingerprint(folder: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut feed = |bytes: &[u8]| {
        // Line ends may differ between checkouts of the same file. The zero keeps "ab", "c" and "a", "bc" apart.
        for byte in bytes.iter().filter(|byte| **byte != b'\r').chain(&[0]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for file in files {
        feed(file.to_string_lossy().replace('\\', "/").as_bytes());
        feed(&fs::read(&file)?);
    }
    Ok(format!("{hash:016x}"))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    Ok(())
}
