//! STAMP packets and their reflection (RFC 8762, RFC 8972): wire formats, TLVs, and the rules of a Session-Reflector.
//!
//! The crate needs neither `std` nor an allocator. The same code runs in Teaparty's XDP program and in its controller.
//! It reads no clock, does no I/O, has no floating point, and does not panic for any octets.
//!
//! # Example
//!
//! A Session-Sender encodes a packet, a stateless Session-Reflector answers it in place, and the sender decodes the reply:
//!
//! ```
//! use teaparty_common::address::Address;
//! use teaparty_common::packet_buf::SliceBuf;
//! use teaparty_common::packet_meta::PacketMeta;
//! use teaparty_common::plan::{TlvIntegrity, Verdict};
//! use teaparty_common::policy::Policy;
//! use teaparty_common::reflect::{ReflectorEnv, ReplyOptions, apply, plan, stamp};
//! use teaparty_common::tlv::{HandledBy, Header, Kind, KindSet, tlvs};
//! use teaparty_common::wire::{ErrorEstimate, Mode, Timestamp, TimestampFormat, reflector, sender};
//! use zerocopy::{FromBytes, IntoBytes};
//!
//! const NTP: TimestampFormat = TimestampFormat::Ntp;
//!
//! // The sender: a base packet (RFC 8762 §4.2.1) and Extra Padding of two octets (RFC 8972 §4.1).
//! let request = sender::UnauthenticatedPacket {
//!     sequence_number: 7.into(),
//!     timestamp: Timestamp::from_nanos(1_700_000_000_000_000_000, NTP),
//!     error_estimate: ErrorEstimate::new(true, NTP, 1_000),
//!     ssid: 42.into(),
//!     mbz: [0; 28],
//! };
//! let mut packet = request.as_bytes().to_vec();
//! packet.extend(Header::sent(Kind::ExtraPadding.entry().code, 2).as_bytes());
//! packet.extend([0xab, 0xcd]);
//!
//! // The reflector: what it can do, what was measured of the packet, and what is configured.
//! struct Stateless;
//! impl ReflectorEnv for Stateless {
//!     const KINDS: KindSet = KindSet::handled_by(HandledBy::Kernel);
//!     const MAX_SUBS: usize = 16;
//!     const CAN_GROW: bool = false;
//!     fn is_local(&self, _: &Address) -> bool {
//!         false
//!     }
//!     fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
//!         None
//!     }
//! }
//! let meta = PacketMeta {
//!     receive_timestamp: Timestamp::from_nanos(1_700_000_000_000_030_000, NTP).bits(),
//!     error_estimate: ErrorEstimate::new(true, NTP, 1_000).bits(),
//!     ttl: 64,
//!     ..PacketMeta::default()
//! };
//! let policy = Policy::DEFAULT;
//! let (mode, len) = (Mode::Unauthenticated, packet.len());
//! let mut env = Stateless;
//! let Verdict::Reflect(plan) = plan(&SliceBuf(&mut packet), len, mode, &policy, TlvIntegrity::NotAsked, &env) else {
//!     panic!("this packet is answered");
//! };
//! let mut options = ReplyOptions::new(meta.traffic_class);
//! apply(&mut SliceBuf(&mut packet), &plan, &meta, &policy, &mut env, &mut options);
//! let t3 = Timestamp::from_nanos(1_700_000_000_000_031_000, NTP);
//! stamp(&mut SliceBuf(&mut packet), mode, (&meta).into(), t3.bits()).expect("the base packet is there");
//!
//! // The sender again: the reply is as long as the request, and repeats its T1 and Sequence Number.
//! let (reply, _) = reflector::UnauthenticatedReply::ref_from_prefix(&packet).unwrap();
//! assert_eq!((reply.sequence_number.get(), reply.sender_timestamp), (7, request.timestamp));
//! assert_eq!((reply.timestamp, reply.sender_ttl), (t3, 64));
//! let padding = tlvs(&packet, mode.base_len(), &policy).next().unwrap().unwrap();
//! assert_eq!(padding.value, [0xab, 0xcd]);
//! ```
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
