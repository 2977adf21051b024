//! The controller and the Session-Sender behind the program `teaparty`.
//!
//! Reading order: [`cli`] (what can be asked for), [`sender`] (the Session-Sender),
//! [`reflector`] (the Session-Reflector), [`clock`] (time and how far it may
//! be off), [`net`] (UDP with the facts a measurement needs), [`crypto`] (keys and HMACs), [`process`] (what is kept
//! from neighbours), [`logging`] and [`exit`] (what is said, and how a run ends).

pub mod cli;
pub mod clock;
pub mod crypto;
pub mod exit;
pub mod logging;
pub mod net;
pub mod process;
pub mod reflector;
pub mod sender;
