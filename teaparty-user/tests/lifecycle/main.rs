//! The life of a reflector: start, restart and end, its pins, and interfaces that go, come back and change their
//! names. Needs root, for namespaces and programs; tests run in parallel, because each has namespaces of its own.

mod boot;
mod detached;
mod identity;
mod life;
mod others;
mod start;
