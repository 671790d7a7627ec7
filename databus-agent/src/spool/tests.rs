use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use buslane_wire::batch::{BatchBuilder, BatchHeader, BatchOptions, NewRecord};

use super::*;
use crate::dedup::{IdHash, Seen};
use crate::drain::{Part, Place, Plan, ProducerId, Reassignment, Target};
use crate::route::Partitioner;

const NONE: SpaceReserve = SpaceReserve { percent: 0, bytes: 0 };

/// A batch of so many records of so many bytes.
fn batch(records: usize, bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    let value = vec![b'v'; bytes];
    for _ in 0..records {
        builder.push(&NewRecord { timestamp: 7, value: Some(&value), ..NewRecord::default() });
    }
    let mut out = Vec::new();
    builder.build(&BatchOptions::default(), &mut out).unwrap();
    out
}

struct Opened {
    spool: Spool,
    chain: Chain,
    found: Found,
}

fn partition() -> TopicPartition {
    TopicPartition { topic: topic_of("orders"), partition: EVENTS }
}

/// Opens the spool of a folder and one log of it, with small segments.
fn open(dir: &Path) -> Opened {
    let spool = Spool::open(dir, NONE).unwrap();
    spool.store.promise(&[(partition(), EPOCH)]).unwrap();
    let (chain, found) = Chain::open(spool.store.clone(), partition(), 10_000).unwrap();
    Opened { spool, chain, found }
}

/// Base offsets of the batches that can be read from an offset on.
fn bases(chain: &Chain, from: i64) -> Vec<i64> {
    let mut bases = Vec::new();
    let mut at = from;
    while let Some(slice) = chain.read(at, 1, chain.end()).unwrap() {
        let header = BatchHeader::parse(&slice.to_vec().unwrap()).unwrap();
        bases.push(header.base_offset);
        at = slice.end_offset;
    }
    bases
}

fn log_files(dir: &Path) -> Vec<PathBuf> {
    let topic = dir.join("log").join(topic_of("orders").to_string()).join(EVENTS.to_string());
    let mut files: Vec<PathBuf> = std::fs::read_dir(topic)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
        .collect();
    files.sort();
    files
}

#[test]
fn what_was_appended_is_there_after_a_crash_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    {
        let opened = open(dir.path());
        for base in 0..20 {
            assert_eq!(opened.chain.append(&batch(2, 1_000)).unwrap(), base * 2);
        }
        assert!(log_files(dir.path()).len() > 2, "segments are small");
        assert_eq!(bases(&opened.chain, 0), (0..20).map(|n| n * 2).collect::<Vec<_>>());
        assert_eq!(bases(&opened.chain, 21).first(), Some(&20), "the batch that has it");
        // Dropped without a close.
    }
    let opened = open(dir.path());
    assert_eq!((opened.chain.start(), opened.chain.end(), opened.found), (0, 40, Found::default()));
    assert_eq!(opened.chain.append(&batch(1, 10)).unwrap(), 40);
    assert_eq!(bases(&opened.chain, 36), [36, 38, 40]);
}

#[test]
fn what_is_trimmed_goes_by_whole_segments_and_the_last_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { chain, .. } = open(dir.path());
    for _ in 0..20 {
        chain.append(&batch(1, 2_000)).unwrap();
    }
    let (files, bytes) = (log_files(dir.path()).len(), chain.bytes());
    assert_eq!(chain.trim(1), 0);
    let freed = chain.trim(12);
    assert!(freed > 0 && chain.bytes() == bytes - freed);
    assert!(chain.start() > 0 && chain.start() <= 12);
    assert!(log_files(dir.path()).len() < files);
    chain.trim(20);
    assert_eq!(log_files(dir.path()).len(), 1);
    assert_eq!(chain.append(&batch(1, 10)).unwrap(), 20);
}

