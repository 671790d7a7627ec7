//! Deadlines by key: set, moved and cancelled in logarithmic time, without a clock.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A moment between settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Later(u64);

/// One deadline for each key. Those that are due come out by time, then in the order they were set.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    by_key: HashMap<K, (i64, u64)>,
    by_time: BTreeMap<(i64, u64), K>,
    next: u64,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { by_key: HashMap::new(), by_time: BTreeMap::new(), next: 0 }
    }
}

impl<K: Hash + Eq + Clone> Timers<K> {
    /// Sets or moves a deadline, in milliseconds.
    pub fn set(&mut self, key: K, deadline_ms: i64) {
        let at = (deadline_ms, self.next);
        self.next += 1;
        if let Some(old) = self.by_key.insert(key.clone(), at) {
            self.by_time.remove(&old);
        }
        self.by_time.insert(at, key);
    }

    /// Forgets a deadline, when there is one.
    pub fn cancel(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&at);
        }
    }

    /// The deadline of a key.
    #[cfg(test)]
    pub fn deadline_of(&self, key: &K) -> Option<i64> {
        self.by_key.get(key).map(|(deadline, _)| *deadline)
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<i64> {
        self.by_time.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// What is set from now on, for [`Timers::pop_due`].
    pub fn later(&self) -> Later {
        Later(self.next)
    }

    /// Takes out the earliest key whose deadline is `now_ms` or before, of those that were set before `later`: what is set
    /// while deadlines are served waits for the next time, even when it is due at once, so that this comes to an end.
    pub fn pop_due(&mut self, now_ms: i64, later: Later) -> Option<K> {
        let mut due = self.by_time.range(..=(now_ms, u64::MAX));
        let at = *due.find(|((_, number), _)| *number < later.0)?.0;
        let key = self.by_time.remove(&at)?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_out_in_order_and_only_when_due() {
        let mut timers = Timers::default();
        timers.set("b", 20);
        timers.set("a", 20);
        timers.set("c", 10);
        let later = timers.later();
        assert_eq!((timers.next_deadline(), timers.pop_due(9, later)), (Some(10), None));
        assert_eq!(timers.pop_due(10, later), Some("c"));
        timers.set("d", 5);
        let due: Vec<_> = std::iter::from_fn(|| timers.pop_due(25, later)).collect();
        assert_eq!(due, ["b", "a"], "what is set meanwhile waits");
        assert_eq!(timers.pop_due(25, timers.later()), Some("d"));
        assert_eq!((timers.next_deadline(), timers.len()), (None, 0));
    }

    #[test]
    fn a_moved_deadline_leaves_nothing_behind() {
        let mut timers = Timers::default();
        timers.set("a", 10);
        timers.set("a", 30);
        assert_eq!(
            (timers.deadline_of(&"a"), timers.pop_due(10, timers.later()), timers.len()),
            (Some(30), None, 1)
        );
        timers.cancel(&"a");
        timers.cancel(&"a");
        assert_eq!((timers.next_deadline(), timers.by_time.len(), timers.by_key.len()), (None, 0, 0));
    }
}
