//! Random packets under random rules of admission, through the loaded program and through the controller's table: the same
//! reason, and the same sessions.
//!
//! Both use `teaparty_common::reflect::admission`, and each has look-ups of its own: this test is for those.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use teaparty_common::frame::Tags;
use teaparty_common::maps::{Session, SessionKey, TokenRate, name};
use teaparty_common::packet_buf::ReadOnlyBuf;
use teaparty_common::reflect::{self, Address, PacketMeta, Policy, Reason};
use teaparty_common::wire::Mode;
use teaparty_testing::frame::{Datagram, OUR_MAC};
use teaparty_testing::kernel::Kernel;
use teaparty_testing::random::Random;
use teaparty_testing::skip::or_skip;
use teaparty_testing::vectors::{address, session_key};
use teaparty_user::crypto::HmacKey;
use teaparty_user::net::host::Host;
use teaparty_user::net::interface::Interface;
use teaparty_user::reflector::config::{ReflectorConfig, ReflectorSettings};
use teaparty_user::reflector::keys::SessionKeys;
use teaparty_user::reflector::provisioned::{Provisioned, entry_flags};
use teaparty_user::reflector::session::sessions::SessionTable;
use teaparty_user::reflector::snapshot::ConfigSnapshot;

/// Configurations, each of which changes once.
const ROUNDS: usize = 120;
/// Packets before and after the change.
const PACKETS: usize = 60;
/// Sessions that both tables have room for.
const MAX_SESSIONS: u32 = 1024;
/// No clock can tick fast enough to blur this.
const HOUR: u64 = 3_600_000_000_000;

/// The ways that a base packet can end as far as admission decides.
const EXPECTED: [Reason; 9] = [
    Reason::Reflected,
    Reason::Authenticated,
    Reason::NotOurAddress,
    Reason::InvalidSource,
    Reason::LoopGuard,
    Reason::NotAllowed,
    Reason::NotProvisioned,
    Reason::RateLimited,
    Reason::TableFull,
];

/// A change of the controller's configuration that the kernel does not see.
type Mutation = fn(&mut ReflectorConfig);

/// Packets by the label of the reason that they ended with.
type Tally = HashMap<&'static str, u64>;

/// Kernel and controller side by side.
struct Pair {
    kernel: Kernel,
    table: SessionTable,
    snapshot: ConfigSnapshot,
    random: Random,
    mutate: Mutation,
    /// True if the kernel's table may evict others than the controller's: sessions are not compared.
    is_full: bool,
    tally: Tally,
}

impl Pair {
    fn new(kernel: Kernel, mut random: Random, mutate: Mutation) -> Self {
        let is_full = random.one_in(4);
        let mut config = config(&mut random);
        // Strangers alone find no place in a table that is full of sessions of a wildcard.
        let provisioned = provisioned(&mut random, !is_full);
        config.is_stateful |= is_full;
        let interface = Interface {
            name: "t0".into(),
            index: 7,
            mac: OUR_MAC,
            mtu: 1500,
            link_type: libc::ARPHRD_ETHER,
            is_up: true,
            addresses: ["198.51.100.20", "2001:db8:1::20"].map(|ip| ip.parse().expect("an address")).to_vec(),
            ..Interface::default()
        };
        let snapshot = ConfigSnapshot::new(Arc::new(config), interface, &Arc::new(Host::default()));
        let snapshot = snapshot.with_provisioned(provisioned);
        let table = SessionTable::new(MAX_SESSIONS);
        let mut pair = Self { kernel, table, snapshot, random, mutate, is_full, tally: Tally::new() };
        pair.publish();
        if is_full {
            pair.fill();
        }
        pair
    }

    /// Tells the kernel what the controller has, and then has the controller's part changed.
    fn publish(&mut self) {
        let Self { kernel, snapshot, .. } = self;
        for (ip, prefix_len) in &snapshot.config.allowed {
            kernel.allow(IpAddr::from(std::net::Ipv6Addr::from(ip.0)).to_canonical(), u32::from(*prefix_len));
        }
        for (key, session) in snapshot.provisioned.iter() {
            let entry = Session { flags: entry_flags(key, session), ..Session::default() };
            if kernel.sessions(name::PROVISIONED).iter().all(|(known, _)| known != key) {
                kernel.put_session(name::PROVISIONED, *key, entry);
            }
            let any = key.any_ssid();
            if let Some((own, session)) = snapshot.any_ssid(&any) {
                let flags = entry_flags(&own, session) | Session::WILDCARD;
                kernel.put_session(name::PROVISIONED, any, Session { flags, ssid: own.ssid, ..Session::default() });
            }
        }
        kernel.config.flags = snapshot.flags();
        kernel.config.policy = snapshot.config.policy;
        kernel.config.source_rate = snapshot.config.source_rate;
        kernel.config.rate_prefix = snapshot.config.rate_prefix;
        kernel.control.generation = snapshot.generation;
        kernel.apply();
        let mut mutated = (*snapshot.config).clone();
        (self.mutate)(&mut mutated);
        let mut mutated = snapshot.with_config(Arc::new(mutated));
        mutated.generation = snapshot.generation;
        self.snapshot = mutated;
        self.table.keep_configured(&self.snapshot);
    }

