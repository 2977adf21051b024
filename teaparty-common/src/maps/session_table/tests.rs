//! The table against a map that can't be wrong, against many threads, and by how its places are used.

extern crate std;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::vec::Vec;

use proptest::prelude::*;

use super::super::{Session, SessionKey, Standing};
use super::{
    REACH, SharedSlot, SharedTable, TableLayout, TableStorage, WAYS, changing, find, find_near, free, read, remove_if,
};
use crate::address::Address;

const SEED: [u64; 5] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89, 0x4528_21e6_38d0_1377];

/// A table in memory of its own.
struct Table {
    layout: TableLayout,
    slots: Vec<SharedSlot>,
    present: AtomicU64,
}

impl Table {
    fn new(max_sessions: u32) -> Self {
        Self::seeded(max_sessions, SEED)
    }

    fn seeded(max_sessions: u32, seed: [u64; 5]) -> Self {
        let layout = TableLayout::new(max_sessions, seed);
        let slots = (0..layout.slots()).map(|_| core::array::from_fn(|_| AtomicU64::new(0))).collect();
        Self { layout, slots, present: AtomicU64::new(0) }
    }

    fn shared(&self) -> SharedTable<'_> {
        SharedTable { slots: &self.slots, present: &self.present }
    }

    fn make(&self, key: &SessionKey, session: &Session) -> u32 {
        self.shared().make(&self.layout, key, session).expect("nobody keeps a lock")
    }

    fn get(&self, key: &SessionKey) -> Option<Session> {
        let slot = self.shared().slot(find(&self.shared(), &self.layout, key)?)?;
        read(slot).filter(|(there, _)| there == key).map(|(_, session)| session)
    }

    fn remove(&self, key: &SessionKey) -> bool {
        let Some(index) = find(&self.shared(), &self.layout, key) else { return false };
        remove_if(&self.shared(), &self.slots[index as usize], |there, _| there == key)
    }

    fn all(&self) -> Vec<(SessionKey, Session)> {
        self.slots.iter().filter_map(read).collect()
    }
}

fn key(n: u32) -> SessionKey {
    SessionKey {
        source: Address::v4((0x0a00_0000 + n).to_be_bytes()),
        destination: Address::v4([192, 0, 2, 1]),
        source_port: 862,
        destination_port: 862,
        ssid: 0,
        reserved: 0,
    }
}

fn session(at: u64) -> Session {
    Session { last_received_ns: at, replies: at, ..Session::default() }
}

#[test]
fn as_many_sessions_as_may_be_are_all_remembered() {
    for max in [1, 2, 7, 8, 9, 64, 1000, 65_536] {
        let table = Table::new(max);
        for n in 0..max {
            table.make(&key(n), &session(1 + u64::from(n)));
        }
        let lost = (0..max).filter(|n| table.get(&key(*n)) != Some(session(1 + u64::from(*n)))).count();
        assert_eq!(lost, 0, "of {max}");
        assert_eq!(table.all().len(), max as usize);
        assert_eq!(table.present.load(Ordering::Relaxed), u64::from(max));
    }
}

#[test]
fn nearly_all_are_found_at_the_first_or_second_look() {
    let table = Table::new(65_536);
    let mut looks = 0;
    let mut near = 0;
    for n in 0..65_536 {
        let index = table.make(&key(n), &session(1));
        let home = table.layout.home(&key(n));
        let looked = (0..REACH * WAYS).position(|i| table.layout.index(home, i) == index).expect("within reach");
        looks += looked + 1;
        near += usize::from(find_near(&table.shared(), &key(n), home).is_some());
    }
    assert!(looks < 65_536 * 8 / 5, "{looks} looks");
    assert!(near > 65_536 * 98 / 100, "{near} in their rows");
}

#[test]
fn one_more_takes_the_place_of_the_least_recently_used_of_its_row() {
    let table = Table::new(4);
    assert_eq!(table.layout.rows, 1);
    for (n, at) in [(0, 40), (1, 10), (2, 30), (3, 20)] {
        table.make(&key(n), &session(at));
    }
    table.make(&key(4), &session(50));
    let mut left: Vec<u64> = table.all().iter().map(|(_, session)| session.replies).collect();
    left.sort_unstable();
    assert_eq!(left, [20, 30, 40, 50]);
}

/// A session with these flags and this many packets, of which the last came at `at`.
fn known(flags: u32, packets: u64, at: u64) -> Session {
    Session { flags, replies: packets, last_received_ns: at, ..Session::default() }
}

