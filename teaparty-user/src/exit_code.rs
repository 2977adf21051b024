//! The exit statuses of `teaparty`, one for each way that a run can end.

use std::process::ExitCode;

use crate::sys::stdio::complain;

/// The exit status. The numbers are part of the interface: scripts and monitoring systems act on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: success, and no threshold was broken.
    Success,
    /// 1: something failed; standard error says what.
    Failure,
    /// 2: the command line or a file it names can't be used.
    Usage,
    /// 3: a measurement broke a threshold such as `--max-loss`.
    Breach,
    /// 4: packets were sent, and no reply at all came back.
    NoReply,
}

impl Exit {
    /// The status as a number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Breach => 3,
            Self::NoReply => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// A mistake in what the user asked for, found after the command line was parsed; ends with [`Exit::Usage`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

impl UsageError {
    /// With this text, which names the option or field and says what to do.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Returns an error's text with its causes, each once.
///
/// Many errors name their cause themselves and have it as their source too, so that `{:#}` would say it twice.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

/// Prints an error with its causes to standard error and says which status it means.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    complain(format_args!("teaparty: {}", causes(error.as_ref())));
    if error.chain().any(|cause| cause.is::<UsageError>()) { Exit::Usage } else { Exit::Failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once_whoever_says_it() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot bind to eth9: {source}; see `ip link`")]
        struct Bind {
            source: std::io::Error,
        }
        let bind = || Bind { source: std::io::Error::from_raw_os_error(libc::ENODEV) };
        let said = "cannot bind to eth9: No such device (os error 19); see `ip link`";
        assert_eq!(causes(&bind()), said);
        let error = anyhow::Error::new(bind()).context("session 1");
        assert_eq!(causes(error.as_ref()), format!("session 1: {said}"));
        let error = anyhow::Error::new(std::io::Error::from_raw_os_error(libc::ENODEV)).context("cannot bind");
        assert_eq!(causes(error.as_ref()), "cannot bind: No such device (os error 19)");
    }

    #[test]
    fn usage_errors_are_told_apart_below_any_context() {
        let error = anyhow::Error::new(UsageError::new("--size 45 is too small")).context("session 1");
        assert_eq!(report(&error), Exit::Usage);
        assert_eq!(report(&anyhow::anyhow!("out of memory")), Exit::Failure);
    }
}
