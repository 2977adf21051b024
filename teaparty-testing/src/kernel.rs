//! The loaded program, run on frames without an interface (BPF_PROG_TEST_RUN).

use std::net::IpAddr;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use teaparty_common::maps::{
    ABI_VERSION, BUCKET_SETS, BucketSet, Clock, Config, ControlBlock, Counters, HistoryRing, KernelConfig,
    LocalAddress, PuntHeader, Session, SessionKey, SessionOpRequest, SourcePrefix, TailCall, TokenRate, VlanEntry,
    VlanKey, name, program,
};
use teaparty_common::reflect::{Address, Policy, REASON_SLOTS, Reason};
use teaparty_user::reflector::kernel::kernel_sessions::KernelSessions;
use teaparty_user::reflector::kernel::maps::connect;
use teaparty_user::reflector::kernel::object::object;
use teaparty_user::reflector::session::table_layout::new_layout;
use zerocopy::{FromBytes, IntoBytes};

use crate::frame::OUR_MAC;
use crate::vectors::address;

/// XDP_DROP.
pub const DROP: u32 = 1;
/// XDP_PASS.
pub const PASS: u32 = 2;
/// XDP_TX.
pub const TX: u32 = 3;

/// The clock that [`Kernel::new`] configures, and that replies must state.
pub const CLOCK: Clock = Clock {
    tai_offset_ns: 0,
    error_estimate: 0x8203,
    timestamp_information: [1, 2, 1, 2],
    reserved: [0; 2],
    monotonic_offset_ns: 0,
};

/// The flags of an address that is answered for.
pub const OURS: u32 = LocalAddress::ANSWERED | LocalAddress::NODE;

/// Rings in the history map.
pub const HISTORY_RINGS: u32 = 64;

/// A loaded program and its maps. Loading takes the verifier a second, so tests hand it on to each other, cleared.
struct Loaded {
    bpf: Ebpf,
    counters: PerCpuArray<MapData, Counters>,
    punts: RingBuf<MapData>,
    table: KernelSessions,
}

/// Programs that no test is using.
static IDLE: Mutex<Vec<Loaded>> = Mutex::new(Vec::new());

/// A program that one test alone uses, with maps that no other has written to, or that have been cleared since.
pub struct Kernel {
    loaded: Option<Loaded>,
    out: Vec<u8>,
    /// The counters at the start of the test.
    counted: [u64; REASON_SLOTS],
    /// The configuration that [`Kernel::apply`] writes.
    pub config: Config,
    /// The configuration that [`Kernel::apply`] writes.
    pub control: ControlBlock,
}

/// The program's treatment of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The XDP action.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// A record of the punt ring.
#[derive(Clone, Debug)]
pub struct Punt {
    /// Its head.
    pub header: PuntHeader,
    /// The frame after it.
    pub frame: Vec<u8>,
}

impl Kernel {
    /// A program with a stateful default configuration that answers the vectors' addresses on port 862.
    pub fn new() -> Result<Self, String> {
        let idle = IDLE.lock().expect("no test panics while it takes one").pop();
        let loaded = match idle {
            Some(loaded) => loaded,
            None => load()?,
        };
        let table = *loaded.table.layout();
        let control =
            ControlBlock { abi_version: ABI_VERSION, active: 0, generation: 1, interface: 7, clock: CLOCK, table };
        let config = Config {
            policy: Policy::DEFAULT,
            source_rate: TokenRate::NONE,
            flags: Config::STATEFUL | Config::HISTORY,
            history_rings: HISTORY_RINGS,
            mac: Config::mac(OUR_MAC),
            rate_prefix: SourcePrefix::DEFAULT,
            session_restart_s: 30,
            punt_rate: TokenRate::NONE,
        };
        let mut kernel =
            Self { loaded: Some(loaded), out: vec![0; 65536], counted: [0; REASON_SLOTS], config, control };
        kernel.clear();
        kernel.apply();
        kernel.listen(862);
        for ip in ["198.51.100.20", "2001:db8:1::20"] {
            kernel.answer(ip.parse().expect("an address"), OURS);
        }
        Ok(kernel)
    }

