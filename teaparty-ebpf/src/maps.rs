//! The maps. Types and names are `teaparty_common::maps`'; sizes are the smallest that make sense, and the controller
//! sets the real ones when it loads the program.

use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, ProgramArray, RingBuf};
use aya_ebpf::macros::btf_map;
use teaparty_common::maps::capture::{CaptureBuckets, CaptureConfig, CaptureCounts};
use teaparty_common::maps::session_table::SessionSlot;
use teaparty_common::maps::{
    BUCKET_SETS, BucketSet, Counters, DropSource, HistoryRing, KernelConfig, LocalAddress, Session, SessionCounts,
    SessionKey, TailCall, VlanEntry, VlanKey,
};
use teaparty_common::reflect::{Address, REASON_SLOTS};

/// BPF_F_NO_PREALLOC: what an LPM trie must have, and what a map that is mostly empty wants.
const NO_PREALLOC: usize = 1;

/// BPF_F_MMAPABLE: the controller has the memory too.
const MMAPABLE: usize = 1024;

#[btf_map(name = "config")]
static CONFIG: Array<KernelConfig, 1> = Array::new();
#[btf_map(name = "addresses")]
pub(crate) static ADDRESSES: HashMap<Address, LocalAddress, 4096, NO_PREALLOC> = HashMap::new();
#[btf_map(name = "vlans")]
pub(crate) static VLANS: HashMap<VlanKey, VlanEntry, 4096, NO_PREALLOC> = HashMap::new();
#[btf_map(name = "allowed")]
pub(crate) static ALLOWED: LpmTrie<Address, u32, 16384, NO_PREALLOC> = LpmTrie::new();
#[btf_map(name = "sessions")]
pub(crate) static SESSIONS: Array<SessionSlot, 131072, MMAPABLE> = Array::new();
#[btf_map(name = "provisioned")]
pub(crate) static PROVISIONED: HashMap<SessionKey, Session, 65536, NO_PREALLOC> = HashMap::new();
#[btf_map(name = "buckets")]
pub(crate) static BUCKETS: Array<BucketSet, { BUCKET_SETS as usize }> = Array::new();
#[btf_map(name = "counters")]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();
#[btf_map(name = "punts")]
pub(crate) static PUNTS: RingBuf<(), { 8 << 20 }> = RingBuf::new();
#[btf_map(name = "history")]
pub(crate) static HISTORY: Array<HistoryRing, 4096> = Array::new();
#[btf_map(name = "session_counts")]
pub(crate) static SESSION_COUNTS: Array<SessionCounts, 1, MMAPABLE> = Array::new();

#[btf_map(name = "tail_calls")]
pub(crate) static TAIL_CALLS: ProgramArray<{ TailCall::ALL.len() }> = ProgramArray::new();

#[btf_map(name = "capture_config")]
pub(crate) static CAPTURE_CONFIG: Array<CaptureConfig, 1> = Array::new();
#[btf_map(name = "capture_buckets")]
pub(crate) static CAPTURE_BUCKETS: Array<CaptureBuckets, 1> = Array::new();
#[btf_map(name = "capture_counts")]
pub(crate) static CAPTURE_COUNTS: PerCpuArray<CaptureCounts, 1> = PerCpuArray::new();
#[btf_map(name = "captured")]
pub(crate) static CAPTURED: RingBuf<(), 4096> = RingBuf::new();

/// Returns the controller's configuration.
#[inline(always)]
pub(crate) fn kernel_config() -> Option<&'static KernelConfig> {
    CONFIG.get(0)
}

/// This processor's counters.
#[inline(always)]
pub(crate) fn counters() -> Option<&'static mut Counters> {
    let counters = COUNTERS.get_ptr_mut(0)?;
    // SAFETY: of this processor alone, and programs are not preempted by themselves on it.
    Some(unsafe { &mut *counters })
}

/// Leaves the source of a packet that is dropped for the reason with this number; it arrived at `received_ns` of CLOCK_TAI.
///
/// A function of its own, so that what answers packets keeps its registers.
#[inline(never)]
pub(crate) fn note_source(reason: u32, high: u64, low: u64, received_ns: u64) {
    let Some(counters) = COUNTERS.get_ptr_mut(0) else { return };
    let source = DropSource { address: Address::from_words([high, low]), received_ns };
    // SAFETY: a value of a map, of this processor alone. Whoever has a reference to it writes to `packets` alone.
    unsafe { (&raw mut (*counters).sources[reason as usize % REASON_SLOTS]).write(source) };
}
