use std::collections::BTreeSet;

use buslane_log::fs::read_exact_at;

use super::*;

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

/// A file system with the folder `/d`, durable.
fn with_folder() -> SimFs {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new("/d")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs
}

fn write(file: &dyn FsFile, bytes: &[u8], position: u64) -> io::Result<()> {
    file.write_all_at(&mut [IoSlice::new(bytes)], position)
}

/// A file with content; both it and its name durable.
fn durable_file(fs: &SimFs, name: &str, content: &[u8]) -> Arc<dyn FsFile> {
    let file = fs.open(&path(name), OpenMode::CreateNew).unwrap();
    write(&*file, content, 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    file
}

fn content(fs: &SimFs, name: &str) -> Option<Vec<u8>> {
    let file = fs.open(&path(name), OpenMode::Read).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    read_exact_at(&*file, &mut bytes, 0).unwrap();
    Some(bytes)
}

/// What the content of `name` is after a power cut, over many seeds. `before` gives the file system at the cut.
fn outcomes(name: &str, before: impl Fn() -> SimFs) -> BTreeSet<Option<Vec<u8>>> {
    (0..2000).map(|seed| content(&before().power_cut(Survival::Seeded(seed)), name)).collect()
}

#[test]
fn it_keeps_the_contract_of_the_seam() {
    let fs = with_folder();
    buslane_log::fs_tests::conformance(&fs, Path::new("/d"));
}

#[test]
fn it_keeps_the_contract_with_short_reads() {
    let fs = with_folder();
    fs.shorten_reads(3);
    buslane_log::fs_tests::conformance(&fs, Path::new("/d"));
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    for survival in [Survival::Nothing, Survival::Everything, Survival::Seeded(1), Survival::Seeded(2)] {
        let fs = with_folder();
        durable_file(&fs, "f", b"synced");
        assert_eq!(content(&fs.power_cut(survival), "f").unwrap(), b"synced", "{survival:?}");
    }
}

#[test]
fn nothing_unsynced_survives_the_strictest_cut() {
    let fs = with_folder();
    let file = durable_file(&fs, "f", b"synced");
    write(&*file, b"more", 6).unwrap();
    file.set_len(8).unwrap();
    durable_file(&fs, "g", b"gone?");
    fs.remove_file(&path("g")).unwrap();
    fs.open(&path("h"), OpenMode::CreateNew).unwrap().sync_data().unwrap();
    fs.create_dir_all(Path::new("/d/e")).unwrap();
    let fs = fs.power_cut(Survival::Nothing);
    assert_eq!(content(&fs, "f").unwrap(), b"synced");
    assert_eq!(content(&fs, "g").unwrap(), b"gone?");
    let names: Vec<String> = fs.read_dir(Path::new("/d")).unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["f", "g"], "a new file needs a sync of its folder, too");
}

#[test]
fn an_unsynced_write_survives_whole_in_part_or_not_at_all() {
    let seen = outcomes("f", || {
        let fs = with_folder();
        let file = durable_file(&fs, "f", b"old");
        write(&*file, b"-new-new", 3).unwrap();
        fs
    });
    for expected in [&b"old"[..], b"old-new-new", b"old-ne", b"old\0\0\0\0\0\0\0\0"] {
        assert!(seen.contains(&Some(expected.to_vec())), "{expected:?} was never seen: {seen:?}");
    }
    for result in seen {
        let result = result.expect("the name was durable");
        assert!(result.starts_with(b"old"), "{result:?}: what was durable did not change");
        assert!(result.len() <= 11);
    }
}

#[test]
fn writes_survive_independently_and_pages_of_one_do_too() {
    let seen = outcomes("f", || {
        let fs = with_folder();
        let file = durable_file(&fs, "f", &[b'o'; 12_000]);
        write(&*file, &[b'a'; 8192], 0).unwrap();
        write(&*file, b"b", 9000).unwrap();
        fs
    });
    let at = |content: &Option<Vec<u8>>| {
        let c = content.as_ref().unwrap();
        (c[0], c.get(5000).copied(), c.get(9000).copied())
    };
    let seen: BTreeSet<_> = seen.iter().map(at).collect();
    for expected in [
        (b'o', Some(b'o'), Some(b'b')),
        (b'a', Some(b'a'), Some(b'o')),
        (b'a', Some(b'o'), Some(b'o')),
        (b'o', Some(b'a'), Some(b'o')),
        (b'a', Some(b'a'), Some(b'b')),
    ] {
        assert!(seen.contains(&expected), "{expected:?} was never seen: {seen:?}");
    }
}

