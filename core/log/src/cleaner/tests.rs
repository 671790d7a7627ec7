//! Passes over random logs, compared with a simple model.

use std::collections::{BTreeMap, HashMap};

use buslane_wire::batch::{
    BatchBuilder, BatchOptions, BatchProducer, BatchRecords, Batches, Compression, NewRecord, RecordHeader,
};
use proptest::prelude::*;

use super::*;
use crate::fixtures::{EPOCH, append, opaque, open, segment, spec};
use crate::store::{SegmentState, Store};

const RETENTION_MS: i64 = 1_000;
const EXPIRY_MS: i64 = 5_000;
const SECRETS: (u64, u64) = (3, 4);

/// A record as it is read back.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rec {
    key: Option<u8>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    header: Option<u8>,
}

#[derive(Clone, Debug)]
struct NewBatch {
    codec: Compression,
    producer: Option<i64>,
    records: Vec<Rec>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Writes a segment and seals it.
    Write(Vec<NewBatch>),
    /// Time passes, then a pass with a table of so many bytes, into segments of so many.
    Clean { after_ms: i64, table_bytes: usize, segment_bytes: u64, segments: usize },
}

fn a_record() -> impl Strategy<Value = Rec> {
    let key = prop::option::weighted(0.95, 0..12u8);
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..80));
    (key, value, 0..50i64, prop::option::weighted(0.2, any::<u8>()))
        .prop_map(|(key, value, timestamp, header)| Rec { key, value, timestamp, header })
}

fn a_batch() -> impl Strategy<Value = NewBatch> {
    let codec = prop::sample::select(Compression::ALL.to_vec());
    let producer = prop::option::of(0..4i64);
    (codec, producer, prop::collection::vec(a_record(), 1..8))
        .prop_map(|(codec, producer, records)| NewBatch { codec, producer, records })
}

fn a_step() -> impl Strategy<Value = Step> {
    let clean = (0..3_000i64, prop_oneof![Just(1 << 20), 0..300usize], 200..3_000u64, 1..6usize);
    prop_oneof![
        3 => prop::collection::vec(a_batch(), 1..8).prop_map(Step::Write),
        2 => clean.prop_map(|(after_ms, table_bytes, segment_bytes, segments)| Step::Clean {
            after_ms,
            table_bytes,
            segment_bytes,
            segments,
        }),
    ]
}

