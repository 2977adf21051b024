//! The controller and the Session-Sender behind the program `teaparty`.
