//! The newest offset of each key, in bounded memory.
//!
//! Keys are not kept, only a 128-bit keyed hash of each (SipHash-1-3): with the greatest table of some billion keys, two of
//! them meet with a chance below 1 in 10^19. Kafka uses MD5 without a secret in the same place.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// Bytes of a slot: the hash and the offset.
const SLOT_LEN: usize = 24;

/// Slots to begin with; doubled as keys come, up to the limit.
const SLOTS_FIRST: usize = 1 << 10;

/// Of sixteen slots so many are used at most: probing stays short.
const LOAD_OF_16: usize = 14;

/// Both halves of the hash, and the offset; -1 where nothing is.
type Slot = (u64, u64, i64);

/// A hash table with open addressing.
#[derive(Debug)]
pub(super) struct OffsetTable {
    hasher: SipHasher13,
    slots: Vec<Slot>,
    slots_max: usize,
    len: usize,
}

impl OffsetTable {
    /// At most about `bytes` are used, and at least room for one key; while the table grows, half as much again.
    pub(super) fn new(bytes: usize, (k0, k1): (u64, u64)) -> OffsetTable {
        OffsetTable {
            hasher: SipHasher13::new_with_keys(k0, k1),
            slots: Vec::new(),
            slots_max: (bytes / SLOT_LEN).max(2),
            len: 0,
        }
    }

    /// Keys in it.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The newest offset of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<i64> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = self.slots[self.place(self.hash(key))];
        (slot.2 >= 0).then_some(slot.2)
    }

    /// Sets a key's offset. False: it is a new key and there is no room for it.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        assert!(offset >= 0, "offset {offset}");
        let hash = self.hash(key);
        if self.slots.is_empty() {
            self.grow();
        }
        let mut at = self.place(hash);
        if self.slots[at].2 < 0 {
            if self.len >= usable(self.slots.len()) {
                if self.slots.len() >= self.slots_max {
                    return false;
                }
                self.grow();
                at = self.place(hash);
            }
            self.len += 1;
        }
        self.slots[at] = (hash.0, hash.1, offset);
        true
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        let mut hasher = self.hasher;
        hasher.write(key);
        let hash = hasher.finish128();
        (hash.h1, hash.h2)
    }

    /// The key's slot, or the free one where it belongs. There always is a free one.
    fn place(&self, hash: (u64, u64)) -> usize {
        let slots = self.slots.len();
        // The high half of a product: a number below `slots`, as even as the hash.
        let mut at = ((u128::from(hash.0) * slots as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot.2 < 0 || (slot.0, slot.1) == hash {
                return at;
            }
            at = if at + 1 == slots { 0 } else { at + 1 };
        }
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).clamp(SLOTS_FIRST.min(self.slots_max), self.slots_max);
        let old = std::mem::replace(&mut self.slots, vec![(0, 0, -1); slots]);
        for slot in old.into_iter().filter(|slot| slot.2 >= 0) {
            let at = self.place((slot.0, slot.1));
            self.slots[at] = slot;
        }
    }
}

/// Keys that so many slots take: at least one, and one slot stays free.
fn usable(slots: usize) -> usize {
    (slots * LOAD_OF_16 / 16).clamp(1, slots - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn it_is_a_map_until_it_is_full_and_then_still_knows_what_it_knew() {
        for bytes in [0, 100, 24 * 1024, 24 * 3000, 1 << 20] {
            let mut table = OffsetTable::new(bytes, (1, 2));
            let mut model: HashMap<Vec<u8>, i64> = HashMap::new();
            let mut refused = 0;
            for i in 0..20_000i64 {
                let key = (i * i % 7919).to_be_bytes().to_vec();
                let known = model.contains_key(&key);
                if table.put(&key, i) {
                    model.insert(key, i);
                } else {
                    assert!(!known, "a key that is there has its place");
                    refused += 1;
                }
            }
            assert_eq!(table.len(), model.len());
            assert!(model.iter().all(|(key, offset)| table.get(key) == Some(*offset)));
            assert_eq!(table.get(b"not there"), None);
            assert!(table.slots.len() * SLOT_LEN <= bytes.max(2 * SLOT_LEN), "within its bytes");
            assert_eq!(refused > 0, bytes < 1 << 18, "{bytes} bytes: {} keys", table.len());
        }
    }

    #[test]
    fn a_slot_is_as_long_as_is_said() {
        assert_eq!(size_of::<Slot>(), SLOT_LEN);
    }
}
