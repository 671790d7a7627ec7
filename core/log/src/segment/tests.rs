use std::path::PathBuf;

use buslane_wire::batch::{HEADER_LEN, StampedBatch};
use proptest::prelude::*;

use super::*;
use crate::disk::Disk;
use crate::faulty::FaultyFs;
use crate::fixtures::*;
use crate::store::{SegmentState, Store};

const REF: (i32, u64) = (0, 1 << 32 | 7);

fn reference() -> SegmentRef {
    segment(REF.0, REF.1)
}

struct Fixture {
    dir: tempfile::TempDir,
    store: Option<Store>,
}

impl Fixture {
    fn new() -> (Fixture, Arc<Segment>) {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path(), "boot 1");
        let made = store.create(spec(reference(), 1000)).unwrap();
        (Fixture { dir, store: Some(store) }, made)
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn path(&self, part: Part) -> PathBuf {
        layout::part(self.dir.path(), &reference(), 1000, part)
    }

    /// Crashes the process (and with another boot id the machine, which here loses nothing) and recovers the copy.
    fn restart(&mut self, boot_id: &str) -> Result<(Arc<Segment>, Recovery), RecoverError> {
        drop(self.store.take());
        self.store = Some(open(self.dir.path(), boot_id).0);
        self.recover()
    }

    fn recover(&self) -> Result<(Arc<Segment>, Recovery), RecoverError> {
        let epoch = LeaderEpoch(self.store().promised(reference().partition).map_or(6, |e| e.0 + 1));
        self.store().promise(&[(reference().partition, epoch)]).unwrap()[0].unwrap();
        self.store().recover(reference(), 1000, EPOCH, Durability::Replicated, epoch)
    }
}

/// What a segment should hold: one entry per batch.
#[derive(Default)]
struct Model {
    batches: Vec<(i64, i64, u64, Vec<u8>)>,
}

impl Model {
    fn push(&mut self, bytes: Vec<u8>) {
        let header = buslane_wire::batch::BatchHeader::parse(&bytes).unwrap();
        let position = self.batches.last().map_or(0, |b| b.2 + b.3.len() as u64);
        self.batches.push((header.base_offset, header.next_offset(), position, bytes));
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(1000, |b| b.1)
    }

    /// The promise of [`Segment::read`], word by word.
    fn read(&self, from: i64, max_bytes: u64, below: i64, at_least_one: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for (base, end, _, bytes) in &self.batches {
            if *end <= from {
                continue;
            }
            let fits = (out.len() + bytes.len()) as u64 <= max_bytes;
            if *base >= below || !(fits || (out.is_empty() && at_least_one)) || from >= below {
                break;
            }
            out.extend_from_slice(bytes);
        }
        out
    }
}

