//! What each command does, once its settings are known to be right.

pub(crate) mod account;
pub(crate) mod agent;
pub(crate) mod agent_status;
pub(crate) mod config_show;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod login;
mod paste;
mod probe;
pub(crate) mod relay;
pub(crate) mod service;
pub(crate) mod token;

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;

/// Binds `address`, which `flag` gave.
pub(crate) async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ({flag})"))
}
