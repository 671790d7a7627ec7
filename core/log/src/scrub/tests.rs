use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::disk::Disk;
use crate::faulty::FaultyFs;
use crate::fixtures::*;

/// Bytes of each batch of [`Sealed`].
const BATCH: usize = 561;

/// A folder with one sealed segment of 60 batches of one record each, base offset 100.
struct Sealed {
    _dir: tempfile::TempDir,
    store: Store,
    of: SealedSegment,
    path: PathBuf,
    good: Vec<u8>,
}

const BASE: i64 = 100;

impl Sealed {
    fn new() -> Sealed {
        Sealed::on(Arc::new(Disk))
    }

    fn on(fs: Arc<dyn Fs>) -> Sealed {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open_on(fs, dir.path(), "boot 1");
        let copy = store.create(spec(segment(0, 1), BASE)).unwrap();
        fill(&copy, 60 * BATCH as u64, 500);
        let sealed = copy.seal(copy.end_offset()).unwrap();
        store.settle(&segment(0, 1)).unwrap();
        let path = layout::part(dir.path(), &segment(0, 1), BASE, Part::Log);
        let of = SealedSegment {
            segment: segment(0, 1),
            base_offset: BASE,
            end_offset: sealed.end_offset,
            bytes: sealed.bytes,
            first_epoch: EPOCH,
            epoch: EPOCH,
        };
        let good = std::fs::read(&path).unwrap();
        assert_eq!(good.len(), 60 * BATCH);
        Sealed { _dir: dir, store, of, path, good }
    }

    fn scrub(&self) -> Vec<DamagedRange> {
        run(self.store.scrub(self.of), 10_000)
    }

    fn with(&self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<DamagedRange> {
        let mut bytes = self.good.clone();
        change(&mut bytes);
        write(&self.path, &bytes);
        let found = self.scrub();
        write(&self.path, &self.good);
        found
    }
}

/// In place, as a disk would: the file stays the same one.
fn write(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}

fn run(mut scrub: Scrub, bytes: u64) -> Vec<DamagedRange> {
    let (mut steps, most) = (0, 10 * scrub.segment().bytes / bytes + 20);
    while !scrub.step(bytes).unwrap().done {
        steps += 1;
        assert!(steps < most, "it does not come to an end: {scrub:?}");
    }
    scrub.into_damage()
}

/// Numbers of the first batch whose offsets a range takes away, and of the first one after it.
fn batches(range: &DamagedRange) -> (usize, usize) {
    ((range.base_offset - BASE) as usize, (range.end_offset - BASE) as usize)
}

#[test]
fn a_sound_log_has_no_damage_whatever_the_steps() {
    let sealed = Sealed::new();
    for bytes in [1, 100, 561, 5_000, u64::MAX / 100] {
        assert_eq!(run(sealed.store.scrub(sealed.of), bytes), [], "steps of {bytes} bytes");
    }
    // What lies beyond the sealed end was never acknowledged.
    assert_eq!(sealed.with(|bytes| bytes.extend([1; 100])), []);
}

#[test]
fn a_step_looks_at_no_more_than_it_was_given_and_a_piece() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), "boot 1");
    let copy = store.create(spec(segment(0, 1), 0)).unwrap();
    append(&copy, &opaque(3, 1, 3_000_000));
    append(&copy, &opaque(3, 1, 10));
    let sealed = copy.seal(6).unwrap();
    let (first_epoch, epoch) = (EPOCH, EPOCH);
    let (end_offset, bytes) = (6, sealed.bytes);
    let of = SealedSegment { segment: segment(0, 1), base_offset: 0, end_offset, bytes, first_epoch, epoch };
    let mut scrub = store.scrub(of);
    let mut total = 0;
    loop {
        let step = scrub.step(100_000).unwrap();
        assert!(step.bytes <= 100_000 + 64 * 1024, "{step:?}");
        total += step.bytes;
        if step.done {
            break;
        }
    }
    assert_eq!((total, scrub.into_damage()), (bytes, vec![]));
}

#[test]
fn bytes_that_are_wrong_take_away_one_batch() {
    let sealed = Sealed::new();
    for batch in [0, 7, 8, 30, 59] {
        let found = sealed.with(|bytes| bytes[batch * BATCH + 200] ^= 0x10);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].position, found[0].end_position),
            ((batch * BATCH) as u64, ((batch + 1) * BATCH) as u64)
        );
        assert_eq!((batches(&found[0]), &found[0].file), ((batch, batch + 1), &sealed.path));
        assert!(found[0].what.contains("CRC"), "{found:?}");
    }
    let found = sealed.with(|bytes| {
        for batch in [3, 20, 21, 40] {
            bytes[batch * BATCH + 100] ^= 1;
        }
    });
    assert_eq!(found.iter().map(batches).collect::<Vec<_>>(), [(3, 4), (20, 22), (40, 41)]);
}

