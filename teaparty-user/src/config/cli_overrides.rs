//! Options of the command line that are laid over a configuration file: only what was typed counts.

use std::marker::PhantomData;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;
use serde_json::Value;

/// The typed options of `T`. Options have no defaults of clap's; their help states `T`'s own.
///
/// Flags may be given a value, so that the command line can take back what a file says: `--strict=false`.
#[derive(Clone, Debug)]
pub struct CliOverrides<T> {
    /// `None` where there was no command line.
    matches: Option<ArgMatches>,
    of: PhantomData<T>,
}

impl<T: Args> CliOverrides<T> {
    /// Applies the typed options over the present ones; a list takes the place of the whole list.
    pub fn over(&self, below: &mut T) -> Result<(), clap::Error> {
        self.matches.as_ref().map_or(Ok(()), |matches| below.update_from_arg_matches(matches))
    }

    /// Nothing was typed.
    pub fn nothing() -> Self {
        Self { matches: None, of: PhantomData }
    }

    /// Returns true if an option, named as in a file, was typed.
    pub fn has(&self, key: &str) -> bool {
        let id = key.replace('-', "_");
        self.matches.as_ref().is_some_and(|matches| matches!(matches.try_contains_id(&id), Ok(true)))
    }
}

impl<T> FromArgMatches for CliOverrides<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { matches: Some(matches.clone()), of: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.matches = Some(matches.clone());
        Ok(())
    }
}

impl<T: Args + Default + Serialize> Args for CliOverrides<T> {
    fn augment_args(command: Command) -> Command {
        let alone = T::augment_args_for_update(Command::new(""));
        let own: Vec<_> = alone.get_arguments().map(|arg| arg.get_id().clone()).collect();
        let defaults = serde_json::to_value(T::default()).unwrap_or_default();
        own.into_iter().fold(T::augment_args_for_update(command), |command, id| {
            command.mut_arg(id, |arg| with_default(optional_flag(arg), &defaults))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Returns the help of the option for a key of `T`; the whole sentence for a person to act on.
pub(crate) fn describe<T: Args>(key: &str) -> String {
    let command = T::augment_args_for_update(Command::new(""));
    let arg = command.get_arguments().find(|arg| arg.get_long() == Some(key));
    match arg.and_then(Arg::get_help) {
        Some(help) => format!("`{key}` is: {help}"),
        None => format!("`teaparty config schema` describes `{key}`"),
    }
}

/// A flag that may also be written `--flag=true` or `--flag=false`; other options as they are.
fn optional_flag(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_name("true|false")
        .hide_possible_values(true)
}

/// The option with its default in its help, if there is something to say.
fn with_default(arg: Arg, defaults: &Value) -> Arg {
    let default = arg.get_long().and_then(|long| defaults.get(long)).and_then(written);
    let (Some(default), Some(help)) = (default, arg.get_help()) else { return arg };
    let help = StyledStr::from(format!("{help} [default: {default}]"));
    arg.help(help)
}

/// A default as it would be typed; `None` where there is none, or where it is that nothing is there.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(_) | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(values) => {
            let written: Vec<String> = values.iter().filter_map(written).collect();
            (!written.is_empty()).then(|| written.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::reflector::config::{ReflectorSettings, TlvProfile};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        typed: CliOverrides<ReflectorSettings>,
    }

    fn over(below: ReflectorSettings, line: &[&str]) -> ReflectorSettings {
        let mut settings = below;
        let line = Line::try_parse_from([&["x"][..], line].concat()).unwrap();
        line.typed.over(&mut settings).unwrap();
        settings
    }

    #[test]
    fn only_what_was_typed_takes_the_place_of_what_is_below() {
        let below = ReflectorSettings {
            port: vec![1, 2],
            strict: true,
            stateless: true,
            min_payload: 44,
            tlv_profile: TlvProfile::Earlier,
            ..ReflectorSettings::default()
        };
        assert_eq!(over(below.clone(), &[]), below);
        // The default itself, typed, wins as well.
        let line = ["--port", "862", "--strict=false", "--min-payload", "14", "--provisioned-only"];
        let expected = ReflectorSettings {
            port: vec![862],
            strict: false,
            min_payload: 14,
            provisioned_only: true,
            ..below.clone()
        };
        assert_eq!(over(below, &line), expected);
    }

    #[test]
    fn help_states_the_defaults_of_the_settings() {
        let help = <Line as clap::CommandFactory>::command().render_long_help().to_string();
        for said in ["[default: 862]", "[default: 100000:20000]", "[default: auto]", "[default: 900]", "--strict[="] {
            assert!(help.contains(said), "{said}: {help}");
        }
    }
}
