//! Which segment is scrubbed next.
//!
//! In memory only. What is there at the start becomes due at a random moment of the first interval: then a server that is
//! restarted often still comes to every segment, in the long run once an interval, and a start reads nothing at once.
//! What is sealed later becomes due an interval after it was seen: it was just written. What a recovery sealed without
//! reading all of it is due at once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use buslane_wire::ids::SegmentRef;

/// When each segment is due, in milliseconds.
#[derive(Debug)]
pub(super) struct Schedule {
    interval_ms: i64,
    seed: u64,
    started: bool,
    due: HashMap<SegmentRef, i64>,
}

impl Schedule {
    /// Nothing is known yet. `interval_ms` is above 0.
    pub(super) fn new(interval_ms: i64, seed: u64) -> Schedule {
        assert!(interval_ms > 0, "an interval of {interval_ms} ms");
        Schedule { interval_ms, seed, started: false, due: HashMap::new() }
    }

    /// These are the segments now.
    pub(super) fn follow(&mut self, now_ms: i64, segments: Vec<SegmentRef>) {
        let mut due = HashMap::with_capacity(segments.len());
        for segment in segments {
            let at = self.due.get(&segment).copied();
            due.insert(segment, at.unwrap_or_else(|| now_ms.saturating_add(self.first_wait_ms(&segment))));
        }
        self.due = due;
        self.started = true;
    }

    fn first_wait_ms(&self, segment: &SegmentRef) -> i64 {
        if self.started {
            return self.interval_ms;
        }
        let mut hasher = DefaultHasher::new();
        (self.seed, segment).hash(&mut hasher);
        (hasher.finish() % self.interval_ms as u64) as i64
    }

    /// Those that are due, the one that waits longest first.
    pub(super) fn due(&self, now_ms: i64) -> Vec<SegmentRef> {
        let mut due: Vec<_> =
            self.due.iter().filter(|(_, at)| **at <= now_ms).map(|(segment, at)| (*at, *segment)).collect();
        due.sort();
        due.into_iter().map(|(_, segment)| segment).collect()
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.due.values().min().copied()
    }

    /// A segment was scrubbed and is due again in `wait_ms`.
    pub(super) fn again(&mut self, segment: SegmentRef, now_ms: i64, wait_ms: i64) {
        if let Some(at) = self.due.get_mut(&segment) {
            *at = now_ms.saturating_add(wait_ms);
        }
    }

    /// A segment is due now.
    pub(super) fn at_once(&mut self, segment: SegmentRef, now_ms: i64) {
        self.again(segment, now_ms, 0);
    }

    /// True for one of the segments.
    pub(super) fn knows(&self, segment: &SegmentRef) -> bool {
        self.due.contains_key(segment)
    }
}

#[cfg(test)]
mod tests {
    use buslane_wire::ids::{SegmentId, TopicPartition};

    use super::*;

    fn segments(ids: std::ops::Range<u64>) -> Vec<SegmentRef> {
        ids.map(|id| SegmentRef { partition: TopicPartition::default(), segment: SegmentId(id) }).collect()
    }

    #[test]
    fn what_is_there_at_the_start_is_spread_over_an_interval() {
        let mut schedule = Schedule::new(1_000, 7);
        schedule.follow(5_000, segments(0..1_000));
        let half = schedule.due(5_500).len();
        assert!((400..600).contains(&half), "{half} of 1,000 are due in half an interval");
        assert_eq!(schedule.due(4_999).len(), 0);
        let all = schedule.due(6_000);
        assert_eq!(all.len(), 1_000);
        assert_eq!(all[..half], schedule.due(5_500), "those that wait longest come first");
        let mut other = Schedule::new(1_000, 8);
        other.follow(5_000, segments(0..1_000));
        assert_ne!(other.due(6_000), all, "another start, another order");
    }

    #[test]
    fn each_is_due_again_when_it_was_said_to_be() {
        let mut schedule = Schedule::new(1_000, 7);
        schedule.follow(0, vec![]);
        assert_eq!(schedule.next_due(), None);
        schedule.follow(100, segments(0..2));
        assert_eq!((schedule.due(1_099).len(), schedule.next_due()), (0, Some(1_100)), "just written");
        schedule.follow(600, segments(0..3));
        assert_eq!(schedule.due(1_100), segments(0..2));
        schedule.again(segments(0..1)[0], 1_200, 1_000);
        assert_eq!(schedule.due(2_000), segments(1..3));
        schedule.follow(2_000, segments(0..1));
        assert_eq!((schedule.due(2_200), schedule.knows(&segments(1..2)[0])), (segments(0..1), false));
        schedule.at_once(segments(0..1)[0], 2_100);
        assert_eq!(schedule.due(2_100), segments(0..1));
        schedule.again(segments(0..1)[0], 2_200, 0);
        // Dropped while it was scrubbed.
        schedule.again(segments(1..2)[0], 2_300, 1_000);
        assert!(!schedule.knows(&segments(1..2)[0]));
    }
}