#[test]
fn sessions_of_one_packet_make_room_first_and_provisioned_ones_for_their_like_alone() {
    let table = Table::new(4);
    let provisioned = Session::PROVISIONED;
    for (n, session) in
        [(0, known(provisioned, 1, 10)), (1, known(0, 9, 20)), (2, known(0, 1, 40)), (3, known(0, 1, 30))].iter()
    {
        table.make(&key(*n), session);
    }
    let make = |n: u32, session: Session| {
        let is_made = table.shared().make(&table.layout, &key(n), &session).is_some();
        let mut left: Vec<u32> = (0..20).filter(|n| table.get(&key(*n)).is_some()).collect();
        left.sort_unstable();
        (is_made, left)
    };
    assert_eq!(make(4, known(0, 0, 50)), (true, std::vec![0, 1, 2, 4]), "the older one of a single packet");
    assert_eq!(make(5, known(0, 0, 60)), (true, std::vec![0, 1, 4, 5]));
    assert_eq!(make(6, known(provisioned, 0, 70)), (true, std::vec![0, 1, 5, 6]));
    assert_eq!(make(7, known(provisioned, 0, 80)), (true, std::vec![0, 1, 6, 7]));
    assert_eq!(make(8, known(0, 0, 90)), (true, std::vec![0, 6, 7, 8]), "then the one of several");
    assert_eq!(make(9, known(Session::AUTHENTICATED, 0, 100)), (true, std::vec![0, 6, 7, 9]));
    assert_eq!(make(10, known(0, 0, 110)), (false, std::vec![0, 6, 7, 9]), "no stranger takes a known one's slot");
    assert_eq!(make(11, known(provisioned, 0, 120)), (true, std::vec![6, 7, 9, 11]), "but another known one does");
    assert_eq!(table.present.load(Ordering::Relaxed), 4);
}

/// The arithmetic says what [`Standing`] does.
#[test]
fn the_turn_to_go_is_by_standing_and_then_by_age() {
    let turn = |session: Session, newcomer, i| {
        let table = Table::new(1);
        let index = table.make(&key(1), &session) as usize;
        super::eviction::eviction_order(&table.slots[index], i, newcomer, 1 << 50)
    };
    let sessions: Vec<Session> = [0, Session::PROVISIONED, Session::AUTHENTICATED, Session::PTP]
        .into_iter()
        .flat_map(|flags| [0, 1, 2, u64::MAX].map(|packets| (flags, packets)))
        .flat_map(|(flags, packets)| [8, 1 << 49, 1 << 51].map(|at| known(flags, packets, at)))
        .collect();
    for newcomer in [Standing::OnePacket, Standing::Stranger, Standing::Known] {
        for one in &sessions {
            let (standing, own) = (one.standing(), turn(*one, newcomer, 0));
            assert_eq!(own < super::eviction::NEVER, standing.makes_room_for(newcomer), "{one:?} for {newcomer:?}");
            for other in sessions.iter().filter(|_| own < super::eviction::NEVER) {
                let order = |session: &Session| (session.standing(), session.last_received_ns.min(1 << 50));
                assert_eq!(own < turn(*other, newcomer, 1), order(one) <= order(other), "{one:?} before {other:?}");
            }
        }
    }
    assert!(
        super::eviction::eviction_order(&Table::new(1).slots[0], 0, Standing::Known, 0) >= super::eviction::NEVER,
        "an empty slot"
    );
}

#[test]
fn a_last_packet_in_the_future_counts_as_now() {
    let table = Table::new(2);
    table.make(&key(0), &known(0, 5, 1_000));
    table.make(&key(1), &known(0, 5, 10));
    table.make(&key(2), &known(0, 5, 20));
    assert!(table.get(&key(0)).is_some() && table.get(&key(1)).is_none());
    // Now that its own time is as late, the one of the future is the older one.
    table.make(&key(3), &known(0, 5, 2_000));
    assert!(table.get(&key(2)).is_none());
}

#[test]
fn a_flood_takes_no_place_of_known_sessions_however_long_it_goes_on() {
    let table = Table::new(100);
    for n in 0..30 {
        table.make(&key(n), &known(Session::PROVISIONED, 2, 1));
    }
    for n in 30..60 {
        table.make(&key(n), &known(0, 2, 1));
    }
    for n in 100..20_000 {
        table.shared().make(&table.layout, &key(n), &known(0, 1, u64::from(n)));
    }
    assert_eq!((0..30).filter(|n| table.get(&key(*n)).is_some()).count(), 30);
    assert_eq!((30..60).filter(|n| table.get(&key(*n)).is_some()).count(), 30, "nor of strangers with more packets");
    assert!(table.all().len() <= 101);
}

#[test]
fn a_flood_is_bounded_and_each_of_its_sessions_is_made() {
    let table = Table::new(100);
    for n in 0..20_000 {
        table.make(&key(n), &session(1 + u64::from(n)));
        assert!(table.get(&key(n)).is_some());
    }
    let count = table.all().len();
    assert!((90..=101).contains(&count), "{count}");
    assert_eq!(table.present.load(Ordering::Relaxed), count as u64);
}

#[test]
fn a_session_that_is_there_is_not_made_again() {
    let table = Table::new(8);
    let first = table.make(&key(1), &session(1));
    assert_eq!(table.make(&key(1), &session(2)), first);
    assert_eq!(table.get(&key(1)), Some(session(1)));
    assert!(table.remove(&key(1)) && !table.remove(&key(1)));
    assert_eq!(table.get(&key(1)), None);
}