fn check_read(copy: &Segment, model: &Model, from: i64, max: u64, below: i64, one: bool) {
    let slice = copy.read(from, max, below, one).unwrap();
    let expected = model.read(from, max, below, one);
    assert_eq!(slice.len as usize, expected.len(), "read({from}, {max}, {below}, {one})");
    assert_eq!(slice.to_vec().unwrap(), expected, "read({from}, {max}, {below}, {one})");
    if slice.len > 0 {
        let first = model.batches.iter().find(|b| b.1 > from).unwrap();
        assert_eq!((slice.base_offset, slice.position), (first.0, first.2));
        let last = model.batches.iter().rfind(|b| b.2 < slice.position + slice.len).unwrap();
        assert_eq!(slice.end_offset, last.1);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append { count: i32, body: usize, batches: usize },
    Read { from: u16, max: u64, below: u16, one: bool },
    Round,
    Restart { cut: usize },
    DropIndex,
}

fn step() -> impl Strategy<Value = Step> {
    let body = prop_oneof![0..300usize, 3000..6000usize, Just(20_000)];
    prop_oneof![
        6 => (1..5i32, body, 1..9usize).prop_map(|(count, body, batches)| Step::Append { count, body, batches }),
        8 => (any::<u16>(), prop_oneof![0..500u64, 0..70_000u64], any::<u16>(), any::<bool>())
            .prop_map(|(from, max, below, one)| Step::Read { from, max, below, one }),
        1 => Just(Step::Round),
        1 => (0..200usize).prop_map(|cut| Step::Restart { cut }),
        1 => Just(Step::DropIndex),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_log_agrees_with_a_vec(steps in proptest::collection::vec(step(), 1..80)) {
        let (mut fixture, mut copy) = Fixture::new();
        let mut model = Model::default();
        let mut epoch = EPOCH;
        for step in steps {
            match step {
                Step::Append { count, body, batches } => {
                    let received = opaque(count, model.end() * 3, body);
                    let mut stamps = Vec::new();
                    for i in 0..batches {
                        let base = model.end() + i as i64 * i64::from(count);
                        stamps.push(StampedBatch::new(&received, base, EPOCH).unwrap());
                    }
                    let all: Vec<Vec<u8>> = stamps.iter().map(|s| [&s.head[..], s.records].concat()).collect();
                    let appended = if epoch == EPOCH {
                        copy.append(EPOCH, &stamps).unwrap()
                    } else {
                        copy.append_recovered(epoch, &all.concat()).unwrap()
                    };
                    all.into_iter().for_each(|b| model.push(b));
                    prop_assert_eq!(appended.end_offset, model.end());
                }
                Step::Read { from, max, below, one } => {
                    let span = (model.end() - 1000) as u64 + 3;
                    let from = 1000 + (u64::from(from) % span) as i64;
                    // A committed offset is the end of a batch.
                    let ends = model.batches.len() + 1;
                    let below = model.batches.get(usize::from(below) % ends).map_or(i64::MAX, |b| b.1);
                    check_read(&copy, &model, from, max, below, one);
                }
                Step::Round => {
                    fixture.store().sync_round().unwrap();
                }
                Step::Restart { cut } => {
                    // A process crash in the middle of an append.
                    let torn = stamped(&opaque(3, 7, 400), model.end(), EPOCH);
                    let file = std::fs::OpenOptions::new().append(true).open(fixture.path(Part::Log)).unwrap();
                    std::io::Write::write_all(&mut &file, &torn[..cut]).unwrap();
                    let (again, recovery) = fixture.restart("boot 1").unwrap();
                    prop_assert_eq!(recovery.cut.is_some(), cut > 0);
                    prop_assert!(recovery.report.whole);
                    prop_assert_eq!(recovery.report.end_offset, model.end());
                    copy = again;
                    epoch = fixture.store().promised(reference().partition).unwrap();
                }
                Step::DropIndex => {
                    if epoch != EPOCH {
                        let _ = std::fs::remove_file(fixture.path(Part::Index));
                        let (again, _) = fixture.restart("boot 1").unwrap();
                        copy = again;
                        epoch = fixture.store().promised(reference().partition).unwrap();
                    }
                }
            }
        }
        for (base, end, position, _) in &model.batches {
            prop_assert_eq!(copy.position_of(*base).unwrap(), *position);
            check_read(&copy, &model, end - 1, 5000, i64::MAX, true);
        }
        let sealed = copy.seal(model.end()).unwrap();
        prop_assert_eq!(sealed.bytes, model.batches.iter().map(|b| b.3.len() as u64).sum::<u64>());
        for (base, _, position, _) in &model.batches {
            prop_assert_eq!(copy.position_of(*base).unwrap(), *position);
        }
    }
}

fn with_batches(count: usize, body: usize) -> (Fixture, Arc<Segment>, Model) {
    let (fixture, copy) = Fixture::new();
    let mut model = Model::default();
    for i in 0..count {
        model.push(append(&copy, &opaque(1 + (i % 3) as i32, i as i64, body)));
    }
    (fixture, copy, model)
}

#[test]
fn a_read_starts_with_the_batch_that_contains_its_offset() {
    let (_fixture, copy, model) = with_batches(300, 100);
    let middle = &model.batches[101];
    assert_eq!(middle.1 - middle.0, 3);
    let slice = copy.read(middle.0 + 1, 10, i64::MAX, true).unwrap();
    assert_eq!((slice.base_offset, slice.end_offset), (middle.0, middle.1));
    assert_eq!(
        copy.read(middle.0 + 1, 10, i64::MAX, false).unwrap().len,
        0,
        "the limit is kept without at_least_one"
    );
    assert_eq!(copy.read(model.end(), 10, i64::MAX, true).unwrap().len, 0);
    assert_eq!(copy.read(model.end() + 50, 10, i64::MAX, true).unwrap().len, 0);
    assert_eq!(
        copy.read(middle.0, 1 << 30, middle.0, true).unwrap().len,
        0,
        "nothing at the committed offset"
    );
    assert!(matches!(copy.read(999, 10, i64::MAX, true), Err(ReadError::BelowBase { .. })));
}

#[test]
fn a_gap_is_served_from_the_next_batch() {
    let (fixture, copy, model) = with_batches(200, 100);
    copy.seal(model.end()).unwrap();
    drop(copy);
    // As compaction leaves it: every second batch is gone.
    let mut kept = Model::default();
    let mut bytes = Vec::new();
    for batch in model.batches.iter().step_by(2) {
        kept.push(batch.3.clone());
        bytes.extend_from_slice(&batch.3);
    }
    let compacted = segment(0, 1 << 40);
    std::fs::write(layout::part(fixture.dir.path(), &compacted, 1000, Part::Log), &bytes).unwrap();
    let state =
        SegmentState::Sealed { end_offset: model.end(), bytes: bytes.len() as u64, max_timestamp: 198 };
    let copy = fixture.store().load(compacted, 1000, state).unwrap();
    for batch in &model.batches[..198] {
        let next = kept.batches.iter().find(|k| k.1 > batch.0).unwrap();
        let slice = copy.read(batch.0, 1, i64::MAX, true).unwrap();
        assert_eq!(slice.base_offset, next.0);
        assert_eq!(slice.to_vec().unwrap(), next.3);
    }
    let last = &model.batches[199];
    assert_eq!(copy.read(last.0, 1000, i64::MAX, true).unwrap().len, 0, "the end is a gap");
}

#[test]
fn a_read_at_the_tail_touches_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultyFs::new(Arc::new(Disk));
    let (store, _) = open_on(Arc::new(fs.clone()), dir.path(), "boot 1");
    let copy = store.create(spec(reference(), 0)).unwrap();
    fill(&copy, 100_000, 500);
    let before = fs.counts();
    for back in 0..50 {
        let from = copy.end_offset() - back;
        assert_eq!(copy.read(from, 1 << 20, i64::MAX, true).unwrap().len > 0, back > 0);
        copy.read(from, 700, copy.end_offset() - 20, true).unwrap();
    }
    assert_eq!(fs.counts(), before);
    copy.read(0, 1 << 20, i64::MAX, true).unwrap();
    copy.read(50, 1 << 20, i64::MAX, true).unwrap();
    assert!(fs.counts().reads - before.reads < 20, "a read elsewhere takes a few small reads");
}

/// A segment of one-record batches on a file system with faults, larger than its memory of batch starts.
fn on_faulty_disk() -> (tempfile::TempDir, FaultyFs, Store, Arc<Segment>) {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultyFs::new(Arc::new(Disk));
    let (store, _) = open_on(Arc::new(fs.clone()), dir.path(), "boot 1");
    let copy = store.create(spec(reference(), 0)).unwrap();
    fill(&copy, 1 << 20, 500);
    (dir, fs, store, copy)
}

/// Whether the file system can say that a page is cached.
fn knows_its_cache(dir: &Path) -> bool {
    let path = dir.join("probe");
    std::fs::write(&path, [7; 9]).unwrap();
    let file = crate::fs::Fs::open(&Disk, &path, OpenMode::Read).unwrap();
    read::Cached(file).read_at(&mut [0; 9], 0).is_ok()
}

#[test]
fn what_is_at_hand_is_read_without_the_disk_and_the_rest_is_not_read() {
    let (dir, fs, _store, copy) = on_faulty_disk();
    let end = copy.end_offset();
    for from in [0, 1, end / 2, end - 100] {
        let at_hand = copy.read_at_hand(from, 5_000, end, true).map(|s| (s.position, s.len, s.end_offset));
        let read = copy.read(from, 5_000, end, true).unwrap();
        let expected = knows_its_cache(dir.path()).then_some((read.position, read.len, read.end_offset));
        assert_eq!(at_hand, expected, "from {from}");
    }
    // Where the cache cannot say, only what is remembered is at hand.
    fs.fail_reads();
    let before = fs.counts();
    for from in [0, 1, end / 2, end - 100] {
        assert!(copy.read_at_hand(from, 5_000, end, true).is_none(), "from {from}");
    }
    assert_eq!(copy.read_at_hand(end - 50, 1 << 20, end, true).unwrap().end_offset, end);
    assert_eq!(copy.read_at_hand(end, 1 << 20, end, true).unwrap().len, 0);
    assert_eq!(fs.counts(), before, "nothing was asked of the disk");
    assert!(copy.read(end / 2, 5_000, end, true).is_err());
}

#[test]
fn a_doubtful_index_is_rebuilt_by_a_read_that_may_wait_only() {
    let (dir, _fs, _store, copy) = on_faulty_disk();
    let index = copy.path(Part::Index);
    let good = std::fs::read(&index).unwrap();
    let end = copy.end_offset();
    std::fs::write(&index, vec![7; good.len()]).unwrap();
    assert!(copy.read_at_hand(end / 2, 5_000, end, true).is_none());
    assert_eq!((copy.index_rebuilds(), std::fs::read(&index).unwrap()), (0, vec![7; good.len()]));
    let read = copy.read(end / 2, 5_000, end, true).unwrap();
    assert_eq!(copy.index_rebuilds(), 1);
    assert_eq!(std::fs::read(&index).unwrap()[..good.len()], good);
    let at_hand = copy.read_at_hand(end / 2, 5_000, end, true).map(|s| s.position);
    assert_eq!(at_hand, knows_its_cache(dir.path()).then_some(read.position));
}

#[test]
fn appends_go_on_while_the_index_is_rebuilt_and_are_in_it() {
    let (_dir, fs, _store, copy) = on_faulty_disk();
    let (index, end) = (copy.path(Part::Index), copy.end_offset());
    let len = std::fs::read(&index).unwrap().len();
    std::fs::write(&index, vec![7; len]).unwrap();
    std::thread::scope(|scope| {
        fs.only(".log");
        let gate = fs.hold_reads();
        let reader = scope.spawn(|| copy.read(end / 2, 5_000, end, true).unwrap().len);
        gate.wait_for_one();
        fill(&copy, 3 << 19, 500);
        drop(gate);
        assert!(reader.join().unwrap() > 0);
    });
    copy.finish_writes();
    let of = copy.index_of();
    let file = copy.index_file().unwrap();
    let count = file.len().unwrap() / crate::index::ENTRY_LEN;
    of.check_all(&*file, count).unwrap();
    let last = of.read(&*file, count - 1).unwrap();
    assert!(copy.end_position() - last.position < 2 * crate::index::INTERVAL, "{last:?}");
    assert_eq!(copy.position_of(last.offset).unwrap(), last.position);
}

#[test]
fn an_index_that_could_not_be_written_is_written_by_a_later_round() {
    let (_dir, fs, store, copy) = on_faulty_disk();
    let written = |copy: &Segment| std::fs::metadata(copy.path(Part::Index)).unwrap().len();
    let behind = |copy: &Segment| copy.tail.lock().sparse.is_behind();
    let before = written(&copy);
    fs.only(".index");
    fs.fail_writes(7);
    // A few entries wait in memory; more than that are given up, and the round has to scan.
    for to in [5 << 18, 4 << 20] {
        fs.fail_writes(7);
        fill(&copy, to, 500);
        assert!(behind(&copy));
        store.sync_round().unwrap();
        assert!(behind(&copy), "the disk has not changed");
        let end = copy.end_offset();
        for from in [0, end / 2, end - 200] {
            assert_eq!(copy.read(from, 600, end, true).unwrap().base_offset, from);
        }
        fs.heal();
        fs.only(".index");
        // A scan is not tried again in the very next round.
        store.sync_round().unwrap();
        store.sync_round().unwrap();
        assert!(!behind(&copy));
        assert!(written(&copy) > before);
        let (of, count) = (copy.index_of(), written(&copy) / crate::index::ENTRY_LEN);
        let file = copy.index_file().unwrap();
        of.check_all(&*file, count).unwrap();
        let last = of.read(&*file, count - 1).unwrap();
        assert!(copy.end_position() - last.position < 2 * crate::index::INTERVAL, "{last:?}");
    }
    assert_eq!(copy.index_rebuilds(), 2, "one scan failed, one went well");
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let (mut fixture, copy, model) = with_batches(3, 40);
    fixture.store().sync_round().unwrap();
    drop(copy);
    let torn = stamped(&opaque(2, 9, 30), model.end(), EPOCH);
    for boot in ["boot 1", "boot 2"] {
        for keep in 1..torn.len() {
            let mut bytes: Vec<u8> = model.batches.iter().flat_map(|b| b.3.clone()).collect();
            let end = bytes.len() as u64;
            bytes.extend_from_slice(&torn[..keep]);
            std::fs::write(fixture.path(Part::Log), &bytes).unwrap();
            let (_, recovery) = fixture.restart(boot).unwrap();
            assert_eq!(recovery.report.end_offset, model.end(), "{keep} bytes");
            assert_eq!(recovery.report.whole, boot == "boot 1");
            let cut = recovery.cut.unwrap();
            assert_eq!((cut.position, cut.bytes), (end, keep as u64));
            assert_eq!(std::fs::metadata(fixture.path(Part::Log)).unwrap().len(), end);
        }
    }
}

#[test]
fn a_flipped_bit_never_passes_for_good() {
    let (mut fixture, copy, model) = with_batches(3, 20);
    let good: Vec<u8> = model.batches.iter().flat_map(|b| b.3.clone()).collect();
    drop(copy);
    // Nothing was synced: all of it is beyond the recovery point.
    for boot in ["boot 1", "boot 2"] {
        // Three is no divisor of eight: every byte is hit, and every bit of some.
        for bit in (0..good.len() * 8).step_by(3) {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Not covered by any check: the epoch.
            let batch = model.batches.iter().position(|b| b.2 + (b.3.len() as u64) > bit as u64 / 8).unwrap();
            let within = bit as u64 / 8 - model.batches[batch].2;
            if (12..16).contains(&within) {
                continue;
            }
            std::fs::write(fixture.path(Part::Log), &flipped).unwrap();
            match fixture.restart(boot) {
                Err(RecoverError::Corrupt(corrupt)) => {
                    assert_eq!(boot, "boot 1", "bit {bit}");
                    assert_eq!(corrupt.position, model.batches[batch].2, "bit {bit}: {corrupt}");
                    let command =
                        format!("`buslane log verify --data {} --repair`", fixture.dir.path().display());
                    assert!(corrupt.to_string().contains(&command), "{corrupt}");
                }
                Ok((_, recovery)) => {
                    assert_eq!(boot, "boot 2", "bit {bit}: {recovery:?}");
                    assert_eq!(recovery.report.end_offset, model.batches[batch].0, "bit {bit}");
                    assert!(!recovery.report.whole);
                }
                Err(other) => panic!("bit {bit}: {other}"),
            }
        }
    }
}

#[test]
fn a_fault_below_the_recovery_point_is_damage_on_any_boot() {
    let (mut fixture, copy, model) = with_batches(3, 20);
    fixture.store().sync_round().unwrap();
    drop(copy);
    let good: Vec<u8> = model.batches.iter().flat_map(|b| b.3.clone()).collect();
    for (boot, len) in [("boot 1", good.len() - 1), ("boot 2", good.len() - 1), ("boot 3", 0)] {
        std::fs::write(fixture.path(Part::Log), &good[..len]).unwrap();
        let error = fixture.restart(boot).unwrap_err().to_string();
        assert!(error.contains("bytes were synced"), "{error}");
    }
    let mut headerless = good.clone();
    headerless[model.batches[1].2 as usize + 16] = 9;
    std::fs::write(fixture.path(Part::Log), &headerless).unwrap();
    let error = fixture.restart("boot 4").unwrap_err();
    assert!(matches!(&error, RecoverError::Corrupt(c) if c.position == model.batches[1].2), "{error}");
    std::fs::remove_file(fixture.path(Part::Log)).unwrap();
    let error = fixture.restart("boot 5").unwrap_err().to_string();
    assert!(error.contains("the file is missing"), "{error}");
}

/// Recovery does not read what was synced, so that a start takes no longer for it: the scrub is told to.
#[test]
fn what_was_synced_is_listed_for_the_scrub_when_recovery_did_not_read_it() {
    let (mut fixture, copy, model) = with_batches(3, 20);
    drop(copy);
    fixture.restart("boot 1").unwrap();
    assert_eq!(fixture.store().take_unread(|_| true), [], "nothing was synced, all of it was read");
    fixture.store().sync_round().unwrap();
    let mut flipped = std::fs::read(fixture.path(Part::Log)).unwrap();
    flipped[model.batches[1].2 as usize + HEADER_LEN] ^= 1;
    std::fs::write(fixture.path(Part::Log), &flipped).unwrap();
    let (copy, recovery) = fixture.restart("boot 1").unwrap();
    assert_eq!((recovery.report.end_offset, recovery.cut), (model.end(), None), "no torn end");
    assert_eq!(fixture.store().take_unread(|_| false), []);
    assert_eq!(fixture.store().take_unread(|segment| *segment == reference()), [reference()]);
    assert_eq!(fixture.store().take_unread(|_| true), [], "told once");
    drop(copy);
    fixture.restart("boot 2").unwrap();
    fixture.store().delete(&reference(), 1000).unwrap();
    assert_eq!(fixture.store().take_unread(|_| true), [], "it is gone");
}

/// No checksum covers base offsets: a read that would start at a false one says so, with its place.
#[test]
fn a_flipped_base_offset_is_told_by_the_read_that_meets_it() {
    let (mut fixture, copy, model) = with_batches(400, 200);
    copy.seal(model.end()).unwrap();
    drop(copy);
    let good = std::fs::read(fixture.path(Part::Log)).unwrap();
    let state =
        SegmentState::Sealed { end_offset: model.end(), bytes: good.len() as u64, max_timestamp: 399 };
    for number in [0, 1, 200, 399] {
        let batch = &model.batches[number];
        for bit in [0x80, 1] {
            let mut flipped = good.clone();
            flipped[batch.2 as usize + 1] ^= bit;
            drop(fixture.store.take());
            fixture.store = Some(open(fixture.dir.path(), "boot 1").0);
            std::fs::write(fixture.path(Part::Log), flipped).unwrap();
            let copy = fixture.store().load(reference(), 1000, state).unwrap();
            let error = copy.read(batch.0, 300, model.end(), true).unwrap_err();
            assert!(matches!(&error, ReadError::Corrupt(c) if c.position == batch.2), "{number}: {error}");
        }
    }
}

#[test]
fn a_missing_short_or_flipped_index_changes_no_answer() {
    let (mut fixture, copy, model) = with_batches(400, 200);
    copy.seal(model.end()).unwrap();
    drop(copy);
    let index = std::fs::read(fixture.path(Part::Index)).unwrap();
    assert!(index.len() > 400, "{}", index.len());
    let bytes = std::fs::metadata(fixture.path(Part::Log)).unwrap().len();
    let mut variants =
        vec![vec![], index[..index.len() / 2].to_vec(), index[..31].to_vec(), vec![0; index.len()]];
    for byte in (0..index.len()).step_by(7) {
        let mut flipped = index.clone();
        flipped[byte] ^= 4;
        variants.push(flipped);
    }
    for (i, variant) in variants.into_iter().enumerate() {
        drop(fixture.store.take());
        fixture.store = Some(open(fixture.dir.path(), "boot 1").0);
        std::fs::write(fixture.path(Part::Index), variant).unwrap();
        let state = SegmentState::Sealed { end_offset: model.end(), bytes, max_timestamp: 399 };
        let copy = fixture.store().load(reference(), 1000, state).unwrap();
        for batch in model.batches.iter().step_by(37) {
            assert_eq!(copy.position_of(batch.0).unwrap(), batch.2, "variant {i}");
            check_read(&copy, &model, batch.0, 3000, model.end(), true);
        }
        if i < 3 {
            assert_eq!(std::fs::read(fixture.path(Part::Index)).unwrap(), index, "variant {i} was rebuilt");
        }
    }
}

#[test]
fn only_the_epoch_of_the_segment_appends_and_no_promise_is_passed_over() {
    let (fixture, copy) = Fixture::new();
    let received = opaque(1, 1, 10);
    let batch = StampedBatch::new(&received, 1000, EPOCH).unwrap();
    assert!(matches!(copy.append(LeaderEpoch(4), &[batch]), Err(AppendError::WrongEpoch { .. })));
    assert!(matches!(copy.append(LeaderEpoch(6), &[batch]), Err(AppendError::WrongEpoch { .. })));
    copy.append(EPOCH, &[batch]).unwrap();
    assert!(matches!(
        copy.append(EPOCH, &[batch]),
        Err(AppendError::OutOfOrder { expected: 1001, got: 1000, .. })
    ));
    let promises = [(reference().partition, LeaderEpoch(7))];
    assert!(fixture.store().promise(&promises).unwrap()[0].is_ok());
    let next = StampedBatch::new(&received, 1001, EPOCH).unwrap();
    assert!(matches!(copy.append(EPOCH, &[next]), Err(AppendError::Fenced { .. })));
    assert!(
        fixture.store().recover(reference(), 1000, EPOCH, Durability::Replicated, LeaderEpoch(6)).is_err()
    );
    let (copy, recovery) =
        fixture.store().recover(reference(), 1000, EPOCH, Durability::Replicated, LeaderEpoch(7)).unwrap();
    assert_eq!(recovery.report.end_offset, 1001);
    assert!(recovery.report.whole);
    let bytes = stamped(&received, 1001, EPOCH);
    assert!(matches!(copy.append_recovered(LeaderEpoch(6), &bytes), Err(AppendError::WrongEpoch { .. })));
    let mut damaged = bytes.clone();
    damaged[60] ^= 1;
    assert!(matches!(copy.append_recovered(LeaderEpoch(7), &damaged), Err(AppendError::Invalid { .. })));
    assert_eq!(copy.append_recovered(LeaderEpoch(7), &bytes).unwrap().end_offset, 1002);
}

#[test]
fn nobody_appends_to_a_copy_of_an_earlier_run() {
    let (mut fixture, copy, model) = with_batches(2, 20);
    drop(copy);
    drop(fixture.store.take());
    fixture.store = Some(open(fixture.dir.path(), "boot 1").0);
    let state = SegmentState::Open { epoch: EPOCH, durability: Durability::Replicated };
    let copy = fixture.store().load(reference(), 1000, state).unwrap();
    let received = opaque(1, 1, 10);
    let batch = StampedBatch::new(&received, model.end(), EPOCH).unwrap();
    assert!(matches!(copy.append(EPOCH, &[batch]), Err(AppendError::NotWritable { .. })));
    assert!(matches!(copy.read(1000, 10, i64::MAX, true), Err(ReadError::NotReadable { .. })));
    let (copy, _) = fixture.recover().unwrap();
    let promised = fixture.store().promised(reference().partition).unwrap();
    assert!(copy.append(EPOCH, &[batch]).is_err());
    assert!(copy.append(promised, &[batch]).is_err());
}

#[test]
fn a_failed_write_gives_the_copy_up_until_a_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultyFs::new(Arc::new(Disk));
    let (store, _) = open_on(Arc::new(fs.clone()), dir.path(), "boot 1");
    let copy = store.create(spec(reference(), 0)).unwrap();
    append(&copy, &opaque(2, 1, 50));
    let received = opaque(2, 1, 50);
    let batch = StampedBatch::new(&received, 2, EPOCH).unwrap();
    fs.only(".log");
    fs.fail_writes(70);
    let error = copy.append(EPOCH, &[batch]).unwrap_err();
    assert!(matches!(&error, AppendError::Io { .. }), "{error}");
    fs.heal();
    assert!(matches!(copy.append(EPOCH, &[batch]), Err(AppendError::NotWritable { .. })));
    assert!(copy.sync().is_err());
    assert!(copy.seal(2).is_err());
    assert_eq!(copy.read(0, 1000, i64::MAX, true).unwrap().end_offset, 2, "what was written is still served");
    store.promise(&[(reference().partition, LeaderEpoch(6))]).unwrap()[0].unwrap();
    let (copy, recovery) =
        store.recover(reference(), 0, EPOCH, Durability::Replicated, LeaderEpoch(6)).unwrap();
    assert!(!recovery.report.whole);
    assert_eq!(recovery.report.end_offset, 2);
    assert_eq!(recovery.cut.unwrap().bytes, 70);
    copy.seal(2).unwrap();
}

