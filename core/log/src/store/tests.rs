use buslane_wire::batch::StampedBatch;

use super::*;
use crate::disk::Disk;
use crate::faulty::FaultyFs;
use crate::fixtures::*;
use crate::fs::Space;

fn synced(segment: SegmentRef) -> SegmentSpec {
    SegmentSpec { durability: Durability::Synced, ..spec(segment, 0) }
}

fn whole(store: &Store, segment: SegmentRef, durability: Durability) -> bool {
    let epoch = LeaderEpoch(store.promised(segment.partition).map_or(6, |e| e.0 + 1));
    store.promise(&[(segment.partition, epoch)]).unwrap()[0].unwrap();
    store.recover(segment, 0, EPOCH, durability, epoch).unwrap().1.report.whole
}

#[test]
fn a_machine_crash_takes_wholeness_of_what_was_open_and_later_clean_stops_do_not_restore_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, report) = open(dir.path(), "boot 1");
    assert_eq!((report.incarnation, report.machine_crash), (1, false));
    let open_one = store.create(spec(segment(0, 1), 0)).unwrap();
    let synced_one = store.create(synced(segment(1, 1))).unwrap();
    let sealed_one = store.create(spec(segment(2, 1), 0)).unwrap();
    for copy in [&open_one, &synced_one, &sealed_one] {
        append(copy, &opaque(1, 1, 10));
    }
    sealed_one.seal(1).unwrap();
    drop((open_one, synced_one, sealed_one, store));
    let (store, report) = open(dir.path(), "boot 2");
    assert_eq!((report.incarnation, report.machine_crash, report.clean_stop), (2, true, false));
    assert_eq!(report.not_whole, [segment(0, 1)]);
    store.close().unwrap();
    for n in 0..2 {
        let (store, report) = open(dir.path(), "boot 3");
        assert_eq!((report.incarnation, report.machine_crash, report.clean_stop), (3 + n, false, true));
        assert_eq!(report.not_whole, [segment(0, 1)]);
        store.close().unwrap();
    }
    let (store, _) = open(dir.path(), "boot 3");
    assert!(!whole(&store, segment(0, 1), Durability::Replicated));
    assert!(whole(&store, segment(1, 1), Durability::Synced), "what a synced copy confirmed stood on a sync");
    assert!(whole(&store, segment(2, 1), Durability::Replicated), "what is sealed here was synced");
    // Only the chain's seal ends the matter.
    store.get(&segment(0, 1)).unwrap().seal(1).unwrap();
    assert!(!whole(&store, segment(0, 1), Durability::Replicated));
    store.settle(&segment(0, 1)).unwrap();
    drop(store);
    let (_, report) = open(dir.path(), "boot 3");
    assert_eq!(report.not_whole, []);
}

#[test]
fn a_clean_stop_vouches_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), "boot 1");
    let copy = store.create(spec(segment(0, 1), 0)).unwrap();
    append(&copy, &opaque(1, 1, 10));
    store.close().unwrap();
    let received = opaque(1, 1, 10);
    let batch = StampedBatch::new(&received, 1, EPOCH).unwrap();
    assert!(copy.append(EPOCH, &[batch]).is_err(), "a closed store takes nothing");
    let (store, report) = open(dir.path(), "boot 2");
    assert!(report.clean_stop && !report.machine_crash && report.not_whole.is_empty());
    drop(store);
    let (_, report) = open(dir.path(), "boot 3");
    assert!(report.machine_crash);
    assert_eq!(report.not_whole, [segment(0, 1)]);
}

#[test]
fn promises_outlive_the_process_and_answer_each_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), "boot 1");
    store.promise(&[(partition(0), LeaderEpoch(9)), (partition(1), LeaderEpoch(2))]).unwrap();
    drop(store);
    let (store, _) = open(dir.path(), "boot 2");
    let answers = store
        .promise(&[
            (partition(0), LeaderEpoch(8)),
            (partition(1), LeaderEpoch(3)),
            (partition(0), LeaderEpoch(9)),
        ])
        .unwrap();
    assert_eq!(answers[0], Err(PromisedHigher { partition: partition(0), promised: LeaderEpoch(9) }));
    assert_eq!(answers[1..], [Ok(()), Ok(())], "the same epoch may be promised again");
    assert!(matches!(store.create(spec(segment(0, 1), 0)), Err(CreateError::Fenced { .. })));
    assert!(matches!(
        store.create_for_recovery(spec(segment(0, 1), 0), LeaderEpoch(8)),
        Err(CreateError::Fenced { .. })
    ));
    let fresh = store.create_for_recovery(spec(segment(0, 1), 0), LeaderEpoch(9)).unwrap();
    fresh.append_recovered(LeaderEpoch(9), &stamped(&opaque(3, 1, 10), 0, EPOCH)).unwrap();
    assert_eq!(fresh.end_offset(), 3);
    assert!(!fresh.report().whole, "what was acknowledged before is not in it yet");
    store.forget_partition(partition(1)).unwrap();
    assert_eq!(store.promised(partition(1)), None);
}

