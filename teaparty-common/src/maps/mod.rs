//! The keys and values of the BPF maps, shared by the kernel program and the controller.
//!
//! Every type is `repr(C)` with its padding spelled out, so that `bpftool map dump` prints named fields and no octet
//! of it is ever uninitialised. Numbers are in host order unless a field says otherwise.

pub mod capture;
mod clock;
mod config;
mod punt;
pub mod rate_limit;
mod session;
mod session_op;
pub mod session_table;
mod token_bucket;

pub use crate::address::LocalAddress;
pub use crate::tlv::measurement::HistorySlot;
pub use clock::Clock;
pub use config::{Config, ControlBlock, Counters, DropSource, KernelConfig, MacCheck, VlanEntry, VlanKey, check_macs};
pub use punt::{MAX_PUNT_FRAME, PUNT_CLASSES, PuntHeader, RecordKind};
pub use rate_limit::{BUCKET_SETS, Bucket, BucketSet, SourcePrefix};
pub use session::{HistoryKey, HistoryRing, Session, SessionCounts, SessionKey, Standing};
pub use session_op::{SessionOp, SessionOpRequest};
pub use token_bucket::TokenRate;

/// Version of all these layouts together. A controller adopts pinned maps only where this is the same.
pub const ABI_VERSION: u32 = 6;

/// Names of the maps, as the program declares them, the controller finds them and the pins are called.
pub mod name {
    /// [`super::KernelConfig`], one entry: the clock's state, the configuration, the ports.
    pub const CONFIG: &str = "config";
    /// [`crate::address::Address`] to [`super::LocalAddress`]: the addresses that packets may come to or from.
    pub const ADDRESSES: &str = "addresses";
    /// [`super::VlanKey`] to [`super::VlanEntry`]: the VLANs of this interface and their addresses. Looked at for tagged
    /// frames alone.
    pub const VLANS: &str = "vlans";
    /// Prefixes of source addresses, as a trie over 128-bit addresses. The value says by which of the two configurations
    /// they are answered: [`super::Config::allowed_bit`], so that a change of the list and of all else is one.
    pub const ALLOWED: &str = "allowed";
    /// [`super::session_table::SessionSlot`]s: sessions made by packets; the least known one of a row makes room.
    pub const SESSIONS: &str = "sessions";
    /// [`super::SessionKey`] to [`super::Session`]: sessions that were configured; never evicted.
    pub const PROVISIONED: &str = "provisioned";
    /// [`super::BucketSet`]s: what sources may still send.
    pub const BUCKETS: &str = "buckets";
    /// [`super::Counters`] of each processor.
    pub const COUNTERS: &str = "counters";
    /// Ring buffer of [`super::PuntHeader`] records.
    pub const PUNTS: &str = "punts";
    /// [`super::HistoryRing`]s by history tag.
    pub const HISTORY: &str = "history";
    /// The program's working memory, one for each processor; what is in it means nothing between packets.
    pub const SCRATCH: &str = "scratch";
    /// [`super::SessionCounts`]: how many sessions there are and have been.
    pub const SESSION_COUNTS: &str = "session_counts";
    /// The programs that a packet goes on to, by the number of their [`super::TailCall`].
    pub const TAIL_CALLS: &str = "tail_calls";
    /// [`super::capture::CaptureConfig`], one entry: what is captured.
    pub const CAPTURE_CONFIG: &str = "capture_config";
    /// [`super::capture::CaptureBuckets`], one entry: the state of the rates of captures.
    pub const CAPTURE_BUCKETS: &str = "capture_buckets";
    /// [`super::capture::CaptureCounts`] of each processor: packets that were not mirrored.
    pub const CAPTURE_COUNTS: &str = "capture_counts";
    /// The memory in which a mirrored packet is put together, one for each processor.
    pub const CAPTURE_SCRATCH: &str = "capture_scratch";
    /// Ring buffer of mirrored packets, each a [`super::capture::CapturedHeader`] with its frames.
    pub const CAPTURED: &str = "captured";
}

/// Names of the programs.
pub mod program {
    /// The reflector: what is attached. It needs those of [`super::TailCall`] in [`super::name::TAIL_CALLS`].
    pub const REFLECT: &str = "teaparty";
    /// [`REFLECT`] with capture: what is attached while somebody captures. It needs those of [`super::TailCall::capture_program`].
    pub const CAPTURE: &str = "teaparty_capture";
    /// Session operations: requests by which the controller has the kernel write to a session that the kernel owns.
    pub const SESSION_OP: &str = "teaparty_op";
    /// Lets everything pass: for the far end of a veth, which drops frames sent by XDP_TX while it has no program.
    pub const PASS: &str = "teaparty_pass";
}

/// The programs that [`program::REFLECT`] goes on to for what it does not answer itself: each is jumped to and not called, since
/// to return is what takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TailCall {
    /// Plain IPv6 frames.
    V6,
    /// Frames with tags, options or several buffers, and what is no UDP at all.
    Parse,
    /// Packets to one of our ports that are not answered at once.
    Full,
}

impl TailCall {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::V6, Self::Parse, Self::Full];

    /// The program's name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::V6 => "teaparty_v6",
            Self::Parse => "teaparty_parse",
            Self::Full => "teaparty_full",
        }
    }

    /// The name of the program that goes on for [`program::CAPTURE`].
    pub const fn capture_program(self) -> &'static str {
        match self {
            Self::V6 => "teaparty_v6_capture",
            Self::Parse => "teaparty_parse_capture",
            Self::Full => "teaparty_full_capture",
        }
    }
}

/// Most UDP ports there are, as words of [`KernelConfig::ports`].
pub const PORT_WORDS: u32 = 65536 / 64;

/// Marks types as plain octets for aya, after the compiler has proved that they have no padding.
#[cfg(feature = "user")]
macro_rules! pod {
    ($($type:ty),* $(,)?) => {$(
        const _: () = {
            const fn has_no_padding<T: zerocopy::IntoBytes + zerocopy::FromBytes + Copy>() {}
            has_no_padding::<$type>();
        };
        // SAFETY: `repr(C)`, `Copy`, and by the line above without padding and valid for any octets.
        unsafe impl aya::Pod for $type {}
    )*};
}

#[cfg(feature = "user")]
pod!(
    KernelConfig,
    BucketSet,
    SessionCounts,
    Counters,
    LocalAddress,
    VlanKey,
    VlanEntry,
    SessionKey,
    Session,
    HistoryRing,
    PuntHeader,
    SessionOpRequest,
    capture::CaptureConfig,
    capture::CaptureBuckets,
    capture::CaptureCounts,
    session_table::SessionSlot,
    crate::address::Address
);
