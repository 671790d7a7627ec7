use std::path::Path;

use buslane_wire::ids::{Durability, LeaderEpoch, SegmentId, SegmentRef, TopicId, TopicPartition};

use super::record::CopyState;
use super::*;
use crate::disk::Disk;

fn syncs(root: &Path) -> Syncs {
    Syncs::new(Arc::new(Disk), root, None)
}

fn partition(n: i32) -> TopicPartition {
    TopicPartition { topic: TopicId([1; 16]), partition: n }
}

fn promise(n: i32, epoch: i32) -> Record {
    Record::Promise { partition: partition(n), epoch: LeaderEpoch(epoch) }
}

fn promised(journal: &Journal, n: i32) -> Option<i32> {
    journal.with(|s| s.promises.get(&partition(n)).map(|e| e.0))
}

fn path(root: &Path) -> PathBuf {
    root.join(layout::JOURNAL)
}

/// A journal with one committed and one merely written promise; returns where each frame ends.
fn written(root: &Path) -> [u64; 3] {
    let (journal, _) = Journal::open(&syncs(root), "boot 1", 0).unwrap();
    let start = journal.shared.lock().len;
    journal.commit(SyncSite::JournalPromise, &[promise(1, 5)]).unwrap();
    let first = journal.shared.lock().len;
    journal.write(&[promise(2, 6)]).unwrap();
    let second = journal.shared.lock().len;
    [start, first, second]
}

#[test]
fn a_new_run_rises_above_all_earlier_ones_and_keeps_the_promises() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    for incarnation in 2..5 {
        let (journal, replayed) = Journal::open(&syncs(dir.path()), "boot 1", 0).unwrap();
        assert_eq!(journal.with(|s| s.incarnation), incarnation);
        assert_eq!((promised(&journal, 1), promised(&journal, 2)), (Some(5), Some(6)));
        assert_eq!(replayed.cut, None);
    }
}

#[test]
fn a_tail_cut_anywhere_is_dropped_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let [start, first, second] = written(dir.path());
    let bytes = std::fs::read(path(dir.path())).unwrap();
    assert_eq!(bytes.len() as u64, second);
    for (boot, len) in ["boot 1", "boot 2"].into_iter().flat_map(|b| (first + 1..second).map(move |l| (b, l)))
    {
        std::fs::write(path(dir.path()), &bytes[..len as usize]).unwrap();
        let (journal, replayed) = Journal::open(&syncs(dir.path()), boot, 0).unwrap();
        assert_eq!((promised(&journal, 1), promised(&journal, 2)), (Some(5), None));
        assert_eq!(replayed.cut.unwrap().bytes, len - first);
    }
    // What the second frame vouches for cannot be missing; nor can what the rewrite synced.
    for len in (0..start).chain([start + 3]) {
        std::fs::write(path(dir.path()), &bytes[..len as usize]).unwrap();
        let result = Journal::open(&syncs(dir.path()), "boot 2", 0);
        assert_eq!(result.is_ok(), len > start, "cut at {len}");
    }
}

#[test]
fn a_flipped_bit_is_never_taken_for_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let [_, first, _] = written(dir.path());
    let bytes = std::fs::read(path(dir.path())).unwrap();
    // The spare area is large and all alike: every 101st bit of it.
    let spare = TITLE_LEN * 8..HEAD_LEN * 8;
    let bits = || (0..bytes.len() * 8).filter(|bit| !spare.contains(bit) || bit % 101 == 0);
    for (boot, bit) in ["boot 1", "boot 2"].into_iter().flat_map(|b| bits().map(move |bit| (b, bit))) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match replay::parse("j", &flipped, Some(boot)) {
            Ok(replayed) if (TITLE_LEN..HEAD_LEN).contains(&(bit / 8)) => {
                assert!(replayed.spare_damaged, "bit {bit} of the spare area");
                assert!(replayed.state.copies.values().all(|c| !c.whole), "bit {bit} of the spare area");
                assert_eq!(replayed.state.promises[&partition(2)], LeaderEpoch(6));
            }
            // Only the last frame, which nothing vouches for, may be given up.
            Ok(replayed) => {
                assert!(bit / 8 >= first as usize, "bit {bit} with {boot}");
                assert_eq!(replayed.state.promises[&partition(1)], LeaderEpoch(5));
                assert!(!replayed.state.promises.contains_key(&partition(2)));
            }
            Err(JournalError::Corrupt { .. } | JournalError::Newer { .. }) => {}
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
}

