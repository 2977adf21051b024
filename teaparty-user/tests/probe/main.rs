//! `teaparty probe`: what it measures, what it tells Prometheus, whom it lets in, and what it outlives. Needs root, for
//! namespaces; where there is none, tests print SKIPPED.

#[path = "../support/authority.rs"]
mod authority;
#[path = "../reflector_support/mod.rs"]
mod reflector_support;
#[path = "../sender_support/mod.rs"]
mod sender_support;
mod support;

mod access;
mod documents;
mod keys;
mod outlives;
mod prometheus;
mod unmeasured;