#[test]
fn a_full_disk_costs_no_wholeness() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultyFs::new(Arc::new(Disk));
    let (store, _) = open_on(Arc::new(fs.clone()), dir.path(), "boot 1");
    let copy = store.create(spec(reference(), 0)).unwrap();
    append(&copy, &opaque(2, 1, 50));
    fs.fill_after(30);
    let received = opaque(2, 1, 50);
    let batch = StampedBatch::new(&received, 2, EPOCH).unwrap();
    assert!(copy.append(EPOCH, &[batch]).is_err());
    fs.heal();
    store.promise(&[(reference().partition, LeaderEpoch(6))]).unwrap()[0].unwrap();
    let (_, recovery) = store.recover(reference(), 0, EPOCH, Durability::Replicated, LeaderEpoch(6)).unwrap();
    assert!(recovery.report.whole);
    assert_eq!(recovery.cut.unwrap().bytes, 30);
}

#[test]
fn a_failed_sync_is_never_retried_and_costs_wholeness_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultyFs::new(Arc::new(Disk));
    let (store, _) = open_on(Arc::new(fs.clone()), dir.path(), "boot 1");
    let copy = store.create(spec(reference(), 0)).unwrap();
    append(&copy, &opaque(2, 1, 50));
    fs.only(".log");
    fs.fail_next_sync();
    assert!(copy.sync().is_err());
    let syncs = fs.counts().syncs;
    assert!(copy.sync().is_err());
    assert_eq!(fs.counts().syncs, syncs, "not asked again");
    drop((copy, store));
    for _ in 0..2 {
        let (store, report) = open_on(Arc::new(fs.clone()), dir.path(), "boot 1");
        assert_eq!(report.not_whole, [reference()]);
        store.close().unwrap();
    }
    let (store, _) = open_on(Arc::new(fs.clone()), dir.path(), "boot 1");
    store.promise(&[(reference().partition, LeaderEpoch(6))]).unwrap()[0].unwrap();
    let writes = fs.counts().writes;
    let (copy, recovery) =
        store.recover(reference(), 0, EPOCH, Durability::Replicated, LeaderEpoch(6)).unwrap();
    assert!(!recovery.report.whole);
    assert!(fs.counts().writes > writes, "the pages are made dirty again, else no sync would write them");
    copy.seal(2).unwrap();
}