#[test]
fn a_leader_epoch_that_is_wrong_takes_away_one_batch() {
    let sealed = Sealed::new();
    for batch in [0, 31, 59] {
        for byte in 12..16 {
            let found = sealed.with(|bytes| bytes[batch * BATCH + byte] ^= 4);
            assert_eq!(found.iter().map(batches).collect::<Vec<_>>(), [(batch, batch + 1)], "{found:?}");
            assert_eq!(found[0].position, (batch * BATCH) as u64);
            assert!(found[0].what.contains("opened in epoch 5"), "{found:?}");
        }
    }
    // As in a segment that compaction made: more than one is right, and they do not fall.
    let of = SealedSegment { first_epoch: LeaderEpoch(3), ..sealed.of };
    let mut bytes = sealed.good.clone();
    (0..20).for_each(|batch| bytes[batch * BATCH + 15] = 3);
    write(&sealed.path, &bytes);
    assert_eq!(run(sealed.store.scrub(of), 10_000), []);
    bytes[30 * BATCH + 15] = 4;
    bytes[15] = 2;
    write(&sealed.path, &bytes);
    let found = run(sealed.store.scrub(of), 10_000);
    assert_eq!(found.iter().map(batches).collect::<Vec<_>>(), [(0, 1), (30, 31)]);
    assert!(found[0].what.contains("begins in epoch 3") && found[1].what.contains("follows one of epoch 5"));
}

#[test]
fn a_gap_that_compaction_left_is_no_damage_and_one_that_a_flipped_offset_made_is() {
    let sealed = Sealed::new();
    // Batches 10 and 30 are gone.
    let compacted =
        [&sealed.good[..10 * BATCH], &sealed.good[11 * BATCH..30 * BATCH], &sealed.good[31 * BATCH..]]
            .concat();
    let of = SealedSegment { bytes: compacted.len() as u64, ..sealed.of };
    write(&sealed.path, &compacted);
    assert_eq!(run(sealed.store.scrub(of), 10_000), []);
    for (byte, what) in [(7, "starts at offset 113, expected 112"), (6, "has offsets 368 to 368")] {
        let found = sealed.with(|bytes| bytes[12 * BATCH + byte] ^= 1);
        // Up to the next entry of the index: readers go by the offsets before.
        let places: Vec<_> = found.iter().map(|d| (d.position, batches(d))).collect();
        assert_eq!(places, [((12 * BATCH) as u64, (12, 16))]);
        assert!(found[0].what.contains(what), "{found:?}");
    }
}

#[test]
fn where_the_chain_is_broken_the_index_tells_how_far() {
    let sealed = Sealed::new();
    // Entries of the index: batches 8, 16, 24 and so on.
    let found = sealed.with(|bytes| bytes[10 * BATCH + 9] ^= 1);
    assert_eq!(
        found.iter().map(|d| (d.position, batches(d))).collect::<Vec<_>>(),
        [((10 * BATCH) as u64, (10, 16))]
    );
    let zeros = |bytes: &mut Vec<u8>| bytes[10 * BATCH..30 * BATCH].fill(0);
    assert_eq!(sealed.with(zeros).iter().map(batches).collect::<Vec<_>>(), [(10, 32)]);
    // Without it nothing behind is certain.
    std::fs::remove_file(sealed.path.with_extension("index")).unwrap();
    assert_eq!(sealed.with(zeros).iter().map(batches).collect::<Vec<_>>(), [(10, 60)]);
    assert_eq!(
        sealed.with(|bytes| bytes[10 * BATCH + 100] ^= 1).iter().map(batches).collect::<Vec<_>>(),
        [(10, 11)]
    );
}

#[test]
fn a_log_that_is_too_short_or_gone_is_damaged_from_there() {
    let sealed = Sealed::new();
    for (len, batch) in [(0, 0), (20 * BATCH, 20), (20 * BATCH + 30, 20), (60 * BATCH - 1, 59)] {
        let found = sealed.with(|bytes| bytes.truncate(len));
        assert_eq!(found.iter().map(batches).collect::<Vec<_>>(), [(batch, 60)]);
        assert_eq!((found[0].position, found[0].end_position), ((batch * BATCH) as u64, sealed.of.bytes));
    }
    std::fs::remove_file(&sealed.path).unwrap();
    let found = sealed.scrub();
    assert_eq!((found.len(), batches(&found[0]), found[0].what.as_str()), (1, (0, 60), "it is missing"));
}

#[test]
fn a_log_that_ends_elsewhere_than_it_was_sealed_is_damaged() {
    let sealed = Sealed::new();
    let of = SealedSegment { end_offset: sealed.of.end_offset + 3, ..sealed.of };
    let found = run(sealed.store.scrub(of), 10_000);
    assert_eq!(found.iter().map(batches).collect::<Vec<_>>(), [(60, 63)]);
    let of = SealedSegment { end_offset: sealed.of.end_offset - 1, ..sealed.of };
    assert_eq!(run(sealed.store.scrub(of), 10_000).len(), 1);
}

