//! The keys and values of the BPF maps, shared by the kernel program and the controller.
//!
//! Every type is `repr(C)` with its padding spelled out, so that `bpftool map dump` prints named fields and no octet
//! of it is ever uninitialised. Numbers are in host order unless a field says otherwise.

mod config;
mod ledger;
mod punt;
pub mod rate_limit;
mod session;
pub mod table;

pub use config::{Board, Clock, Config, Control, Counters, LocalAddress, MacCheck, VlanEntry, VlanKey, check_macs};
pub use ledger::{LedgerOperation, LedgerRequest};
pub use punt::{MAX_PUNT_FRAME, PUNT_CLASSES, PuntHeader, RecordKind};
pub use rate_limit::{BUCKET_ROWS, Bucket, BucketRow, SourcePrefix};
pub use session::{Census, HistoryKey, HistoryRing, HistorySlot, Session, SessionKey, Standing};

/// Version of all these layouts together. A controller adopts pinned maps only where this is the same.
pub const ABI_VERSION: u32 = 4;

/// Names of the maps, as the program declares them, the controller finds them and the pins are called.
pub mod name {
    /// [`super::Board`], one entry: the clock's state, the configuration, the ports.
    pub const CONTROL: &str = "control";
    /// [`crate::reflect::Address`] to [`super::LocalAddress`]: the addresses that packets may come to or from.
    pub const ADDRESSES: &str = "addresses";
    /// [`super::VlanKey`] to [`super::VlanEntry`]: the VLANs of this interface and their addresses. Looked at for tagged
    /// frames alone.
    pub const VLANS: &str = "vlans";
    /// Prefixes of source addresses, as a trie over 128-bit addresses. The value says by which of the two configurations
    /// they are answered: [`super::Config::allowed_bit`], so that a change of the list and of all else is one.
    pub const ALLOWED: &str = "allowed";
    /// [`super::table::Place`]s: sessions made by packets; the least known one of a row makes room.
    pub const SESSIONS: &str = "sessions";
    /// [`super::SessionKey`] to [`super::Session`]: sessions that were configured; never evicted.
    pub const PROVISIONED: &str = "provisioned";
    /// [`super::BucketRow`]s: what sources may still send.
    pub const BUCKETS: &str = "buckets";
    /// [`super::Counters`] of each processor.
    pub const COUNTERS: &str = "counters";
    /// Ring buffer of [`super::PuntHeader`] records.
    pub const PUNTS: &str = "punts";
    /// [`super::HistoryRing`]s by history tag.
    pub const HISTORY: &str = "history";
    /// The program's working memory, one for each processor; what is in it means nothing between packets.
    pub const SCRATCH: &str = "scratch";
    /// [`super::Census`]: how many sessions there are and have been.
    pub const SERIAL: &str = "serial";
    /// The programs that a packet goes on to, by the number of their [`super::Step`].
    pub const STEPS: &str = "steps";
}

/// Names of the programs.
pub mod program {
    /// The reflector: what is attached. It needs those of [`super::Step`] in [`super::name::STEPS`].
    pub const REFLECT: &str = "teaparty";
    /// The ledger: how the controller has the kernel write to a session that the kernel owns.
    pub const LEDGER: &str = "teaparty_ledger";
    /// Lets everything pass: for the far end of a veth, which drops frames sent by XDP_TX while it has no program.
    pub const PASS: &str = "teaparty_pass";
}

/// The programs that [`program::REFLECT`] goes on to for what it does not answer itself: each is jumped to and not called, since
/// to return is what takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// Plain IPv6 frames.
    V6,
    /// Frames with tags, options or several buffers, and what is no UDP at all.
    Look,
    /// Packets to a port of ours that are not answered at once.
    Long,
}

impl Step {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::V6, Self::Look, Self::Long];

    /// The program's name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::V6 => "teaparty_v6",
            Self::Look => "teaparty_look",
            Self::Long => "teaparty_long",
        }
    }
}

/// Most UDP ports there are, as words of [`Board::ports`].
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
    Board,
    BucketRow,
    Census,
    Counters,
    LocalAddress,
    VlanKey,
    VlanEntry,
    SessionKey,
    Session,
    HistoryRing,
    PuntHeader,
    LedgerRequest,
    table::Place,
    crate::reflect::Address
);