#[test]
fn sealing_cuts_what_is_longer_and_stays_sealed() {
    let (mut fixture, copy, model) = with_batches(100, 200);
    let end = model.batches[49].1;
    assert!(matches!(copy.seal(model.end() + 1), Err(SealError::Short { .. })));
    assert!(matches!(copy.seal(model.batches[1].1 - 1), Err(SealError::NotABoundary { .. })));
    let sealed = copy.seal(end).unwrap();
    assert_eq!((sealed.end_offset, sealed.bytes, sealed.max_timestamp), (end, model.batches[50].2, 49));
    assert_eq!(copy.seal(end).unwrap(), sealed, "repeating it is harmless");
    assert!(!copy.report().whole, "a copy that was cut may miss something");
    let received = opaque(1, 1, 10);
    let batch = StampedBatch::new(&received, end, EPOCH).unwrap();
    assert!(matches!(copy.append(EPOCH, &[batch]), Err(AppendError::NotWritable { .. })));
    let mut kept = Model::default();
    model.batches[..50].iter().for_each(|b| kept.push(b.3.clone()));
    for from in (1000..end).step_by(7) {
        check_read(&copy, &kept, from, 2000, i64::MAX, true);
    }
    let (copy, recovery) = fixture.restart("boot 2").unwrap();
    assert_eq!((recovery.report.end_offset, recovery.cut), (end, None));
    assert!(copy.is_sealed());
    // A later recovery found more on another store.
    let promised = fixture.store().promised(reference().partition).unwrap();
    let again = copy.append_recovered(promised, &model.batches[49].3).unwrap_err();
    assert!(matches!(again, AppendError::NotWritable { .. } | AppendError::OutOfOrder { .. }), "{again}");
    assert!(copy.is_sealed(), "what came twice changes nothing");
    copy.append_recovered(promised, &model.batches[50].3).unwrap();
    assert_eq!(copy.seal(model.batches[50].1).unwrap().bytes, model.batches[51].2);
    fixture.store().settle(&reference()).unwrap();
    assert!(copy.append_recovered(promised, &model.batches[51].3).is_err(), "sealed in the chain");
}

