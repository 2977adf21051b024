//! The controller and the Session-Sender behind the program `teaparty`.
//!
//! Reading order: [`clock`] (time and how far it may be off), [`net`] (UDP with the facts a measurement needs),
//! [`crypto`] (keys and HMACs).

pub mod clock;
pub mod crypto;
pub mod exit;
pub mod logging;
pub mod net;
pub mod process;
pub mod sender;
