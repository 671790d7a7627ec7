//! What must be true of a store, worked out beside it from the calls made and their answers alone.
//!
//! The chain here is perfect metadata: it forgets nothing. A call that got no answer, because the power went, leaves
//! both outcomes open; a call that was answered leaves one.

use std::collections::BTreeMap;

use buslane_log::{CopyReport, OpenReport, SealedCopy, SegmentSpec};
use buslane_wire::ids::{Durability, LeaderEpoch, SegmentRef, TopicPartition};

use crate::violation::{Violation, ensure, names};

/// End of a batch: offset (exclusive), position, greatest timestamp so far (-1: none).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct End {
    pub(super) offset: i64,
    pub(super) position: u64,
    pub(super) max_timestamp: i64,
}

/// Where a copy stands in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Takes its owner's appends.
    Writable,
    /// A restart, a fault or a cut ended that: recovery or seal come next.
    Unknown,
    /// A recovery reported it in this run.
    Recovered,
    /// Sealed in the chain.
    Sealed,
}

/// One copy.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) spec: SegmentSpec,
    pub(super) stage: Stage,
    /// All that its owner ever tried to write.
    pub(super) written: Vec<u8>,
    /// All batch ends in it, the start included.
    pub(super) ends: Vec<End>,
    /// Everything below was answered, by what the segment's durability calls an answer.
    pub(super) acknowledged: i64,
    /// Everything below is there, as long as only processes crash.
    present: i64,
    /// Everything below is there, whatever crashes.
    pub(super) durable: i64,
    /// The store said that something may be missing, or answered a call that makes it so.
    pub(super) not_whole: bool,
    /// The store may say so: something happened that can cost bytes.
    pub(super) may_miss: bool,
    /// The file may be gone.
    pub(super) may_be_missing: bool,
    /// The store's half of a seal was answered.
    pub(super) sealed_here: Option<SealedCopy>,
    /// Producer checkpoints tried, in order.
    pub(super) checkpoints: Vec<Checkpoint>,
}

/// One producer checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Checkpoint {
    pub(super) end_offset: i64,
    pub(super) payload: Vec<u8>,
    /// It is there, as long as only processes crash.
    present: bool,
    /// It is there, whatever crashes.
    durable: bool,
}

impl Copy {
    pub(super) fn new(spec: SegmentSpec) -> Copy {
        let start = End { offset: spec.base_offset, position: 0, max_timestamp: -1 };
        Copy {
            spec,
            stage: Stage::Writable,
            written: Vec::new(),
            ends: vec![start],
            acknowledged: spec.base_offset,
            present: spec.base_offset,
            durable: spec.base_offset,
            not_whole: false,
            may_miss: false,
            may_be_missing: false,
            sealed_here: None,
            checkpoints: Vec::new(),
        }
    }

    pub(super) fn last(&self) -> End {
        *self.ends.last().expect("the start is always there")
    }

    pub(super) fn end_at(&self, offset: i64) -> Option<End> {
        self.ends.iter().copied().find(|end| end.offset == offset)
    }

    /// A batch is about to be appended.
    pub(super) fn append_begins(&mut self, stamped: &[u8], next_offset: i64, max_timestamp: i64) {
        self.written.extend_from_slice(stamped);
        let max_timestamp = self.last().max_timestamp.max(max_timestamp);
        let position = self.written.len() as u64;
        self.ends.push(End { offset: next_offset, position, max_timestamp });
    }

    /// All appends so far were answered.
    pub(super) fn appended(&mut self) {
        self.present = self.last().offset;
        if self.spec.durability == Durability::Replicated {
            self.acknowledged = self.present;
        }
    }

    /// A sync was answered: everything below is durable.
    pub(super) fn synced(&mut self, end_offset: i64) {
        self.durable = self.durable.max(end_offset);
        self.acknowledged = self.acknowledged.max(end_offset);
        self.may_be_missing = false;
    }

    /// A write or sync failed, and the store said so.
    pub(super) fn failed(&mut self) {
        self.stage = Stage::Unknown;
        self.present = self.durable;
        self.checkpoints.iter_mut().for_each(|c| c.present = c.durable);
        self.may_miss = true;
        self.sealed_here = None;
    }

    /// The store answered that it made the copy not whole.
    pub(super) fn lost_wholeness(&mut self) {
        self.not_whole = true;
        self.may_miss = true;
    }

    /// A cut to `end_offset` is about to be asked for.
    pub(super) fn cut_begins(&mut self, end_offset: i64) {
        if end_offset < self.present.max(self.durable) {
            self.may_miss = true;
            self.sealed_here = None;
        }
        self.present = self.present.min(end_offset);
        self.durable = self.durable.min(end_offset);
    }

    /// A checkpoint is about to be written.
    pub(super) fn checkpoint_begins(&mut self, end_offset: i64, payload: Vec<u8>) {
        self.checkpoints.push(Checkpoint { end_offset, payload, present: false, durable: false });
    }

    /// The newest checkpoint was answered.
    pub(super) fn checkpointed(&mut self) {
        self.checkpoints.last_mut().expect("one was begun").present = true;
    }

