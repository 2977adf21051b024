//! The controller and the Session-Sender of the program `teaparty`.
//!
//! Reading order: [`cli`] and [`config`] (what can be asked for), [`sender`] (the Session-Sender),
//! [`reflector`] (the Session-Reflector), [`daemon`] (the process of several), [`doctor`] (what it needs of a host), [`heartbeat`], [`api`] and [`metrics`] (what is around it), [`http`] (what servers and clients of HTTP share), [`clock`] (time and how far it may
//! be off), [`net`] (UDP with the facts a measurement needs), [`crypto`] (keys and HMACs), [`files`] (what is read by name), [`hardening`] (what is kept
//! from neighbours), [`capabilities`] and [`systemd`] (a daemon's manners), [`stdio`], [`layout`], [`logging`] and
//! [`exit_code`] (what is said, and how a run ends).

pub mod api;
pub mod capabilities;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod daemon;
pub mod doctor;
pub mod exit_code;
pub mod files;
pub mod hardening;
pub mod heartbeat;
pub mod http;
pub mod layout;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod probe;
pub mod reflector;
pub mod sender;
pub mod sla;
pub mod stdio;
pub mod sync;
pub mod systemd;
pub mod units;
