//! Other implementations, as witnesses and as users meet them in the field: stamp-suite, scapy, tshark, and TWAMP-Light
//! senders; and our dissector in tshark. Needs root, for namespaces and programs.

mod dissector;
mod field;
mod stamp_suite;
mod witnesses;
