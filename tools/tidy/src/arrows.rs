//! Which crate may know which, read from the manifests. A new arrow is a design change: its own commit, with the reason.

use std::{
    fs,
    path::{Path, PathBuf},
};

use toml::Table;

use crate::{
    assert_none,
    code::code_only,
    root,
    sources::{collect, has_word},
};

/// Every member, with those of ours that it may depend on. Whatever is not here may not be.
const ARROWS: &[(&str, &[&str])] = &[
    ("c2l-proto", &[]),
    ("c2l-tunnel", &["c2l-proto"]),
    ("c2l-auth", &[]),
    ("c2l-store", &["c2l-auth"]),
    ("c2l-bridge", &[]),
    ("c2l-models", &[]),
    ("c2l-web", &[]),
    (
        "c2l-relay",
        &[
            "c2l-auth",
            "c2l-bridge",
            "c2l-proto",
            "c2l-store",
            "c2l-tunnel",
            "c2l-web",
        ],
    ),
    (
        "c2l-agent", // a token is an opaque secret to it: no c2l-auth
        &["c2l-bridge", "c2l-models", "c2l-proto", "c2l-tunnel"],
    ),
    ("c2l-demo", &[]),
    (
        "c2l-testkit",
        &[
            "c2l-agent",
            "c2l-auth",
            "c2l-demo",
            "c2l-proto",
            "c2l-relay",
            "c2l-store",
            "c2l-tunnel",
        ],
    ),
    (
        "c2l",
        &[
            "c2l-agent",
            "c2l-auth",
            "c2l-demo",
            "c2l-proto",
            "c2l-relay",
            "c2l-store",
            "c2l-tunnel",
        ],
    ),
    ("c2l-bench", &["c2l-agent", "c2l-auth"]), // agents by the thousand, each with a token of its own
    ("tidy", &[]),
];

/// May stand among the dev-dependencies of any crate, and nowhere else.
const FOR_TESTS: &str = "c2l-testkit";

/// Crates of others that only some of ours may use; dev-dependencies are free.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("anyhow", &["c2l", "c2l-bench"]),
    ("clap", &["c2l"]),
    ("clap_complete", &["c2l"]),
    ("directories", &["c2l"]),
    ("tracing-subscriber", &["c2l", "c2l-testkit"]),
    ("jsonwebtoken", &["c2l-auth"]),
    ("rusqlite", &["c2l-store"]),
];

/// The tunnel is fed messages and time and answers with actions: it has no sockets, tasks or clock to reach for.
const NOT_IN_TUNNEL: &[&str] = &[
    "hyper",
    "hyper-util",
    "tokio",
    "tokio-stream",
    "tokio-util",
    "tonic",
    "tower",
];

/// Its code is generated when it is built, so the lints would speak to nobody, and its sources name few dependencies.
const GENERATED: &str = "c2l-proto";

/// Named in a manifest for its version or its features alone: other crates use it, our sources never do.
const FLOORS: &[&str] = &["h2"];

struct Manifest {
    name: String,
    folder: PathBuf,
    content: Table,
}

impl Manifest {
    fn read(folder: &Path) -> Self {
        let content: Table = fs::read_to_string(folder.join("Cargo.toml"))
            .unwrap()
            .parse()
            .unwrap();
        Self {
            name: content["package"]["name"].as_str().unwrap().to_owned(),
            folder: folder.to_owned(),
            content,
        }
    }

    /// The crates named in these sections, those for one target among them.
    fn dependencies(&self, sections: &[&str]) -> Vec<&str> {
        let targets = self
            .content
            .get("target")
            .and_then(|targets| targets.as_table());
        let tables = targets
            .into_iter()
            .flat_map(Table::values)
            .filter_map(|target| target.as_table());
        tables
            .chain([&self.content])
            .flat_map(|table| {
                sections
                    .iter()
                    .filter_map(|section| table.get(*section)?.as_table())
            })
            .flat_map(|dependencies| dependencies.keys().map(String::as_str))
            .collect()
    }

    /// What is built into the crate, or builds it.
    fn linked(&self) -> Vec<&str> {
        self.dependencies(&["dependencies", "build-dependencies"])
    }