#[test]
fn a_cut_that_was_not_synced_may_come_back() {
    let seen = outcomes("f", || {
        let fs = with_folder();
        let file = durable_file(&fs, "f", b"0123456789");
        file.set_len(4).unwrap();
        fs
    });
    let expected = [Some(b"0123".to_vec()), Some(b"0123456789".to_vec())];
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn a_rename_is_atomic() {
    let before = || {
        let fs = with_folder();
        durable_file(&fs, "f", b"old");
        durable_file(&fs, "f.new", b"new");
        fs.rename(&path("f.new"), &path("f")).unwrap();
        fs
    };
    let both = (0..100)
        .map(|seed| {
            let fs = before().power_cut(Survival::Seeded(seed));
            (content(&fs, "f").unwrap(), content(&fs, "f.new"))
        })
        .collect::<BTreeSet<_>>();
    let old = (b"old".to_vec(), Some(b"new".to_vec()));
    assert_eq!(both, BTreeSet::from([old, (b"new".to_vec(), None)]));
    let fs = before();
    fs.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(content(&fs.power_cut(Survival::Nothing), "f").unwrap(), b"new");
}

#[test]
fn a_renamed_file_has_only_the_content_that_was_synced() {
    let seen = outcomes("f", || {
        let fs = with_folder();
        durable_file(&fs, "f", b"old");
        let new = fs.open(&path("f.new"), OpenMode::CreateNew).unwrap();
        write(&*new, b"new", 0).unwrap();
        fs.rename(&path("f.new"), &path("f")).unwrap();
        fs.sync_dir(Path::new("/d")).unwrap();
        fs
    });
    assert!(seen.contains(&Some(vec![])), "the mistake that a sync before the rename prevents: {seen:?}");
}

#[test]
fn a_sync_of_one_folder_leaves_others_in_doubt() {
    let fs = SimFs::new();
    for dir in ["/a", "/b"] {
        fs.create_dir_all(Path::new(dir)).unwrap();
        let file = fs.open(&Path::new(dir).join("f"), OpenMode::CreateNew).unwrap();
        file.sync_data().unwrap();
    }
    fs.sync_dir(Path::new("/")).unwrap();
    fs.sync_dir(Path::new("/a")).unwrap();
    let fs = fs.power_cut(Survival::Nothing);
    assert_eq!(fs.read_dir(Path::new("/a")).unwrap().len(), 1);
    assert_eq!(fs.read_dir(Path::new("/b")).unwrap().len(), 0);
}

#[test]
fn a_folder_whose_entry_is_lost_takes_its_files_along() {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new("/d")).unwrap();
    durable_file(&fs, "f", b"lost");
    let fs = fs.power_cut(Survival::Nothing);
    assert!(fs.read_dir(Path::new("/d")).is_err());
}

#[test]
fn syncing_everything_is_enough() {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new("/d/e")).unwrap();
    let file = fs.open(&path("f"), OpenMode::CreateNew).unwrap();
    write(&*file, b"bytes", 0).unwrap();
    fs.sync_everything(Path::new("/d")).unwrap();
    let fs = fs.power_cut(Survival::Nothing);
    assert_eq!(content(&fs, "f").unwrap(), b"bytes");
    assert!(fs.read_dir(Path::new("/d/e")).is_ok());
}

#[test]
fn a_process_crash_loses_nothing_but_handles_and_locks() {
    let fs = with_folder();
    let file = fs.open(&path("f"), OpenMode::CreateNew).unwrap();
    write(&*file, b"unsynced", 0).unwrap();
    let _lock = fs.try_lock(&path("lock")).unwrap().unwrap();
    let boot = fs.boot_id();
    let next = fs.process_crash();
    assert_eq!(content(&next, "f").unwrap(), b"unsynced");
    assert!(next.try_lock(&path("lock")).unwrap().is_some(), "the lock went with the process");
    assert_eq!(next.boot_id(), boot, "the machine did not boot");
    assert!(write(&*file, b"x", 0).is_err() && file.len().is_err(), "a dead process's handle");
    assert!(fs.open(&path("f"), OpenMode::Read).is_err(), "a dead process's file system");
    let after = next.power_cut(Survival::Nothing);
    assert_eq!(content(&after, "f"), None, "a crash of the process syncs nothing");
    assert_ne!(after.boot_id(), boot);
}

#[test]
fn the_plan_stops_before_or_within_an_operation() {
    let run = |plan: &dyn Fn(&SimFs, u64)| {
        let fs = with_folder();
        let file = durable_file(&fs, "f", b"");
        plan(&fs, fs.operations() + 1);
        write(&*file, b"first", 0).unwrap();
        assert!(!fs.is_stopped());
        assert!(write(&*file, b"second", 5).is_err());
        assert!(fs.is_stopped());
        assert!(file.sync_data().is_err() && fs.read_dir(Path::new("/d")).is_err(), "nothing works after it");
        content(&fs.process_crash(), "f").unwrap()
    };
    assert_eq!(run(&|fs, n| fs.stop_before(n)), b"first");
    let within: BTreeSet<Vec<u8>> =
        (0..100).map(|seed| run(&|fs: &SimFs, n| fs.stop_within(n, seed))).collect();
    let expected = (0..=6).map(|n| [&b"first"[..], &b"second"[..n]].concat()).collect();
    assert_eq!(within, expected, "a write is done up to any byte");
}

