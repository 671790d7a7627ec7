use std::sync::Arc;

use super::*;
use crate::disk::Disk;
use crate::fixtures::*;
use crate::layout::{self, Part};
use crate::store::{SegmentState, Store};
use crate::{RecoverError, Segment};
use buslane_wire::ids::{Durability, LeaderEpoch, TopicId};

/// A folder with a sealed and an open copy of partition 0, the open one synced up to its end.
fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let fs: Arc<dyn Fs> = Arc::new(Disk);
    let make = || crate::Identity { cluster_id: "c".into(), node_id: buslane_wire::ids::NodeId(1) };
    drop(crate::DataDir::open(&fs, dir.path(), &crate::Wanted::default(), make).unwrap());
    let (store, _) = open(dir.path(), "boot 1");
    let sealed = store.create(spec(segment(0, 1), 0)).unwrap();
    fill(&sealed, 30_000, 500);
    let end = sealed.end_offset();
    sealed.checkpoint_producers(end, b"state").unwrap();
    sealed.seal(end).unwrap();
    store.settle(&segment(0, 1)).unwrap();
    let open = store.create(spec(segment(0, 2), end)).unwrap();
    fill(&open, 30_000, 500);
    store.sync_round().unwrap();
    let path = |id, base| layout::part(dir.path(), &segment(0, id), base, Part::Log);
    let paths = (path(1, 0), path(2, end));
    drop((sealed, open, store));
    (dir, paths.0, paths.1)
}

fn verify(dir: &Path, repair: bool) -> (VerifySummary, Vec<Finding>) {
    verify_with(dir, &VerifyOptions { repair, accept_loss: repair, ..VerifyOptions::default() })
}