    /// The store's half of a seal was answered.
    pub(super) fn sealed(&mut self, sealed: SealedCopy) -> Result<(), Violation> {
        let end = self.end_at(sealed.end_offset);
        let expected = end.map(|e| (e.offset, e.position, e.max_timestamp));
        let got = (sealed.end_offset, sealed.bytes, sealed.max_timestamp);
        ensure!(
            expected == Some(got),
            names::PREFIX,
            "{}: sealed as {got:?}, written {expected:?}",
            self.spec.segment
        );
        self.present = sealed.end_offset;
        self.synced(sealed.end_offset);
        self.checkpoints_synced();
        self.sealed_here = Some(sealed);
        self.stage = Stage::Recovered;
        Ok(())
    }

    /// The chain has it. What lies beyond was lost and recorded, or never acknowledged.
    pub(super) fn sealed_in_chain(&mut self) -> Result<(), Violation> {
        let sealed = self.sealed_here.expect("the store sealed first");
        let (segment, end, acked) = (self.spec.segment, sealed.end_offset, self.acknowledged);
        let recorded = self.not_whole;
        ensure!(
            end >= acked || recorded,
            names::SEAL_COVERS_ACKS,
            "{segment}: sealed at {end}, acknowledged {acked}"
        );
        self.acknowledged = end;
        self.stage = Stage::Sealed;
        Ok(())
    }

    /// The process died: what it had written stays.
    pub(super) fn process_crashed(&mut self) {
        if self.stage != Stage::Sealed {
            self.stage = Stage::Unknown;
        }
    }

    /// The power went. `clean`: after everything had been synced.
    pub(super) fn power_cut(&mut self, clean: bool) {
        self.process_crashed();
        if clean {
            return;
        }
        // A cut of the file that was not synced may come back; what was sealed was synced.
        self.present = self.durable;
        self.checkpoints.iter_mut().for_each(|c| c.present = c.durable);
        if self.durable == self.spec.base_offset && self.sealed_here.is_none() {
            self.may_be_missing = true;
        }
        if self.spec.durability == Durability::Replicated && self.stage != Stage::Sealed {
            self.may_miss = true;
        }
    }

    /// Everything was synced before the clean-stop marker.
    pub(super) fn stopped_cleanly(&mut self) {
        self.durable = self.present;
        self.checkpoints_synced();
    }

    fn checkpoints_synced(&mut self) {
        self.checkpoints.iter_mut().for_each(|c| c.durable |= c.present);
    }

    /// A recovery's report.
    pub(super) fn reported(&mut self, report: &CopyReport) -> Result<(), Violation> {
        let segment = self.spec.segment;
        let spec = (self.spec.base_offset, self.spec.epoch, self.spec.durability);
        let got = (report.base_offset, report.epoch, report.durability);
        ensure!(got == spec, names::PREFIX, "{segment}: reported as {got:?}, made as {spec:?}");
        let end = report.end_offset;
        let boundary = self.end_at(end).map(|e| e.position);
        ensure!(
            boundary == Some(report.end_position),
            names::PREFIX,
            "{segment}: ends at {end}, byte {}, where byte {boundary:?} was written",
            report.end_position
        );
        let (durable, present, acked) = (self.durable, self.present, self.acknowledged);
        ensure!(end >= durable, names::SYNCED_SURVIVES, "{segment}: ends at {end}, synced {durable}");
        ensure!(end >= present, names::CRASH_LOSES_NOTHING, "{segment}: ends at {end}, appended {present}");
        if let Some(sealed) = self.sealed_here {
            let sealed = sealed.end_offset;
            ensure!(end == sealed, names::SEALED_IS_SYNCED, "{segment}: ends at {end}, sealed at {sealed}");
        }
        ensure!(
            !(report.whole && end < acked),
            names::WHOLE_IS_STICKY,
            "{segment}: called whole, ends at {end}, acknowledged {acked}"
        );
        ensure!(
            !(report.whole && self.not_whole),
            names::WHOLE_IS_STICKY,
            "{segment}: called whole, after it was not"
        );
        ensure!(
            report.whole || self.may_miss,
            names::WHOLE_IS_KEPT,
            "{segment}: called not whole, though nothing can be missing"
        );
        self.not_whole |= !report.whole;
        self.present = end;
        self.stage = Stage::Recovered;
        Ok(())
    }

    /// The newest checkpoint at or below `end_offset`, as the store gives it back.
    pub(super) fn checkpoint_read(
        &self,
        end_offset: i64,
        got: &Option<(i64, Vec<u8>)>,
    ) -> Result<(), Violation> {
        let segment = self.spec.segment;
        let at_least = self.checkpoints.iter().rposition(|c| c.present && c.end_offset <= end_offset);
        let found = match got {
            None => None,
            Some((at, payload)) => {
                let same = |c: &Checkpoint| (c.end_offset, &c.payload) == (*at, payload);
                let found = self.checkpoints.iter().rposition(same);
                ensure!(
                    found.is_some() && *at <= end_offset,
                    names::PREFIX,
                    "{segment}: a checkpoint at {at} as of {end_offset} that nobody wrote"
                );
                found
            }
        };
        ensure!(
            found >= at_least,
            names::CHECKPOINT_SURVIVES,
            "{segment}: checkpoint number {found:?} read as of {end_offset}, {at_least:?} was kept"
        );
        Ok(())
    }
}

