//! What the XDP program has to say (aya-log), among our own log lines.

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;
use tracing::Level;

/// The global variable of the object that says which messages it sends, as [`aya_log::Level`]. The verifier takes out the
/// code of those that it does not.
pub(crate) const LEVEL_VARIABLE: &str = aya_log::LEVEL;

/// The program's messages, read and not yet waited for.
pub(crate) struct KernelLog(EbpfLogger<Forward>);

/// Passes messages on, with the interface that they are about.
struct Forward {
    interface: String,
}

/// The level of the messages that somebody wants to see.
pub(crate) fn level() -> u8 {
    let wanted = if tracing::enabled!(target: "teaparty::kernel", Level::TRACE) {
        aya_log::Level::Trace
    } else if tracing::enabled!(target: "teaparty::kernel", Level::DEBUG) {
        aya_log::Level::Debug
    } else {
        aya_log::Level::Info
    };
    wanted as u8
}

impl KernelLog {
    /// The messages of a loaded program. `None` for one that never has any.
    pub(crate) fn new(object: &mut Ebpf, interface: &str) -> Option<Self> {
        EbpfLogger::init_with_logger(object, Forward { interface: interface.into() }).ok().map(Self)
    }

    /// Logs what comes, as long as the result lives. To be called within a tokio runtime.
    pub(crate) fn follow(self) -> Follower {
        let follow = async move {
            // SAFETY: an `EbpfLogger` owns its descriptor and never replaces or closes it while it lives.
            let messages = unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE) };
            let Ok(mut messages) = messages else { return };
            while let Ok(mut guard) = messages.readable_mut().await {
                guard.get_inner_mut().flush();
                guard.clear_ready();
            }
        };
        Follower(tokio::spawn(follow).abort_handle())
    }
}

/// The task that logs a program's messages. It ends when this is dropped.
pub(crate) struct Follower(AbortHandle);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl log::Log for Forward {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let (interface, message) = (&self.interface, record.args());
        // The level is part of a place in the program.
        match record.level() {
            log::Level::Error => tracing::error!(target: "teaparty::kernel", interface = %interface, "{message}"),
            log::Level::Warn => tracing::warn!(target: "teaparty::kernel", interface = %interface, "{message}"),
            log::Level::Info => tracing::info!(target: "teaparty::kernel", interface = %interface, "{message}"),
            log::Level::Debug => tracing::debug!(target: "teaparty::kernel", interface = %interface, "{message}"),
            log::Level::Trace => tracing::trace!(target: "teaparty::kernel", interface = %interface, "{message}"),
        }
    }

    fn flush(&self) {}
}
