//! The settings of `c2l dev`.

use std::{net::SocketAddr, path::PathBuf};

use http::Uri;

use super::{Setting, Table, Values, agent, general, parse};

pub(crate) static TABLE: Table = Table {
    section: "dev",
    settings: &[
        Setting::one(
            "listen",
            "ADDR",
            "Address of the relay; port 0 takes a free one",
        )
        .or("127.0.0.1:8080"),
        agent::UPSTREAM,
        Setting::switch(
            "demo",
            "Answer with the built-in demonstration model, whatever runs here; without it, only where nothing answers",
        ),
        agent::ALLOW_MANAGE,
        agent::ALLOW_CLOUD_MODELS,
    ],
};

/// What `c2l dev` is started with.
#[derive(Debug)]
pub(crate) struct DevSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) upstream: Uri,
    /// Somebody chose it: then nothing else takes its place.
    pub(crate) is_upstream_given: bool,
    /// The demonstration model answers, whatever runs here.
    pub(crate) is_demo: bool,
    pub(crate) allow_manage: bool,
    pub(crate) allow_cloud_models: bool,
    pub(crate) data_dir: PathBuf,
}

pub(crate) fn read(values: &mut Values) -> Option<DevSettings> {
    let data_dir = general::read_data_dir(values);
    Some(DevSettings {
        listen: values.get("listen", parse::address),
        upstream: values.get("upstream", parse::upstream),
        is_upstream_given: values.is_given("upstream"),
        is_demo: values.switch("demo"),
        allow_manage: values.switch("allow-manage"),
        allow_cloud_models: values.switch("allow-cloud-models"),
        data_dir: data_dir?, // last, so that everything above has been read
    })
}
