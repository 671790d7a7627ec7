//! The calls: what owners, recoveries and housekeeping ask of a store, drawn from the seed.

use std::collections::BTreeSet;
use std::sync::Arc;

use buslane_log::{AppendError, Segment, SegmentSpec};
use buslane_wire::batch::StampedBatch;
use buslane_wire::ids::{Durability, LeaderEpoch, SegmentId, SegmentRef, TopicId, TopicPartition};
use parking_lot::Mutex;

use super::oracle::{Copy, Partition, Stage};
use super::{Halt, World};
use crate::batches::{Producer, batch};
use crate::rng::Rng;
use crate::violation::{ensure, names};

/// How often each call is drawn in one run: each run has its own habits, so that some go deep where others go wide.
#[derive(Clone, Debug)]
pub(super) struct Odds {
    weights: [u64; CALLS.len()],
    /// Of 4: a new segment is `synced`.
    synced: u64,
    /// Greatest body of a batch, in bytes.
    body_bytes: u64,
    partitions: u64,
    /// Calls left that make the journal outgrow its content.
    pub(super) growths: u32,
}

impl Odds {
    pub(super) fn draw(rng: &mut Rng) -> Odds {
        Odds {
            weights: std::array::from_fn(|n| CALLS[n].0 * rng.between(1, 4)),
            synced: *rng.pick(&[0, 2, 4]),
            body_bytes: *rng.pick(&[0, 100, 6_000]),
            partitions: rng.between(1, 4),
            growths: u32::from(rng.chance(1, 16)) * 3,
        }
    }
}

type Call = fn(&mut World) -> Result<(), Halt>;

/// Weight and call.
const CALLS: [(u64, Call); 12] = [
    (4, World::open_segment),
    (12, World::append),
    (5, World::sync),
    (3, World::sync_round),
    (3, World::checkpoint),
    (3, World::seal_and_commit),
    (2, World::recover_some),
    (2, World::cut_some),
    (1, World::promise_some),
    (2, World::read_sealed),
    (1, World::delete_some),
    (1, World::sweep),
];

impl World {
    pub(super) fn random_call(&mut self) -> Result<(), Halt> {
        let all: u64 = self.odds.weights.iter().sum();
        let mut drawn = self.rng.below(all);
        for (n, weight) in self.odds.weights.into_iter().enumerate() {
            if drawn < weight {
                CALLS[n].1(self)?;
                return self.look_for_failed();
            }
            drawn -= weight;
        }
        unreachable!("the weights add up")
    }

    fn some_partition(&mut self) -> TopicPartition {
        let number = self.rng.below(self.odds.partitions);
        // Two partitions a topic: folders of topics and of partitions come and go by themselves.
        let topic = TopicId([number as u8 / 2 + 1; 16]);
        let partition = TopicPartition { topic, partition: number as i32 % 2 };
        self.oracle.partitions.entry(partition).or_insert(Partition {
            epoch: LeaderEpoch(1),
            promised: None,
            asked: None,
            counter: 0,
            end: 0,
            open: None,
        });
        partition
    }

    /// The open segment of some partition, as this process has it, in that stage.
    fn some_open(&mut self, stage: Stage) -> Option<(SegmentRef, Arc<Segment>)> {
        let partition = self.some_partition();
        let segment = self.oracle.partition(&partition).open?;
        if self.oracle.copy(&segment).stage != stage {
            return None;
        }
        Some((segment, self.segment(&segment)?))
    }

    fn open_segment(&mut self) -> Result<(), Halt> {
        let partition = self.some_partition();
        let synced = self.rng.chance(self.odds.synced, 4);
        let state = self.oracle.partition(&partition);
        if state.open.is_some() || state.asked > Some(state.epoch) {
            return Ok(());
        }
        // Ids are drawn by the owner and never used twice, not even after an answer that did not come.
        state.counter += 1;
        let id = (state.epoch.0 as u64) << 32 | u64::from(state.counter);
        let spec = SegmentSpec {
            segment: SegmentRef { partition, segment: SegmentId(id) },
            base_offset: state.end,
            epoch: state.epoch,
            durability: if synced { Durability::Synced } else { Durability::Replicated },
        };
        self.call(|| format!("create {spec:?}"));
        let made = self.running.as_ref().expect("the store runs").store.create(spec);
        let Some(made) = self.answered("creating a copy", made)? else { return Ok(()) };
        self.oracle.copies.insert(spec.segment, Copy::new(spec));
        self.oracle.partition(&partition).open = Some(spec.segment);
        self.running.as_mut().expect("the store runs").segments.insert(spec.segment, made.clone());
        // As owners do: the producers' state at the segment's start.
        if self.rng.chance(3, 4) { self.keep_checkpoint(&spec.segment, &made) } else { Ok(()) }
    }

