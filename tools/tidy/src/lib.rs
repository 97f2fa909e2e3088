//! Checks on the repository itself, run as tests: what no compiler and no lint says.
//!
//! A failure lists every offence at once, each with its file. Read next: `arrows` (which crate may know which) and
//! `sources` (what no source file may contain).

#[cfg(test)]
mod arrows;
#[cfg(test)]
mod code;
#[cfg(test)]
mod lockfile;
#[cfg(test)]
mod sources;

#[cfg(test)]
fn root() -> std::path::PathBuf {
    let tools = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate lies in tools/");
    tools
        .parent()
        .expect("tools/ lies in the workspace")
        .to_owned()
}

#[cfg(test)]
#[track_caller]
fn assert_none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}\n  {}\n", offences.join("\n  "));
}
