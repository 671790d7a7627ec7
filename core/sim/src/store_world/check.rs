//! Looking at copies: sealed ones, recovered ones, and what is read of them.

use std::sync::Arc;

use buslane_log::{RecoverError, Segment, SegmentState};
use buslane_wire::ids::{LeaderEpoch, SegmentRef, TopicPartition};

use super::oracle::{Copy, Stage};
use super::{Halt, World};
use crate::violation::{ensure, names};

impl World {
    /// The copy as this process has it.
    pub(super) fn segment(&self, segment: &SegmentRef) -> Option<Arc<Segment>> {
        self.running.as_ref().and_then(|running| running.segments.get(segment).cloned())
    }

    pub(super) fn check_everything(&mut self) -> Result<(), Halt> {
        let partitions: Vec<TopicPartition> = self.oracle.partitions.keys().copied().collect();
        for partition in partitions {
            if self.oracle.partition(&partition).open.is_some() {
                self.recover(&partition)?;
                self.seal_recovered(&partition)?;
            }
        }
        let segments: Vec<SegmentRef> = self.oracle.copies.keys().copied().collect();
        for segment in segments {
            if self.oracle.copy(&segment).stage == Stage::Sealed {
                self.check_sealed(&segment)?;
            }
        }
        Ok(())
    }

    /// A sealed copy has every byte up to its end, for ever.
    pub(super) fn check_sealed(&mut self, segment: &SegmentRef) -> Result<(), Halt> {
        let copy = self.oracle.copy(segment).clone();
        let sealed = copy.sealed_here.expect("it is sealed");
        self.call(|| format!("read the sealed {segment} up to {}", sealed.end_offset));
        let state = SegmentState::Sealed {
            end_offset: sealed.end_offset,
            bytes: sealed.bytes,
            max_timestamp: sealed.max_timestamp,
        };
        let running = self.running.as_ref().expect("the store runs");
        let loaded = running.store.load(*segment, copy.spec.base_offset, state);
        let Some(loaded) = self.answered("loading a sealed copy", loaded)? else { return Ok(()) };
        self.check_content(&loaded, &copy, sealed.end_offset, names::SEALED_IS_SYNCED)?;
        let read = loaded.producers_at(sealed.end_offset);
        if let Some(read) = self.answered("reading a checkpoint", read)? {
            copy.checkpoint_read(sealed.end_offset, &read)?;
        }
        Ok(())
    }

    /// What is read below `end_offset` is what was written, in pieces of any size.
    fn check_content(
        &mut self,
        loaded: &Arc<Segment>,
        copy: &Copy,
        end_offset: i64,
        invariant: &'static str,
    ) -> Result<(), Halt> {
        let segment = copy.spec.segment;
        let mut at = copy.spec.base_offset;
        let mut position = 0;
        while at < end_offset {
            let max_bytes = *self.rng.pick(&[1, 500, 1 << 20]);
            let read = loaded.read(at, max_bytes, end_offset, true);
            let Some(slice) = self.answered("reading", read)? else { return Ok(()) };
            ensure!(
                slice.base_offset == at && slice.position == position && slice.len > 0,
                invariant,
                "{segment}: at offset {at}, byte {position}, of {end_offset}, was read: {slice:?}"
            );
            let Some(bytes) = self.answered("reading", slice.to_vec())? else { return Ok(()) };
            let to = position + slice.len;
            let written = copy.written.get(position as usize..to as usize);
            ensure!(
                written == Some(&bytes[..]),
                names::PREFIX,
                "{segment}: bytes {position} to {to} are not what was written"
            );
            ensure!(
                slice.end_offset <= end_offset,
                names::COMMITTED_ONLY,
                "{segment}: read up to {}, asked for below {end_offset}",
                slice.end_offset
            );
            (at, position) = (slice.end_offset, to);
        }
        Ok(())
    }

    /// A new owner looks at the partition: promise, then report.
    pub(super) fn recover(&mut self, partition: &TopicPartition) -> Result<(), Halt> {
        let state = self.oracle.partition(partition);
        state.epoch = LeaderEpoch(state.epoch.0 + 1);
        state.counter = 0;
        let (epoch, open) = (state.epoch, state.open);
        let Some(()) = self.promise(partition, epoch)? else { return Ok(()) };
        let Some(segment) = open else { return Ok(()) };
        self.call(|| format!("recover {segment} in epoch {epoch}"));
        let copy = self.oracle.copy(&segment).clone();
        let spec = copy.spec;
        let running = self.running.as_mut().expect("the store runs");
        let store = &running.store;
        if self.rng.chance(1, 8) {
            let below = LeaderEpoch(epoch.0 - 1);
            let refused = store.recover(segment, spec.base_offset, spec.epoch, spec.durability, below);
            let fenced = matches!(refused, Err(RecoverError::NotPromised { .. }));
            ensure!(fenced, names::FENCE_BEFORE_READ, "{segment}: recovered in {below}, promised {epoch}");
        }
        let result = store.recover(segment, spec.base_offset, spec.epoch, spec.durability, epoch);
        if let Err(RecoverError::Missing { .. }) = &result
            && copy.may_be_missing
        {
            self.summary.missing += 1;
            return self.replace_missing(&segment, epoch);
        }
        let Some((loaded, recovery)) = self.answered("a recovery", result)? else { return Ok(()) };
        self.call(|| format!("  -> {recovery:?}"));
        let report = recovery.report;
        let copy = self.oracle.copy(&segment);
        copy.reported(&report)?;
        copy.may_be_missing = false;
        let copy = copy.clone();
        *(if report.whole { &mut self.summary.whole } else { &mut self.summary.not_whole }) += 1;
        self.running.as_mut().expect("the store runs").segments.insert(segment, loaded.clone());
        self.check_content(&loaded, &copy, report.end_offset, names::PREFIX)?;
        let read = loaded.producers_at(report.end_offset);
        if let Some(read) = self.answered("reading a checkpoint", read)? {
            copy.checkpoint_read(report.end_offset, &read)?;
        }
        Ok(())
    }

    /// Nothing is left of the copy: recovery makes an empty one to seal; the loss is recorded.
    fn replace_missing(&mut self, segment: &SegmentRef, epoch: LeaderEpoch) -> Result<(), Halt> {
        self.call(|| format!("  -> missing, made anew for the recovery in epoch {epoch}"));
        let copy = self.oracle.copy(segment);
        copy.may_miss = true;
        let spec = copy.spec;
        let store = &self.running.as_ref().expect("the store runs").store;
        let made = store.create_for_recovery(spec, epoch);
        let Some(made) = self.answered("making a copy for a recovery", made)? else { return Ok(()) };
        let copy = self.oracle.copy(segment);
        copy.lost_wholeness();
        copy.stage = Stage::Recovered;
        self.running.as_mut().expect("the store runs").segments.insert(*segment, made);
        Ok(())
    }

    /// Seals what a recovery reported, and the chain has it.
    pub(super) fn seal_recovered(&mut self, partition: &TopicPartition) -> Result<(), Halt> {
        let Some(segment) = self.oracle.partition(partition).open else { return Ok(()) };
        if self.oracle.copy(&segment).stage != Stage::Recovered {
            return Ok(());
        }
        let Some(loaded) = self.segment(&segment) else { return Ok(()) };
        self.seal(&segment, loaded.end_offset())?;
        self.commit_seal(&segment)
    }
}