    /// Takes out whatever another test has left.
    fn clear(&mut self) {
        self.forget();
        empty::<SessionKey, Session>(self.map(name::PROVISIONED));
        empty::<Address, LocalAddress>(self.map(name::ADDRESSES));
        empty::<VlanKey, VlanEntry>(self.map(name::VLANS));
        self.reset_buckets();
        let mut allowed: LpmTrie<_, Address, u32> = self.map(name::ALLOWED);
        let prefixes: Vec<Key<Address>> = allowed.keys().map(|key| key.expect("a prefix is read")).collect();
        for prefix in prefixes {
            allowed.remove(&prefix).expect("a prefix is removed");
        }
        self.post(|kernel_config| kernel_config.ports.fill(0));
        self.punts();
        self.counted = self.counters();
    }

    /// Has every source its full burst.
    pub fn reset_buckets(&mut self) {
        let mut buckets: Array<_, BucketSet> = self.map(name::BUCKETS);
        for row in 0..BUCKET_SETS {
            buckets.set(row, BucketSet::default(), 0).expect("a row of buckets is written");
        }
    }

    /// Makes `control` and `config` hold.
    pub fn apply(&mut self) {
        let (config, control) = (self.config, self.control);
        self.post(|kernel_config| {
            kernel_config.configs[control.active as usize & 1] = config.derived();
            kernel_config.control = control;
        });
    }

    /// Changes what the controller says.
    fn post(&mut self, change: impl FnOnce(&mut KernelConfig)) {
        let mut map: Array<_, KernelConfig> = self.map(name::CONFIG);
        let mut kernel_config = map.get(&0, 0).expect("the configuration is read");
        change(&mut kernel_config);
        map.set(0, kernel_config, 0).expect("the configuration is written");
    }

    /// Listens on one more port.
    pub fn listen(&mut self, port: u16) {
        self.post(|kernel_config| kernel_config.listen(port));
    }

    /// Makes an address ours.
    pub fn answer(&mut self, ip: IpAddr, flags: u32) {
        let mut map: HashMap<_, Address, LocalAddress> = self.map(name::ADDRESSES);
        map.insert(address(ip), LocalAddress { flags }, 0).expect("an address is written");
    }

    /// Gives the interface the VLAN of these tags, whose device has our MAC address and one address.
    pub fn vlan(&mut self, tags: u64, ip: IpAddr) {
        let mut map: HashMap<_, VlanKey, VlanEntry> = self.map(name::VLANS);
        let device = VlanEntry { mac: Config::mac(OUR_MAC), ..VlanEntry::default() };
        map.insert(VlanKey { tags, ..VlanKey::default() }, device, 0).expect("a VLAN is written");
        let own = VlanEntry { flags: OURS, ..VlanEntry::default() };
        map.insert(VlanKey { tags, address: address(ip) }, own, 0).expect("an address is written");
    }

    /// Puts a prefix on the allow-list; IPv4 prefix lengths count from 96.
    pub fn allow(&mut self, ip: IpAddr, prefix_len: u32) {
        let mut map: LpmTrie<_, Address, u32> = self.map(name::ALLOWED);
        map.insert(&Key::new(prefix_len, address(ip)), 1, 0).expect("a prefix is written");
    }

    /// Writes a session to the map of this name.
    pub fn put_session(&mut self, map: &str, key: SessionKey, session: Session) {
        if map == name::SESSIONS {
            assert!(self.table().insert(&key, &session), "a session is written");
            return;
        }
        let mut map: HashMap<_, SessionKey, Session> = self.map(map);
        map.insert(key, session, 0).expect("a session is written");
    }

    /// The sessions in the map of this name.
    pub fn sessions(&mut self, map: &str) -> Vec<(SessionKey, Session)> {
        if map == name::SESSIONS {
            return self.table().iter().collect();
        }
        let map: HashMap<_, SessionKey, Session> = self.map(map);
        map.iter().map(|entry| entry.expect("a session is read")).collect()
    }