    fn for_tests(&self) -> Vec<&str> {
        self.dependencies(&["dev-dependencies"])
    }

    fn may_know(&self) -> &'static [&'static str] {
        ARROWS
            .iter()
            .find(|(name, _)| *name == self.name)
            .map_or(&[], |(_, known)| known)
    }
}

fn manifests() -> Vec<Manifest> {
    let root = root();
    let workspace = Manifest::read(&root);
    let members: Vec<_> = workspace.content["workspace"]["members"]
        .as_array()
        .unwrap()
        .clone();
    members
        .iter()
        .map(|folder| Manifest::read(&root.join(folder.as_str().unwrap())))
        .chain([workspace])
        .collect()
}

/// Where a crate's own code may lie; the binary of the root package is in `crates/cli`.
const CODE: &[&str] = &[
    "src",
    "tests",
    "benches",
    "examples",
    "build.rs",
    "crates/cli",
];

fn is_ours(name: &str) -> bool {
    ARROWS.iter().any(|(ours, _)| *ours == name)
}

#[test]
fn every_member_has_its_place_in_the_table() {
    let unknown = manifests()
        .into_iter()
        .map(|manifest| manifest.name)
        .filter(|name| !is_ours(name));
    assert_none(
        &unknown.collect::<Vec<_>>(),
        "say in ARROWS what these may depend on:",
    );
}

#[test]
fn crates_know_only_whom_they_may() {
    let mut offences = Vec::new();
    for manifest in manifests() {
        let known = manifest.may_know();
        let linked = manifest
            .linked()
            .into_iter()
            .filter(|name| is_ours(name) && !known.contains(name));
        offences.extend(linked.map(|name| format!("{} → {name}", manifest.name)));
        let tests = manifest.for_tests().into_iter();
        let tests =
            tests.filter(|name| is_ours(name) && *name != FOR_TESTS && !known.contains(name));
        offences.extend(tests.map(|name| format!("{} → {name} (in tests)", manifest.name)));
    }
    assert_none(
        &offences,
        "arrows between crates that the design does not have:",
    );
}

#[test]
fn crates_of_others_stay_where_they_belong() {
    let mut offences = Vec::new();
    for manifest in manifests() {
        for name in manifest.linked() {
            let is_misplaced = ONLY_IN
                .iter()
                .any(|(only, places)| *only == name && !places.contains(&manifest.name.as_str()));
            if is_misplaced || manifest.name == "c2l-tunnel" && NOT_IN_TUNNEL.contains(&name) {
                offences.push(format!("{} → {name}", manifest.name));
            }
        }
    }
    assert_none(
        &offences,
        "crates used where the design does not want them:",
    );
}

#[test]
fn every_crate_inherits_the_lints() {
    let inherits = |manifest: &Manifest| {
        let lints = manifest
            .content
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        lints.and_then(toml::Value::as_bool).unwrap_or(false)
    };
    let manifests = manifests().into_iter();
    let without = manifests.filter(|manifest| manifest.name != GENERATED && !inherits(manifest));
    assert_none(
        &without.map(|manifest| manifest.name).collect::<Vec<_>>(),
        "no `[lints] workspace = true` in:",
    );
}

#[test]
fn every_dependency_is_used() {
    let mut unused = Vec::new();
    for manifest in manifests()
        .into_iter()
        .filter(|manifest| manifest.name != GENERATED)
    {
        let mut files = Vec::new();
        for place in CODE.iter().map(|place| manifest.folder.join(place)) {
            if place.is_file() {
                files.push(place)
            } else {
                collect(&place, true, &mut files)
            }
        }
        let code: String = files
            .iter()
            .filter_map(|file| fs::read_to_string(file).ok())
            .map(|text| code_only(&text))
            .collect();
        for name in manifest.linked().into_iter().chain(manifest.for_tests()) {
            if !FLOORS.contains(&name) && !has_word(&code, &name.replace('-', "_")) {
                unused.push(format!("{} → {name}", manifest.name));
            }
        }
    }
    assert_none(&unused, "dependencies that no source of the crate names:");
}