#[test]
fn many_promises_cost_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultyFs::new(Arc::new(Disk));
    let (store, _) = open_on(Arc::new(fs.clone()), dir.path(), "boot 1");
    let before = fs.counts().syncs;
    let many: Vec<_> = (0..1000).map(|n| (partition(n), LeaderEpoch(1))).collect();
    assert!(store.promise(&many).unwrap().iter().all(Result::is_ok));
    assert_eq!(fs.counts().syncs - before, 1);
}

#[test]
fn copies_are_listed_as_the_log_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), "boot 1");
    // Compaction gives what is old a new id.
    for (n, id, base_offset) in [(1, 1, 0), (0, 3, 500), (0, 1 << 31, 0), (0, 2, 300)] {
        store.create(spec(segment(n, id), base_offset)).unwrap();
    }
    let in_order = [segment(0, 1 << 31), segment(0, 2), segment(0, 3), segment(1, 1)];
    assert_eq!(store.list().unwrap().iter().map(|f| f.segment).collect::<Vec<_>>(), in_order);
    let of_one = store.list_partition(segment(0, 1).partition).unwrap();
    assert_eq!(of_one.iter().map(|f| f.segment).collect::<Vec<_>>(), in_order[..3]);
}

#[test]
fn copies_are_listed_by_name_and_unknown_ones_become_orphans() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), "boot 1");
    for (n, id) in [(0, 1), (0, 2), (7, 1)] {
        append(&store.create(spec(segment(n, id), 0)).unwrap(), &opaque(1, 1, 10));
    }
    assert!(matches!(store.create(spec(segment(0, 1), 0)), Err(CreateError::Exists { .. })));
    std::fs::write(dir.path().join("log/stranger"), b"").unwrap();
    let listed = store.list().unwrap();
    assert_eq!(
        listed.iter().map(|f| f.segment).collect::<Vec<_>>(),
        [segment(0, 1), segment(0, 2), segment(7, 1)]
    );
    drop(store);
    let (store, _) = open(dir.path(), "boot 1");
    assert!(
        matches!(store.create(spec(segment(0, 1), 0)), Err(CreateError::Exists { .. })),
        "ids are never used twice"
    );
    let moved = store.orphan_unknown(|s| *s == segment(0, 2), 5_000).unwrap();
    assert_eq!(moved.iter().map(|f| f.segment).collect::<Vec<_>>(), [segment(0, 1), segment(7, 1)]);
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(store.remove_orphans(5_000).unwrap(), 0, "kept a while");
    assert_eq!(std::fs::read_dir(dir.path().join("orphans")).unwrap().count(), 2);
    assert_eq!(store.remove_orphans(5_001).unwrap(), 2);
    drop(store);
    let (_, report) = open(dir.path(), "boot 2");
    assert_eq!(report.not_whole, [segment(0, 2)], "the journal forgot the others");
}

#[test]
fn a_sealed_copy_is_loaded_without_a_look_at_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), "boot 1");
    let copy = store.create(spec(segment(0, 1), 0)).unwrap();
    fill(&copy, 50_000, 100);
    let sealed = copy.seal(copy.end_offset()).unwrap();
    drop((copy, store));
    let fs = FaultyFs::new(Arc::new(Disk));
    let (store, _) = open_on(Arc::new(fs.clone()), dir.path(), "boot 1");
    let before = fs.counts();
    let state = |end_offset| SegmentState::Sealed {
        end_offset,
        bytes: sealed.bytes,
        max_timestamp: sealed.max_timestamp,
    };
    let copy = store.load(segment(0, 1), 0, state(sealed.end_offset)).unwrap();
    assert_eq!(fs.counts().opens, before.opens);
    assert_eq!(copy.read(3, 1, i64::MAX, true).unwrap().base_offset, 3);
    assert!(matches!(store.load(segment(0, 1), 0, state(4)), Err(LoadError::Differs { .. })));
    // The name of a copy that is gone is only found out when it is read.
    let gone = store.load(segment(5, 1), 0, state(10)).unwrap();
    assert!(matches!(gone.read(3, 1, i64::MAX, true), Err(crate::ReadError::Missing { .. })));
    std::fs::OpenOptions::new()
        .write(true)
        .open(layout::part(dir.path(), &segment(0, 1), 0, Part::Log))
        .unwrap()
        .set_len(20_000)
        .unwrap();
    let beyond = copy.read(sealed.end_offset - 1, 1, i64::MAX, true).unwrap_err();
    assert!(matches!(&beyond, crate::ReadError::Corrupt(_)), "{beyond}");
}

#[test]
fn open_files_stay_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { open_files: 4, ..StoreOptions::default() };
    let (store, _) = Store::open(Arc::new(Disk), dir.path(), options, "boot 1").unwrap();
    for n in 0..20 {
        let copy = store.create(spec(segment(n, 1), 0)).unwrap();
        fill(&copy, 30_000, 100);
        copy.seal(copy.end_offset()).unwrap();
        copy.read(100, 1, i64::MAX, true).unwrap();
    }
    assert!(store.shared.handles.len() <= 4);
    for n in 0..20 {
        assert_eq!(store.get(&segment(n, 1)).unwrap().read(100, 1, i64::MAX, true).unwrap().base_offset, 100);
    }
}

