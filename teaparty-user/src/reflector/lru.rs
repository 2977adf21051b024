//! A map of bounded size in which the entry that was used least recently makes room for a new one.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::quality::RandomState;

const NONE: u32 = u32::MAX;

/// The map. All operations take constant time.
pub struct Lru<K, V> {
    places: HashMap<K, u32, RandomState>,
    nodes: Vec<Node<K, V>>,
    capacity: usize,
    newest: u32,
    oldest: u32,
}

struct Node<K, V> {
    key: K,
    value: V,
    newer: u32,
    older: u32,
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    /// A map for up to `capacity` entries, at least one. Memory is taken as it fills.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, NONE as usize - 1);
        Self { places: HashMap::default(), nodes: Vec::new(), capacity, newest: NONE, oldest: NONE }
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The entry for `key`, which thereby becomes the one used last.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = *self.places.get(key)?;
        self.touch(place);
        Some(&mut self.nodes[place as usize].value)
    }

    /// The entry for `key`, without counting as a use of it.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.places.get(key).map(|place| &self.nodes[*place as usize].value)
    }

    /// Puts an entry in, in place of an earlier one of that key or, where the map is full, of the least recently used.
    pub fn insert(&mut self, key: K, value: V) -> &mut V {
        if let Some(place) = self.places.get(&key).copied() {
            self.nodes[place as usize].value = value;
            self.touch(place);
            return &mut self.nodes[place as usize].value;
        }
        let place = if self.nodes.len() < self.capacity {
            self.nodes.push(Node { key, value, newer: NONE, older: NONE });
            (self.nodes.len() - 1) as u32
        } else {
            let place = self.oldest;
            self.unlink(place);
            let node = &mut self.nodes[place as usize];
            self.places.remove(&node.key);
            node.key = key;
            node.value = value;
            place
        };
        self.places.insert(key, place);
        self.link(place);
        &mut self.nodes[place as usize].value
    }

    /// The entry for `key`, made by `make` if there is none; it becomes the one used last.
    pub fn get_or_insert_with(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        match self.places.get(key).copied() {
            Some(place) => {
                self.touch(place);
                &mut self.nodes[place as usize].value
            }
            None => self.insert(*key, make()),
        }
    }

    /// Takes the entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.places.remove(key)?;
        self.unlink(place);
        let node = self.nodes.swap_remove(place as usize);
        if let Some(moved) = self.nodes.get(place as usize) {
            let (newer, older) = (moved.newer, moved.older);
            self.places.insert(moved.key, place);
            match newer {
                NONE => self.newest = place,
                newer => self.nodes[newer as usize].older = place,
            }
            match older {
                NONE => self.oldest = place,
                older => self.nodes[older as usize].newer = place,
            }
        }
        Some(node.value)
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.nodes.iter().map(|node| (&node.key, &node.value))
    }

    /// Takes out, from the least recently used on, what `is_over` says so of, up to the first that it does not.
    pub fn expire(&mut self, mut is_over: impl FnMut(&V) -> bool) -> usize {
        let mut count = 0;
        while self.oldest != NONE && is_over(&self.nodes[self.oldest as usize].value) {
            let key = self.nodes[self.oldest as usize].key;
            self.remove(&key);
            count += 1;
        }
        count
    }

    fn touch(&mut self, place: u32) {
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    fn link(&mut self, place: u32) {
        let node = &mut self.nodes[place as usize];
        (node.newer, node.older) = (NONE, self.newest);
        match self.newest {
            NONE => self.oldest = place,
            newest => self.nodes[newest as usize].newer = place,
        }
        self.newest = place;
    }

    fn unlink(&mut self, place: u32) {
        let (newer, older) = (self.nodes[place as usize].newer, self.nodes[place as usize].older);
        match newer {
            NONE => self.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_least_recently_used_makes_room() {
        let mut map = Lru::new(2);
        map.insert(1, 'a');
        map.insert(2, 'b');
        assert_eq!(map.get_mut(&1), Some(&mut 'a'));
        map.insert(3, 'c');
        assert_eq!((map.peek(&1), map.peek(&2), map.peek(&3)), (Some(&'a'), None, Some(&'c')));
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_list_ordered_by_use(steps in prop::collection::vec((0u8..4, 0u8..12), 0..300)) {
            let mut map = Lru::new(5);
            // The model: most recently used first.
            let mut model: Vec<(u8, u8)> = Vec::new();
            for (i, (what, key)) in steps.into_iter().enumerate() {
                let at = model.iter().position(|(k, _)| *k == key);
                match what {
                    0 => {
                        map.insert(key, i as u8);
                        at.map(|at| model.remove(at));
                        model.truncate(if at.is_some() { 5 } else { 4 });
                        model.insert(0, (key, i as u8));
                    }
                    1 => {
                        let found = at.map(|at| model.remove(at));
                        prop_assert_eq!(map.get_mut(&key).copied(), found.map(|(_, v)| v));
                        found.into_iter().for_each(|entry| model.insert(0, entry));
                    }
                    2 => prop_assert_eq!(map.remove(&key), at.map(|at| model.remove(at).1)),
                    _ => {
                        let last = model.pop();
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
}
