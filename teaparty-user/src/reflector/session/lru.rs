//! A map of bounded size in which the entry that was used least recently makes room for a new one, among those of the least
//! standing.
//!
//! The crate `lru` keeps one order of use and evicts by that alone; with a map of it for each standing, every look-up would
//! search all of them, and the capacity would still be counted here.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::quality::RandomState;
use teaparty_common::maps::{Session, Standing};

const NONE: u32 = u32::MAX;

/// The rank of an entry.
pub trait Ranked {
    /// Its standing as it is now.
    fn standing(&self) -> Standing;
}

impl Ranked for Session {
    fn standing(&self) -> Standing {
        Self::standing(self)
    }
}

/// The map. All operations take constant time.
pub struct Lru<K, V> {
    places: HashMap<K, u32, RandomState>,
    nodes: Vec<Node<K, V>>,
    capacity: usize,
    /// One list for each standing, in the order of use.
    lists: [List; Standing::COUNT],
}

#[derive(Clone, Copy)]
struct List {
    newest: u32,
    oldest: u32,
}

struct Node<K, V> {
    key: K,
    value: V,
    newer: u32,
    older: u32,
    standing: Standing,
}

impl<K: Copy + Eq + Hash, V: Ranked> Lru<K, V> {
    /// A map for up to `capacity` entries, at least one. Memory is taken as it fills.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, NONE as usize - 1);
        let lists = [List { newest: NONE, oldest: NONE }; Standing::COUNT];
        Self { places: HashMap::default(), nodes: Vec::new(), capacity, lists }
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns true if there is none.
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

    /// Changes the entry for `key`, which becomes the one used last of its standing after that. Returns what `change` does, or
    /// `None` where there is no entry.
    pub fn change<T>(&mut self, key: &K, change: impl FnOnce(&mut V) -> T) -> Option<T> {
        let place = *self.places.get(key)?;
        let result = change(&mut self.nodes[place as usize].value);
        self.touch(place);
        Some(result)
    }

    /// Puts an entry in, in place of an earlier one of that key or, where the map is full, of another one that makes room for
    /// it. Returns false where none does, and the entry is not in the map.
    pub fn insert(&mut self, key: K, value: V) -> bool {
        if let Some(place) = self.places.get(&key).copied() {
            self.nodes[place as usize].value = value;
            self.touch(place);
            return true;
        }
        let standing = value.standing();
        if self.nodes.len() >= self.capacity {
            let oldest = (0..).zip(&self.lists).find(|(_, list)| list.oldest != NONE).map(|(_, list)| list.oldest);
            let gone = oldest.map(|place| &self.nodes[place as usize]);
            let Some(gone) = gone.filter(|gone| gone.standing.makes_room_for(standing)).map(|gone| gone.key) else {
                return false;
            };
            self.remove(&gone);
        }
        let place = self.nodes.len() as u32;
        self.nodes.push(Node { key, value, newer: NONE, older: NONE, standing });
        self.places.insert(key, place);
        self.link(place);
        true
    }

    /// The entry for `key`, made by `make` if there is none; it becomes the one used last. `None` where none makes room for it.
    pub fn get_or_insert_with(&mut self, key: &K, make: impl FnOnce() -> V) -> Option<&mut V> {
        if !self.places.contains_key(key) && !self.insert(*key, make()) {
            return None;
        }
        self.get_mut(key)
    }

    /// Takes the entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.places.remove(key)?;
        self.unlink(place);
        let node = self.nodes.swap_remove(place as usize);
        if let Some(moved) = self.nodes.get(place as usize) {
            let (newer, older, list) = (moved.newer, moved.older, moved.standing as usize);
            self.places.insert(moved.key, place);
            match newer {
                NONE => self.lists[list].newest = place,
                newer => self.nodes[newer as usize].older = place,
            }
            match older {
                NONE => self.lists[list].oldest = place,
                older => self.nodes[older as usize].newer = place,
            }
        }
        Some(node.value)
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.nodes.iter().map(|node| (&node.key, &node.value))
    }

    /// Takes out, from the least recently used of each standing on, what `is_over` says so of, up to the first that it does
    /// not.
    pub fn expire(&mut self, mut is_over: impl FnMut(&V) -> bool) -> usize {
        let mut count = 0;
        for list in 0..Standing::COUNT {
            while let Some(oldest) = self.nodes.get(self.lists[list].oldest as usize)
                && is_over(&oldest.value)
            {
                let key = oldest.key;
                self.remove(&key);
                count += 1;
            }
        }
        count
    }

    fn touch(&mut self, place: u32) {
        let node = &self.nodes[place as usize];
        let standing = node.value.standing();
        if node.standing != standing || self.lists[standing as usize].newest != place {
            self.unlink(place);
            self.nodes[place as usize].standing = standing;
            self.link(place);
        }
    }

    fn link(&mut self, place: u32) {
        let node = &mut self.nodes[place as usize];
        let list = &mut self.lists[node.standing as usize];
        (node.newer, node.older) = (NONE, list.newest);
        match list.newest {
            NONE => list.oldest = place,
            newest => self.nodes[newest as usize].newer = place,
        }
        list.newest = place;
    }

    fn unlink(&mut self, place: u32) {
        let Node { newer, older, standing, .. } = self.nodes[place as usize];
        let list = &mut self.lists[standing as usize];
        match newer {
            NONE => list.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
        match older {
            NONE => list.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
    }
}

#[cfg(test)]
mod tests;
