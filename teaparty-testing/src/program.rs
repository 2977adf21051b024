//! The program `teaparty`, as cargo has built it for the test program that runs.

use std::path::PathBuf;

/// Returns the path of `teaparty`.
///
/// Only a test program knows that path while it compiles. Here it is what cargo or `cargo xtask test` says in the
/// environment, or else beside the folder of the test program.
pub fn program() -> PathBuf {
    let given = std::env::var_os("CARGO_BIN_EXE_teaparty").map(PathBuf::from);
    let path = given.unwrap_or_else(|| {
        let test = std::env::current_exe().expect("a test program has a path");
        let profile = test.ancestors().nth(2).expect("test programs are in `deps`");
        profile.join("teaparty")
    });
    assert!(path.is_file(), "{} is not there: cargo builds it for the tests in `teaparty-user/tests`", path.display());
    path
}
