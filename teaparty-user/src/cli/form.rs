//! `--format` of commands that show one thing.

/// The form of what a command shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum CommandFormat {
    /// For people.
    #[default]
    Human,
    /// One object.
    Json,
}
