//! TLVs as a Session-Sender sees them: [`request`] is what goes out, [`chain`] all of a packet, [`reply`] what came back, [`describe`] says it.

pub mod chain;
pub mod describe;
pub mod reply;
pub mod request;
