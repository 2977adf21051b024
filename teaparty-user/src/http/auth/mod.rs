//! Who may use an API, and for what: [`token`], [`credentials`] (the token and TLS, read again whenever told to), [`host`]
//! (the names of this host) and [`guard`] (the checks of each request).

pub(crate) mod credentials;
pub(crate) mod guard;
pub(crate) mod host;
pub mod token;
