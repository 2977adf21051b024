//! The program `teaparty`.

fn main() {}
