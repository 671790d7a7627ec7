//! Which event ids were taken lately, and where their events are in the spool.
//!
//! A service that got no answer sends its event again under the same id; within the window that is one event. Bounded in
//! time and in number: beyond [`Dedup::ids_max`] the oldest ids are forgotten first, which is counted.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// 128 bits of an id: two ids of a window have the same with a probability below 2^-80.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdHash(pub u128);

impl IdHash {
    /// Of an id.
    pub fn of(id: &str) -> IdHash {
        let mut hasher = SipHasher24::new();
        hasher.write(id.as_bytes());
        IdHash(hasher.finish128().as_u128())
    }
}

/// Where the event of an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// On its way there.
    Pending,
    /// In the spool.
    At(i64),
}

/// The ids of a channel.
#[derive(Debug)]
pub struct Dedup {
    /// Milliseconds; 0: nothing is remembered.
    window_ms: i64,
    ids_max: usize,
    seen: HashMap<IdHash, Seen>,
    /// By age.
    order: VecDeque<(i64, IdHash)>,
    /// Forgotten before their time.
    forgotten: u64,
}

impl Dedup {
    /// Remembers ids for so long, and so many.
    pub fn new(window_ms: i64, ids_max: usize) -> Dedup {
        Dedup { window_ms, ids_max, seen: HashMap::new(), order: VecDeque::new(), forgotten: 0 }
    }

    /// Another window, from now on.
    pub fn set_window(&mut self, window_ms: i64) {
        self.window_ms = window_ms;
    }

    /// Ids that were forgotten before their time.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Where the event of this id is, if it was taken within the window.
    pub fn find(&mut self, id: IdHash, now_ms: i64) -> Option<Seen> {
        self.expire(now_ms);
        self.seen.get(&id).copied()
    }

    /// An id that is new.
    pub fn insert(&mut self, id: IdHash, seen: Seen, now_ms: i64) {
        if self.window_ms == 0 || self.ids_max == 0 {
            return;
        }
        if self.order.len() >= self.ids_max
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
            self.forgotten += 1;
        }
        self.seen.insert(id, seen);
        self.order.push_back((now_ms, id));
    }

    /// A pending id's event is in the spool now.
    pub fn settle(&mut self, id: IdHash, offset: i64) {
        if let Some(seen @ Seen::Pending) = self.seen.get_mut(&id) {
            *seen = Seen::At(offset);
        }
    }

    /// A pending id's event was not taken after all: it may come again.
    pub fn take_back(&mut self, id: IdHash) {
        if self.seen.get(&id) == Some(&Seen::Pending) {
            self.seen.remove(&id);
            self.order.retain(|(_, known)| *known != id);
        }
    }

    fn expire(&mut self, now_ms: i64) {
        while let Some((at, id)) = self.order.front()
            && now_ms.saturating_sub(*at) >= self.window_ms
        {
            self.seen.remove(id);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_the_window_and_what_failed_may_come_again() {
        let (a, b) = (IdHash::of("a"), IdHash::of("b"));
        let mut dedup = Dedup::new(100, 10);
        assert_eq!(dedup.find(a, 0), None);
        dedup.insert(a, Seen::Pending, 0);
        dedup.insert(b, Seen::Pending, 0);
        assert_eq!(dedup.find(a, 50), Some(Seen::Pending));
        dedup.settle(a, 7);
        dedup.take_back(b);
        assert_eq!((dedup.find(a, 99), dedup.find(b, 99)), (Some(Seen::At(7)), None));
        dedup.take_back(a);
        assert_eq!(dedup.find(a, 99), Some(Seen::At(7)), "it is in the spool");
        assert_eq!(dedup.find(a, 100), None);
        assert_eq!(dedup.forgotten(), 0);
    }

    #[test]
    fn it_is_bounded_and_says_what_it_forgot() {
        let mut dedup = Dedup::new(1_000, 3);
        for n in 0..5 {
            dedup.insert(IdHash::of(&n.to_string()), Seen::At(n), n);
        }
        assert_eq!(dedup.forgotten(), 2);
        let known = |dedup: &mut Dedup, n: i64| dedup.find(IdHash::of(&n.to_string()), 5).is_some();
        assert_eq!(
            (0..5).map(|n| known(&mut dedup, n)).collect::<Vec<_>>(),
            [false, false, true, true, true]
        );
    }
}