fn verify_with(dir: &Path, options: &VerifyOptions) -> (VerifySummary, Vec<Finding>) {
    let fs: Arc<dyn Fs> = Arc::new(Disk);
    let offline = Offline::open(&fs, dir, Access::Exclusive).unwrap();
    let mut findings = Vec::new();
    let mut keep = |progress| {
        if let Progress::Finding(finding) = progress {
            findings.push(finding);
        }
    };
    (offline.verify(options, "boot 1", &mut keep).unwrap(), findings)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn recover(store: &Store, base: i64) -> Result<(Arc<Segment>, crate::Recovery), RecoverError> {
    store.promise(&[(partition(0), LeaderEpoch(6))]).unwrap()[0].unwrap();
    store.recover(segment(0, 2), base, EPOCH, Durability::Replicated, LeaderEpoch(6))
}

#[test]
fn a_sound_folder_has_no_findings() {
    let (dir, sealed, open) = folder();
    let (summary, findings) = verify(dir.path(), false);
    assert_eq!(findings, []);
    let bytes = [sealed, open].map(|p| std::fs::metadata(p).unwrap().len()).iter().sum::<u64>();
    assert_eq!((summary.copies, summary.bytes), (2, bytes));
    assert!(summary.batches > 100 && !summary.is_damaged());
}

#[test]
fn any_flipped_bit_of_a_log_is_found_where_it_is() {
    let (dir, sealed, open) = folder();
    for path in [sealed, open] {
        let good = std::fs::read(&path).unwrap();
        for at in (21..good.len()).step_by(1009) {
            flip(&path, at);
            let (summary, findings) = verify(dir.path(), false);
            std::fs::write(&path, &good).unwrap();
            assert!(summary.is_damaged(), "byte {at}");
            let finding = &findings[0];
            assert_eq!(finding.file, path);
            // Each batch is 561 bytes. An offset that is too high looks like a gap, until the batch after it; so does a
            // leader epoch.
            let number = (finding.position.unwrap() / 561) as usize;
            let late = at % 561 < 8 || (12..16).contains(&(at % 561));
            assert!(number == at / 561 || (number == at / 561 + 1 && late), "byte {at}: {finding:?}");
            assert!(!finding.remedy.is_empty());
        }
    }
}

#[test]
fn repair_cuts_an_open_copy_that_the_server_refuses_and_keeps_the_bytes() {
    let (dir, sealed, path) = folder();
    let good = std::fs::read(&path).unwrap();
    let base = base_of(&path);
    flip(&path, 561 * 10 + 16);
    flip(&sealed, 561 * 3 + 100);
    {
        let (store, _) = open(dir.path(), "boot 1");
        let error = recover(&store, base).unwrap_err();
        assert!(matches!(error, RecoverError::Corrupt(_)), "{error}");
    }
    let (summary, findings) = verify(dir.path(), true);
    assert_eq!((summary.damage, summary.repaired), (2, 1), "{findings:?}");
    assert!(summary.is_damaged(), "the sealed one is left");
    let cut = findings.iter().find(|f| f.file == path).unwrap();
    assert_eq!(cut.position, Some(5610));
    assert!(cut.repaired.as_ref().unwrap().contains("cut at byte 5610"), "{cut:?}");
    assert_eq!(std::fs::read(&path).unwrap(), good[..5610]);
    let kept = std::fs::read_dir(dir.path().join("orphans")).unwrap().next().unwrap().unwrap();
    assert_eq!(std::fs::read(kept.path()).unwrap()[561..], good[5610 + 561..]);
    let (store, report) = open(dir.path(), "boot 1");
    assert_eq!(report.not_whole, [segment(0, 2)]);
    let (copy, recovery) = recover(&store, base).unwrap();
    assert_eq!((recovery.report.end_offset, recovery.report.whole), (base + 10, false));
    copy.seal(base + 10).unwrap();
}

#[test]
fn a_torn_tail_is_a_note_after_a_machine_crash() {
    let (dir, _, path) = folder();
    let (store, _) = open(dir.path(), "boot 0");
    drop(store);
    extend(&path, &[0; 300]);
    let (summary, findings) = verify(dir.path(), false);
    assert_eq!((summary.notes, summary.torn_ends, summary.damage), (0, 1, 0), "{findings:?}");
    assert!(findings[0].remedy.contains("the server cuts its 300 bytes"));
}

fn extend(path: &Path, with: &[u8]) {
    let file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    std::io::Write::write_all(&mut &file, with).unwrap();
}

/// What recovery says of the open copy, and whether it cut a torn end.
fn recovered(dir: &Path, base: i64) -> Result<bool, String> {
    let (store, _) = open(dir, "boot 1");
    recover(&store, base).map(|(_, recovery)| recovery.cut.is_some()).map_err(|e| e.to_string())
}

fn base_of(path: &Path) -> i64 {
    path.file_name().unwrap().to_str().unwrap()[..20].parse().unwrap()
}

#[test]
fn what_ends_an_open_copy_is_torn_or_damaged_as_recovery_has_it() {
    // After a process crash: what is there of a batch is a prefix of it.
    let torn: [(&str, &[u8]); 2] =
        [("a piece of a header", &[0; 30]), ("a piece of a batch", &opaque(1, 0, 500)[..200])];
    for (name, end) in torn {
        let (dir, _, path) = folder();
        let good = std::fs::read(&path).unwrap();
        extend(&path, end);
        let (summary, findings) = verify(dir.path(), false);
        assert_eq!((summary.torn_ends, summary.damage), (1, 0), "{name}: {findings:?}");
        assert_eq!(findings[0].position, Some(good.len() as u64), "{name}");
        let options = VerifyOptions { repair: true, ..VerifyOptions::default() };
        let (summary, findings) = verify_with(dir.path(), &options);
        assert!(findings[0].repaired.is_some() && !summary.is_damaged(), "{name}: {findings:?}");
        assert_eq!(std::fs::read(&path).unwrap(), good, "{name}");
        let (store, report) = open(dir.path(), "boot 1");
        assert_eq!(report.not_whole, [], "{name}: nothing acknowledged went");
        let (_, recovery) = recover(&store, base_of(&path)).unwrap();
        assert!(recovery.report.whole && recovery.cut.is_none(), "{name}");
    }
    // No crash of a process leaves bytes that are no batch, or a batch with others behind it.
    let whole = opaque(1, 0, 500);
    let (dir, _, path) = folder();
    let next = base_of(&path) + (std::fs::metadata(&path).unwrap().len() / 561) as i64;
    let mut longer = stamped(&whole, next, EPOCH);
    longer[10] ^= 0x40;
    longer.extend(stamped(&whole, next + 1, EPOCH));
    for (name, end) in [("no batch", vec![1; 300]), ("a batch with others behind it", longer)] {
        let (dir, _, path) = folder();
        let good = std::fs::read(&path).unwrap();
        extend(&path, &end);
        let (summary, findings) = verify(dir.path(), false);
        assert_eq!((summary.torn_ends, summary.damage), (0, 1), "{name}: {findings:?}");
        assert!(findings[0].remedy.contains("cut it with --repair:"), "{name}: {findings:?}");
        let error = recovered(dir.path(), base_of(&path)).unwrap_err();
        let command = format!("log verify --data {} --repair", dir.path().display());
        assert!(error.contains(&command), "{name}: {error}");
        let options = VerifyOptions { repair: true, ..VerifyOptions::default() };
        let (summary, findings) = verify_with(dir.path(), &options);
        assert!(!summary.is_damaged(), "{name}: {findings:?}");
        assert_eq!(std::fs::read(&path).unwrap(), good, "{name}");
        assert_eq!(recovered(dir.path(), base_of(&path)), Ok(false), "{name}");
    }
    drop(dir);
}

#[test]
fn below_the_recovery_point_nothing_is_cut_unless_the_loss_is_accepted() {
    let (dir, _, path) = folder();
    flip(&path, 561 * 10 + 16);
    let damaged = std::fs::read(&path).unwrap();
    let options = VerifyOptions { repair: true, ..VerifyOptions::default() };
    let (summary, findings) = verify_with(dir.path(), &options);
    assert!(summary.is_damaged(), "{findings:?}");
    assert!(findings[0].remedy.contains("--repair --accept-loss"), "{findings:?}");
    assert_eq!(std::fs::read(&path).unwrap(), damaged);
    let options = VerifyOptions { accept_loss: true, ..options };
    assert!(!verify_with(dir.path(), &options).0.is_damaged());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 5610);
}