#[test]
fn producer_checkpoints_come_back_by_offset() {
    let (mut fixture, copy, _model) = with_batches(2, 20);
    assert_eq!(copy.producers_at(i64::MAX).unwrap(), None);
    copy.checkpoint_producers(1000, b"first").unwrap();
    copy.checkpoint_producers(1003, b"second").unwrap();
    assert_eq!(copy.producers_at(1002).unwrap(), Some((1000, b"first".to_vec())));
    assert_eq!(copy.producers_at(1003).unwrap(), Some((1003, b"second".to_vec())));
    drop(copy);
    // A crash in the middle of a checkpoint.
    let file = std::fs::OpenOptions::new().append(true).open(fixture.path(Part::Producers)).unwrap();
    std::io::Write::write_all(&mut &file, &[0x42, 0x55, 0x50]).unwrap();
    let (copy, _) = fixture.restart("boot 1").unwrap();
    copy.checkpoint_producers(1003, b"third").unwrap();
    assert_eq!(copy.producers_at(1003).unwrap(), Some((1003, b"third".to_vec())));
}

#[test]
fn a_reader_keeps_what_is_deleted() {
    let (fixture, copy, model) = with_batches(5, 20);
    let slice = copy.read(1000, 1 << 20, i64::MAX, true).unwrap();
    fixture.store().delete(&reference(), 1000).unwrap();
    assert_eq!(slice.to_vec().unwrap(), model.read(1000, 1 << 20, i64::MAX, true));
    assert!(copy.read(1000, 10, i64::MAX, true).is_err());
    assert!(fixture.store().list().unwrap().is_empty());
    assert!(copy.seal(1001).is_err());
    fixture.store().delete(&reference(), 1000).unwrap();
}

