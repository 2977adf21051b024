//! What the process has of its system: privileges, limits, clocks, standard streams, and who supervises it.
//!
//! Reading order: [`capabilities`] and [`hardening`] (what the process gives up, and what it keeps from neighbours),
//! [`systemd`] (a daemon's manners), [`stdio`], [`clock`] (time and how far it may be off), [`netlink`].

pub(crate) mod capabilities;
pub mod clock;
pub(crate) mod hardening;
pub(crate) mod netlink;
pub(crate) mod stdio;
pub(crate) mod systemd;