    fn append(&mut self) -> Result<(), Halt> {
        let Some((segment, loaded)) = self.some_open(Stage::Writable) else { return Ok(()) };
        let epoch = self.oracle.copy(&segment).spec.epoch;
        let mut end = loaded.end_offset();
        let received: Vec<Vec<u8>> = (0..self.rng.between(1, 3))
            .map(|_| {
                let body = self.rng.below(self.odds.body_bytes + 1) as usize;
                batch(&mut self.rng, Producer::NONE, body)
            })
            .collect();
        let mut stamped = Vec::new();
        for bytes in &received {
            let batch = StampedBatch::new(bytes, end, epoch).expect("it was just built");
            end = batch.header.next_offset();
            stamped.push(batch);
        }
        self.call(|| format!("append to {segment} up to {end}"));
        let state = self.oracle.partition(&segment.partition);
        let (promised, asked) = (state.promised, state.asked);
        if promised > Some(epoch) {
            let refused = loaded.append(epoch, &stamped);
            let fenced = matches!(refused, Err(AppendError::Fenced { .. }));
            ensure!(fenced, names::SINGLE_WRITER, "{segment}: promised {promised:?}, appended in {epoch}");
            return Ok(());
        }
        if asked > Some(epoch) {
            return Ok(());
        }
        let copy = self.oracle.copy(&segment);
        for batch in &stamped {
            let bytes = [&batch.head[..], batch.records].concat();
            copy.append_begins(&bytes, batch.header.next_offset(), batch.header.max_timestamp);
        }
        let appended = loaded.append(epoch, &stamped);
        match self.answered("an append", appended)? {
            Some(appended) => {
                let copy = self.oracle.copy(&segment);
                let (last, got) = (copy.last(), appended.end_offset);
                ensure!(
                    got == last.offset,
                    names::PREFIX,
                    "{segment}: appended up to {got}, written {last:?}"
                );
                copy.appended();
            }
            None => self.oracle.copy(&segment).failed(),
        }
        Ok(())
    }

    /// One or several wait for a sync; each is answered.
    fn sync(&mut self) -> Result<(), Halt> {
        let Some((segment, loaded)) = self.some_open(Stage::Writable) else { return Ok(()) };
        self.call(|| format!("sync {segment}"));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let waiting = self.rng.between(1, 2);
        let store = &self.running.as_ref().expect("the store runs").store;
        for _ in 0..waiting {
            let answers = answers.clone();
            store.request_sync(&loaded, Box::new(move |result| answers.lock().push(result)));
        }
        store.run_sync_queue();
        let answers = std::mem::take(&mut *answers.lock());
        ensure!(
            answers.len() as u64 == waiting,
            names::WORKS_WITHOUT_FAULT,
            "{} of {waiting} who waited for a sync were answered",
            answers.len()
        );
        for answer in answers {
            match self.answered("a sync", answer)? {
                Some(synced) => self.oracle.copy(&segment).synced(synced.end_offset),
                None => self.oracle.copy(&segment).failed(),
            }
        }
        Ok(())
    }

