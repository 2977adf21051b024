//! What the engines of one interface share, with each other and with the controller's own task.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use teaparty_common::frame::Tags;
use teaparty_common::maps::{Clock, Session, SessionKey};
use teaparty_common::packet_buf::ReadOnlyBuf;
use teaparty_common::reflect::{self, Address, Disposition, Policy, REASON_SLOTS, Reason};
use teaparty_common::tlv::access_report::AccessReport;
use teaparty_common::wire::Mode;
use tokio::sync::mpsc::UnboundedSender;

use crate::net::raw::RawV6;
use crate::reflector::capture::Captures;
use crate::reflector::engine::burst_queue::BurstQueue;
use crate::reflector::engine::loop_log::LoopLog;
use crate::reflector::engine::residence_histogram::ResidenceHistogram;
use crate::reflector::kernel::kernel_session_store::KernelSessionStore;
use crate::reflector::pipeline::burst_limits::BurstLimiter;
use crate::reflector::session::session_store::SessionStore;
use crate::reflector::session::sessions::SessionTable;
use crate::reflector::snapshot::ConfigSnapshot;
use crate::sync::locked;

/// Shared state of one interface.
pub(crate) struct InterfaceContext {
    snapshot: RwLock<Arc<ConfigSnapshot>>,
    clock: RwLock<Clock>,
    /// Sessions that the controller owns.
    pub table: Mutex<SessionTable>,
    /// The kernel's sessions, where an XDP program runs.
    pub kernel: Option<KernelSessionStore>,
    /// The grants of several replies to one request.
    pub bursts: Arc<BurstLimiter>,
    /// Replies that are still to follow.
    pub burst_queue: BurstQueue,
    /// Sources whose packets the loop guard drops.
    pub loops: LoopLog,
    /// The counters.
    pub counters: Arc<InterfaceCounters>,
    raw: OnceLock<Option<RawV6>>,
    is_stopping: AtomicBool,
    outlets: Outlets,
}

/// What engines tell: the controller's task, and whoever captures.
#[derive(Clone)]
pub(crate) struct Outlets {
    /// The controller's task.
    pub notices: UnboundedSender<Notice>,
    /// The captures.
    pub captures: Arc<Captures>,
}

/// A message of an engine.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// A Session-Sender has reported on its access network.
    AccessReport {
        /// Its session.
        key: SessionKey,
        /// The report.
        report: AccessReport,
    },
    /// An engine has ended without being asked to.
    Failed {
        /// The engine, and the reason.
        what: String,
    },
}

impl InterfaceContext {
    /// The state of an interface at the start.
    pub(crate) fn new(
        snapshot: ConfigSnapshot,
        clock: Clock,
        kernel: Option<KernelSessionStore>,
        outlets: Outlets,
        burst_queue: BurstQueue,
        counters: Arc<InterfaceCounters>,
    ) -> Self {
        Self {
            table: Mutex::new(SessionTable::new(snapshot.config.max_sessions)),
            snapshot: RwLock::new(Arc::new(snapshot)),
            clock: RwLock::new(clock),
            kernel,
            bursts: Arc::default(),
            burst_queue,
            loops: LoopLog::default(),
            counters,
            raw: OnceLock::new(),
            is_stopping: AtomicBool::new(false),
            outlets,
        }
    }

    /// The state of the same interface where no program answers any more: sessions are the controller's, those among them
    /// that the kernel has begun. The engines of this one must have ended.
    pub(crate) fn without_kernel(&self, burst_queue: BurstQueue, begun: Vec<(SessionKey, Session)>) -> Self {
        let snapshot = (*self.snapshot()).clone();
        let next =
            Self::new(snapshot.clone(), self.clock(), None, self.outlets.clone(), burst_queue, self.counters.clone());
        {
            let mut table = locked(&next.table);
            std::mem::swap(&mut *table, &mut *locked(&self.table));
            for (key, session) in begun.into_iter().filter(|(_, session)| !session.has(Session::AUTHENTICATED)) {
                table.take_over(key, session, &snapshot);
            }
        }
        next
    }

    /// The configuration as it is now.
    pub(crate) fn snapshot(&self) -> Arc<ConfigSnapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another configuration in force.
    pub(crate) fn set_snapshot(&self, snapshot: ConfigSnapshot) {
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }

    /// The clock's state as it was last read.
    pub(crate) fn clock(&self) -> Clock {
        *self.clock.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the clock's state.
    pub(crate) fn set_clock(&self, clock: Clock) {
        *self.clock.write().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    /// Returns the store of sessions that are authenticated, or not.
    pub(crate) fn store_of(&self, is_authenticated: bool) -> &dyn SessionStore {
        match &self.kernel {
            Some(kernel) if !is_authenticated => kernel,
            _ => &self.table,
        }
    }

    /// The socket for whole IPv6 packets, opened when it is first asked for; `None` where that is refused.
    pub(crate) fn raw(&self) -> Option<&RawV6> {
        let open = || {
            let refused =
                |error: &std::io::Error| tracing::warn!(%error, "no replies along SRv6 segments, raw IPv6 socket");
            RawV6::open().inspect_err(refused).ok()
        };
        self.raw.get_or_init(open).as_ref()
    }

    /// Tells the controller's task.
    pub(crate) fn notify(&self, notice: Notice) {
        // It may be gone already when the reflector ends.
        let _ = self.outlets.notices.send(notice);
    }

    /// The captures.
    pub(crate) fn captures(&self) -> &Captures {
        &self.outlets.captures
    }

    /// Decides whether a packet may be answered where no kernel program has: completes its key, which comes without SSID,
    /// and gives the flags of its session. `tags` are the VLAN tags of its frame, which came at `received_ns` of CLOCK_MONOTONIC.
    pub(crate) fn admit(
        &self,
        (key, tags): (&mut SessionKey, Tags),
        payload: &[u8],
        snapshot: &ConfigSnapshot,
        received_ns: u64,
    ) -> Result<u32, Reason> {
        let ssid = |mode| reflect::ssid(&ReadOnlyBuf(payload), payload.len(), mode);
        if !snapshot.config.policy.has(Policy::NO_TLV | Policy::IGNORE_SSID) {
            key.ssid = ssid(Mode::Unauthenticated);
        }
        let ssid_authenticated = ssid(Mode::Authenticated);
        let admitted = locked(&self.table).admit((key, tags), ssid_authenticated, snapshot, received_ns);
        if admitted == Err(Reason::LoopGuard) {
            if reflect::is_heartbeat(&ReadOnlyBuf(payload), payload.len(), &snapshot.config.policy) {
                return Err(Reason::Heartbeat);
            }
            self.loops.note(key);
        }
        admitted
    }

    /// Asks the engines to end. They look when something wakes them.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// Returns true if the engines are to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}

/// The controller's counters of an interface: they go on when the interface has been away.
pub(crate) struct InterfaceCounters {
    /// Packets that the ring engine has dealt with.
    pub ring: EngineCounters,
    /// Packets that the socket engine has dealt with.
    pub socket: EngineCounters,
    /// Replies of the XDP program that the driver could not send.
    pub transmit_errors: AtomicU64,
    /// The kernel's counts in maps that are no longer in use.
    pub earlier_xdp: Mutex<KernelCounts>,
}

impl Default for InterfaceCounters {
    fn default() -> Self {
        Self {
            ring: EngineCounters::default(),
            socket: EngineCounters::default(),
            transmit_errors: AtomicU64::new(0),
            earlier_xdp: Mutex::new([0; REASON_SLOTS]),
        }
    }
}

/// Packets by the way they ended in the kernel, by [`Reason`] as a number.
pub(crate) type KernelCounts = [u64; REASON_SLOTS];

/// The counters of an engine: packets by the way they ended, and the residence time of those that were answered.
pub(crate) struct EngineCounters {
    packets: [AtomicU64; REASON_SLOTS],
    /// The sources of the last packets that were dropped.
    sources: Mutex<[Option<Address>; REASON_SLOTS]>,
    /// T3 − T2 of replies.
    pub residence: ResidenceHistogram,
}

impl Default for EngineCounters {
    fn default() -> Self {
        Self {
            packets: [const { AtomicU64::new(0) }; REASON_SLOTS],
            sources: Mutex::new([None; REASON_SLOTS]),
            residence: ResidenceHistogram::default(),
        }
    }
}

impl EngineCounters {
    /// Counts one packet.
    pub(crate) fn count(&self, reason: Reason) {
        self.packets[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one packet from this source. Where it is dropped, the source is remembered as the last one.
    pub(crate) fn count_from(&self, reason: Reason, source: Address) {
        self.count(reason);
        if reason.disposition() == Disposition::Drop {
            locked(&self.sources)[reason as usize] = Some(source);
        }
    }

    /// Returns the source of the last packet that was dropped so; `None` where none was or it is unknown.
    pub(crate) fn last_source(&self, reason: Reason) -> Option<Address> {
        locked(&self.sources)[reason as usize]
    }

    /// Counts this many packets that did not even get to us.
    pub(crate) fn count_lost(&self, packets: u32) {
        self.packets[Reason::RingFull as usize].fetch_add(packets.into(), Ordering::Relaxed);
    }

    /// Packets that ended so.
    pub(crate) fn get(&self, reason: Reason) -> u64 {
        self.packets[reason as usize].load(Ordering::Relaxed)
    }
}