#[test]
fn damage_after_a_clean_stop_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&syncs(dir.path()), "boot 1", 0).unwrap();
    journal.commit(SyncSite::JournalCleanStop, &[Record::CleanStop]).unwrap();
    drop(journal);
    let mut bytes = std::fs::read(path(dir.path())).unwrap();
    bytes.extend_from_slice(&[1, 2, 3]);
    std::fs::write(path(dir.path()), &bytes).unwrap();
    let error = Journal::open(&syncs(dir.path()), "boot 2", 0).unwrap_err().to_string();
    assert!(error.contains("store.journal") && error.contains("after a clean stop"), "{error}");
}

#[test]
fn a_newer_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let mut bytes = std::fs::read(path(dir.path())).unwrap();
    bytes[11] = 2;
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(path(dir.path()), &bytes).unwrap();
    let error = Journal::open(&syncs(dir.path()), "boot 1", 0).unwrap_err();
    assert!(matches!(error, JournalError::Newer { found: 2, .. }), "{error}");
}

#[test]
fn a_missing_journal_is_refused_where_there_are_segments() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("log/some-topic")).unwrap();
    let error = Journal::open(&syncs(dir.path()), "boot 1", 0).unwrap_err();
    assert!(matches!(error, JournalError::Missing { .. }), "{error}");
}

#[test]
fn one_sync_serves_all_threads_that_wait() {
    use crate::faulty::FaultyFs;
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultyFs::new(Arc::new(Disk));
    let syncs = Syncs::new(Arc::new(fs.clone()), dir.path(), None);
    let (journal, _) = Journal::open(&syncs, "boot 1", 0).unwrap();
    let before = fs.counts().syncs;
    // The first sync is held until all other threads have written.
    let gate = fs.hold_syncs();
    std::thread::scope(|scope| {
        for n in 0..16 {
            let journal = &journal;
            scope.spawn(move || journal.commit(SyncSite::JournalPromise, &[promise(n, 1)]).unwrap());
        }
        while !(0..16).all(|n| promised(&journal, n).is_some()) {
            std::thread::yield_now();
        }
        drop(gate);
    });
    assert!(fs.counts().syncs - before <= 2, "{} syncs", fs.counts().syncs - before);
}

#[test]
fn a_failed_sync_ends_the_journal() {
    use crate::faulty::FaultyFs;
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultyFs::new(Arc::new(Disk));
    let syncs = Syncs::new(Arc::new(fs.clone()), dir.path(), None);
    let (journal, _) = Journal::open(&syncs, "boot 1", 0).unwrap();
    fs.fail_next_sync();
    assert!(journal.commit(SyncSite::JournalPromise, &[promise(1, 1)]).is_err());
    let error = journal.commit(SyncSite::JournalPromise, &[promise(1, 2)]).unwrap_err().to_string();
    assert!(error.contains("store.journal: sync failed"), "{error}");
}