/// What the metadata would say of [`folder`].
fn chain(sealed: &Path, open: &Path) -> Chain {
    let segment_of = |base_offset, sealed| ChainSegment {
        base_offset,
        first_epoch: EPOCH,
        epoch: EPOCH,
        durability: Durability::Replicated,
        sealed,
        here: true,
    };
    let bytes = std::fs::metadata(sealed).unwrap().len();
    let end = SealedEnd { end_offset: base_of(open), bytes };
    Chain::from([(segment(0, 1), segment_of(0, Some(end))), (segment(0, 2), segment_of(base_of(open), None))])
}

#[test]
fn copies_are_compared_with_the_chain() {
    let (dir, sealed, open) = folder();
    let known = chain(&sealed, &open);
    let check = |chain: &Chain| {
        let options = VerifyOptions { chain: Some(chain.clone()), ..VerifyOptions::default() };
        verify_with(dir.path(), &options)
    };
    assert_eq!(check(&known).1, []);
    // A leader epoch that is too low, in the first batch, which no other tells.
    flip(&sealed, 15);
    let (summary, findings) = check(&known);
    flip(&sealed, 15);
    assert_eq!((summary.damage, findings[0].position), (1, Some(0)), "{findings:?}");
    // What the chain does not count on is not even read.
    let mut other = known.clone();
    other.remove(&segment(0, 2));
    let (summary, findings) = check(&other);
    assert_eq!((summary.copies, summary.notes, summary.damage), (1, 1, 0), "{findings:?}");
    assert!(findings[0].what.contains("does not count on this copy") && findings[0].file == open);
    // The journal may still take a copy for open that the chain has sealed: then it is never cut. Its newest index
    // entries were in memory.
    verify(dir.path(), true);
    let index = open.with_extension("index");
    assert!(!index.exists(), "of an open copy it is not missed");
    let good = std::fs::read(&open).unwrap();
    let end = SealedEnd { end_offset: base_of(&open) + (good.len() / 561) as i64, bytes: good.len() as u64 };
    let mut both = known.clone();
    both.get_mut(&segment(0, 2)).unwrap().sealed = Some(end);
    let (_, findings) = check(&both);
    assert_eq!(findings.iter().map(|f| &f.file).collect::<Vec<_>>(), [&index], "{findings:?}");
    verify_with(
        dir.path(),
        &VerifyOptions { chain: Some(both.clone()), repair: true, ..VerifyOptions::default() },
    );
    assert_eq!(check(&both).1, []);
    extend(&open, &[1; 30]);
    let (summary, findings) = check(&both);
    assert_eq!((summary.notes, summary.damage), (1, 0), "{findings:?}");
    assert_eq!(findings[0].position, Some(good.len() as u64));
    std::fs::write(&open, &good[..5610]).unwrap();
    let options =
        VerifyOptions { chain: Some(both), repair: true, accept_loss: true, ..VerifyOptions::default() };
    let (summary, findings) = verify_with(dir.path(), &options);
    assert!(summary.is_damaged() && findings[0].what.contains("was sealed at byte"), "{findings:?}");
    assert_eq!(std::fs::metadata(&open).unwrap().len(), 5610);
    // Missing.
    std::fs::write(&open, &good).unwrap();
    std::fs::remove_file(&sealed).unwrap();
    let (summary, findings) = check(&known);
    assert!(summary.is_damaged());
    assert!(findings.iter().any(|f| f.file == sealed && f.what.contains("is missing")), "{findings:?}");
    // An open one can be given up: its loss is then recorded.
    std::fs::remove_file(&open).unwrap();
    let give_up = |chain: &Chain, accept_loss| {
        let options =
            VerifyOptions { chain: Some(chain.clone()), repair: true, accept_loss, ..Default::default() };
        verify_with(dir.path(), &options)
    };
    assert_eq!(give_up(&known, false).0.repaired, 0);
    let (summary, findings) = give_up(&known, true);
    assert_eq!((summary.damage, summary.repaired), (2, 1), "{findings:?}");
    assert!(!sealed.exists(), "never a sealed one");
    let (store, _) = crate::fixtures::open(dir.path(), "boot 1");
    let (_, recovery) = recover(&store, base_of(&open)).unwrap();
    assert!(!recovery.report.whole && recovery.report.end_offset == base_of(&open), "{recovery:?}");
    drop(store);
    std::fs::remove_file(&open).unwrap();
    let elsewhere =
        VerifyOptions { chain: Some(known), topic: Some(TopicId([1; 16])), ..VerifyOptions::default() };
    assert!(verify_with(dir.path(), &elsewhere).1.is_empty(), "not among what was asked for");
}

