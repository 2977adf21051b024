//! The REST API, on its router and over TCP, in front of a reflector on loopback.

mod changes;
mod cli;
mod dashboard;
mod document;
mod events;
mod namesake;
mod tcp;
mod tls;
mod v1;
mod writes;
