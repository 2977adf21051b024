//! What a STAMP packet is and how it is reflected: the one truth, compiled into the XDP program and the controller.
//!
//! Invariants: this crate reads no clock, does no I/O, allocates nothing, has no floating point, and does not panic
//! for any bytes. Only this crate knows the offset of a STAMP field. [`reflect::plan`] reads, [`reflect::apply`] writes.
//!
//! Reading order, which is that of `layers.toml` from the lowest floor up: [`packet_buf`] (how octets are reached), [`wire`]
//! (base packets, RFC 8762), [`frame`] (where the payload is in an Ethernet frame), [`registry`] (the TLVs that there are),
//! [`packet_meta`] (measured), [`policy`] (configured) and [`plan`] (decided), [`tlv`] (RFC 8972 and later), [`maps`] (what
//! kernel and controller share), [`reflect`] (what a Session-Reflector does with all of it).
#![no_std]
#![warn(missing_docs)]

pub mod address;
pub mod frame;
pub mod maps;
pub mod packet_buf;
pub mod packet_meta;
pub mod plan;
pub mod policy;
pub mod reason;
pub mod reflect;
pub mod registry;
pub mod tlv;
pub mod wire;