#[test]
fn bytes_that_cannot_be_read_are_damage_with_a_place() {
    let fs = FaultyFs::new(Arc::new(Disk));
    let sealed = Sealed::on(Arc::new(fs.clone()));
    let mut scrub = sealed.store.scrub(sealed.of);
    assert!(!scrub.step(20 * BATCH as u64).unwrap().done);
    fs.only(".log");
    fs.fail_reads();
    // What was read already is checked; beyond that every place is tried once.
    while !scrub.step(10_000).unwrap().done {}
    assert_eq!(scrub.into_damage(), [], "all of this log fits into one read");
    let found = sealed.scrub();
    assert_eq!(found.iter().map(|d| (d.position, batches(d))).collect::<Vec<_>>(), [(0, (0, 60))]);
    assert!(found[0].what.contains("cannot be read") && found[0].file == sealed.path, "{found:?}");
    fs.heal();
    assert_eq!(sealed.scrub(), []);
}

#[test]
fn a_copy_that_is_deleted_meanwhile_does_no_harm() {
    let sealed = Sealed::new();
    let mut scrub = sealed.store.scrub(sealed.of);
    assert!(!scrub.step(5_000).unwrap().done);
    sealed.store.delete(&sealed.of.segment, BASE).unwrap();
    assert_eq!(run(scrub, 5_000), []);
}

/// Readers get as far as the scrub says, and what they meet in a damaged range spoils nothing.
#[test]
fn what_lies_outside_of_the_damage_can_be_read() {
    for (byte, bit) in [(0, 0x40), (4, 1), (7, 1), (9, 1), (11, 4), (16, 2), (70, 1)] {
        let sealed = Sealed::new();
        write(&sealed.path, &{
            let mut bytes = sealed.good.clone();
            bytes[16 * BATCH + byte] ^= bit;
            bytes
        });
        let found = sealed.scrub();
        assert_eq!((found.len(), found[0].base_offset), (1, BASE + 16));
        let state = crate::SegmentState::Sealed {
            end_offset: sealed.of.end_offset,
            bytes: sealed.of.bytes,
            max_timestamp: 1_000_000,
        };
        let index = std::fs::read(sealed.path.with_extension("index")).unwrap();
        let copy = sealed.store.load(sealed.of.segment, BASE, state).unwrap();
        // As a fetch of everything would, and a lookup in the index that the damage contradicts.
        let _ = copy.read(BASE + 17, 1 << 20, sealed.of.end_offset, true);
        let _ = copy.read(BASE, 1 << 20, sealed.of.end_offset, true);
        for offset in (BASE..found[0].base_offset).chain(found[0].end_offset..sealed.of.end_offset) {
            let below =
                if offset < found[0].base_offset { found[0].base_offset } else { sealed.of.end_offset };
            for most in [0, 700, 6_000, 1 << 20] {
                let slice = copy.read(offset, most, below, true).unwrap();
                assert_eq!(slice.base_offset, offset, "byte {byte}");
                let from = (offset - BASE) as usize * BATCH;
                assert_eq!(slice.to_vec().unwrap(), sealed.good[from..from + slice.len as usize]);
                assert!(slice.len > 0 && slice.end_offset <= below);
            }
        }
        assert_eq!(
            std::fs::read(sealed.path.with_extension("index")).unwrap(),
            index,
            "the index stays as it was"
        );
    }
}

#[test]
fn damage_everywhere_ends_the_scrub() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), "boot 1");
    let copy = store.create(spec(segment(0, 1), 0)).unwrap();
    fill(&copy, 300 * BATCH as u64, 500);
    let (bytes, end_offset) = (copy.end_position(), copy.end_offset());
    copy.seal(end_offset).unwrap();
    let path = layout::part(dir.path(), &segment(0, 1), 0, Part::Log);
    let mut log = std::fs::read(&path).unwrap();
    (0..300).step_by(2).for_each(|batch| log[batch * BATCH + 300] ^= 1);
    write(&path, &log);
    let (first_epoch, epoch) = (EPOCH, EPOCH);
    let of = SealedSegment { segment: segment(0, 1), base_offset: 0, end_offset, bytes, first_epoch, epoch };
    let found = run(store.scrub(of), 10_000);
    assert_eq!((found.len(), found[RANGES_MAX - 1].end_offset), (RANGES_MAX, end_offset));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any flipped bit is found in the batch it is in, and what is given up ends at an entry of the index at the latest.
    #[test]
    fn any_flipped_bit_is_found_where_it_is(bits in prop::collection::vec((0..60 * BATCH, 0..8), 200), step in 100u64..50_000) {
        let sealed = Sealed::new();
        for (at, bit) in bits {
            let mut bytes = sealed.good.clone();
            bytes[at] ^= 1u8 << bit;
            write(&sealed.path, &bytes);
            let found = run(sealed.store.scrub(sealed.of), step);
            let batch = at / BATCH;
            prop_assert_eq!(found.len(), 1, "byte {} of batch {}: {:?}", at % BATCH, batch, found);
            prop_assert_eq!(found[0].position, (batch * BATCH) as u64, "byte {}: {:?}", at % BATCH, found);
            let lost = batches(&found[0]);
            prop_assert!(lost.0 == batch && lost.1 > batch && lost.1 <= (batch / 8 + 1) * 8, "{:?}", found);
        }
    }
}
