//! The program `teaparty`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    teaparty_user::cli::run(std::env::args_os()).into()
}