#[test]
fn appends_and_reads_run_side_by_side() {
    let (_fixture, copy) = Fixture::new();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (copy, done) = (&copy, &done);
            scope.spawn(move || {
                let mut next = 1000;
                let mut rounds = 0u64;
                while !done.load(std::sync::atomic::Ordering::Acquire) || next < copy.end_offset() {
                    let end = copy.end_offset();
                    rounds += 1;
                    let from =
                        if reader == 2 { 1000 + (rounds as i64 * 7919) % (end - 999).max(1) } else { next };
                    let slice = copy.read(from, 3000 * (reader + 1), end, true).unwrap();
                    let bytes = slice.to_vec().unwrap();
                    let mut rest = &bytes[..];
                    let mut expected = slice.base_offset;
                    while !rest.is_empty() {
                        let header = crate::walk::whole_batch(rest).unwrap();
                        assert_eq!(header.base_offset, expected);
                        expected = header.next_offset();
                        rest = &rest[header.total_len()..];
                    }
                    assert_eq!(expected, slice.end_offset);
                    if reader != 2 {
                        next = slice.end_offset;
                    } else if done.load(std::sync::atomic::Ordering::Acquire) {
                        break;
                    }
                }
            });
        }
        for i in 0..3000 {
            append(&copy, &opaque(1 + i % 4, i64::from(i), (i as usize * 37) % 900));
        }
        done.store(true, std::sync::atomic::Ordering::Release);
    });
}

