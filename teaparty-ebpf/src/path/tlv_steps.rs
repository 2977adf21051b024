//! The turns of the walks over TLVs and sub-TLVs: global functions, which the verifier looks at once, for all that their
//! working memory may hold. As loops within the program they took it more than a million instructions.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use teaparty_common::frame::{Frame, IPV4_LEN, IPV6_LEN};
use teaparty_common::maps::Config;
use teaparty_common::packet_buf::PacketBuf;
use teaparty_common::reflect::{self, Address, PacketMeta, Policy, ReflectorEnv, TlvScan};
use teaparty_common::tlv::{HandledBy, Kind, KindSet, location};

use crate::maps::kernel_config;
use crate::packet::Packet;
use crate::scratch::{Scratch, scratch};
use crate::session;

/// The abilities of the fast path.
pub(crate) struct KernelEnv<'a> {
    pub(crate) ctx: &'a XdpContext,
    pub(crate) frame: &'a Frame,
    pub(crate) view: Packet,
}

impl ReflectorEnv for KernelEnv<'_> {
    const KINDS: KindSet = KindSet::handled_by(HandledBy::Kernel);
    const MAX_SUBS: usize = 4;
    const CAN_GROW: bool = false;

    #[inline(always)]
    fn is_local(&self, address: &Address) -> bool {
        session::is_node(address, self.frame.tags(&self.view).unwrap_or_default())
    }

    #[inline(always)]
    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        if N == if self.frame.is_ipv6 { IPV6_LEN } else { IPV4_LEN } {
            self.view.get::<N>(self.frame.ip_at)
        } else {
            None
        }
    }

    #[inline(always)]
    fn location_subs<B: PacketBuf>(&mut self, _: &mut B, sub: usize, end: usize, _: &PacketMeta, _: &Policy) {
        let mut sub = sub as u32;
        for _ in 0..=Self::MAX_SUBS {
            sub = teaparty_location(self.ctx.ctx, sub, end as u32);
            if sub == 0 {
                break;
            }
        }
    }
}

/// One turn of the survey; 0 when there is no more. A global function: the verifier looks at it once, for all that its
/// working memory may hold.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn teaparty_scan(ctx: *mut xdp_md) -> u32 {
    let Some((scratch, config)) = working_memory() else { return 0 };
    let ctx = XdpContext::new(ctx);
    let payload = Packet::new(&ctx, scratch.frame.payload_at());
    let env = KernelEnv { ctx: &ctx, frame: &scratch.frame, view: Packet::new(&ctx, 0) };
    u32::from(scratch.scan.step(&payload, scratch.frame.payload_len, &config.policy, &env))
}

/// One turn of applying TLVs to the one at `at`; gives where the next one begins, or 0 when there is no more.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn teaparty_apply(ctx: *mut xdp_md, at: u32) -> u32 {
    let Some((scratch, config)) = working_memory() else { return 0 };
    let ctx = XdpContext::new(ctx);
    // The survey has found where a tail of zeros begins, and the plan ends there.
    let mut payload = Packet::new(&ctx, scratch.frame.payload_at()).assume_no_zero_tail();
    let Scratch { plan, meta, frame, reply_options, .. } = &mut *scratch;
    let mut env = KernelEnv { ctx: &ctx, frame, view: Packet::new(&ctx, 0) };
    let policy = &config.policy;
    let next = reflect::apply_step(&mut payload, at as usize, plan, meta, policy, &mut env, reply_options);
    scratch.delta.add(payload.delta());
    next.map_or(0, |next| next as u32)
}

/// The fast path as far as a skimmed packet can need it.
pub(crate) struct SimpleTlvEnv<'a>(pub(crate) KernelEnv<'a>);

impl ReflectorEnv for SimpleTlvEnv<'_> {
    const KINDS: KindSet = TlvScan::SIMPLE;
    const MAX_SUBS: usize = 0;
    const CAN_GROW: bool = false;

    #[inline(always)]
    fn is_local(&self, address: &Address) -> bool {
        self.0.is_local(address)
    }

    #[inline(always)]
    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        self.0.fixed_header()
    }
}

/// One turn over the sub-TLVs of a Location: the one at `sub`, of a body that ends at `end`. Gives where the next one
/// begins, or 0 when there is no more.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn teaparty_location(ctx: *mut xdp_md, sub: u32, end: u32) -> u32 {
    let Some((scratch, config)) = working_memory() else { return 0 };
    let ctx = XdpContext::new(ctx);
    let mut payload = Packet::new(&ctx, scratch.frame.payload_at());
    let next = location::step(&mut payload, sub as usize, end as usize, &scratch.meta, &config.policy);
    scratch.delta.add(payload.delta());
    next.map_or(0, |next| next as u32)
}

/// Returns the memory that the steps work on.
#[inline(always)]
fn working_memory() -> Option<(&'static mut Scratch, &'static Config)> {
    let scratch = scratch()?;
    let config = kernel_config()?.config(scratch.active);
    Some((scratch, config))
}

/// The environment for a packet whose one TLV is padding: flags, and no metadata.
pub(crate) struct PaddingEnv;

impl ReflectorEnv for PaddingEnv {
    const KINDS: KindSet = Kind::ExtraPadding.set();
    const MAX_SUBS: usize = 0;
    const CAN_GROW: bool = false;

    fn is_local(&self, _: &Address) -> bool {
        false
    }

    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        None
    }
}
