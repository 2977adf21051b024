//! `teaparty probe`: what it measures, what it tells Prometheus, whom it lets in, and what it outlives. Needs root, for
//! namespaces; where there is none, tests print SKIPPED.

mod support;

mod access;
mod dashboard;
mod documents;
mod keys;
mod outlives;
mod prometheus;
mod unmeasured;