#[test]
fn a_lost_wholeness_is_written_though_the_disk_is_full() {
    use crate::faulty::FaultyFs;
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultyFs::new(Arc::new(Disk));
    let syncs = Syncs::new(Arc::new(fs.clone()), dir.path(), None);
    let (journal, _) = Journal::open(&syncs, "boot 1", 0).unwrap();
    let segment = |n| SegmentRef { partition: partition(n), segment: SegmentId(1) };
    for n in 0..200 {
        let copy = CopyState::new(0, LeaderEpoch(1), Durability::Replicated);
        journal.write(&[Record::Copy { segment: segment(n), copy }]).unwrap();
    }
    // Every write beyond the end of the file fails, those within it do not.
    fs.full_beyond_end(true);
    let not_whole =
        |n| journal.commit(SyncSite::JournalNotWhole, &[Record::NotWhole { segment: segment(n) }]);
    assert!(not_whole(3).is_err(), "not in the journal proper");
    assert!(journal.commit(SyncSite::JournalPromise, &[promise(1, 9)]).is_err());
    not_whole(5).unwrap_err();
    fs.full_beyond_end(false);
    journal.commit(SyncSite::JournalPromise, &[promise(2, 7)]).unwrap();
    let replayed = replay(&Disk, dir.path(), Some("boot 1")).unwrap();
    let lost: Vec<i32> =
        replayed.state.copies.iter().filter(|(_, c)| !c.whole).map(|(s, _)| s.partition.partition).collect();
    assert_eq!(lost, [3, 5]);
    assert_eq!(replayed.state.promises.keys().map(|p| p.partition).collect::<Vec<_>>(), [2]);
    // Without room in the spare area, every copy is called not whole.
    fs.full_beyond_end(true);
    (0..150).for_each(|n| not_whole(n).unwrap_err().to_string().clear());
    let replayed = replay(&Disk, dir.path(), Some("boot 1")).unwrap();
    assert!(replayed.state.copies.values().all(|c| !c.whole));
    fs.full_beyond_end(false);
    drop(journal);
    let (journal, _) = Journal::open(&syncs, "boot 1", 0).unwrap();
    assert!(journal.with(|s| s.copies.len() == 200 && s.copies.values().all(|c| !c.whole)));
}

#[test]
fn a_journal_that_grew_far_is_rewritten_and_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&syncs(dir.path()), "boot 1", 0).unwrap();
    let segment = SegmentRef { partition: partition(1), segment: SegmentId(1) };
    let copy = CopyState::new(0, LeaderEpoch(1), Durability::Replicated);
    journal.write(&[Record::Copy { segment, copy }]).unwrap();
    let many: Vec<Record> =
        (0..1000).map(|i| Record::RecoveryPoint { segment, end_offset: i, position: i as u64 }).collect();
    for _ in 0..100 {
        journal.write(&many).unwrap();
    }
    journal.commit(SyncSite::JournalPromise, &[promise(1, 3)]).unwrap();
    assert!(std::fs::metadata(path(dir.path())).unwrap().len() < REWRITE_ABOVE);
    assert!(journal.shared.lock().generation > 0);
    drop(journal);
    let (journal, _) = Journal::open(&syncs(dir.path()), "boot 1", 0).unwrap();
    assert_eq!(promised(&journal, 1), Some(3));
    assert_eq!(journal.with(|s| s.copies[&segment].synced_offset), 999);
}

#[test]
fn a_disk_too_full_for_a_rewrite_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&syncs(dir.path()), "boot 1", 0).unwrap();
    let path = dir.path().join(layout::JOURNAL);
    let new = path.with_extension("journal.new");
    let len = || std::fs::metadata(&path).unwrap().len();
    let many = |n: i32| (0..4000).map(|i| promise(i, n)).collect::<Vec<_>>();
    // In the way of the new file, as a full disk is.
    std::fs::create_dir(&new).unwrap();
    let mut epoch = 0;
    while len() < 2 * REWRITE_ABOVE {
        epoch += 1;
        journal.write(&many(epoch)).unwrap();
    }
    std::fs::remove_dir(&new).unwrap();
    while len() > REWRITE_ABOVE {
        epoch += 1;
        journal.commit(SyncSite::JournalPromise, &many(epoch)).unwrap();
        assert!(epoch < 1000, "it is rewritten once there is room");
    }
    drop(journal);
    let (journal, _) = Journal::open(&syncs(dir.path()), "boot 1", 0).unwrap();
    assert_eq!(promised(&journal, 3999), Some(epoch));
}
