//! Another configuration for a running reflector, put in force on all interfaces or on none.

use std::sync::Arc;

use super::{ChangeEvent, ReflectorHandle, ReflectorState};
use crate::reflector::config::ReflectorConfig;
use crate::sync::locked;
use crate::sys::capabilities;

/// The one setting that changes while the reflector runs and may take a capability that it had no need of before: replies along
/// segments leave by a raw socket.
const TAKES_PRIVILEGE: &str = "allow-return-address";

/// Why the configuration was not changed. Nothing of it was, then.
#[derive(Debug, thiserror::Error)]
pub enum ReconfigureError {
    /// These settings are for the next start.
    #[error("{} can't change while the reflector runs; restart it to change {}", .0.join(", "), if .0.len() == 1 { "it" } else { "them" })]
    Restart(Vec<String>),
    /// This setting takes a capability that was given up at the start, when nothing needed it.
    #[error(
        "`{0}` takes a capability that this process gave up at its start; set it on the command line or in the file, and restart"
    )]
    GivenUp(&'static str),
    /// It is not the one any more that the change is to.
    #[error("the configuration has changed in the meantime")]
    Outdated,
    /// A map refused it.
    #[error("the kernel does not take the configuration: {0}")]
    Kernel(String),
}

impl ReflectorHandle {
    /// Puts another configuration in force on all interfaces, and gives the names of the settings that differ: policy,
    /// limits, allow-list, addresses and default keys, all of it or nothing. A packet is judged by the one or by the other.
    ///
    /// `base` is the configuration that `config` was made from; the caller starts over where that is not in force any
    /// more. A setting that needs a restart is refused by name.
    pub fn reconfigure(
        &self,
        base: &Arc<ReflectorConfig>,
        config: ReflectorConfig,
    ) -> Result<Vec<String>, ReconfigureError> {
        let mut state = locked(&self.state);
        if !Arc::ptr_eq(base, &state.config) {
            return Err(ReconfigureError::Outdated);
        }
        let (live, restart) = config.settings.changes(&base.settings);
        if !restart.is_empty() {
            return Err(ReconfigureError::Restart(restart));
        }
        if live.iter().any(|name| name == TAKES_PRIVILEGE)
            && !capabilities::given_up(config.needed_capabilities()).is_empty()
        {
            return Err(ReconfigureError::GivenUp(TAKES_PRIVILEGE));
        }
        // Whose the programs are takes a restart to change.
        let config = Arc::new(ReflectorConfig { without_xdp: base.without_xdp.clone(), ..config });
        for (at, (name, instance)) in state.slots.iter().enumerate() {
            let Some(instance) = instance else { continue };
            if let Err(error) = instance.set_snapshot(instance.context.snapshot().with_config(config.clone())) {
                state.reinstate(at);
                return Err(ReconfigureError::Kernel(format!("{name}: {error}")));
            }
        }
        state.config = config;
        if !live.is_empty() {
            let _ = state.events.send(ChangeEvent::Settings(live.clone()));
        }
        Ok(live)
    }
}

/// Returns the differences between two configurations: those that can change here and now, and those that need a
/// restart.
pub(crate) fn changes(config: &ReflectorConfig, base: &ReflectorConfig) -> (Vec<String>, Vec<String>) {
    let (mut live, mut restart) = config.settings.changes(&base.settings);
    if let Some(at) = live.iter().position(|name| name == TAKES_PRIVILEGE)
        && !capabilities::given_up(config.needed_capabilities()).is_empty()
    {
        tracing::warn!(error = %ReconfigureError::GivenUp(TAKES_PRIVILEGE));
        restart.push(live.remove(at));
    }
    (live, restart)
}

impl ReflectorState {
    /// Puts the configuration that was in force back in force on the first `count` interfaces.
    fn reinstate(&self, count: usize) {
        for (name, instance) in &self.slots[..count] {
            let Some(instance) = instance else { continue };
            if let Err(error) = instance.set_snapshot(instance.context.snapshot().with_config(self.config.clone())) {
                tracing::error!(interface = %name, %error, "the kernel does not take its former configuration");
            }
        }
    }
}