/// What the model knows of a batch.
#[derive(Clone, Debug)]
struct ModelBatch {
    last_offset: i64,
    producer: Option<(i64, i32)>,
    newest_ms: i64,
    horizon: Option<i64>,
    records: BTreeMap<i64, Rec>,
}

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    segments: Vec<Arc<Segment>>,
    next_id: u64,
    now_ms: i64,
    clean_end: i64,
    /// By base offset: what is there.
    model: BTreeMap<i64, ModelBatch>,
    /// Every record ever written.
    written: BTreeMap<i64, Rec>,
    sequences: HashMap<i64, i32>,
    /// The last batch of each producer: sequence, and the least timestamp in it.
    producers: HashMap<i64, (i32, i64)>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path(), "boot 1");
        World {
            _dir: dir,
            store,
            segments: Vec::new(),
            next_id: 1,
            now_ms: 1_000_000,
            clean_end: 0,
            model: BTreeMap::new(),
            written: BTreeMap::new(),
            sequences: HashMap::new(),
            producers: HashMap::new(),
        }
    }

    fn end(&self) -> i64 {
        self.segments.last().map_or(0, |s| s.end_offset())
    }

    fn draw(&mut self) -> buslane_wire::ids::SegmentRef {
        self.next_id += 1;
        segment(0, self.next_id)
    }

    fn write(&mut self, batches: &[NewBatch]) {
        let reference = self.draw();
        let copy = self.store.create(spec(reference, self.end())).unwrap();
        let mut builder = BatchBuilder::default();
        for batch in batches {
            let base = copy.end_offset();
            let mut records = BTreeMap::new();
            for (record, offset) in batch.records.iter().zip(base..) {
                let record = Rec { timestamp: self.now_ms + record.timestamp, ..record.clone() };
                let header = record.header.map(|h| [h]);
                let headers: Vec<RecordHeader<'_>> =
                    header.iter().map(|h| RecordHeader { key: h, value: None }).collect();
                builder.push(&NewRecord {
                    timestamp: record.timestamp,
                    key: record.key.as_ref().map(std::slice::from_ref),
                    value: record.value.as_deref(),
                    headers: &headers,
                });
                records.insert(offset, record);
            }
            let count = batch.records.len() as i32;
            let producer = batch.producer.map(|id| {
                let base_sequence = self.sequences.entry(id).or_insert(0);
                let of = BatchProducer { id, epoch: 0, base_sequence: *base_sequence };
                *base_sequence += count;
                of
            });
            let options = BatchOptions { compression: batch.codec, producer, ..BatchOptions::default() };
            let mut bytes = Vec::new();
            builder.build(&options, &mut bytes).unwrap();
            append(&copy, &bytes);
            self.written.extend(records.clone());
            let oldest_ms = records.values().map(|r| r.timestamp).min().unwrap();
            self.producers.extend(producer.map(|p| (p.id, (p.base_sequence, oldest_ms))));
            self.model.insert(
                base,
                ModelBatch {
                    last_offset: copy.end_offset() - 1,
                    producer: producer.map(|p| (p.id, p.base_sequence)),
                    newest_ms: records.values().map(|r| r.timestamp).max().unwrap(),
                    horizon: None,
                    records,
                },
            );
        }
        // As of here nobody looks into it; it only has to be there again.
        copy.checkpoint_producers(copy.end_offset(), &copy.end_offset().to_be_bytes()).unwrap();
        copy.seal(copy.end_offset()).unwrap();
        self.segments.push(copy);
    }

    /// One pass, as the broker does it.
    fn clean(&mut self, table_bytes: usize, segment_bytes: u64, segments: usize) {
        let rules = CleanRules {
            now_ms: self.now_ms,
            delete_retention_ms: RETENTION_MS,
            producers_since_ms: self.now_ms - EXPIRY_MS,
            batch_bytes_max: 1 << 20,
        };
        let options = PassOptions { rules, table_bytes, secrets: SECRETS, segment_bytes, owner_epoch: EPOCH };
        let old: Vec<Arc<Segment>> = self.segments.iter().take(segments).cloned().collect();
        let next_id = &mut self.next_id;
        let mut draw = || {
            *next_id += 1;
            segment(0, *next_id)
        };
        let passed = compact(&self.store, &old, self.clean_end, &options, &mut draw, &mut |_| true);
        let made = match passed {
            Ok(Some(made)) => made,
            Ok(None) => return,
            Err(CleanError::TableTooSmall { .. }) => return,
            Err(error) => panic!("{error}"),
        };
        let surveyed_end = old[made.taken - 1].end_offset();
        let full = made.clean_end_offset < surveyed_end;
        assert!(made.clean_end_offset > self.clean_end && made.clean_end_offset <= surveyed_end);
        let before: u64 = old[..made.taken].iter().map(|s| s.end_position()).sum();
        assert_eq!(made.cleaned.bytes_before, before);
        for copy in made.copies.iter().rev() {
            let (base, end) = (copy.base_offset, copy.end_offset);
            assert_eq!((base, end), (old[copy.old.start].base_offset(), old[copy.old.end - 1].end_offset()));
            // Taken up as after a restart: from what the chain says.
            let state = SegmentState::Sealed {
                end_offset: end,
                bytes: copy.bytes,
                max_timestamp: copy.max_timestamp,
            };
            self.store.shared.segments.lock().remove(&copy.segment);
            let loaded = self.store.load(copy.segment, base, state).unwrap();
            assert_eq!(
                loaded.producers_at(end).unwrap(),
                Some((end, end.to_be_bytes().to_vec())),
                "the checkpoint came along"
            );
            for gone in self.segments.splice(copy.old.clone(), [loaded]) {
                self.store.delete(&gone.reference(), gone.base_offset()).unwrap();
            }
        }
        let last_batches: Vec<i64> = self.segments.iter().map(|s| s.end_offset() - 1).collect();
        let clean_end = made.clean_end_offset;
        self.forget(clean_end, full, surveyed_end, &last_batches);
        self.clean_end = clean_end;
    }

    /// The model's pass: the newest record of each key below `mapped_end`.
    fn forget(&mut self, mapped_end: i64, full: bool, surveyed_end: i64, last_batches: &[i64]) {
        let now_ms = self.now_ms;
        let read = self.read();
        let mut newest: HashMap<u8, i64> = HashMap::new();
        for (offset, record) in self.written.range(..mapped_end) {
            newest.extend(record.key.map(|key| (key, *offset)));
        }
        let mut last_of: HashMap<i64, i64> = HashMap::new();
        for (base, batch) in self.model.range(..surveyed_end) {
            last_of.extend(batch.producer.map(|(id, _)| (id, *base)));
        }
        self.model.retain(|base, batch| {
            if *base >= mapped_end {
                return true;
            }
            let passed = batch.horizon.is_some_and(|horizon| horizon <= now_ms);
            batch.records.retain(|offset, record| {
                let Some(key) = record.key else { return false };
                let there = read.get(base).is_some_and(|b| b.records.contains_key(offset));
                // A full table may know of one more record of a key, in the batch that did not fit.
                let newer =
                    full && !there && self.written.range(mapped_end..).any(|(_, r)| r.key == Some(key));
                newest[&key] == *offset && !(record.value.is_none() && passed) && !newer
            });
            if batch.records.values().any(|r| r.value.is_none()) {
                batch.horizon.get_or_insert(now_ms + RETENTION_MS);
            }
            if !batch.records.is_empty() {
                batch.newest_ms = batch.records.values().map(|r| r.timestamp).max().unwrap();
            }
            let last_of_producer = batch.producer.is_some_and(|(id, _)| last_of[&id] == *base);
            let alive = batch.newest_ms >= now_ms - EXPIRY_MS;
            !batch.records.is_empty()
                || last_batches.contains(&batch.last_offset)
                || (last_of_producer && alive)
        });
    }

    /// What the segments hold.
    fn read(&self) -> BTreeMap<i64, ModelBatch> {
        let mut found = BTreeMap::new();
        for segment in &self.segments {
            let slice = segment.read(segment.base_offset(), u64::MAX, i64::MAX, true).unwrap();
            let bytes = slice.to_vec().unwrap();
            assert_eq!(bytes.len() as u64, segment.end_position());
            let mut last_offset = segment.base_offset() - 1;
            for batch in Batches::new(&bytes) {
                let (_, header, bytes) = batch.unwrap();
                verify_crc(bytes).unwrap();
                assert!(header.base_offset > last_offset);
                last_offset = header.last_offset();
                assert_eq!(header.partition_leader_epoch, EPOCH.0);
                let records: BTreeMap<i64, Rec> = BatchRecords::open(bytes, 1 << 20)
                    .unwrap()
                    .iter()
                    .map(|record| {
                        let r = record.unwrap();
                        let rec = Rec {
                            key: r.key.map(|key| key[0]),
                            value: r.value.map(<[u8]>::to_vec),
                            timestamp: r.timestamp,
                            header: r.headers.iter().next().map(|h| h.key[0]),
                        };
                        (header.base_offset + i64::from(r.offset_delta), rec)
                    })
                    .collect();
                assert_eq!(records.len(), header.record_count as usize);
                found.insert(
                    header.base_offset,
                    ModelBatch {
                        last_offset,
                        producer: header.has_producer().then_some((header.producer_id, header.base_sequence)),
                        newest_ms: header.max_timestamp,
                        horizon: header.delete_horizon(),
                        records,
                    },
                );
            }
            assert_eq!(last_offset + 1, segment.end_offset(), "a segment's last batch stays");
        }
        found
    }

    fn check(&self) {
        let read = self.read();
        assert_eq!(read.keys().collect::<Vec<_>>(), self.model.keys().collect::<Vec<_>>());
        for (base, found) in &read {
            let expected = &self.model[base];
            assert_eq!(found.records, expected.records, "batch {base}");
            assert_eq!(found.last_offset, expected.last_offset);
            assert_eq!(found.producer, expected.producer);
            assert_eq!(found.newest_ms, expected.newest_ms, "batch {base}");
            let horizon = expected.horizon.filter(|_| !expected.records.is_empty());
            assert_eq!(found.horizon, horizon, "batch {base}");
        }
        // Whoever reads all of it knows what one knows who has read everything.
        let state = |records: &mut dyn Iterator<Item = &Rec>| {
            let mut state: BTreeMap<u8, Option<Vec<u8>>> = BTreeMap::new();
            for record in records {
                state.extend(record.key.map(|key| (key, record.value.clone())));
            }
            state.retain(|_, value| value.is_some());
            state
        };
        assert_eq!(
            state(&mut read.values().flat_map(|b| b.records.values())),
            state(&mut self.written.values())
        );
        // Whoever still writes is known by the last sequence.
        for (id, (base_sequence, newest_ms)) in &self.producers {
            let last = read.values().filter_map(|b| b.producer.filter(|p| p.0 == *id)).next_back();
            if *newest_ms >= self.now_ms - EXPIRY_MS {
                assert_eq!(last, Some((*id, *base_sequence)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_log_that_was_cleaned_says_what_it_said(steps in prop::collection::vec(a_step(), 1..12)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Write(batches) => world.write(&batches),
                Step::Clean { after_ms, table_bytes, segment_bytes, segments } => {
                    world.now_ms += after_ms;
                    world.clean(table_bytes, segment_bytes, segments);
                }
            }
            world.check();
        }
    }
}

fn one(key: Option<u8>, value: Option<&[u8]>) -> NewBatch {
    let record = Rec { key, value: value.map(<[u8]>::to_vec), timestamp: 0, header: None };
    NewBatch { codec: Compression::None, producer: None, records: vec![record] }
}

#[test]
fn a_tombstone_outlives_the_value_by_its_retention() {
    let mut world = World::new();
    world.write(&[one(Some(1), Some(b"old")), one(Some(1), None), one(Some(2), Some(b"last"))]);
    world.clean(1 << 20, 1 << 20, 9);
    let left = |world: &World| world.read().values().map(|b| b.records.len()).sum::<usize>();
    assert_eq!(left(&world), 2, "the tombstone and key 2");
    for (after_ms, expected) in [(RETENTION_MS - 1, 3), (1, 2)] {
        world.now_ms += after_ms;
        world.write(&[one(Some(3), Some(b"else"))]);
        world.clean(1 << 20, 1 << 20, 9);
        world.check();
        assert_eq!(left(&world), expected, "keys 2 and 3, and the tombstone of 1 for as long as it has to");
    }
}

#[test]
fn what_was_cleaned_and_not_committed_is_an_orphan_and_the_old_segments_are_as_they_were() {
    let mut world = World::new();
    world.write(&[one(Some(1), Some(b"old")), one(Some(1), Some(b"new"))]);
    let old = world.segments[0].clone();
    let before = old.read(0, u64::MAX, i64::MAX, true).unwrap().to_vec().unwrap();
    let rules =
        CleanRules { now_ms: 0, delete_retention_ms: 0, producers_since_ms: 0, batch_bytes_max: 1 << 20 };
    let mut cleaner = Cleaner::new(1 << 20, SECRETS, rules);
    cleaner.map(&old, 0, &mut |_| true).unwrap();
    let reference = world.draw();
    let copy = world.store.create_cleaned(spec(reference, 0), EPOCH).unwrap();
    let mut growing = Growing::new(copy.clone());
    cleaner.clean(&old, &mut growing, &mut |_| true).unwrap();
    growing.finish(std::slice::from_ref(&old)).unwrap();
    drop(growing);
    // Killed before it was sealed, or before the chain knew of it: the store cannot tell.
    drop((copy, world.store));
    let (store, _) = open(world._dir.path(), "boot 1");
    let moved = store.orphan_unknown(|s| *s == old.reference(), 0).unwrap();
    assert_eq!(moved.iter().map(|m| m.segment).collect::<Vec<_>>(), [reference]);
    let state = SegmentState::Sealed { end_offset: 2, bytes: before.len() as u64, max_timestamp: 1_000_000 };
    let again = store.load(old.reference(), 0, state).unwrap();
    assert_eq!(again.read(0, u64::MAX, i64::MAX, true).unwrap().to_vec().unwrap(), before);
}

#[test]
fn neighbours_become_one_segment_by_what_is_left_of_them() {
    let mut world = World::new();
    // Of each segment but the last nothing is left.
    for n in 0..20 {
        world.write(&[one(Some(1), Some(&[n; 500]))]);
    }
    world.clean(1 << 20, 1_000, 20);
    world.check();
    let ranges: Vec<_> = world.segments.iter().map(|s| (s.base_offset(), s.end_offset())).collect();
    assert_eq!(ranges, [(0, 20)], "each is larger than half of the size, and all together are not");
    for n in 0..3 {
        world.write(&[one(Some(2 + n), Some(&[n; 500]))]);
    }
    world.clean(1 << 20, 1_000, 20);
    world.check();
    assert_eq!(world.segments.len(), 4, "what stays is too large");
    world.clean_end = 0;
    world.clean(1 << 20, 1_300, 20);
    world.check();
    assert_eq!(world.segments.len(), 2);
}

#[test]
fn what_cannot_be_read_ends_the_pass_and_is_named() {
    let mut world = World::new();
    let reference = world.draw();
    let copy = world.store.create(spec(reference, 0)).unwrap();
    append(&copy, &opaque(3, 1, 100));
    copy.seal(3).unwrap();
    let rules =
        CleanRules { now_ms: 0, delete_retention_ms: 0, producers_since_ms: 0, batch_bytes_max: 1 << 20 };
    let mut cleaner = Cleaner::new(1 << 20, SECRETS, rules);
    let error = cleaner.map(&copy, 0, &mut |_| true).unwrap_err();
    assert!(matches!(error, CleanError::Batch { position: 0, .. }), "{error}");
    assert!(matches!(cleaner.map(&copy, 0, &mut |_| false), Err(CleanError::Stopped)));
}

#[test]
fn a_new_copy_is_refused_to_an_owner_who_is_fenced() {
    let mut world = World::new();
    let reference = world.draw();
    let higher = buslane_wire::ids::LeaderEpoch(EPOCH.0 + 1);
    world.store.promise(&[(reference.partition, higher)]).unwrap()[0].unwrap();
    assert!(world.store.create_cleaned(spec(reference, 0), EPOCH).is_err());
    assert!(world.store.create_cleaned(spec(reference, 0), higher).is_ok());
}
