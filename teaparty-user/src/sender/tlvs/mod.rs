//! TLVs as a Session-Sender sees them: [`request`] is what goes out, [`chain`] all of a packet, [`answer`] what came back, [`words`] says it.

pub mod answer;
pub mod chain;
pub mod request;
pub mod words;