#[test]
fn a_torn_end_is_cut_off_and_the_log_goes_on_there() {
    let dir = tempfile::tempdir().unwrap();
    {
        let Opened { chain, .. } = open(dir.path());
        chain.append(&batch(1, 100)).unwrap();
        chain.append(&batch(1, 100)).unwrap();
    }
    let log = &log_files(dir.path())[0];
    let file = OpenOptions::new().write(true).open(log).unwrap();
    file.set_len(file.metadata().unwrap().len() - 5).unwrap();
    let opened = open(dir.path());
    assert_eq!((opened.found.cuts.len(), opened.found.quarantined.len()), (1, 0));
    assert_eq!(opened.chain.end(), 1);
    assert_eq!(opened.chain.append(&batch(1, 10)).unwrap(), 1);
}

#[test]
fn a_damaged_segment_is_set_aside_and_its_offsets_are_not_given_again() {
    let dir = tempfile::tempdir().unwrap();
    {
        let Opened { chain, spool, .. } = open(dir.path());
        for _ in 0..20 {
            chain.append(&batch(1, 2_000)).unwrap();
        }
        chain.sync_now().unwrap();
        spool.close().unwrap();
    }
    let files = log_files(dir.path());
    // Shorter than what was synced, the second segment and the last one.
    for log in [&files[1], files.last().unwrap()] {
        OpenOptions::new().write(true).open(log).unwrap().set_len(100).unwrap();
    }
    let opened = open(dir.path());
    assert_eq!(opened.found.quarantined.len(), 2, "{:?}", opened.found);
    assert!(opened.chain.end() > 20);
    let read = bases(&opened.chain, 0);
    assert!(read.contains(&0) && !read.contains(&6) && read.len() >= 8, "{read:?}");
    let base = opened.chain.append(&batch(1, 10)).unwrap();
    assert!(base > 20);
    assert_eq!(bases(&opened.chain, base), [base]);
    assert_eq!(bases(&opened.chain, 20), [base], "a gap is passed over");
    assert_eq!(log_files(dir.path()).len(), files.len() - 2 + 1);
}

#[test]
fn behind_a_damaged_stretch_it_can_be_read_again() {
    let dir = tempfile::tempdir().unwrap();
    {
        let spool = Spool::open(dir.path(), NONE).unwrap();
        spool.store.promise(&[(partition(), EPOCH)]).unwrap();
        let chain = Chain::open(spool.store.clone(), partition(), 1 << 20).unwrap().0;
        for _ in 0..100 {
            chain.append(&batch(3, 1_000)).unwrap();
        }
        chain.sync_now().unwrap();
        spool.close().unwrap();
    }
    // A length that leads nowhere, in the middle.
    let bytes = batch(3, 1_000).len() as u64;
    let file = OpenOptions::new().write(true).open(&log_files(dir.path())[0]).unwrap();
    file.write_all_at(&[0x7f; 4], 40 * bytes + 8).unwrap();
    let Opened { chain, .. } = open(dir.path());
    assert_eq!(chain.end(), 300);
    let error = chain.read(120, 1, 300).unwrap_err();
    assert!(error.is_damage(), "{error}");
    let next = chain.after_damage(120, 300).unwrap();
    assert!((121..=135).contains(&next), "{next}");
    assert_eq!(bases(&chain, next).last(), Some(&297));
}

fn plan(number: u64, from: i64, to: i64) -> Plan {
    let producer = ProducerId { id: 5, epoch: 0 };
    let part = Part { partition: 3, count: (to - from) as i32, producer, base_sequence: from as i32 };
    Plan { number, target: Target(1), from, to, parts: vec![part] }
}

fn open_ledger(spool: &Spool) -> Ledger {
    let at = TopicPartition { topic: topic_of("orders"), partition: LEDGER };
    spool.store.promise(&[(at, EPOCH)]).unwrap();
    Ledger::open(spool.store.clone(), at, "orders").unwrap().0
}

