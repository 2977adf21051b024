//! What arguments name and others hold: targets and keys.

use anyhow::Context;
use zeroize::Zeroize;

use super::SenderArguments;
use crate::config::diagnostic::is_standard_input;
use crate::crypto::{HmacKey, KeySource};
use crate::exit_code::UsageError;
use crate::sender::target::{Spec, parse_file, parse_words};
use crate::sys::hardening;

impl SenderArguments {
    /// Returns the targets as they are written, `words` first.
    pub(super) fn specs(&self, words: &[String]) -> anyhow::Result<Vec<Spec>> {
        let mut specs = parse_words(words.iter().chain(&self.words).map(String::as_str))?;
        if let Some(path) = &self.targets {
            let content = if is_standard_input(path) {
                std::io::read_to_string(std::io::stdin()).context("cannot read targets from standard input")?
            } else {
                std::fs::read_to_string(path)
                    .map_err(|error| UsageError::new(format!("cannot read {}: {error}", path.display())))?
            };
            specs.extend(parse_file(&content).with_context(|| path.display().to_string())?);
        }
        if specs.is_empty() {
            return Err(UsageError::new(
                "no target given: pass a host name or an address, as in teaparty sender 192.0.2.1",
            )
            .into());
        }
        if specs.len() > 60_000 {
            return Err(UsageError::new("more than 60000 targets do not fit into one process's SSIDs").into());
        }
        Ok(specs)
    }

    /// Takes the keys from where they are, and what can be seen of them out of sight.
    pub(super) fn keys(&mut self) -> anyhow::Result<(Option<HmacKey>, Option<HmacKey>)> {
        if self.auth_key_file.is_none() && self.authenticated.is_none() && self.tlv_key_file.is_none() {
            return Ok((None, None));
        }
        if let Err(error) = hardening::forbid_dumps() {
            tracing::warn!(%error, "cannot forbid core dumps, which would hold the key");
        }
        let load = |source: &KeySource| source.load().map_err(|error| UsageError::new(error.to_string()));
        let mut key = self.auth_key_file.as_ref().map(load).transpose()?;
        if let Some(mut text) = self.authenticated.take() {
            let hidden = hardening::hide_argument(text.as_bytes());
            let is_hidden = matches!(hidden, Ok(1..));
            key = Some(
                HmacKey::new(text.as_bytes()).map_err(|error| UsageError::new(format!("--authenticated: {error}")))?,
            );
            if let Some(key) = &key {
                key.warn_if_short(&"--authenticated");
            }
            text.zeroize();
            tracing::warn!(
                "a key on the command line can be seen by others on this host and stays in the shell's history{}; \
                 use --auth-key-file",
                if is_hidden { " (it is overwritten in the process list now)" } else { "" }
            );
        }
        let tlv_key = self.tlv_key_file.as_ref().map(load).transpose()?;
        Ok((key, tlv_key))
    }
}
