//! The list of leader epochs of a partition, and Kafka's questions to it.
//!
//! Extended at every recovery, cut only at the log start offset, independent of segments.
//! Source: KIP-101 (an epoch ends where the next one starts), KIP-279 (the answer names the epoch it speaks of, the
//! largest one at or below the asked one), KIP-320 (consumers ask, too); the answers are those of Kafka's
//! `LeaderEpochFileCache`.

use buslane_wire::ids::LeaderEpoch;
use minicbor::{Decode, Encode};

/// Epochs and where each starts; both rise.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct EpochList {
    /// (epoch, start offset), strictly ascending in both: of epochs that start at one offset only the last is kept.
    #[n(0)]
    starts: Vec<(i32, i64)>,
}

impl EpochList {
    /// An epoch begins at the end of what was written before. Epochs that wrote nothing leave no trace, and neither does
    /// what a recorded loss took.
    ///
    /// # Panics
    /// When an epoch at or above it wrote something already.
    pub fn begin(&mut self, epoch: LeaderEpoch, start_offset: i64) {
        while self.starts.last().is_some_and(|(_, start)| *start >= start_offset) {
            self.starts.pop();
        }
        if let Some((last, _)) = self.starts.last() {
            assert!(*last < epoch.0, "epoch {epoch} begins after epoch {last}");
        }
        self.starts.push((epoch.0, start_offset));
    }

    /// The log starts here now. The epoch in force at that offset stays, with its start moved up.
    pub fn cut(&mut self, log_start_offset: i64) {
        let keep = self.starts.partition_point(|(_, start)| *start <= log_start_offset);
        if keep > 0 {
            self.starts.drain(..keep - 1);
            self.starts[0].1 = log_start_offset;
        }
    }