#[test]
fn a_nearly_full_disk_says_so_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultyFs::new(Arc::new(Disk));
    let options =
        StoreOptions { reserve: SpaceReserve { percent: 2, bytes: 1000 }, ..StoreOptions::default() };
    let (store, _) = Store::open(Arc::new(fs.clone()), dir.path(), options, "boot 1").unwrap();
    for (total_bytes, available_bytes, needed) in [
        (100_000, 2_000, None),
        (100_000, 1_999, Some(2_000)),
        (10_000, 999, Some(1_000)),
        (10_000, 1_000, None),
    ] {
        fs.set_space(Space { total_bytes, available_bytes });
        let expected = needed
            .map_or(SpaceState::Ok, |needed_bytes| SpaceState::NearlyFull { available_bytes, needed_bytes });
        assert_eq!(store.space_state().unwrap(), expected);
    }
}

#[test]
fn a_failed_sync_of_everything_takes_wholeness_of_all_that_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultyFs::new(Arc::new(Disk));
    let options = StoreOptions { sync_everything_from: 2, ..StoreOptions::default() };
    let (store, _) = Store::open(Arc::new(fs.clone()), dir.path(), options.clone(), "boot 1").unwrap();
    drop(store.create(spec(segment(9, 1), 0)).unwrap());
    drop(store);
    // One copy of an earlier run that nobody has looked at, two that are written to.
    let (store, _) = Store::open(Arc::new(fs.clone()), dir.path(), options, "boot 1").unwrap();
    let copies: Vec<_> = (0..2).map(|n| store.create(spec(segment(n, 1), 0)).unwrap()).collect();
    copies.iter().for_each(|c| drop(append(c, &opaque(1, 1, 10))));
    fs.fail_next_sync();
    let report = store.sync_round().unwrap();
    assert_eq!((report.failed, report.everything), (2, true));
    assert!(copies.iter().all(|c| c.is_failed()));
    drop((copies, store));
    let (_, report) = open(dir.path(), "boot 1");
    assert_eq!(report.not_whole, [segment(0, 1), segment(1, 1), segment(9, 1)]);
}

#[test]
fn every_single_failing_change_leaves_a_store_that_opens_and_lies_about_nothing() {
    // The nth change of the disk fails, for every n until none does.
    for n in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let fs = FaultyFs::new(Arc::new(Disk));
        fs.fail_change(n);
        let mut acknowledged = [0; 2];
        let mut run = || -> Option<()> {
            let (store, _) =
                Store::open(Arc::new(fs.clone()), dir.path(), StoreOptions::default(), "boot 1").ok()?;
            let first = store.create(spec(segment(0, 1), 0)).ok()?;
            let second = store.create(synced(segment(1, 1))).ok()?;
            for (i, copy) in [&first, &second].into_iter().enumerate() {
                for _ in 0..3 {
                    let received = opaque(1, 1, 5000);
                    let batch = StampedBatch::new(&received, copy.end_offset(), EPOCH).unwrap();
                    let appended = copy.append(EPOCH, &[batch]);
                    if appended.is_ok() && (i == 0 || copy.sync().is_ok()) {
                        acknowledged[i] = copy.end_offset();
                    }
                }
                let _ = copy.checkpoint_producers(copy.end_offset(), b"state");
            }
            let _ = store.sync_round();
            let _ = store.promise(&[(partition(0), LeaderEpoch(6))]);
            if let Ok(sealed) = second.seal(second.end_offset()) {
                assert!(sealed.end_offset >= acknowledged[1]);
            }
            store.close().ok()
        };
        let done = run();
        let hit = fs.counts().changes > n;
        assert_eq!(done.is_some(), !hit || done.is_some());
        fs.heal();
        let (store, _) = open(dir.path(), "boot 1");
        for (i, durability) in [Durability::Replicated, Durability::Synced].into_iter().enumerate() {
            let segment = segment(i as i32, 1);
            if acknowledged[i] == 0 {
                continue;
            }
            let epoch = LeaderEpoch(9);
            store.promise(&[(segment.partition, epoch)]).unwrap()[0].unwrap();
            let (copy, recovery) = store.recover(segment, 0, EPOCH, durability, epoch).unwrap();
            assert!(recovery.report.end_offset >= acknowledged[i], "change {n}, copy {i}: {recovery:?}");
            copy.seal(recovery.report.end_offset).unwrap();
            assert_eq!(copy.read(0, 1 << 30, i64::MAX, true).unwrap().end_offset, recovery.report.end_offset);
        }
        if !hit {
            assert!(n > 20, "only {n} changes");
            assert_eq!(acknowledged, [3, 3]);
            break;
        }
    }
}