#[test]
fn a_stopped_sync_makes_nothing_durable_for_sure() {
    let fs = with_folder();
    let file = durable_file(&fs, "f", b"old");
    write(&*file, b"new", 0).unwrap();
    fs.stop_within(fs.operations(), 1);
    assert!(file.sync_data().is_err());
    assert_eq!(content(&fs.power_cut(Survival::Nothing), "f").unwrap(), b"old");
}

#[test]
fn a_failed_sync_may_drop_what_it_should_have_written() {
    for (lost, visible, survives) in [
        (LostPages::Kept, &b"new"[..], &b"new"[..]),
        (LostPages::Clean, b"new", b"old"),
        (LostPages::Reverted, b"old", b"old"),
    ] {
        let fs = with_folder();
        let file = durable_file(&fs, "f", b"old");
        write(&*file, b"new", 0).unwrap();
        fs.fail_sync(0, lost);
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(faults::EIO));
        assert_eq!(content(&fs, "f").unwrap(), visible, "{lost:?}");
        file.sync_data().expect("the lie of a second sync");
        assert_eq!(content(&fs.power_cut(Survival::Nothing), "f").unwrap(), survives, "{lost:?}");
    }
}

#[test]
fn a_failed_sync_of_everything_is_reported_by_each_file_it_hit() {
    let fs = with_folder();
    let files: Vec<_> = (0..8).map(|n| durable_file(&fs, &format!("f{n}"), b"old")).collect();
    files.iter().for_each(|file| write(&**file, b"new", 0).unwrap());
    fs.fail_sync(0, LostPages::Clean);
    assert!(fs.sync_everything(Path::new("/d")).is_err());
    let told: Vec<bool> = files.iter().map(|file| file.sync_data().is_err()).collect();
    assert!(told.contains(&true) && told.contains(&false), "some are hit: {told:?}");
    let fs = fs.power_cut(Survival::Nothing);
    for (n, told) in told.into_iter().enumerate() {
        let expected = if told { b"old" } else { b"new" };
        assert_eq!(content(&fs, &format!("f{n}")).unwrap(), expected);
    }
}

#[test]
fn reads_and_writes_fail_when_their_turn_comes() {
    let fs = with_folder();
    let file = durable_file(&fs, "f", b"abc");
    fs.fail_write(WriteFault { after: 1, written: 2, full: false });
    write(&*file, b"A", 0).unwrap();
    assert_eq!(write(&*file, b"XYZ", 0).unwrap_err().raw_os_error(), Some(faults::EIO));
    assert_eq!(content(&fs, "f").unwrap(), b"XYc", "a part of a failing write is there");
    write(&*file, b"Z", 2).unwrap();
    fs.fail_read(1);
    let mut buf = [0; 3];
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 3);
    assert_eq!(file.read_at(&mut buf, 0).unwrap_err().raw_os_error(), Some(faults::EIO));
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 3);
    fs.fail_read(0);
    fs.heal();
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 3);
}

#[test]
fn a_full_disk_takes_what_fits_and_space_comes_back() {
    let fs = with_folder();
    fs.set_capacity(10);
    let file = durable_file(&fs, "f", b"1234567");
    assert_eq!(write(&*file, b"89abc", 7).unwrap_err().raw_os_error(), Some(faults::ENOSPC));
    assert_eq!(content(&fs, "f").unwrap(), b"123456789a");
    write(&*file, b"0", 0).expect("overwriting needs no space");
    assert_eq!(fs.open(&path("g"), OpenMode::CreateNew).unwrap_err().raw_os_error(), Some(faults::ENOSPC));
    fs.remove_file(&path("f")).unwrap();
    assert_eq!(fs.space(Path::new("/d")).unwrap().available_bytes, 0, "an open handle keeps it");
    drop(file);
    assert_eq!(fs.space(Path::new("/d")).unwrap().available_bytes, 10);
}

#[test]
fn a_flipped_bit_is_on_the_disk() {
    let fs = with_folder();
    durable_file(&fs, "f", b"abc");
    fs.flip_bit(&path("f"), 1, 0).unwrap();
    assert_eq!(content(&fs, "f").unwrap(), b"acc");
    assert_eq!(content(&fs.power_cut(Survival::Nothing), "f").unwrap(), b"acc");
}

#[test]
fn the_same_calls_and_seeds_give_the_same_bytes_and_trace() {
    let run = |seed| {
        let fs = with_folder();
        let mut rng = Rng::new(seed);
        let files: Vec<_> = (0..3).map(|n| durable_file(&fs, &format!("f{n}"), b"start")).collect();
        for _ in 0..50 {
            let file = rng.pick(&files);
            let bytes: Vec<u8> = (0..rng.below(9000)).map(|_| rng.bits() as u8).collect();
            write(&**file, &bytes, rng.below(20_000)).unwrap();
            if rng.chance(1, 6) {
                file.sync_data().unwrap();
            }
        }
        let after = fs.power_cut(Survival::Seeded(seed));
        let contents: Vec<_> = (0..3).map(|n| content(&after, &format!("f{n}"))).collect();
        (contents, after.trace_digest(), after.trace())
    };
    assert!(run(1) == run(1));
    assert_ne!(run(1).1, run(2).1);
}