/// The clean-stop marker, as far as the answers tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Marker {
    Absent,
    Present,
    /// A call that writes or removes it got no answer.
    Unknown,
}

/// One partition in the chain.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    /// Of the newest owner.
    pub(super) epoch: LeaderEpoch,
    /// The greatest epoch whose promise was answered.
    pub(super) promised: Option<LeaderEpoch>,
    /// The greatest epoch whose promise was asked for: refusing what lies below is allowed.
    pub(super) asked: Option<LeaderEpoch>,
    /// Segments opened in this epoch, for the next id.
    pub(super) counter: u32,
    /// End of the chain's last sealed segment.
    pub(super) end: i64,
    /// The open segment, if any.
    pub(super) open: Option<SegmentRef>,
}

/// Everything.
#[derive(Debug)]
pub(super) struct Oracle {
    pub(super) partitions: BTreeMap<TopicPartition, Partition>,
    /// Copies in the chain.
    pub(super) copies: BTreeMap<SegmentRef, Copy>,
    incarnation: u64,
    marker: Marker,
    /// The power was cut since the last answered start.
    machine_crashed: bool,
    /// A start is under way.
    starting: bool,
    /// An earlier one since the last stop got no answer: the store may have noted this boot already.
    start_unanswered: bool,
}

impl Oracle {
    pub(super) fn new() -> Oracle {
        Oracle {
            partitions: BTreeMap::new(),
            copies: BTreeMap::new(),
            incarnation: 0,
            marker: Marker::Absent,
            machine_crashed: false,
            starting: false,
            start_unanswered: false,
        }
    }

    pub(super) fn copy(&mut self, segment: &SegmentRef) -> &mut Copy {
        self.copies.get_mut(segment).expect("the chain knows it")
    }

    pub(super) fn partition(&mut self, partition: &TopicPartition) -> &mut Partition {
        self.partitions.get_mut(partition).expect("the chain knows it")
    }

    pub(super) fn start_begins(&mut self) {
        self.start_unanswered |= self.starting;
        self.starting = true;
    }

    /// A start was answered.
    pub(super) fn started(&mut self, report: &OpenReport) -> Result<(), Violation> {
        let (got, last) = (report.incarnation, self.incarnation);
        ensure!(got > last, names::INCARNATION_RISES, "incarnation {got} after {last}");
        let (marker, clean) = (self.marker, report.clean_stop);
        let is_true = match marker {
            Marker::Present => clean,
            Marker::Absent => !clean,
            Marker::Unknown => true,
        };
        ensure!(is_true, names::CLEAN_STOP_IS_TRUE, "clean stop reported: {clean}, the marker is {marker:?}");
        if marker == Marker::Absent && !self.start_unanswered && last > 0 {
            let (crashed, got) = (self.machine_crashed, report.machine_crash);
            ensure!(
                got == crashed,
                names::CLEAN_STOP_IS_TRUE,
                "machine crash reported: {got}, happened: {crashed}"
            );
        }
        for segment in &report.not_whole {
            if let Some(copy) = self.copies.get_mut(segment).filter(|c| c.stage != Stage::Sealed) {
                ensure!(
                    copy.may_miss,
                    names::WHOLE_IS_KEPT,
                    "{segment}: not whole at the start, though nothing can be missing"
                );
                copy.not_whole = true;
            }
        }
        self.incarnation = got;
        self.marker = Marker::Absent;
        (self.starting, self.start_unanswered, self.machine_crashed) = (false, false, false);
        Ok(())
    }

    pub(super) fn stop_begins(&mut self) {
        self.marker = Marker::Unknown;
    }

    pub(super) fn stopped_cleanly(&mut self) {
        self.marker = Marker::Present;
        self.copies.values_mut().for_each(Copy::stopped_cleanly);
    }

    pub(super) fn process_crashed(&mut self) {
        // A start that got no answer may have removed the marker.
        if self.starting && self.marker == Marker::Present {
            self.marker = Marker::Unknown;
        }
        self.copies.values_mut().for_each(Copy::process_crashed);
    }

    pub(super) fn power_cut(&mut self) {
        self.process_crashed();
        let clean = self.marker == Marker::Present;
        self.machine_crashed |= !clean;
        self.copies.values_mut().for_each(|copy| copy.power_cut(clean));
    }

    /// A fault of the disk was noticed: what the journal had not synced may be gone, and of copies that this process did
    /// not take up yet whatever an earlier process had not synced.
    pub(super) fn fault_noticed(&mut self) {
        for copy in self.copies.values_mut() {
            copy.may_miss = true;
            if copy.stage == Stage::Unknown {
                copy.failed();
            }
        }
    }

    /// The clean stop failed: all copies in use were given up.
    pub(super) fn stop_failed(&mut self) {
        self.fault_noticed();
        self.copies.values_mut().filter(|copy| copy.stage != Stage::Sealed).for_each(Copy::failed);
    }
}
