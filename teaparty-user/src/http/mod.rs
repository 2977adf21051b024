//! HTTP as the API, the probe and `teaparty status` share it: places to listen at, TLS, access, failures, and a client.
//!
//! Reading order: [`listen`], [`connections`] and [`server`] (connections), [`tls`] (certificate and handshake), [`auth`]
//! (who may ask, and for what), [`problem`] (failures), [`dashboard`] (pages for people), [`client`] (the other
//! side).

pub mod auth;
pub(crate) mod client;
pub(crate) mod connections;
pub(crate) mod dashboard;
pub mod listen;
pub(crate) mod problem;
pub mod server;
pub(crate) mod tls;
