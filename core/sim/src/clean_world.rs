//! Compaction on one simulated disk: logs are written and sealed, passes are made, and the process or the power ends at any
//! operation of the disk, also within a pass, between it and its command, and while old files are removed.
//!
//! The chain is perfect metadata: a command that was given is in force, one that was not is not. The passes are
//! [`buslane_log::cleaner::compact`], as the broker runs them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use buslane_log::cleaner::{CleanRules, PassOptions, compact, discard};
use buslane_log::fs::Fs;
use buslane_log::{
    DataDir, Identity, Segment, SegmentSpec, SegmentState, Store, StoreOptions, SyncSite, Wanted,
};
use buslane_wire::batch::{
    BatchBuilder, BatchOptions, BatchProducer, BatchRecords, Batches, NewRecord, StampedBatch, verify_crc,
};
use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId, SegmentRef, TopicId, TopicPartition};

use crate::rng::Rng;
use crate::sim_fs::{LostPages, SimFs, Survival, WriteFault};
use crate::violation::{Violation, ensure, names};

const DIR: &str = "/srv/buslane";
const EPOCH: LeaderEpoch = LeaderEpoch(3);
const RETENTION_MS: i64 = 40;
const KEYS: u64 = 8;

/// How to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// The sync that is taken away.
    pub skip: Option<SyncSite>,
    /// Ends the process at exactly this operation of the disk, and cuts the power.
    pub cut_at: Option<u64>,
}

/// What a run did, to see that it does something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Operations of the disk.
    pub operations: u64,
    /// Passes whose result came into force.
    pub passes: u32,
    /// Segments that they replaced.
    pub replaced: u32,
    /// Passes that the end of the process cut short.
    pub cut_within: u32,
    /// Ends of the process between a pass and its command.
    pub cut_before_command: u32,
    /// Ends of the process while replaced files were removed.
    pub cut_while_removing: u32,
    /// Passes that a fault of the disk ended.
    pub faults: u32,
    /// Copies that no chain knew at a start.
    pub orphans: u32,
    /// Tombstones that were there at the end.
    pub tombstones: u32,
    /// Records written that were not there at the end.
    pub gone: u32,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.operations += other.operations;
        self.passes += other.passes;
        self.replaced += other.replaced;
        self.cut_within += other.cut_within;
        self.cut_before_command += other.cut_before_command;
        self.cut_while_removing += other.cut_while_removing;
        self.faults += other.faults;
        self.orphans += other.orphans;
        self.tombstones += other.tombstones;
        self.gone += other.gone;
    }
}

/// Runs one seed; what broke, and what was done before it.
pub fn run(seed: u64, options: Options) -> Result<Summary, String> {
    let mut world = World::new(seed, options);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match result {
        Ok(Ok(())) => {
            world.summary.operations = world.fs.operations();
            return Ok(world.summary);
        }
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Violation { invariant: names::PANIC, detail: text.unwrap_or_default() }
        }
    };
    let calls = world.calls.join("\n  ");
    Err(format!("seed {seed}, {options:?}: {violation}\n  {calls}"))
}

/// A sealed segment as the metadata knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Sealed {
    segment: SegmentRef,
    base_offset: i64,
    end_offset: i64,
    bytes: u64,
    max_timestamp: i64,
}

/// The process ended, or can go on no more.
struct Ended;

struct Running {
    _dir: DataDir,
    store: Store,
    chain: Vec<Arc<Segment>>,
}

struct World {
    seed: u64,
    options: Options,
    rng: Rng,
    fs: SimFs,
    chain: Vec<Sealed>,
    clean_end_offset: i64,
    /// Every record of a sealed segment: its key, and whether it has a value.
    written: BTreeMap<i64, (u8, bool)>,
    /// The last batch of each producer: its sequence.
    sequences: HashMap<i64, i32>,
    next_id: u64,
    now_ms: i64,
    calls: Vec<String>,
    summary: Summary,
}