#[test]
fn a_ledger_says_after_a_start_what_it_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let route = Route {
        cluster: "main".into(),
        topic: "orders".into(),
        partitions: 4,
        partitioner: Partitioner::Key,
    };
    let new = Reassignment {
        place: Place { target: Target(1), partition: 3 },
        producer: ProducerId { id: 5, epoch: 1 },
        plans: vec![(1, 0), (2, 10)],
    };
    {
        let spool = Spool::open(dir.path(), NONE).unwrap();
        let mut ledger = open_ledger(&spool);
        ledger.target(Target(1), &route).unwrap();
        for number in 0..3 {
            let from = number as i64 * 10;
            ledger.plan(&plan(number, from, from + 10), 0).unwrap();
        }
        ledger.reassignment(&new).unwrap();
        ledger.confirmed(10).unwrap();
        // Never sent: another plan gets its number, and no old name.
        ledger.dropped(2).unwrap();
        ledger.plan(&plan(2, 20, 25), 10).unwrap();
    }
    let spool = Spool::open(dir.path(), NONE).unwrap();
    let ledger = open_ledger(&spool);
    let state = ledger.state();
    assert_eq!(state.channel.as_deref(), Some("orders"));
    assert_eq!((state.confirmed, state.targets.as_slice()), (10, &[(Target(1), route)][..]));
    assert_eq!(state.plans, [plan(1, 10, 20), plan(2, 20, 25)]);
    assert_eq!(state.reassignments, [Reassignment { plans: vec![(1, 0)], ..new }]);
}

#[test]
fn a_ledger_stays_small_and_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let plans = 60_000;
    {
        let spool = Spool::open(dir.path(), NONE).unwrap();
        let mut ledger = open_ledger(&spool);
        for number in 0..plans {
            let from = number as i64;
            ledger.plan(&plan(number, from, from + 1), (from - 20).max(0)).unwrap();
            assert!(ledger.chain().bytes() < 4 * ledger::SEGMENT_BYTES);
            if number % 1_000 == 0 {
                ledger.chain().sync_now().unwrap();
            }
        }
        assert!(ledger.chain().start() > 0, "what is old went");
    }
    let spool = Spool::open(dir.path(), NONE).unwrap();
    let ledger = open_ledger(&spool);
    let state = ledger.state();
    assert_eq!(state.channel.as_deref(), Some("orders"));
    assert_eq!(state.confirmed, plans as i64 - 21);
    let numbers: Vec<u64> = state.plans.iter().map(|plan| plan.number).collect();
    assert_eq!(numbers, (plans - 21..plans).collect::<Vec<_>>());
}

#[test]
fn ids_outlive_the_process_and_those_without_events_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let at = TopicPartition { topic: topic_of("orders"), partition: IDS };
    let open = |end: i64, now_ms: i64| {
        let spool = Spool::open(dir.path(), NONE).unwrap();
        spool.store.promise(&[(at, EPOCH)]).unwrap();
        let mut dedup = Dedup::new(1_000, 100);
        let (ids, _) = Ids::open(spool.store.clone(), at, end, &mut dedup, now_ms, 1_000).unwrap();
        (spool, ids, dedup)
    };
    let id = |n: u32| IdHash::of(&n.to_string());
    {
        let (_spool, ids, _) = open(0, 0);
        ids.append(0, &[(id(1), 0), (id(2), 1)], 10, 1_000).unwrap();
        ids.append(2, &[(id(3), 0)], 20, 1_000).unwrap();
    }
    {
        // The last event was never written.
        let (_spool, ids, mut dedup) = open(2, 100);
        assert_eq!([1, 2, 3].map(|n| dedup.find(id(n), 100)), [Some(Seen::At(0)), Some(Seen::At(1)), None]);
        // Its place has another now.
        ids.append(2, &[(id(4), 0)], 110, 1_000).unwrap();
    }
    let (_spool, _ids, mut dedup) = open(3, 200);
    let seen = [1, 2, 3, 4].map(|n| dedup.find(id(n), 200));
    assert_eq!(seen, [Some(Seen::At(0)), Some(Seen::At(1)), None, Some(Seen::At(2))]);
    assert_eq!(dedup.find(id(1), 1_010), None, "its window is over");
}

#[test]
fn a_spool_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _spool = Spool::open(dir.path(), NONE).unwrap();
    let error = Spool::open(dir.path(), NONE).unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
}