#[test]
fn a_file_shorter_than_what_was_synced_is_damage() {
    let (dir, _, path) = folder();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(561 * 4).unwrap();
    let (_, findings) = verify(dir.path(), false);
    assert!(findings.iter().any(|f| f.severity == Severity::Damage && f.what.contains("bytes were synced")));
}

#[test]
fn indexes_are_compared_with_the_log_and_rebuilt() {
    let (dir, sealed, _) = folder();
    let index = sealed.with_extension("index");
    let good = std::fs::read(&index).unwrap();
    let mut swapped = good.clone();
    swapped[..20].copy_from_slice(&good[20..40]);
    for bad in [&good[..20], &[][..], &swapped] {
        std::fs::write(&index, bad).unwrap();
        let (_, findings) = verify(dir.path(), false);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!((findings[0].severity, &findings[0].file), (Severity::Note, &index));
        verify(dir.path(), true);
        assert_eq!(std::fs::read(&index).unwrap(), good);
    }
    std::fs::remove_file(&index).unwrap();
    assert_eq!(verify(dir.path(), true).1.len(), 1);
    assert_eq!(std::fs::read(&index).unwrap(), good);
}

#[test]
fn strange_names_checkpoints_and_gaps_between_copies_are_told() {
    let (dir, sealed, open) = folder();
    let folder = sealed.parent().unwrap();
    std::fs::write(folder.join("notes.txt"), b"").unwrap();
    std::fs::write(folder.join("00000000000000000999-77.producers"), b"").unwrap();
    flip(&sealed.with_extension("producers"), 22);
    std::fs::remove_file(&open).unwrap();
    std::fs::rename(&sealed, folder.join("00000000000000000000-9.log")).unwrap();
    let (_, findings) = verify(dir.path(), false);
    let told = |file: &str, what: &str| {
        let found = findings.iter().any(|f| f.file.ends_with(file) && f.what.contains(what));
        assert!(found, "{file}: {what} is not among {findings:?}");
    };
    told("notes.txt", "no segment's file");
    told("00000000000000000999-77.producers", "without its log");
    told("00000000000000000000-1.producers", "without its log");
    verify(dir.path(), true);
    assert!(!folder.join("00000000000000000999-77.producers").exists(), "set aside");
    std::fs::remove_file(dir.path().join("buslane.json")).unwrap();
    flip(&dir.path().join("store.journal"), 4096 + 20);
    let (summary, findings) = verify(dir.path(), false);
    assert_eq!(summary.damage, 2, "{findings:?}");
    assert!(findings.iter().any(|f| f.file.ends_with("buslane.json") && f.what.contains("missing")));
    assert!(findings.iter().any(|f| f.file.ends_with("store.journal") && f.what.contains("damaged at byte")));
}

