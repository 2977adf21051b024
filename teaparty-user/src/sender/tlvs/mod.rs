//! TLVs as a Session-Sender sees them: [`request`] is what goes out, [`answer`] what came back, [`words`] says it.

pub mod answer;
pub mod request;
pub mod words;
