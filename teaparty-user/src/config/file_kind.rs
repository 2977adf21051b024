//! The two kinds of configuration files, and what is called differently in them.

/// Whose file it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FileKind {
    /// For `teaparty reflector`.
    #[default]
    Reflector,
    /// For `teaparty probe`.
    Probe,
}

impl FileKind {
    /// Returns the name of the file in a folder of configuration.
    pub(crate) const fn file_name(self) -> &'static str {
        match self {
            Self::Reflector => "teaparty.toml",
            Self::Probe => "probe.toml",
        }
    }

    /// Returns the name of the folder of its drop-ins, in the same folder.
    pub(crate) const fn drop_ins(self) -> &'static str {
        match self {
            Self::Reflector => "conf.d",
            Self::Probe => "probe.conf.d",
        }
    }

    /// Returns the possible name of the file's first table.
    pub(super) const fn first_table(self) -> &'static str {
        match self {
            Self::Reflector => "[[reflector]]",
            Self::Probe => "table",
        }
    }

    /// Returns the command that prints the schema of such files.
    pub(super) const fn schema(self) -> &'static str {
        match self {
            Self::Reflector => "teaparty config schema",
            Self::Probe => "teaparty config schema --for probe",
        }
    }
}
