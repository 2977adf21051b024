//! The client's side of HTTP: [`trust`] (by what a server is known).

pub mod trust;
