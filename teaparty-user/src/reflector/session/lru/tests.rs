//! The map against a list, and who makes room for whom.

use proptest::prelude::*;

use super::*;

/// An entry with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry(Standing, u8);

impl Ranked for Entry {
    fn standing(&self) -> Standing {
        self.0
    }
}

const ONCE: Standing = Standing::OnePacket;
const STRANGER: Standing = Standing::Stranger;
const KNOWN: Standing = Standing::Known;

#[test]
fn the_least_recently_used_makes_room() {
    let mut map = Lru::new(2);
    assert!(map.insert(1, Entry(STRANGER, b'a')));
    assert!(map.insert(2, Entry(STRANGER, b'b')));
    assert_eq!(map.get_mut(&1), Some(&mut Entry(STRANGER, b'a')));
    assert!(map.insert(3, Entry(STRANGER, b'c')));
    assert_eq!((map.peek(&1).map(|e| e.1), map.peek(&2), map.peek(&3).map(|e| e.1)), (Some(b'a'), None, Some(b'c')));
}

#[test]
fn the_least_known_makes_room_and_a_known_one_for_its_like_alone() {
    let mut map = Lru::new(3);
    for (key, standing) in [(1, KNOWN), (2, STRANGER), (3, ONCE)] {
        assert!(map.insert(key, Entry(standing, 0)));
    }
    let keys = |map: &Lru<i32, Entry>| (0..20).filter(|key| map.peek(key).is_some()).collect::<Vec<_>>();
    assert!(map.insert(4, Entry(ONCE, 0)));
    assert_eq!(keys(&map), [1, 2, 4], "one packet before several, though it is younger");
    map.change(&4, |entry| entry.0 = STRANGER);
    map.get_mut(&2);
    assert!(map.insert(5, Entry(ONCE, 0)));
    assert_eq!(keys(&map), [1, 2, 5], "then the least recently used one");
    assert!(map.insert(6, Entry(KNOWN, 0)) && map.insert(7, Entry(KNOWN, 0)));
    assert_eq!(keys(&map), [1, 6, 7]);
    assert!(!map.insert(8, Entry(ONCE, 0)) && !map.insert(9, Entry(STRANGER, 0)));
    assert_eq!(keys(&map), [1, 6, 7], "a stranger takes no known one's place");
    assert!(map.insert(10, Entry(KNOWN, 0)));
    assert_eq!(keys(&map), [6, 7, 10]);
    assert_eq!((map.expire(|_| true), map.len()), (3, 0));
}

proptest! {
    #[test]
    fn it_behaves_like_a_list_ordered_by_standing_and_use(
        steps in prop::collection::vec((0u8..5, 0u8..12, 0usize..3), 0..300),
    ) {
        let mut map = Lru::new(5);
        // The model: most recently used first.
        let mut model: Vec<(u8, Entry)> = Vec::new();
        for (i, (what, key, standing)) in steps.into_iter().enumerate() {
            let standing = [ONCE, STRANGER, KNOWN][standing];
            let at = model.iter().position(|(k, _)| *k == key);
            match what {
                0 => {
                    let entry = Entry(standing, i as u8);
                    let mut is_in = true;
                    if let Some(at) = at {
                        model.remove(at);
                    } else if model.len() == 5 {
                        let least = model.iter().map(|(_, entry)| entry.0).min().unwrap();
                        is_in = least.makes_room_for(standing);
                        if is_in {
                            model.remove(model.iter().rposition(|(_, entry)| entry.0 == least).unwrap());
                        }
                    }
                    prop_assert_eq!(map.insert(key, entry), is_in);
                    if is_in {
                        model.insert(0, (key, entry));
                    }
                }
                1 => {
                    let found = at.map(|at| model.remove(at));
                    prop_assert_eq!(map.get_mut(&key).copied(), found.map(|(_, v)| v));
                    found.into_iter().for_each(|entry| model.insert(0, entry));
                }
                2 => prop_assert_eq!(map.remove(&key), at.map(|at| model.remove(at).1)),
                3 => {
                    let changed = map.change(&key, |entry| entry.0 = standing);
                    prop_assert_eq!(changed.is_some(), at.is_some());
                    if let Some(at) = at {
                        let (key, entry) = model.remove(at);
                        model.insert(0, (key, Entry(standing, entry.1)));
                    }
                }
                _ => {
                    let oldest = |standing| model.iter().rposition(|(_, entry)| entry.0 == standing);
                    let last = oldest(ONCE).or_else(|| oldest(STRANGER)).or_else(|| oldest(KNOWN));
                    let last = last.map(|at| model.remove(at));
                    let mut first = true;
                    map.expire(|_| std::mem::take(&mut first));
                    prop_assert_eq!(last.is_some_and(|(k, _)| map.peek(&k).is_some()), false);
                }
            }
            prop_assert_eq!(map.len(), model.len());
            for (key, value) in &model {
                prop_assert_eq!(map.peek(key), Some(value));
            }
        }
    }
}