    /// One session.
    pub fn session(&mut self, key: &SessionKey) -> Option<Session> {
        self.table().get(key)
    }

    /// Forgets every session that packets have made.
    pub fn forget(&mut self) {
        self.table().remove_all(|_, _| true);
    }

    fn table(&self) -> &KernelSessions {
        &self.loaded.as_ref().expect(HELD).table
    }

    /// The history ring of this index.
    pub fn history(&mut self, ring: u32) -> HistoryRing {
        let map: Array<_, HistoryRing> = self.map(name::HISTORY);
        map.get(&ring, 0).expect("a ring is read")
    }

    /// Runs the reflector on a frame.
    pub fn run(&mut self, frame: &[u8]) -> Outcome {
        let Self { loaded, out, .. } = self;
        let bpf = &mut loaded.as_mut().expect(HELD).bpf;
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(out), ..TestRunOptions::new() };
        let result = xdp(bpf, program::REFLECT).test_run(options);
        let result = result.unwrap_or_else(|error| panic!("test run of {} octets: {}", frame.len(), chain(&error)));
        Outcome { action: result.return_value, frame: out[..result.data_size_out as usize].to_vec() }
    }

    /// Runs the reflector on a frame by as many threads as there are processors in `processors`, each on one of them, for so
    /// long; returns how long that took.
    pub fn run_on(&self, processors: &[usize], frame: &[u8], how_long: Duration) -> Duration {
        let bpf = &self.loaded.as_ref().expect(HELD).bpf;
        let program: &Xdp = bpf.program(program::REFLECT).expect("the reflector").try_into().expect("an XDP program");
        let start = Barrier::new(processors.len());
        let run = |processor: usize| {
            pin_to(processor);
            let mut out = vec![0; frame.len() + 256];
            start.wait();
            let begun = Instant::now();
            while begun.elapsed() < how_long {
                let options =
                    TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
                program.test_run(options).expect("a test run");
            }
            begun.elapsed()
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = processors.iter().map(|processor| scope.spawn(|| run(*processor))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread panics")).max().unwrap_or_default()
        })
    }

    /// Does something while there are no programs that the reflector could go on to.
    pub fn without_steps<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let mut steps: ProgramArray<_> = self.map(name::TAIL_CALLS);
        for step in TailCall::ALL {
            steps.clear_index(&(step as u32)).expect("a step is taken out");
        }
        let done = work(self);
        connect(&mut self.loaded.as_mut().expect(HELD).bpf, TailCall::program)
            .expect("the programs are put into their map");
        done
    }

    /// Runs the reflector on a frame, and says by its counters how the packet ended; panics unless exactly one counted it.
    pub fn run_counted(&mut self, frame: &[u8]) -> (Outcome, Reason) {
        let before = self.counters();
        let outcome = self.run(frame);
        let after = self.counters();
        let mut changed = Vec::new();
        for (i, (a, b)) in after.iter().zip(before).enumerate() {
            if *a != b {
                changed.push((Reason::from_number(i as u32), a - b));
            }
        }
        match changed.as_slice() {
            [(Some(reason), 1)] => (outcome, *reason),
            other => panic!("not exactly one counter has counted the packet: {other:?}"),
        }
    }

    /// Runs the program for session operations.
    pub fn session_op(&mut self, request: SessionOpRequest) -> SessionOpRequest {
        let mut octets = vec![0; 14];
        octets.extend(request.as_bytes());
        let Self { loaded, out, .. } = self;
        let bpf = &mut loaded.as_mut().expect(HELD).bpf;
        let options = TestRunOptions { data_in: Some(&octets), data_out: Some(out), ..TestRunOptions::new() };
        let result = xdp(bpf, program::SESSION_OP).test_run(options).expect("the program for session operations runs");
        assert_eq!(result.return_value, PASS);
        SessionOpRequest::read_from_bytes(&out[14..octets.len()]).expect("a request")
    }

    /// Packets by reason since the test began, all processors together.
    pub fn counters(&self) -> [u64; REASON_SLOTS] {
        let each = self.loaded.as_ref().expect(HELD).counters.get(&0, 0).expect("the counters are read");
        let totals = Counters::total(each.iter());
        std::array::from_fn(|reason| totals[reason] - self.counted[reason])
    }

    /// The records that the ring has, oldest first, and takes them out.
    pub fn punts(&mut self) -> Vec<Punt> {
        let mut found = Vec::new();
        while let Some(record) = self.loaded.as_mut().expect(HELD).punts.next() {
            let (header, rest) = PuntHeader::read_from_prefix(&record).expect("a record has a head");
            let frame = rest[..header.frame_len as usize].to_vec();
            found.push(Punt { header, frame });
        }
        found
    }

    fn map<'a, T>(&'a mut self, name: &str) -> T
    where
        T: TryFrom<&'a mut aya::maps::Map>,
        T::Error: std::fmt::Debug,
    {
        let map =
            self.loaded.as_mut().expect(HELD).bpf.map_mut(name).unwrap_or_else(|| panic!("there is no map {name}"));
        T::try_from(map).unwrap_or_else(|error| panic!("the type of {name}: {error:?}"))
    }
}

