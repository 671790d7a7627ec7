use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::disk::Disk;
use crate::faulty::FaultyFs;
use crate::fixtures::*;
use crate::store::StoreOptions;

fn faulty_store(dir: &std::path::Path, options: StoreOptions) -> (FaultyFs, Store) {
    let fs = FaultyFs::new(Arc::new(Disk));
    let (store, _) = Store::open(Arc::new(fs.clone()), dir, options, "boot 1").unwrap();
    (fs, store)
}

#[test]
fn all_who_wait_for_one_file_share_a_sync_and_hear_how_far_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let (fs, store) = faulty_store(dir.path(), StoreOptions::default());
    let copy = store.create(spec(segment(0, 1), 0)).unwrap();
    append(&copy, &opaque(1, 1, 10));
    copy.sync().unwrap();
    let answered = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..10 {
        append(&copy, &opaque(1, 1, 10));
        let answered = answered.clone();
        store.request_sync(&copy, Box::new(move |result| answered.lock().push(result.unwrap().end_offset)));
    }
    let before = fs.counts().syncs;
    assert_eq!(store.run_sync_queue(), 1);
    assert_eq!(fs.counts().syncs - before, 1);
    assert_eq!(*answered.lock(), [11; 10]);
    assert_eq!(store.run_sync_queue(), 0);
}

#[test]
fn a_failed_sync_is_heard_by_all_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (fs, store) = faulty_store(dir.path(), StoreOptions::default());
    let copy = store.create(spec(segment(0, 1), 0)).unwrap();
    append(&copy, &opaque(1, 1, 10));
    let failures = Arc::new(AtomicUsize::new(0));
    fs.only(".log");
    fs.fail_next_sync();
    for _ in 0..3 {
        let failures = failures.clone();
        let count = move |result: Result<Synced, SyncError>| {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(".log: sync failed"), "{error}");
            failures.fetch_add(1, Ordering::Relaxed);
        };
        store.request_sync(&copy, Box::new(count));
    }
    store.run_sync_queue();
    assert_eq!(failures.load(Ordering::Relaxed), 3);
}

#[test]
fn a_round_syncs_what_is_dirty_once_and_notes_how_far() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { sync_everything_from: 5, ..StoreOptions::default() };
    let (fs, store) = faulty_store(dir.path(), options);
    let copies: Vec<_> = (0..8).map(|n| store.create(spec(segment(n, 1), 0)).unwrap()).collect();
    copies.iter().for_each(|c| drop(append(c, &opaque(1, 1, 10))));
    let before = fs.counts().syncs;
    let report = store.sync_round().unwrap();
    assert_eq!(report, RoundReport { synced: 8, failed: 0, everything: true });
    assert_eq!(fs.counts().syncs - before, 1, "one sync of everything");
    assert_eq!(store.sync_round().unwrap(), RoundReport::default());
    copies[..3].iter().for_each(|c| drop(append(c, &opaque(1, 1, 10))));
    let before = fs.counts().syncs;
    let report = store.sync_round().unwrap();
    assert_eq!(report, RoundReport { synced: 3, failed: 0, everything: false });
    assert_eq!(fs.counts().syncs - before, 3, "folders and checkpoints were durable already");
    let points: Vec<i64> =
        store.shared.journal.with(|s| s.copies.values().map(|c| c.synced_offset).collect());
    assert_eq!(points, [2, 2, 2, 1, 1, 1, 1, 1]);
}

#[test]
fn a_segment_with_many_unsynced_bytes_does_not_wait_for_the_round() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { sync_bytes: 10_000, ..StoreOptions::default() };
    let (_, store) = faulty_store(dir.path(), options);
    let copy = store.create(spec(segment(0, 1), 0)).unwrap();
    fill(&copy, 9_000, 1000);
    assert_eq!(store.run_sync_queue(), 0);
    fill(&copy, 12_000, 1000);
    assert_eq!(store.run_sync_queue(), 1);
    assert_eq!(copy.synced().position, copy.end_position());
}

#[test]
fn the_threads_serve_requests_and_rounds_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), "boot 1");
    let (rounds, round) = std::sync::mpsc::channel();
    let options = SyncerOptions { interval: Duration::from_millis(5), threads: 3 };
    let syncer =
        Syncer::start(&store, options, move |report| rounds.send(report.unwrap()).unwrap_or_default())
            .unwrap();
    let copies: Vec<_> = (0..20).map(|n| store.create(spec(segment(n, 1), 0)).unwrap()).collect();
    let (sender, receiver) = std::sync::mpsc::channel();
    for round in 0..10 {
        for copy in &copies {
            append(copy, &opaque(1, 1, 10));
            let sender = sender.clone();
            store.request_sync(
                copy,
                Box::new(move |result| sender.send(result.unwrap().end_offset > round).unwrap_or_default()),
            );
        }
    }
    assert!(receiver.iter().take(200).all(|far_enough| far_enough));
    append(&copies[0], &opaque(1, 1, 10));
    round.recv_timeout(Duration::from_secs(60)).unwrap();
    // What nobody waits for is synced by a round.
    while copies[0].synced().end_offset < 11 {
        round.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    syncer.stop();
    store.close().unwrap();
}