#[test]
fn a_cut_does_not_wait_for_itself_when_the_index_is_in_doubt() {
    for (name, damage) in [("gone", None), ("wrong", Some(7)), ("zeroed", Some(0))] {
        let (fixture, copy, model) = with_batches(400, 200);
        copy.finish_writes();
        let index = fixture.path(Part::Index);
        let len = std::fs::read(&index).unwrap().len();
        assert!(len > 400);
        std::fs::write(&index, vec![damage.unwrap_or(0); damage.map_or(0, |_| len)]).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let end = model.batches[199].1;
        let cutter = copy.clone();
        std::thread::spawn(move || tell.send(cutter.seal(end)));
        let sealed = told.recv_timeout(std::time::Duration::from_secs(30)).expect("it ends").unwrap();
        assert_eq!(
            (sealed.end_offset, sealed.bytes, sealed.max_timestamp),
            (end, model.batches[200].2, 199),
            "{name}"
        );
        let mut kept = Model::default();
        model.batches[..200].iter().for_each(|b| kept.push(b.3.clone()));
        for batch in kept.batches.iter().step_by(37) {
            check_read(&copy, &kept, batch.0, 3000, end, true);
        }
    }
}

#[test]
fn of_two_syncs_at_once_none_passes_over_what_the_other_was_told() {
    let (_dir, fs, _store, copy) = on_faulty_disk();
    append(&copy, &opaque(1, 1, 50));
    fs.only(".log");
    fs.fail_next_sync();
    let before = fs.counts().syncs;
    let gate = fs.hold_syncs();
    let copy = &copy;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| copy.sync());
        while fs.counts().syncs == before {
            std::thread::yield_now();
        }
        let end = copy.end_offset();
        let second = scope.spawn(move || copy.seal(end).map(drop).map_err(|e| e.to_string()));
        // Long enough for it to come to its own sync, if it went for one.
        let until = std::time::Instant::now() + std::time::Duration::from_millis(300);
        while std::time::Instant::now() < until {
            assert_eq!(fs.counts().syncs, before + 1, "two at once");
            std::thread::yield_now();
        }
        drop(gate);
        assert!(first.join().unwrap().is_err());
        let error = second.join().unwrap().expect_err("what is written is not known to be on the disk");
        assert!(error.contains("sync failed"), "{error}");
    });
}

