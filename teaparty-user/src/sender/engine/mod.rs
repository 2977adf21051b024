//! The engine: sockets and threads that move packets between the network and the sessions.

pub mod event;
pub mod run;
pub(crate) mod sender_engine;
pub mod stop;

mod deadline_queue;
mod rx_thread;
mod udp_port;