    /// Other rules for the sessions that there are.
    fn reconfigure(&mut self) {
        let mut config = (*self.snapshot.config).clone();
        if self.random.one_in(2) {
            config.provisioned_only = !config.provisioned_only;
        }
        if self.random.one_in(2) {
            // The kernel keeps its prefixes: a list that is not asked is none.
            config.allowed = if config.allowed.is_empty() { allowed() } else { Vec::new() };
        }
        self.snapshot = self.snapshot.with_config(Arc::new(config));
        self.publish();
    }

    /// Fills both tables with sessions that a wildcard has made.
    fn fill(&mut self) {
        let session = Session { flags: Session::PROVISIONED, replies: 2, ..Session::default() };
        for number in 0..MAX_SESSIONS {
            let source = Address::v4([10, 9, (number >> 8) as u8, number as u8]);
            let key = SessionKey { source, source_port: 1, destination_port: 862, ..SessionKey::default() };
            self.kernel.put_session(name::SESSIONS, key, session);
            self.table.take_over(key, session, &self.snapshot);
        }
    }

    /// Compares what becomes of one random packet.
    fn step(&mut self) -> Result<(), String> {
        let datagram = datagram(&mut self.random);
        let (_, kernel) = self.kernel.run_counted(&datagram.build());
        let controller = self.controller(&datagram).err().unwrap_or(Reason::Reflected);
        *self.tally.entry(kernel.label()).or_default() += 1;
        if kernel == controller {
            return Ok(());
        }
        let Datagram { source, destination, source_port, payload, .. } = datagram;
        Err(format!(
            "kernel {kernel:?}, controller {controller:?}: {source} {source_port} to {destination} {payload:02x?}"
        ))
    }

    /// The controller's admission, and its session where it would answer.
    fn controller(&mut self, datagram: &Datagram) -> Result<(), Reason> {
        let ssid = |mode| reflect::ssid(&ReadOnlyBuf(&datagram.payload), datagram.payload.len(), mode);
        let is_ignored = self.snapshot.config.policy.has(Policy::IGNORE_SSID);
        let mut key = session_key(datagram, if is_ignored { 0 } else { ssid(Mode::Unauthenticated) });
        let flags = self.table.admit((&mut key, Tags::NONE), ssid(Mode::Authenticated), &self.snapshot, HOUR)?;
        if flags & Session::AUTHENTICATED != 0 {
            return Err(Reason::Authenticated);
        }
        if !self.snapshot.config.is_stateful {
            return Ok(());
        }
        self.table.assign(&key, flags, &self.snapshot, &mut PacketMeta::default())
    }

    /// Compares the sessions that packets have made.
    fn check_sessions(&mut self) -> Result<(), String> {
        if self.is_full {
            return Ok(());
        }
        let part = |(key, session): (SessionKey, Session)| (key.words(), session.flags & !Session::HAS_PREVIOUS);
        let mut kernel: Vec<_> = self.kernel.sessions(name::SESSIONS).into_iter().map(part).collect();
        let made = self.table.iter().filter(|(key, _)| !self.snapshot.provisioned.contains_key(key));
        let mut controller: Vec<_> = made.map(|(key, session)| part((*key, *session))).collect();
        kernel.sort_unstable();
        controller.sort_unstable();
        if kernel == controller {
            Ok(())
        } else {
            Err(format!("sessions: kernel {kernel:x?}, controller {controller:x?}"))
        }
    }

    /// Compares packets before and after a change of the configuration.
    fn round(&mut self) -> Result<(), String> {
        for part in 0..2 {
            if part > 0 {
                self.reconfigure();
            }
            (0..PACKETS).try_for_each(|_| self.step())?;
            self.check_sessions()?;
        }
        Ok(())
    }
}

/// A random configuration.
fn config(random: &mut Random) -> ReflectorConfig {
    let settings = ReflectorSettings {
        iface: vec!["t0".into()],
        stateless: random.one_in(4),
        provisioned_only: random.one_in(4),
        ..ReflectorSettings::default()
    };
    let mut config = ReflectorConfig::try_from(settings).unwrap_or_else(|error| panic!("{}", error.problem));
    config.allowed = if random.one_in(3) { allowed() } else { Vec::new() };
    config.source_rate =
        if random.one_in(3) { TokenRate { interval_ns: HOUR, burst_ns: 9 * HOUR } } else { TokenRate::NONE };
    if random.one_in(6) {
        config.policy.flags |= Policy::IGNORE_SSID;
    }
    if random.one_in(8) {
        config.default_keys = keys();
    }
    config
}