#[test]
fn a_batch_cut_short_is_torn_though_its_records_hold_whole_batches() {
    // A record whose value is a batch: one as a client sends it, one that was taken from a log, one of this very epoch.
    for (base, epoch) in [(0, LeaderEpoch(-1)), (7_000, LeaderEpoch(3)), (1_005, EPOCH)] {
        let (mut fixture, copy, _) = with_batches(2, 100);
        let end = copy.end_offset();
        let inner = stamped(&opaque(1, 5, 300), base, epoch);
        let mut received = opaque(1, 1, 900);
        received[HEADER_LEN + 50..][..inner.len()].copy_from_slice(&inner);
        let crc = buslane_wire::batch::crc_of(&received);
        received[17..21].copy_from_slice(&crc.to_be_bytes());
        append(&copy, &received);
        drop(copy);
        // The process was killed before all of it was written.
        let log = fixture.path(Part::Log);
        let len = std::fs::metadata(&log).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(len - 10).unwrap();
        let (copy, recovery) = fixture.restart("boot 1").unwrap();
        assert_eq!((copy.end_offset(), recovery.report.whole), (end, true), "{base}");
        assert!(recovery.cut.is_some());
    }
}

#[test]
fn a_sync_that_fails_after_a_full_disk_costs_wholeness_and_one_that_does_not_is_made() {
    for fails in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let fs = FaultyFs::new(Arc::new(Disk));
        let (store, _) = open_on(Arc::new(fs.clone()), dir.path(), "boot 1");
        let copy = store.create(spec(reference(), 0)).unwrap();
        append(&copy, &opaque(2, 1, 50));
        let position = copy.end_position();
        fs.only(".log");
        fs.fill_after(10);
        let received = opaque(1, 1, 10);
        let batch = StampedBatch::new(&received, 2, EPOCH).unwrap();
        assert!(copy.append(EPOCH, &[batch]).is_err());
        assert!(copy.is_failed());
        if fails {
            fs.fail_next_sync();
            assert!(copy.sync().is_err());
            let syncs = fs.counts().syncs;
            assert!(copy.sync().is_err());
            assert_eq!(fs.counts().syncs, syncs, "not asked again");
        } else {
            assert_eq!(copy.sync().unwrap(), Synced { end_offset: 2, position });
        }
        drop((copy, store));
        fs.heal();
        let not_whole = open_on(Arc::new(fs), dir.path(), "boot 1").1.not_whole;
        assert_eq!(not_whole, if fails { vec![reference()] } else { vec![] });
    }
}

#[test]
fn what_lies_before_damage_is_read_whatever_the_index_says_and_the_log_is_not_scanned_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultyFs::new(Arc::new(Disk));
    let (store, _) = open_on(Arc::new(fs.clone()), dir.path(), "boot 1");
    let copy = store.create(spec(reference(), 0)).unwrap();
    fill(&copy, 400_000, 200);
    let end = copy.end_offset();
    let sealed = copy.seal(end).unwrap();
    let (log, index) = (copy.path(Part::Log), copy.path(Part::Index));
    drop((copy, store));
    // The base offset of a batch near the end; the first entries of the index only, or none that is right.
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[261 * 1500 + 5] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let good = std::fs::read(&index).unwrap();
    for short in [good[..32].to_vec(), vec![7; good.len()]] {
        std::fs::write(&index, short).unwrap();
        let (store, _) = open_on(Arc::new(fs.clone()), dir.path(), "boot 1");
        let state = SegmentState::Sealed {
            end_offset: end,
            bytes: sealed.bytes,
            max_timestamp: sealed.max_timestamp,
        };
        let copy = store.load(reference(), 0, state).unwrap();
        assert_eq!(copy.read(700, 1000, end, true).unwrap().base_offset, 700);
        let reads = fs.counts().reads;
        assert_eq!(copy.read(10, 1000, end, true).unwrap().base_offset, 10);
        assert!(fs.counts().reads - reads < 100, "{} reads", fs.counts().reads - reads);
        assert!(matches!(copy.read(1500, 1000, end, true), Err(ReadError::Corrupt(_))));
    }
}
