//! What a STAMP packet is and how it is reflected: the one truth, compiled into the XDP program and the controller.
//!
//! Invariants: this crate reads no clock, does no I/O, allocates nothing, has no floating point, and does not panic
//! for any bytes. Only this crate knows the offset of a STAMP field. [`reflect::plan`] reads, [`reflect::apply`] writes.
//!
//! Reading order: [`packet_buf`] (how octets are reached), [`wire`] (base packets, RFC 8762), [`tlv`] (RFC 8972 and later),
//! [`reflect`] (what a Session-Reflector does with them), [`frame`] (where the payload is in an Ethernet frame),
//! [`maps`] (what kernel and controller share).
#![no_std]
#![warn(missing_docs)]

pub mod frame;
pub mod maps;
pub mod packet_buf;
pub mod reflect;
pub mod tlv;
pub mod wire;
