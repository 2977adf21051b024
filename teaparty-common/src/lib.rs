//! STAMP packets and their reflection (RFC 8762, RFC 8972): wire formats, TLVs, and the rules of a Session-Reflector.
//!
//! The crate needs neither `std` nor an allocator. The same code runs in Teaparty's XDP program and in its controller.
//! It reads no clock, does no I/O, has no floating point, and does not panic for any octets.
//!
//! # Example
//!
//! A Session-Sender encodes a packet, a stateless Session-Reflector answers it in place, and the sender decodes the reply
//! (`examples/reflect.rs`):
//!
#![doc = "```"]
#![doc = include_str!("../examples/reflect.rs")]
#![doc = "```"]
//!
//! # Modules
//!
//! From the lowest layer up, as `layers.toml` has them:
//!
//! | Module | Content |
//! |---|---|
//! | [`packet_buf`], [`address`], [`reason`] | Access to octets, addresses, and why a packet is not answered |
//! | [`wire`] | Base packets, timestamps, Error Estimates (RFC 8762) |
//! | [`registry`] | The TLVs that the crate knows |
//! | `frame` | The place of the UDP payload in an Ethernet frame (feature `frame`) |
//! | [`packet_meta`], [`policy`], [`plan`] | What was measured, configured and decided |
//! | [`tlv`] | TLVs (RFC 8972 and later), and an iterator over them |
//! | `maps` | The keys and values of the BPF maps (feature `maps`) |
//! | [`reflect`] | What a Session-Reflector does with all of it: [`reflect::plan`] reads, [`reflect::apply`] and [`reflect::stamp`] write |
//!
//! # Features
//!
//! `frame` and `maps` are on by default. `user` adds aya's markers to the types of the maps.
#![no_std]
#![warn(missing_docs)]

pub mod address;
#[cfg(feature = "frame")]
pub mod frame;
#[cfg(feature = "maps")]
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