impl World {
    fn new(seed: u64, options: Options) -> World {
        World {
            seed,
            options,
            rng: Rng::new(seed),
            fs: SimFs::new(),
            chain: Vec::new(),
            clean_end_offset: 0,
            written: BTreeMap::new(),
            sequences: HashMap::new(),
            next_id: 0,
            now_ms: 1_000,
            calls: Vec::new(),
            summary: Summary::default(),
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        let lives = self.rng.between(2, 4);
        for life in 0..=lives {
            let mut rng = self.rng.fork();
            match self.options.cut_at {
                Some(operation) => self.plan_stop(operation),
                None if life < lives && rng.chance(4, 5) => {
                    let ahead = rng.below(220);
                    self.plan_stop(self.fs.operations() + ahead);
                }
                None => {}
            }
            if let Some(mut running) = self.start()? {
                let calls = if life == lives { 0 } else { rng.between(3, 14) };
                self.live(&mut running, &mut rng, calls)?;
            }
            self.end_life(&mut rng);
        }
        self.summary.gone = (self.written.len() - self.read_at_rest()?.len()) as u32;
        Ok(())
    }

    fn plan_stop(&mut self, operation: u64) {
        if Rng::new(self.seed ^ operation).chance(1, 2) {
            self.fs.stop_before(operation);
        } else {
            self.fs.stop_within(operation, self.seed);
        }
    }

    fn call(&mut self, text: impl Into<String>) {
        let number = self.calls.len();
        self.calls.push(format!("{number}: {}", text.into()));
    }

    fn end_life(&mut self, rng: &mut Rng) {
        let cut = self.options.cut_at.is_some() && self.fs.is_stopped() || rng.chance(2, 3);
        if cut {
            let survival = match rng.below(4) {
                0 => Survival::Nothing,
                1 => Survival::Everything,
                _ => Survival::Seeded(rng.bits()),
            };
            self.call(format!("power cut: {survival:?}"));
            self.fs = self.fs.power_cut(survival);
        } else {
            self.call("process crash");
            self.fs = self.fs.process_crash();
        }
    }

    /// Opens the store and looks at everything that the chain names.
    fn start(&mut self) -> Result<Option<Running>, Violation> {
        self.call("start");
        let fs: Arc<dyn Fs> = Arc::new(self.fs.clone());
        let made = Identity { cluster_id: "cluster".to_owned(), node_id: NodeId(1) };
        let opened = || {
            let dir =
                DataDir::open(&fs, Path::new(DIR), &Wanted::default(), || made).map_err(|e| e.to_string())?;
            let options = StoreOptions { skip_sync: self.options.skip, ..StoreOptions::default() };
            let (store, _) = Store::open(fs.clone(), Path::new(DIR), options, &self.fs.boot_id())
                .map_err(|e| e.to_string())?;
            let known: BTreeSet<SegmentRef> = self.chain.iter().map(|s| s.segment).collect();
            let orphans =
                store.orphan_unknown(|s| known.contains(s), self.now_ms).map_err(|e| e.to_string())?;
            let mut chain = Vec::new();
            for s in &self.chain {
                chain.push(load(&store, s).map_err(|e| format!("{}: {e}", s.segment))?);
            }
            Ok::<_, String>((Running { _dir: dir, store, chain }, orphans.len()))
        };
        match opened() {
            Ok((running, orphans)) => {
                self.summary.orphans += orphans as u32;
                match self.look(&running.chain) {
                    Err(violation) if !self.fs.is_stopped() => Err(violation),
                    Err(_) => Ok(None),
                    Ok(_) => Ok(Some(running)),
                }
            }
            Err(_) if self.fs.is_stopped() => Ok(None),
            Err(error) => Err(Violation { invariant: names::SEALED_IS_SYNCED, detail: error }),
        }
    }

    fn live(&mut self, running: &mut Running, rng: &mut Rng, calls: u64) -> Result<(), Violation> {
        for _ in 0..calls {
            self.now_ms += rng.below(30) as i64;
            let done = if rng.chance(3, 5) { self.write(running, rng) } else { self.pass(running, rng)? };
            if done.is_err() {
                return Ok(());
            }
            match self.look(&running.chain) {
                Err(_) if self.fs.is_stopped() => return Ok(()),
                looked => drop(looked?),
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> SegmentRef {
        self.next_id += 1;
        let partition = TopicPartition { topic: TopicId([7; 16]), partition: 0 };
        SegmentRef { partition, segment: SegmentId(self.next_id) }
    }

    /// A segment of some batches, sealed in the chain.
    fn write(&mut self, running: &mut Running, rng: &mut Rng) -> Result<(), Ended> {
        let segment = self.draw();
        let base_offset = self.chain.last().map_or(0, |s| s.end_offset);
        self.call(format!("write {segment} from {base_offset}"));
        let spec = SegmentSpec { segment, base_offset, epoch: EPOCH, durability: Durability::Replicated };
        let copy = running.store.create(spec).map_err(|_| Ended)?;
        let mut written = BTreeMap::new();
        let mut sequences = self.sequences.clone();
        for _ in 0..rng.between(1, 6) {
            let bytes = self.batch(rng, copy.end_offset(), &mut written, &mut sequences);
            let batch = StampedBatch::new(&bytes, copy.end_offset(), EPOCH).expect("a batch of ours");
            copy.append(EPOCH, &[batch]).map_err(|_| Ended)?;
        }
        let end_offset = copy.end_offset();
        copy.checkpoint_producers(end_offset, &end_offset.to_be_bytes()).map_err(|_| Ended)?;
        let sealed = copy.seal(end_offset).map_err(|_| Ended)?;
        // The command.
        let (bytes, max_timestamp) = (sealed.bytes, sealed.max_timestamp);
        self.chain.push(Sealed { segment, base_offset, end_offset, bytes, max_timestamp });
        self.written.extend(written);
        self.sequences = sequences;
        running.chain.push(copy);
        running.store.settle(&segment).map_err(|_| Ended)
    }

    fn batch(
        &self,
        rng: &mut Rng,
        base_offset: i64,
        written: &mut BTreeMap<i64, (u8, bool)>,
        sequences: &mut HashMap<i64, i32>,
    ) -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        let count = rng.between(1, 4);
        for offset in base_offset..base_offset + count as i64 {
            let (key, has_value) = (rng.below(KEYS) as u8, rng.chance(2, 3));
            let value = [&offset.to_be_bytes()[..], &vec![key; rng.below(60) as usize]].concat();
            builder.push(&NewRecord {
                timestamp: self.now_ms,
                key: Some(&[key]),
                value: has_value.then_some(&value),
                headers: &[],
            });
            written.insert(offset, (key, has_value));
        }
        let id = rng.below(3) as i64;
        let base_sequence = sequences.get(&id).map_or(0, |last| last + 1);
        sequences.insert(id, base_sequence + count as i32 - 1);
        let producer = Some(BatchProducer { id, epoch: 0, base_sequence });
        let mut bytes = Vec::new();
        builder
            .build(&BatchOptions { producer, ..BatchOptions::default() }, &mut bytes)
            .expect("a batch of ours");
        bytes
    }

    /// A pass, its command, and the removal of what it replaced.
    fn pass(&mut self, running: &mut Running, rng: &mut Rng) -> Result<Result<(), Ended>, Violation> {
        let segments = rng.between(1, 8) as usize;
        let options = PassOptions {
            rules: CleanRules {
                now_ms: self.now_ms,
                delete_retention_ms: RETENTION_MS,
                producers_since_ms: 0,
                batch_bytes_max: 1 << 20,
            },
            table_bytes: *rng.pick(&[1 << 16, 24 * 6]),
            secrets: (rng.bits(), rng.bits()),
            segment_bytes: rng.between(300, 3_000),
            owner_epoch: EPOCH,
        };
        let faulty = self.options.cut_at.is_none() && rng.chance(1, 6);
        if faulty {
            match rng.below(3) {
                0 => self.fs.fail_read(rng.below(12)),
                1 => {
                    let fault = WriteFault {
                        after: rng.below(8),
                        written: rng.below(90) as usize,
                        full: rng.chance(1, 2),
                    };
                    self.fs.fail_write(fault);
                }
                _ => self.fs.fail_sync(
                    rng.below(4),
                    *rng.pick(&[LostPages::Kept, LostPages::Clean, LostPages::Reverted]),
                ),
            }
        }
        let old: Vec<Arc<Segment>> = running.chain.iter().take(segments).cloned().collect();
        self.call(format!("compact the first {}, now {}", old.len(), self.now_ms));
        let clean_end = self.clean_end_offset;
        let mut drawn = Vec::new();
        let mut next_id = self.next_id;
        let mut draw = || {
            next_id += 1;
            let segment = SegmentRef {
                partition: TopicPartition { topic: TopicId([7; 16]), partition: 0 },
                segment: SegmentId(next_id),
            };
            drawn.push(segment);
            segment
        };
        let made = compact(&running.store, &old, clean_end, &options, &mut draw, &mut |_| true);
        self.next_id = next_id;
        let hit = self.fs.faults_hit() > 0;
        self.fs.heal();
        let made = match made {
            Ok(Some(made)) => made,
            Ok(None) => return Ok(Ok(())),
            Err(error) => {
                self.call(format!("  -> {error}"));
                if self.fs.is_stopped() {
                    self.summary.cut_within += 1;
                    return Ok(Err(Ended));
                }
                let small = matches!(error, buslane_log::cleaner::CleanError::TableTooSmall { .. });
                ensure!(small || hit, names::WORKS_WITHOUT_FAULT, "a pass failed: {error}");
                self.summary.faults += u32::from(hit);
                // After a fault the process may be unable to go on; it starts again.
                return Ok(if hit { Err(Ended) } else { Ok(()) });
            }
        };
        if self.fs.is_stopped() || rng.chance(1, 8) {
            self.call("  ends before the command");
            self.summary.cut_before_command += 1;
            if !self.fs.is_stopped() && rng.chance(1, 2) {
                discard(&running.store, &made.copies);
            }
            return Ok(Err(Ended));
        }
        // The command.
        self.summary.passes += 1;
        self.clean_end_offset = made.clean_end_offset;
        let mut removed = Vec::new();
        for copy in made.copies.iter().rev() {
            let sealed = Sealed {
                segment: copy.segment,
                base_offset: copy.base_offset,
                end_offset: copy.end_offset,
                bytes: copy.bytes,
                max_timestamp: copy.max_timestamp,
            };
            self.call(format!("  {:?} -> {sealed:?}", copy.old));
            removed.extend(self.chain.splice(copy.old.clone(), [sealed]));
        }
        self.summary.replaced += removed.len() as u32;
        for gone in removed {
            if running.store.delete(&gone.segment, gone.base_offset).is_err() {
                self.summary.cut_while_removing += u32::from(self.fs.is_stopped());
                return Ok(Err(Ended));
            }
        }
        running.chain.clear();
        for s in &self.chain {
            match load(&running.store, s) {
                Ok(segment) => running.chain.push(segment),
                Err(_) if self.fs.is_stopped() => return Ok(Err(Ended)),
                Err(error) => return Err(Violation { invariant: names::SEALED_IS_SYNCED, detail: error }),
            }
        }
        Ok(Ok(()))
    }

    /// What a new process on the disk as it is finds.
    fn read_at_rest(&mut self) -> Result<BTreeMap<i64, (u8, bool)>, Violation> {
        self.fs.heal();
        let running = self.start()?.expect("nothing stops it");
        let found = self.look(&running.chain)?;
        self.summary.tombstones = found.values().filter(|(_, has_value)| !has_value).count() as u32;
        Ok(found)
    }

    /// Reads the whole log and compares it with what was written.
    fn look(&self, chain: &[Arc<Segment>]) -> Result<BTreeMap<i64, (u8, bool)>, Violation> {
        let mut found = BTreeMap::new();
        let mut sequences = HashMap::new();
        for segment in chain {
            let name = segment.reference();
            let failed = |detail: String| Violation { invariant: names::SEALED_IS_SYNCED, detail };
            let slice = segment
                .read(segment.base_offset(), u64::MAX, i64::MAX, true)
                .map_err(|e| failed(format!("{name}: {e}")))?;
            let bytes = slice.to_vec().map_err(|e| failed(format!("{name}: {e}")))?;
            let (got, there) = (bytes.len() as u64, segment.end_position());
            ensure!(got == there, names::SEALED_IS_SYNCED, "{name}: {got} of {there} bytes are there");
            let mut end = segment.base_offset();
            for batch in Batches::new(&bytes) {
                let (_, header, bytes) = batch.map_err(|e| failed(format!("{name} after {end}: {e}")))?;
                verify_crc(bytes).map_err(|e| failed(format!("{name} at {}: {e}", header.base_offset)))?;
                ensure!(header.base_offset >= end, names::CHAIN_CONTIGUOUS, "{name}: {header:?} after {end}");
                end = header.next_offset();
                sequences.insert(header.producer_id, header.base_sequence + header.last_offset_delta);
                let records =
                    BatchRecords::open(bytes, 1 << 20).map_err(|e| failed(format!("{name}: {e}")))?;
                for record in records.iter() {
                    let record = record.map_err(|e| failed(format!("{name}: {e}")))?;
                    let key = record.key.expect("all have one")[0];
                    found.insert(
                        header.base_offset + i64::from(record.offset_delta),
                        (key, record.value.is_some()),
                    );
                }
            }
            ensure!(end == segment.end_offset(), names::CHAIN_CONTIGUOUS, "{name} ends at {end}");
            let kept = segment.producers_at(end).map_err(|e| failed(format!("{name}: {e}")))?;
            let expected = Some((end, end.to_be_bytes().to_vec()));
            ensure!(kept == expected, names::CHECKPOINT_SURVIVES, "{name}: {kept:?} instead of {end}");
        }
        let newest = |records: &BTreeMap<i64, (u8, bool)>| {
            let mut newest: BTreeMap<u8, (i64, bool)> = BTreeMap::new();
            newest.extend(records.iter().map(|(offset, (key, has_value))| (*key, (*offset, *has_value))));
            newest.retain(|_, (_, has_value)| *has_value);
            newest
        };
        for (offset, record) in &found {
            let was = self.written.get(offset);
            ensure!(was == Some(record), names::PREFIX, "offset {offset} is {record:?}, it was {was:?}");
        }
        let (is, should) = (newest(&found), newest(&self.written));
        ensure!(is == should, names::PROMISED, "the values are {is:?}, and should be {should:?}");
        ensure!(
            sequences == self.sequences,
            names::STORED_ONCE,
            "the last sequences are {sequences:?}, and should be {:?}",
            self.sequences
        );
        Ok(found)
    }
}

fn load(store: &Store, s: &Sealed) -> Result<Arc<Segment>, String> {
    let Sealed { end_offset, bytes, max_timestamp, .. } = *s;
    let state = SegmentState::Sealed { end_offset, bytes, max_timestamp };
    store.load(s.segment, s.base_offset, state).map_err(|e| e.to_string())
}