/// Why there is a program: only `Drop` takes it out.
const HELD: &str = "a test holds its program to its end";

impl Drop for Kernel {
    fn drop(&mut self) {
        // After a failure the maps may be anything, and the next test loads again.
        if let (Some(loaded), false) = (self.loaded.take(), std::thread::panicking()) {
            IDLE.lock().expect("no test panics while it takes one").push(loaded);
        }
    }
}

/// Loads the object.
fn load() -> Result<Loaded, String> {
    let object = object().map_err(|error| chain(&error))?;
    let mut loader = EbpfLoader::new();
    let table = new_layout(1024).expect("random numbers");
    // Small maps are made and cleared faster.
    for (map, entries) in [(name::SESSIONS, table.slots()), (name::HISTORY, HISTORY_RINGS)] {
        loader.map_max_entries(map, entries);
    }
    loader.map_max_entries(name::PUNTS, 1 << 20);
    let mut bpf = loader.load(&object).map_err(|error| format!("cannot make the maps: {}", chain(&error)))?;
    let steps = TailCall::ALL.map(TailCall::program);
    for name in [program::REFLECT, program::SESSION_OP].into_iter().chain(steps) {
        // A refusal by the verifier is a defect and not a reason to skip.
        xdp(&mut bpf, name).load().unwrap_or_else(|error| panic!("{name} is refused: {}", chain(&error)));
    }
    connect(&mut bpf, TailCall::program).expect("the programs are put into their map");
    let counters = PerCpuArray::try_from(bpf.take_map(name::COUNTERS).expect("counters")).expect("their type");
    let punts = RingBuf::try_from(bpf.take_map(name::PUNTS).expect("punts")).expect("their type");
    let array = |name| match bpf.map(name) {
        Some(Map::Array(data)) => data,
        _ => panic!("there is no array {name}"),
    };
    let table =
        KernelSessions::new(array(name::SESSIONS), array(name::SESSION_COUNTS), table).expect("the table is mapped");
    Ok(Loaded { bpf, counters, punts, table })
}

/// Has the calling thread run on this processor alone.
fn pin_to(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor).expect("a set has room for it");
    sched_setaffinity(Pid::from_raw(0), &set).expect("the processor is there");
}

/// Removes every entry.
fn empty<K: aya::Pod, V: aya::Pod>(mut map: HashMap<&mut MapData, K, V>) {
    let keys: Vec<K> = map.keys().map(|key| key.expect("a key is read")).collect();
    for key in keys {
        map.remove(&key).expect("an entry is removed");
    }
}

/// The program of this name.
fn xdp<'a>(bpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    let program = bpf.program_mut(name).unwrap_or_else(|| panic!("there is no program {name}"));
    program.try_into().unwrap_or_else(|error| panic!("{name} is no XDP program: {error}"))
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
