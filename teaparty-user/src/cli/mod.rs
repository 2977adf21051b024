//! The command line of `teaparty`, from which help, shell completions and man pages are made too.

pub mod capture;
pub mod config;
pub mod doctor;
mod form;
pub mod help;
pub mod probe;
pub mod reflector;
pub mod registry;
pub mod report;
pub mod sender;
pub mod status;
pub mod tlvs;

use std::ffi::OsString;
use std::io::Write;

use anyhow::Context;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::help::Length;

use crate::config::diagnostic::meant;
use crate::config::service::Service;
use crate::exit_code::{Exit, UsageError};
use crate::logging::{self, LogFormat};
use crate::sys::stdio;

/// Measures networks with STAMP (RFC 8762, RFC 8972): a Session-Sender, and a Session-Reflector in the kernel.
#[derive(Parser, Debug)]
#[command(name = "teaparty", version, subcommand_precedence_over_arg = true, arg_required_else_help = true)]
#[command(after_help = "An address may also stand in front of the command: teaparty 192.0.2.1 862 sender.")]
pub struct Teaparty {
    /// Addresses and ports that may stand in front of the command.
    #[arg(value_name = "ADDRESS", hide = true)]
    words: Vec<String>,
    /// Say more; twice, say everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say less; twice, only errors.
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose")]
    quiet: u8,
    /// Form of log lines on standard error [default: text]
    #[arg(long, global = true, value_enum)]
    log_format: Option<LogFormat>,
    #[command(subcommand)]
    command: Option<CliCommand>,
}

#[derive(Subcommand, Debug)]
enum CliCommand {
    /// Send test packets and measure delay and loss.
    Sender(Box<sender::SenderArguments>),
    /// Measure many targets without end, for Prometheus.
    Probe(probe::ProbeArguments),
    /// Answer test packets (Session-Reflector).
    Reflector(Box<reflector::ReflectorArguments>),
    /// Remove a reflector that a killed teaparty left on an interface.
    Detach(reflector::DetachArguments),
    /// Write, check, describe and convert configuration files.
    Config(config::ConfigArguments),
    /// Show what a running reflector does.
    Status(status::StatusArguments),
    /// Capture packets of a running reflector, for tshark and Wireshark.
    Capture(Box<capture::CaptureArguments>),
    /// Say what this host lacks for a reflector, and what to do.
    Doctor(doctor::DoctorArguments),
    /// Show, compare or plot saved measurements.
    Report(report::ReportArguments),
    /// List all TLVs: type, name, section, who answers, what allows it.
    Tlvs(registry::TlvsArguments),
    /// Print completions for a shell, to be sourced by it.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write all of them to a directory.
    Man {
        /// The directory, which must exist.
        #[arg(long, value_name = "DIRECTORY")]
        output: Option<std::path::PathBuf>,
    },
}

/// Runs the program with these arguments, its own name first; returns how it is to exit.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Words after -- belong to another program.
    let is_short = arguments.iter().take_while(|word| *word != "--").any(|word| word == "-h");
    let mut command = help::dressed(Teaparty::command(), if is_short { Length::Short } else { Length::Long });
    let matches = command.try_get_matches_from_mut(arguments);
    let mut parsed = match matches
        .and_then(|mut found| Teaparty::from_arg_matches_mut(&mut found).map_err(|error| error.format(&mut command)))
    {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    // A configuration file may say how to log.
    let service = match parsed.command.as_mut().map(CliCommand::read) {
        Some(Ok(service)) => service,
        Some(Err(error)) => return crate::exit_code::report(&error),
        None => None,
    };
    let mut verbosity = parsed.verbose as i8 - parsed.quiet as i8;
    let mut format = parsed.log_format;
    if let Some(service) = service {
        format = format.or(service.log_format);
        if verbosity == 0 {
            verbosity = service.verbosity();
        }
    }
    logging::start(verbosity, format.unwrap_or_default());
    let exit = parsed.dispatch().unwrap_or_else(|error| match error.downcast_ref::<clap::Error>() {
        Some(error) => usage(error),
        None => crate::exit_code::report(&error),
    });
    logging::finish();
    exit
}

impl CliCommand {
    /// Reads the configuration file, if this command has one, and gives what it says of the process.
    fn read(&mut self) -> anyhow::Result<Option<Service>> {
        match self {
            Self::Reflector(arguments) => arguments.read().map(Some),
            _ => Ok(None),
        }
    }
}

/// Prints what clap has to say, which may be the help that was asked for.
fn usage(error: &clap::Error) -> Exit {
    let printed = stdio::outcome(error.print().and_then(|()| std::io::stdout().flush()));
    match printed {
        _ if error.use_stderr() => Exit::Usage,
        // Who closed the pipe, as in `teaparty help | head -1`, has seen enough.
        Ok(reader) => {
            reader.any();
            Exit::Success
        }
        Err(error) => crate::exit_code::report(&error.into()),
    }
}

impl Teaparty {
    fn dispatch(self) -> anyhow::Result<Exit> {
        let words = self.words;
        match self.command {
            Some(CliCommand::Sender(arguments)) => arguments.run(words, self.quiet > 0),
            Some(CliCommand::Reflector(arguments)) => {
                no_words(&words)?;
                arguments.run()
            }
            Some(CliCommand::Probe(arguments)) => {
                no_words(&words)?;
                arguments.run()
            }
            Some(CliCommand::Detach(arguments)) => {
                no_words(&words)?;
                arguments.run()
            }
            Some(CliCommand::Config(arguments)) => {
                no_words(&words)?;
                arguments.run()
            }
            Some(CliCommand::Status(arguments)) => {
                no_words(&words)?;
                arguments.run()
            }
            Some(CliCommand::Capture(arguments)) => {
                no_words(&words)?;
                arguments.run()
            }
            Some(CliCommand::Doctor(arguments)) => {
                no_words(&words)?;
                arguments.run()
            }
            Some(CliCommand::Report(arguments)) => {
                no_words(&words)?;
                arguments.run()
            }
            Some(CliCommand::Tlvs(arguments)) => {
                no_words(&words)?;
                arguments.run()
            }
            Some(CliCommand::Completions { shell }) => {
                no_words(&words)?;
                stdio::print(help::shells::script(Self::command(), shell))?.any();
                Ok(Exit::Success)
            }
            Some(CliCommand::Man { output }) => {
                no_words(&words)?;
                man(output.as_deref())
            }
            None => Err(no_command(&words).into()),
        }
    }
}

/// Returns the error for words that are followed by no command.
fn no_command(words: &[String]) -> UsageError {
    let first = words.first().map_or("", String::as_str);
    let command = Teaparty::command();
    match meant(first, command.get_subcommands().map(clap::Command::get_name)) {
        Some(near) => UsageError::new(format!("`{first}` is no command; did you mean `{near}`?")),
        None => UsageError::new(format!("`{first}` is no command; to measure it: teaparty sender {}", words.join(" "))),
    }
}

fn no_words(words: &[String]) -> Result<(), UsageError> {
    match words {
        [] => Ok(()),
        [word, ..] => Err(UsageError::new(format!("`{word}` has no meaning in front of this command"))),
    }
}

fn man(directory: Option<&std::path::Path>) -> anyhow::Result<Exit> {
    let mut command = help::dressed(Teaparty::command(), Length::Long);
    // Gives subcommands the options that all commands have.
    command.build();
    match directory {
        Some(directory) => help::man::write_all(&command, "", directory)
            .with_context(|| format!("cannot write man pages to {}", directory.display()))?,
        None => stdio::print(help::man::page(&command, "")?)?.any(),
    }
    Ok(Exit::Success)
}
