//! The program's sender against reflectors that answer as a test wants: the rows of the conformance list that are a
//! Session-Sender's. Packets are looked at octet by octet, by offsets of RFC 8762 and 8972 and not by our own layouts.

mod bursts;
mod fake;
mod identity;
mod packets;
mod refused;
mod replies;
mod signed;
mod trouble;