    fn sync_round(&mut self) -> Result<(), Halt> {
        self.call(|| "a round of the background sync".to_owned());
        let running = self.running.as_ref().expect("the store runs");
        running.store.run_sync_queue();
        let report = running.store.sync_round();
        if let Some(report) = self.answered("a round of the background sync", report)?
            && report.failed > 0
        {
            self.oracle.fault_noticed();
        }
        let running = self.running.as_ref().expect("the store runs");
        if self.fs.is_stopped() {
            return Err(Halt::Stopped);
        }
        for (segment, loaded) in &running.segments {
            // What the store says is durable, whoever asked.
            if let Some(copy) = self.oracle.copies.get_mut(segment)
                && matches!(copy.stage, Stage::Writable | Stage::Recovered)
            {
                let synced = loaded.synced().end_offset;
                copy.durable = copy.durable.max(synced);
                copy.may_be_missing &= synced == copy.spec.base_offset;
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), Halt> {
        let stage = *self.rng.pick(&[Stage::Writable, Stage::Writable, Stage::Recovered]);
        let Some((segment, loaded)) = self.some_open(stage) else { return Ok(()) };
        self.keep_checkpoint(&segment, &loaded)
    }

    fn keep_checkpoint(&mut self, segment: &SegmentRef, loaded: &Segment) -> Result<(), Halt> {
        let end = loaded.end_offset();
        let payload: Vec<u8> = (0..self.rng.below(60)).map(|_| self.rng.bits() as u8).collect();
        self.call(|| format!("checkpoint of {segment} at {end}, {} bytes", payload.len()));
        self.oracle.copy(segment).checkpoint_begins(end, payload.clone());
        let kept = loaded.checkpoint_producers(end, &payload);
        if self.answered("a checkpoint", kept)?.is_some() {
            self.oracle.copy(segment).checkpointed();
        }
        Ok(())
    }

    fn seal_and_commit(&mut self) -> Result<(), Halt> {
        let stage = *self.rng.pick(&[Stage::Writable, Stage::Recovered]);
        let Some((segment, loaded)) = self.some_open(stage) else { return Ok(()) };
        self.seal(&segment, loaded.end_offset())?;
        // Sometimes the chain hears of it only after the next restart, if ever.
        if self.rng.chance(3, 4) { self.commit_seal(&segment) } else { Ok(()) }
    }

    pub(super) fn seal(&mut self, segment: &SegmentRef, end_offset: i64) -> Result<(), Halt> {
        let Some(loaded) = self.segment(segment) else { return Ok(()) };
        self.call(|| format!("seal {segment} at {end_offset}"));
        let cuts = end_offset < loaded.end_offset();
        let copy = self.oracle.copy(segment);
        if cuts {
            copy.cut_begins(end_offset);
        }
        let sealed = loaded.seal(end_offset);
        let answer = self.answered("a seal", sealed)?;
        let copy = self.oracle.copy(segment);
        match answer {
            Some(sealed) => {
                if cuts {
                    copy.lost_wholeness();
                }
                copy.sealed(sealed)?;
            }
            None => copy.failed(),
        }
        Ok(())
    }

    /// The chain takes the seal; the store may forget what it knew.
    pub(super) fn commit_seal(&mut self, segment: &SegmentRef) -> Result<(), Halt> {
        let copy = self.oracle.copy(segment);
        let Some(sealed) = copy.sealed_here else { return Ok(()) };
        copy.sealed_in_chain()?;
        let state = self.oracle.partition(&segment.partition);
        state.open = None;
        state.end = sealed.end_offset;
        self.summary.sealed += 1;
        self.call(|| format!("the chain has {segment} sealed at {}", sealed.end_offset));
        if self.rng.chance(1, 2) {
            let store = &self.running.as_ref().expect("the store runs").store;
            let settled = store.settle(segment);
            self.answered("settling", settled)?;
        }
        Ok(())
    }

    fn recover_some(&mut self) -> Result<(), Halt> {
        let partition = self.some_partition();
        self.recover(&partition)?;
        if self.rng.chance(1, 2) { self.seal_recovered(&partition) } else { Ok(()) }
    }

    /// A copy is cut, as repair does with what the chain does not want.
    fn cut_some(&mut self) -> Result<(), Halt> {
        let stage = *self.rng.pick(&[Stage::Writable, Stage::Recovered, Stage::Recovered]);
        let Some((segment, loaded)) = self.some_open(stage) else { return Ok(()) };
        let have = loaded.end_offset();
        let copy = self.oracle.copy(&segment);
        let ends: Vec<i64> = copy.ends.iter().map(|e| e.offset).filter(|e| *e < have).collect();
        if ends.is_empty() {
            return Ok(());
        }
        let end = *self.rng.pick(&ends);
        if self.rng.chance(1, 3) {
            return self.seal(&segment, end);
        }
        self.call(|| format!("cut {segment} to {end}"));
        let copy = self.oracle.copy(&segment);
        copy.cut_begins(end);
        // What would be appended now differs from what was: its owner is gone.
        copy.stage = Stage::Unknown;
        let cut = loaded.truncate_to(end);
        if self.answered("a cut", cut)?.is_some() {
            let copy = self.oracle.copy(&segment);
            copy.lost_wholeness();
            copy.stage = Stage::Recovered;
        }
        Ok(())
    }

    /// A higher epoch is promised behind the owner's back, now and then for very many partitions at once.
    fn promise_some(&mut self) -> Result<(), Halt> {
        if self.odds.growths > 0 {
            self.odds.growths -= 1;
            return self.promise_many();
        }
        let partition = self.some_partition();
        let state = self.oracle.partition(&partition);
        let epoch = LeaderEpoch(state.epoch.0 + 1);
        self.promise(&partition, epoch)?;
        Ok(())
    }

    /// `None`: a fault of the disk hit.
    pub(super) fn promise(
        &mut self,
        partition: &TopicPartition,
        epoch: LeaderEpoch,
    ) -> Result<Option<()>, Halt> {
        self.call(|| format!("promise {epoch} for {partition}"));
        let asked = &mut self.oracle.partition(partition).asked;
        *asked = (*asked).max(Some(epoch));
        let store = &self.running.as_ref().expect("the store runs").store;
        let answers = store.promise(&[(*partition, epoch)]);
        let Some(answers) = self.answered("a promise", answers)? else { return Ok(None) };
        ensure!(
            answers == [Ok(())],
            names::FENCE_BEFORE_READ,
            "{partition}: {epoch} is new, the answer {answers:?}"
        );
        let promised = &mut self.oracle.partition(partition).promised;
        *promised = (*promised).max(Some(epoch));
        Ok(Some(()))
    }

    /// Enough for the journal to outgrow its content and be rewritten.
    fn promise_many(&mut self) -> Result<(), Halt> {
        let epoch = LeaderEpoch(1_000 + self.rng.below(1_000) as i32);
        self.call(|| format!("promise {epoch} for many partitions, again and again"));
        let many: Vec<(TopicPartition, LeaderEpoch)> = (0..2_000)
            .map(|n| (TopicPartition { topic: TopicId([0xEE; 16]), partition: n }, epoch))
            .collect();
        for _ in 0..22 {
            let store = &self.running.as_ref().expect("the store runs").store;
            let answers = store.promise(&many);
            self.answered("a promise", answers)?;
        }
        Ok(())
    }

    fn read_sealed(&mut self) -> Result<(), Halt> {
        let sealed: Vec<SegmentRef> =
            self.oracle.copies.iter().filter(|(_, c)| c.stage == Stage::Sealed).map(|(s, _)| *s).collect();
        if sealed.is_empty() {
            return Ok(());
        }
        let segment = *self.rng.pick(&sealed);
        self.check_sealed(&segment)
    }

    /// Retention: the oldest segment goes, after the chain has forgotten it.
    fn delete_some(&mut self) -> Result<(), Halt> {
        let partition = self.some_partition();
        let first = self.oracle.copies.iter().find(|(s, _)| s.partition == partition);
        let Some((segment, base_offset)) = first
            .filter(|(_, copy)| copy.stage == Stage::Sealed)
            .map(|(segment, copy)| (*segment, copy.spec.base_offset))
        else {
            return Ok(());
        };
        self.call(|| format!("delete {segment}"));
        self.oracle.copies.remove(&segment);
        let running = self.running.as_mut().expect("the store runs");
        running.segments.remove(&segment);
        let deleted = running.store.delete(&segment, base_offset);
        self.answered("a deletion", deleted)?;
        Ok(())
    }

    /// What the chain does not know goes to the orphans, and nothing else.
    fn sweep(&mut self) -> Result<(), Halt> {
        self.call(|| "sweep".to_owned());
        let known: BTreeSet<SegmentRef> = self.oracle.copies.keys().copied().collect();
        let store = &self.running.as_ref().expect("the store runs").store;
        let moved = store.orphan_unknown(|segment| known.contains(segment), 5);
        self.answered("sweeping", moved)?;
        let store = &self.running.as_ref().expect("the store runs").store;
        let removed = store.remove_orphans(10);
        self.answered("removing orphans", removed)?;
        let store = &self.running.as_ref().expect("the store runs").store;
        let listed = store.list();
        if let Some(listed) = self.answered("listing", listed)? {
            for (segment, copy) in &self.oracle.copies {
                let found = listed.iter().any(|f| f.segment == *segment);
                ensure!(found || copy.may_be_missing, names::SEALED_IS_SYNCED, "{segment} is not listed");
            }
        }
        Ok(())
    }

    /// After a fault of the disk, copies that were given up in passing.
    fn look_for_failed(&mut self) -> Result<(), Halt> {
        if self.fs.faults_hit() == 0 {
            return Ok(());
        }
        let running = self.running.as_ref().expect("the store runs");
        let failed: Vec<SegmentRef> =
            running.segments.iter().filter(|(_, s)| s.is_failed()).map(|(segment, _)| *segment).collect();
        for segment in failed {
            if let Some(copy) = self.oracle.copies.get_mut(&segment).filter(|c| c.stage != Stage::Sealed) {
                copy.failed();
            }
        }
        Ok(())
    }
}
