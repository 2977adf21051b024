//! Another configuration for a running reflector, put in force on all interfaces or on none.

use std::sync::Arc;

use super::{Event, ReflectorHandle, State};
use crate::reflector::config::Config;
use crate::reflector::slow_path::locked;

/// Why the configuration was not changed. Nothing of it was, then.
#[derive(Debug, thiserror::Error)]
pub enum ReconfigureError {
    /// These settings are for the next start.
    #[error("{} can't change while the reflector runs; restart it to change {}", .0.join(", "), if .0.len() == 1 { "it" } else { "them" })]
    Restart(Vec<String>),
    /// It is not the one any more that the change is to.
    #[error("the configuration has changed meanwhile")]
    Outdated,
    /// A map refused it.
    #[error("the kernel does not take the configuration: {0}")]
    Kernel(String),
}

impl ReflectorHandle {
    /// Puts another configuration in force on all interfaces, and gives the names of the settings that differ: policy,
    /// limits, allow-list, addresses and default keys, all of it or nothing. A packet is judged by the one or by the other.
    ///
    /// `base` is the configuration that `config` was made from; the caller begins anew where that is not in force any more.
    /// What takes a restart is refused by name.
    pub fn reconfigure(&self, base: &Arc<Config>, config: Config) -> Result<Vec<String>, ReconfigureError> {
        let mut state = locked(&self.state);
        if !Arc::ptr_eq(base, &state.config) {
            return Err(ReconfigureError::Outdated);
        }
        let (live, restart) = config.settings.changes(&base.settings);
        if !restart.is_empty() {
            return Err(ReconfigureError::Restart(restart));
        }
        // Whose the programs are takes a restart to change.
        let config = Arc::new(Config { without_xdp: base.without_xdp.clone(), ..config });
        for (at, (name, instance)) in state.slots.iter().enumerate() {
            let Some(instance) = instance else { continue };
            if let Err(error) = instance.set_view(instance.shared.view().with_config(config.clone())) {
                state.reinstate(at);
                return Err(ReconfigureError::Kernel(format!("{name}: {error}")));
            }
        }
        state.config = config;
        if !live.is_empty() {
            let _ = state.events.send(Event::Settings(live.clone()));
        }
        Ok(live)
    }
}

impl State {
    /// Puts the configuration that was in force back in force on the first `count` interfaces.
    fn reinstate(&self, count: usize) {
        for (name, instance) in &self.slots[..count] {
            let Some(instance) = instance else { continue };
            if let Err(error) = instance.set_view(instance.shared.view().with_config(self.config.clone())) {
                tracing::error!("{name}: the kernel does not take its former configuration: {error}");
            }
        }
    }
}