    /// The epoch in which the record at `offset` was written.
    pub fn epoch_of(&self, offset: i64) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|i| LeaderEpoch(self.starts[i].0))
    }

    /// Where an epoch ended, as Kafka answers it.
    ///
    /// * `epoch` is `current`: that epoch and `end_offset`, the end of the log (exclusive), though it wrote nothing yet.
    /// * `epoch` is above `current`, or negative: `None`, which is (-1, -1) on the wire (KIP-101: UNDEFINED_EPOCH_OFFSET).
    /// * `epoch` is older than all that is known: `epoch` itself, ended where the first known one starts.
    /// * Else the largest known epoch at or below it (KIP-279), ended where the next known one starts; while the current
    ///   one did not begin yet (it recovers), the newest known one ends at `end_offset`.
    pub fn end_of(
        &self,
        epoch: LeaderEpoch,
        current: LeaderEpoch,
        end_offset: i64,
    ) -> Option<(LeaderEpoch, i64)> {
        if epoch == current {
            return Some((epoch, end_offset));
        }
        if epoch > current || epoch.0 < 0 {
            return None;
        }
        let above = self.starts.partition_point(|(e, _)| *e <= epoch.0);
        let end = self.starts.get(above).map_or(end_offset, |(_, start)| *start);
        match above.checked_sub(1) {
            Some(i) => Some((LeaderEpoch(self.starts[i].0), end)),
            None => self.starts.first().map(|(_, start)| (epoch, *start)),
        }
    }

    /// The oldest known epoch and where it starts.
    pub fn first(&self) -> Option<(LeaderEpoch, i64)> {
        self.starts.first().map(|(epoch, start)| (LeaderEpoch(*epoch), *start))
    }

    /// The newest known epoch and where it starts.
    pub fn last(&self) -> Option<(LeaderEpoch, i64)> {
        self.starts.last().map(|(epoch, start)| (LeaderEpoch(*epoch), *start))
    }

    /// Epochs and starts rise.
    ///
    /// # Panics
    /// When they do not.
    pub fn check(&self) {
        for pair in self.starts.windows(2) {
            assert!(pair[0].0 < pair[1].0, "an epoch fell: {pair:?}");
            assert!(pair[0].1 < pair[1].1, "two epochs start at one offset, or an earlier one: {pair:?}");
        }
    }

    /// Number of epochs known.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// True when nothing is known.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const E: fn(i32) -> LeaderEpoch = LeaderEpoch;

    fn list() -> EpochList {
        let mut list = EpochList::default();
        list.begin(E(0), 0);
        list.begin(E(2), 10);
        list.begin(E(5), 30);
        list
    }

    /// KIP-101: asked for the current epoch, the leader answers with its log end.
    #[test]
    fn the_end_of_the_current_epoch_is_the_end_of_the_log() {
        assert_eq!(list().end_of(E(5), E(5), 44), Some((E(5), 44)));
        assert_eq!(list().end_of(E(7), E(7), 44), Some((E(7), 44)), "an epoch that wrote nothing yet");
    }

    /// KIP-101: an older epoch ended where the next larger one started.
    #[test]
    fn an_older_epoch_ends_where_the_next_begins() {
        assert_eq!(list().end_of(E(0), E(5), 44), Some((E(0), 10)));
        assert_eq!(list().end_of(E(2), E(5), 44), Some((E(2), 30)));
    }

    /// KIP-279: an epoch the leader does not know is answered with the largest known one below it and *that* one's end,
    /// so that a follower that diverged through fast leader changes finds the point where they part.
    #[test]
    fn an_unknown_epoch_is_answered_with_the_largest_known_one_below_it() {
        assert_eq!(list().end_of(E(1), E(5), 44), Some((E(0), 10)));
        assert_eq!(list().end_of(E(3), E(5), 44), Some((E(2), 30)));
        assert_eq!(list().end_of(E(4), E(5), 44), Some((E(2), 30)));
    }

    /// KIP-101: UNDEFINED_EPOCH_OFFSET.
    #[test]
    fn a_future_or_negative_epoch_is_unknown() {
        assert_eq!(list().end_of(E(6), E(5), 44), None);
        assert_eq!(list().end_of(E(-1), E(5), 44), None);
        assert_eq!(list().end_of(E(i32::MAX), E(5), 44), None);
    }

    /// KIP-320: a consumer at (offset 40, epoch 5) learns after a loss that epoch 5 ended at 35, below its position.
    #[test]
    fn a_recorded_loss_is_seen_by_whoever_read_what_was_lost() {
        let mut list = list();
        list.begin(E(6), 35);
        assert_eq!(list.end_of(E(5), E(6), 50), Some((E(5), 35)));
        assert_eq!(list.epoch_of(34), Some(E(5)));
        assert_eq!(list.epoch_of(35), Some(E(6)));
    }

    /// Between an assignment and the recovery's seal the newest epoch did not begin yet.
    #[test]
    fn while_the_current_epoch_recovers_the_one_before_it_ends_with_the_log() {
        assert_eq!(list().end_of(E(5), E(6), 44), Some((E(5), 44)));
        assert_eq!(list().end_of(E(2), E(6), 44), Some((E(2), 30)));
        assert_eq!(list().end_of(E(6), E(6), 44), Some((E(6), 44)));
    }

    #[test]
    fn an_epoch_that_wrote_nothing_leaves_no_trace() {
        let mut list = list();
        list.begin(E(6), 50);
        list.begin(E(9), 50);
        assert_eq!(list.epoch_of(50), Some(E(9)));
        assert_eq!(list.end_of(E(6), E(9), 60), Some((E(5), 50)));
        list.check();
    }

    #[test]
    #[should_panic(expected = "epoch 4 begins after epoch 5")]
    fn an_epoch_never_falls() {
        list().begin(E(4), 31);
    }

    /// Kafka's `truncateFromStart`: the epoch in force at the log start stays, starting there. A question about an older
    /// one is answered with that epoch and the first known start.
    #[test]
    fn the_cut_keeps_the_epoch_in_force_at_the_log_start() {
        let mut list = list();
        list.cut(15);
        assert_eq!((list.len(), list.epoch_of(15)), (2, Some(E(2))));
        assert_eq!(list.epoch_of(14), None);
        assert_eq!(list.end_of(E(0), E(5), 44), Some((E(0), 15)), "older than all that is known");
        list.cut(30);
        assert_eq!((list.len(), list.first()), (1, Some((E(5), 30))), "exactly at a start");
        list.cut(100);
        assert_eq!((list.len(), list.epoch_of(100)), (1, Some(E(5))));
        assert_eq!(list.end_of(E(2), E(5), 120), Some((E(2), 100)));
    }
}