#[test]
fn a_lock_that_is_not_given_back_is_not_waited_for_for_ever() {
    let table = Table::new(4);
    table.slots[0][super::LOCK].store(1, Ordering::Relaxed);
    assert_eq!(table.shared().make(&table.layout, &key(1), &session(1)), None);
}

#[test]
fn keys_that_differ_in_one_thing_are_spread_evenly_by_any_seed() {
    let by_port = |n: u32| SessionKey { source_port: n as u16, ..key(0) };
    let by_ssid = |n: u32| SessionKey { ssid: n as u16, ..key(0) };
    let by_v6 = |n: u32| SessionKey { source: Address::from_words([0xb80d_0120, u64::from(n).swap_bytes()]), ..key(0) };
    let subnets = |n: u32| SessionKey { source: Address::from_words([u64::from(n) << 32, 1]), ..key(0) };
    for salt in 1..20u64 {
        let layout = TableLayout::new(4096, SEED.map(|word| word.wrapping_mul(salt | 1)));
        for make in [key, by_port, by_ssid, by_v6, subnets] {
            let mut rows = std::vec![0u32; layout.rows as usize];
            (0..4096).for_each(|n| rows[layout.home(&make(n)).row as usize] += 1);
            // Four to a row in the mean: of a thousand rows, one in chance has 13.
            let most = rows.iter().max().expect("rows");
            assert!(*most <= 24, "{most} in one row with seed {salt}");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Make(u32),
    Remove(u32),
}

proptest! {
    /// With places enough, the table is a map. (Checked to fail with `find` that stops at the first free place.)
    #[test]
    fn with_room_enough_the_table_does_what_a_map_does(
        steps in prop::collection::vec((0..40u32, any::<bool>()), 1..400),
        seed in any::<[u64; 5]>(),
    ) {
        let steps = steps.into_iter().map(|(n, is_made)| if is_made { Step::Make(n) } else { Step::Remove(n) });
        let table = Table::seeded(40, seed);
        let mut model = HashMap::new();
        for (at, step) in steps.enumerate() {
            match step {
                Step::Make(n) => {
                    table.make(&key(n), &session(at as u64));
                    model.entry(key(n)).or_insert(session(at as u64));
                }
                Step::Remove(n) => prop_assert_eq!(table.remove(&key(n)), model.remove(&key(n)).is_some()),
            }
            prop_assert_eq!(table.present.load(Ordering::Relaxed), model.len() as u64);
        }
        let all: HashMap<SessionKey, Session> = table.all().into_iter().collect();
        prop_assert_eq!(all, model);
    }
}

#[test]
fn threads_that_make_and_remove_the_same_sessions_never_see_half_of_one_or_two_of_one() {
    const KEYS: u32 = 24;
    let table = Table::new(KEYS);
    let made = AtomicU32::new(0);
    // Whole sessions only: every word of one says which it is.
    let whole = |n: u32| Session {
        replies: u64::from(n),
        unanswered: u64::from(n),
        previous_timestamp: u64::from(n),
        ..session(1)
    };
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (table, made, whole) = (&table, &made, &whole);
            scope.spawn(move || {
                let mut random = thread + 1;
                for _ in 0..20_000 {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let n = (random >> 8) % KEYS;
                    if random >> 31 == 0 {
                        // A thread may lose the processor while it has the lock, which the kernel's program can't.
                        made.fetch_add(
                            u32::from(table.shared().make(&table.layout, &key(n), &whole(n)).is_some()),
                            Ordering::Relaxed,
                        );
                    } else {
                        table.remove(&key(n));
                    }
                    for (key_there, session) in table.all() {
                        let n = session.replies as u32;
                        assert_eq!((key_there, session), (key(n), whole(n)));
                    }
                }
            });
        }
    });
    assert!(made.load(Ordering::Relaxed) > 1000);
    let mut keys: Vec<SessionKey> = table.all().into_iter().map(|(key, _)| key).collect();
    assert_eq!(table.present.load(Ordering::Relaxed), keys.len() as u64);
    let all = keys.len();
    keys.sort_by_key(|key| key.source.0);
    keys.dedup();
    assert_eq!(keys.len(), all, "a key is there twice");
}

#[test]
fn a_place_that_somebody_left_half_changed_is_nobodys_until_it_is_freed() {
    let table = Table::new(4);
    let index = table.make(&key(1), &session(1)) as usize;
    let slot = &table.slots[index];
    // As `clear` begins, and a controller that is killed does not go on.
    let live = slot[super::STATE].load(Ordering::Relaxed);
    slot[super::STATE].store(live + super::CHANGE - super::LIVE + super::BUSY, Ordering::Relaxed);
    assert_eq!((table.get(&key(1)), table.all().len()), (None, 0));
    let state = changing(slot).expect("it is being changed");
    assert!(free(slot, state) && !free(slot, state));
    assert_eq!(changing(slot), None);
    assert_eq!(table.make(&key(1), &session(2)) as usize, index, "it is used again");
    assert_eq!(table.get(&key(1)), Some(session(2)));
}