#[test]
fn beside_a_running_server_nothing_is_repaired_and_a_growing_end_is_no_finding() {
    let (dir, _, path) = folder();
    let fs: Arc<dyn Fs> = Arc::new(Disk);
    let offline = Offline::open(&fs, dir.path(), Access::ReadOnly).unwrap();
    let file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &file, &[0; 30]).unwrap();
    let mut findings = 0;
    let mut count = |p| findings += usize::from(matches!(p, Progress::Finding(_)));
    offline.verify(&VerifyOptions::default(), "boot 1", &mut count).unwrap();
    assert_eq!(findings, 0);
    let repair = VerifyOptions { repair: true, ..VerifyOptions::default() };
    assert!(matches!(offline.verify(&repair, "boot 1", &mut |_| ()), Err(VerifyError::ReadOnly { .. })));
    let other = VerifyOptions { segment: Some(1), ..VerifyOptions::default() };
    assert_eq!(offline.verify(&other, "boot 1", &mut |_| ()).unwrap().copies, 1);
    let state = SegmentState::Sealed { end_offset: 1, bytes: 1, max_timestamp: 0 };
    assert!(open(dir.path(), "boot 1").0.load(segment(1, 1), 0, state).is_ok());
}

#[test]
fn an_index_is_not_made_anew_of_a_log_that_is_damaged() {
    let (dir, sealed, open) = folder();
    let known = chain(&sealed, &open);
    let index = sealed.with_extension(Part::Index.extension());
    let (good_log, good_index) = (std::fs::read(&sealed).unwrap(), std::fs::read(&index).unwrap());
    // A byte of the base offset of a batch that the index leads to: beyond all bounds, beyond the segment's end, within it.
    let entered = 4096usize.div_ceil(561);
    for (byte, bit) in [(3, 1), (6, 1), (7, 16)] {
        let mut log = good_log.clone();
        log[561 * entered + byte] ^= bit;
        std::fs::write(&sealed, &log).unwrap();
        for with_chain in [false, true] {
            let chain = with_chain.then(|| known.clone());
            let options = VerifyOptions { repair: true, chain, ..VerifyOptions::default() };
            let (summary, findings) = verify_with(dir.path(), &options);
            assert!(summary.is_damaged(), "byte {byte}, chain {with_chain}: {findings:?}");
            assert_eq!(std::fs::read(&index).unwrap(), good_index, "it leads past the damage");
        }
        std::fs::write(&sealed, &good_log).unwrap();
    }
}

#[test]
fn nothing_is_repaired_without_the_journal_or_in_a_newer_folder() {
    for file in [layout::JOURNAL, layout::IDENTITY] {
        let (dir, _, open) = folder();
        flip(&open, 561 * 3 + 100);
        let good = std::fs::read(&open).unwrap();
        let path = dir.path().join(file);
        match file {
            layout::JOURNAL => flip(&path, 9),
            _ => {
                let newer =
                    std::fs::read_to_string(&path).unwrap().replace("\"format\": 1", "\"format\": 99");
                assert!(newer.contains("99"), "{newer}");
                std::fs::write(&path, newer).unwrap();
            }
        }
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        for partition in [None, Some(0)] {
            let chain = Some(Chain::new());
            let options =
                VerifyOptions { repair: true, accept_loss: true, partition, chain, ..Default::default() };
            let offline = Offline::open(&fs, dir.path(), Access::Exclusive).unwrap();
            let refused = offline.verify(&options, "boot 1", &mut |_| {}).unwrap_err().to_string();
            assert!(refused.contains(file), "{refused}");
            assert_eq!(std::fs::read(&open).unwrap(), good);
        }
    }
}
