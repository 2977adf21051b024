//! The REST API, on its router and over TCP, in front of a reflector on loopback.

#[path = "../support/authority.rs"]
mod authority;
mod changes;
mod cli;
mod events;
mod namesake;
#[path = "../support/probe.rs"]
mod probe;
mod support;
mod tcp;
mod tls;
mod v1;
mod writes;