/// Half of the sources of [`datagram`].
fn allowed() -> Vec<(Address, u8)> {
    let v6 = address("2001:db8::".parse().expect("an address"));
    vec![(Address::v4([192, 0, 2, 10]), 127), (v6, 64)]
}

fn keys() -> SessionKeys {
    SessionKeys { base: vec![HmacKey::new(b"a key of some length").expect("a key")], tlv: Vec::new() }
}

/// Random provisioned sessions that packets of [`datagram`] may be of.
fn provisioned(random: &mut Random, has_wildcards: bool) -> HashMap<SessionKey, Provisioned> {
    let mut sessions = HashMap::new();
    for _ in 0..random.below(6) {
        let packet = datagram(random);
        let mut key = SessionKey {
            source: address(packet.source),
            destination: address(packet.destination),
            source_port: packet.source_port,
            destination_port: 862,
            ssid: u16::from_be_bytes([packet.payload[14], packet.payload[15]]),
            reserved: 0,
        };
        if has_wildcards && random.one_in(3) {
            key.source_port = 0;
        }
        if has_wildcards && random.one_in(4) {
            key.destination = Address::UNSPECIFIED;
        }
        let flags = random.pick(&[0, Session::LOOP_EXEMPT, Session::NO_TLV, Session::PTP]);
        let session = Provisioned { flags, ..Provisioned::default() };
        sessions.insert(key, if random.one_in(4) { session.with_keys(keys()) } else { session });
    }
    sessions
}

/// A random base packet without TLVs, long enough at times to be an authenticated one.
fn datagram(random: &mut Random) -> Datagram {
    let mut payload = vec![0; random.pick(&[44, 44, 112])];
    payload[13] = 1;
    payload[15] = random.pick(&[0, 7, 8]);
    payload[27] = random.pick(&[0, 7, 8]);
    let is_v6 = random.one_in(4);
    let (datagram, sources, destinations): (_, [&str; 6], [&str; 5]) = if is_v6 {
        let sources = ["2001:db8::9", "2001:db8::a", "2001:db8:0:7::9", "2001:db8:0:8::9", "ff02::1", "2001:db8:1::20"];
        (
            Datagram::new_ipv6(payload),
            sources,
            ["2001:db8:1::20", "2001:db8:1::20", "2001:db8:1::20", "2001:db8:1::20", "2001:db8:1::21"],
        )
    } else {
        let sources = ["192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13", "127.0.0.1", "198.51.100.20"];
        (
            Datagram::new(payload),
            sources,
            ["198.51.100.20", "198.51.100.20", "198.51.100.20", "198.51.100.20", "198.51.100.21"],
        )
    };
    // Most are of few sessions, so that these become known.
    let of = if random.one_in(4) { 6 } else { 4 };
    Datagram {
        source: random.pick(&sources[..of]).parse().expect("an address"),
        destination: random.pick(&destinations[..of.min(5)]).parse().expect("an address"),
        source_port: random.pick(&[49200, 49200, 49201, 862]),
        ..datagram
    }
}

/// Runs rounds until one fails; returns what was wrong, and how many packets ended in each way.
fn rounds(mutate: Mutation, seed: u64) -> Option<(Result<(), String>, Tally)> {
    let mut tally = Tally::new();
    for round in 0..ROUNDS {
        let kernel = or_skip(Kernel::new())?;
        let mut pair = Pair::new(kernel, Random::new(seed + round as u64), mutate);
        let result = pair.round();
        for (reason, count) in pair.tally.drain() {
            *tally.entry(reason).or_default() += count;
        }
        if let Err(error) = result {
            return Some((Err(format!("round {round}: {error}")), tally));
        }
    }
    Some((Ok(()), tally))
}

#[test]
fn kernel_and_controller_admit_the_same_packets() {
    let Some((result, tally)) = rounds(|_| {}, 1) else { return };
    println!("{tally:?}");
    result.unwrap_or_else(|error| panic!("{error}"));
    for reason in EXPECTED {
        assert!(tally.contains_key(reason.label()), "{reason:?} was never met");
    }
}

#[test]
fn a_rule_that_only_one_of_them_has_is_noticed() {
    let mutations: [(&str, Mutation); 5] = [
        ("no allow-list", |config| config.allowed.clear()),
        ("strangers answered", |config| config.provisioned_only = false),
        ("no rate limit", |config| config.source_rate = TokenRate::NONE),
        ("no state", |config| config.is_stateful = false),
        ("no keys", |config| config.default_keys = SessionKeys::default()),
    ];
    for (what, mutate) in mutations {
        let Some((result, _)) = rounds(mutate, 1) else { return };
        println!("{what}: {}", result.expect_err(what));
    }
}
