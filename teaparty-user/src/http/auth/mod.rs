//! Who may use an API, and for what: [`token`], [`credentials`] (the token and TLS, read again whenever told to), [`host`]
//! (the names of this host) and [`guard`] (the checks of each request).

pub mod credentials;
pub mod guard;
pub mod host;
pub mod token;
