//! What the journal's records add up to. Pure: replay gives the same state as the run that wrote them.

use std::collections::BTreeMap;

use buslane_wire::ids::{Durability, LeaderEpoch, SegmentRef, TopicPartition};

use super::record::{CopyState, Record};

/// Everything the store must remember over a restart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct State {
    /// Of the newest start; 0 before the first.
    pub(crate) incarnation: u64,
    /// Of the newest start.
    pub(crate) boot_id: String,
    /// The newest run ended with a clean stop.
    pub(crate) clean: bool,
    pub(crate) promises: BTreeMap<TopicPartition, LeaderEpoch>,
    pub(crate) copies: BTreeMap<SegmentRef, CopyState>,
}

impl State {
    /// Takes in one fact.
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Start { incarnation, boot_id } => {
                if self.incarnation != 0 && !self.clean && *boot_id != self.boot_id {
                    self.machine_crashed();
                }
                self.incarnation = *incarnation;
                self.boot_id.clone_from(boot_id);
                self.clean = false;
            }
            Record::CleanStop => self.clean = true,
            Record::Promise { partition, epoch } => {
                let promised = self.promises.entry(*partition).or_insert(*epoch);
                *promised = (*promised).max(*epoch);
            }
            Record::Copy { segment, copy } => {
                self.copies.insert(*segment, *copy);
            }
            Record::RecoveryPoint { segment, end_offset, position } => {
                // Only a cut takes it back, with a whole copy record.
                if let Some(copy) = self.copies.get_mut(segment).filter(|c| c.synced_position < *position) {
                    copy.synced_offset = *end_offset;
                    copy.synced_position = *position;
                }
            }
            Record::NotWhole { segment } => {
                if let Some(copy) = self.copies.get_mut(segment) {
                    copy.whole = false;
                }
            }
            Record::Sealed { segment, end_offset, position } => {
                if let Some(copy) = self.copies.get_mut(segment) {
                    copy.sealed = true;
                    copy.synced_offset = *end_offset;
                    copy.synced_position = *position;
                }
            }
            Record::Forgotten { segment } => {
                self.copies.remove(segment);
            }
            Record::ForgottenPartition { partition } => {
                self.promises.remove(partition);
                self.copies.retain(|segment, _| segment.partition != *partition);
            }
        }
    }

    /// The machine stopped without a clean stop: what was not synced may be gone, in part or in whole.
    ///
    /// A copy sealed here was synced to its end. In a `synced` copy every confirmation stood on a sync, so nothing
    /// acknowledged can be missing from it either; but its unconfirmed end may be torn. Every other copy is not whole
    /// from now on.
    fn machine_crashed(&mut self) {
        for copy in self.copies.values_mut().filter(|c| !c.sealed) {
            copy.torn = true;
            if copy.durability == Durability::Replicated {
                copy.whole = false;
            }
        }
    }

    /// The records that rebuild this state.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let start = Record::Start { incarnation: self.incarnation, boot_id: self.boot_id.clone() };
        let promises = self
            .promises
            .iter()
            .map(|(partition, epoch)| Record::Promise { partition: *partition, epoch: *epoch });
        let copies =
            self.copies.iter().map(|(segment, copy)| Record::Copy { segment: *segment, copy: *copy });
        let clean = self.clean.then_some(Record::CleanStop);
        std::iter::once(start).chain(promises).chain(copies).chain(clean)
    }
}

#[cfg(test)]
mod tests {
    use buslane_wire::ids::{SegmentId, TopicId};

    use super::*;

    fn segment(id: u64) -> SegmentRef {
        let partition = TopicPartition { topic: TopicId([1; 16]), partition: 0 };
        SegmentRef { partition, segment: SegmentId(id) }
    }

    fn start(state: &mut State, boot: &str) {
        let incarnation = state.incarnation + 1;
        state.apply(&Record::Start { incarnation, boot_id: boot.into() });
    }

    fn open_copy(state: &mut State, id: u64, durability: Durability) {
        let copy = CopyState::new(0, LeaderEpoch(1), durability);
        state.apply(&Record::Copy { segment: segment(id), copy });
    }

    fn whole(state: &State, id: u64) -> bool {
        state.copies[&segment(id)].whole
    }

    #[test]
    fn a_machine_crash_takes_wholeness_for_good_where_bytes_may_be_missing() {
        let mut state = State::default();
        start(&mut state, "boot 1");
        open_copy(&mut state, 1, Durability::Replicated);
        open_copy(&mut state, 2, Durability::Synced);
        open_copy(&mut state, 3, Durability::Replicated);
        state.apply(&Record::Sealed { segment: segment(3), end_offset: 9, position: 99 });
        start(&mut state, "boot 1");
        assert!(whole(&state, 1), "a process crash loses nothing");
        start(&mut state, "boot 2");
        assert_eq!([1, 2, 3].map(|id| whole(&state, id)), [false, true, true]);
        assert_eq!([1, 2, 3].map(|id| state.copies[&segment(id)].torn), [true, true, false]);
        state.apply(&Record::CleanStop);
        start(&mut state, "boot 3");
        start(&mut state, "boot 3");
        assert!(!whole(&state, 1), "later clean restarts do not restore it");
    }

    #[test]
    fn a_clean_stop_before_the_boot_id_changes_loses_nothing() {
        let mut state = State::default();
        start(&mut state, "boot 1");
        open_copy(&mut state, 1, Durability::Replicated);
        state.apply(&Record::CleanStop);
        start(&mut state, "boot 2");
        assert!(whole(&state, 1));
        start(&mut state, "boot 3");
        assert!(!whole(&state, 1), "the marker counts once");
    }

    #[test]
    fn the_state_is_rebuilt_from_its_records() {
        let mut state = State::default();
        start(&mut state, "boot 1");
        open_copy(&mut state, 1, Durability::Replicated);
        state.apply(&Record::Promise { partition: segment(1).partition, epoch: LeaderEpoch(8) });
        state.apply(&Record::Promise { partition: segment(1).partition, epoch: LeaderEpoch(3) });
        assert_eq!(state.promises[&segment(1).partition], LeaderEpoch(8), "a promise only rises");
        state.apply(&Record::CleanStop);
        let mut rebuilt = State::default();
        state.records().for_each(|r| rebuilt.apply(&r));
        assert_eq!(rebuilt, state);
    }
}
