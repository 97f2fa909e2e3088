//! System tests: real relays, real agents, real programs, over real sockets on port 0. One module a promise.

mod account;
mod auth;
mod doctor;
#[cfg(unix)]
mod face;
mod fairness;
mod faults;
mod grpc;
mod http;
mod isolation;
mod keys;
mod limits;
mod login;
mod ops;
mod overload;
mod policy;
#[cfg(unix)]
mod restart;
mod staying;
mod streaming;
mod time;
mod tls;
mod web;
mod websocket;
