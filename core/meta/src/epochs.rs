//! The list of leader epochs of a partition, and Kafka's questions to it.
//!
//! Extended at every recovery, cut only at the log start offset, independent of segments.
//! Source: KIP-101, KIP-279, KIP-320; the answers are those of Kafka's `LeaderEpochFileCache`.

use buslane_wire::ids::LeaderEpoch;
use serde::{Deserialize, Serialize};

/// Epochs and where each starts; both rise.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EpochList {
    /// (epoch, start offset), ascending in both; starts may be equal only for epochs that wrote nothing, and of those
    /// only the last is kept.
    starts: Vec<(i32, i64)>,
}

impl EpochList {
    /// An epoch begins at the end of what was written before. Epochs that wrote nothing leave no trace.
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

    /// The largest epoch at or below `epoch`, and where it ended: the start of the next larger one, or `end_offset` for
    /// the newest. `None`: unknown, as for an epoch above `current`.
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
            // Older than all that is known: it ended where the first known one starts.
            None => self.starts.first().map(|(_, start)| (epoch, *start)),
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

    #[test]
    fn the_end_of_the_current_epoch_is_the_end_of_the_log() {
        assert_eq!(list().end_of(E(5), E(5), 44), Some((E(5), 44)));
        assert_eq!(list().end_of(E(7), E(7), 44), Some((E(7), 44)), "an epoch that wrote nothing yet");
    }

    #[test]
    fn an_older_epoch_ends_where_the_next_begins() {
        assert_eq!(list().end_of(E(0), E(5), 44), Some((E(0), 10)));
        assert_eq!(list().end_of(E(2), E(5), 44), Some((E(2), 30)));
        // KIP-279: an epoch that wrote nothing is answered with the largest one below it.
        assert_eq!(list().end_of(E(1), E(5), 44), Some((E(0), 10)));
        assert_eq!(list().end_of(E(4), E(5), 44), Some((E(2), 30)));
    }

    #[test]
    fn a_future_or_negative_epoch_is_unknown() {
        assert_eq!(list().end_of(E(6), E(5), 44), None);
        assert_eq!(list().end_of(E(-1), E(5), 44), None);
    }

    #[test]
    fn an_epoch_that_wrote_nothing_leaves_no_trace() {
        let mut list = list();
        list.begin(E(6), 50);
        list.begin(E(9), 50);
        assert_eq!(list.epoch_of(50), Some(E(9)));
        assert_eq!(list.end_of(E(6), E(9), 60), Some((E(5), 50)));
    }

    #[test]
    fn the_cut_keeps_the_epoch_in_force_at_the_log_start() {
        let mut list = list();
        list.cut(15);
        assert_eq!((list.len(), list.epoch_of(15)), (2, Some(E(2))));
        assert_eq!(list.epoch_of(14), None);
        assert_eq!(list.end_of(E(0), E(5), 44), Some((E(0), 15)), "older than all that is known");
        list.cut(100);
        assert_eq!((list.len(), list.epoch_of(100)), (1, Some(E(5))));
    }
}
