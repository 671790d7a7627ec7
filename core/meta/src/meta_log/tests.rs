//! What the log keeps across restarts, torn ends and damage. Power cuts are the simulation's.

use std::fs;
use std::path::PathBuf;

use buslane_log::disk::Disk;
use buslane_log::faulty::FaultyFs;
use buslane_wire::ids::NodeId;

use super::record::Member;
use super::*;

struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new() -> Folder {
        Folder { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("meta").join(name)
    }

    fn open(&self) -> (MetaLog, Replay) {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<(MetaLog, Replay), MetaLogError> {
        MetaLog::open(Arc::new(Disk), self.dir.path())
    }
}

fn at(index: u64) -> LogPosition {
    LogPosition { term: 1, index, ..LogPosition::default() }
}

fn commands(index: u64) -> Record {
    let bytes: Vec<u8> = (0..20 + index as u8).collect();
    Record::Entry(LogEntry { at: at(index), payload: Payload::Commands(bytes.into()) })
}

fn vote(term: u64) -> Vote {
    Vote { term, node: Default::default(), committed: true }
}

fn snapshot(index: u64) -> Snapshot {
    Snapshot { last: Some(at(index)), voters_at: None, voters: Voters::default(), image: vec![3; 50] }
}

fn indexes(replay: &Replay) -> Vec<u64> {
    replay.entries.iter().map(|e| e.at.index).collect()
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let folder = Folder::new();
    let (mut log, replay) = folder.open();
    assert!(replay.entries.is_empty() && replay.vote.is_none() && replay.snapshot.is_none());
    let voters = Voters {
        groups: vec![vec![Default::default()]],
        members: vec![Member { node: Default::default(), address: "127.0.0.1:9093".to_owned() }],
    };
    let membership = Record::Entry(LogEntry { at: at(0), payload: Payload::Membership(voters.clone()) });
    log.append(&[membership, Record::Vote(vote(3))]).unwrap();
    log.append(&[commands(1), commands(2)]).unwrap();
    log.append(&[Record::Vote(vote(4))]).unwrap();
    log.append(&[Record::Entry(LogEntry { at: at(3), payload: Payload::Blank })]).unwrap();
    drop(log);
    let (log, replay) = folder.open();
    assert_eq!((indexes(&replay), replay.vote, replay.cut), (vec![0, 1, 2, 3], Some(vote(4)), 0));
    assert_eq!(replay.entries[0].payload, Payload::Membership(voters));
    assert_eq!(Record::Entry(replay.entries[2].clone()), commands(2));
    assert_eq!(log.log_bytes(), fs::metadata(folder.file("log")).unwrap().len());
}

#[test]
fn truncated_entries_are_gone_and_others_take_their_place() {
    let folder = Folder::new();
    let (mut log, _) = folder.open();
    log.append(&[commands(1), commands(2), commands(3)]).unwrap();
    let other = LogEntry { at: LogPosition { term: 2, ..at(2) }, payload: Payload::Blank };
    log.append(&[Record::Truncate(2), Record::Entry(other.clone())]).unwrap();
    let (_, replay) = folder.open();
    assert_eq!(replay.entries[1..], [other]);
    assert_eq!(indexes(&replay), [1, 2]);
}

#[test]
fn a_torn_end_at_every_byte_is_cut_and_written_over() {
    let folder = Folder::new();
    let (mut log, _) = folder.open();
    log.append(&[commands(1)]).unwrap();
    let whole = log.log_bytes() as usize;
    log.append(&[commands(2), commands(3)]).unwrap();
    let bytes = fs::read(folder.file("log")).unwrap();
    for len in whole..bytes.len() {
        for torn in [bytes[..len].to_vec(), {
            // The length was written, the bytes were not.
            let mut zeros = bytes[..len].to_vec();
            zeros.resize(bytes.len(), 0);
            zeros
        }] {
            fs::write(folder.file("log"), &torn).unwrap();
            let (mut log, replay) = folder.open();
            assert_eq!((indexes(&replay), replay.cut), (vec![1], (torn.len() - whole) as u64), "{len}");
            log.append(&[commands(2)]).unwrap();
            let (_, replay) = folder.open();
            assert_eq!((indexes(&replay), replay.cut), (vec![1, 2], 0));
        }
    }
}

#[test]
fn damage_before_the_last_frame_is_refused_naming_file_and_place() {
    let folder = Folder::new();
    let (mut log, _) = folder.open();
    let mut ends = vec![log.log_bytes() as usize];
    for index in 1..4 {
        log.append(&[commands(index)]).unwrap();
        ends.push(log.log_bytes() as usize);
    }
    let good = fs::read(folder.file("log")).unwrap();
    for byte in 0..ends[2] {
        let mut bad = good.clone();
        bad[byte] ^= 0x10;
        fs::write(folder.file("log"), &bad).unwrap();
        let error = folder.try_open().unwrap_err();
        let frame = ends.iter().rev().find(|start| **start <= byte).map_or(0, |start| *start as u64);
        match &error {
            MetaLogError::Corrupt { position, .. } => assert_eq!(*position, frame, "byte {byte}"),
            // The version's byte with its checksum would be another thing; one flip alone breaks the checksum.
            other => panic!("byte {byte}: {other}"),
        }
        let text = error.to_string();
        assert!(text.contains("meta/log") && text.contains("the whole data folder"), "{text}");
    }
    // The very last frame cannot be told from a torn one.
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(folder.file("log"), &bad).unwrap();
    assert_eq!(indexes(&folder.open().1), [1, 2]);
}

#[test]
fn a_frame_inside_a_payload_is_no_frame() {
    let folder = Folder::new();
    let (mut log, _) = folder.open();
    log.append(&[commands(1)]).unwrap();
    // What a user could put into a topic's settings: this very log.
    let mut inner = fs::read(folder.file("log")).unwrap();
    inner.extend([0; 8]);
    let inner: Arc<[u8]> = inner.into();
    log.append(&[Record::Entry(LogEntry { at: at(2), payload: Payload::Commands(inner) })]).unwrap();
    let bytes = fs::read(folder.file("log")).unwrap();
    fs::write(folder.file("log"), &bytes[..bytes.len() - 1]).unwrap();
    let (_, replay) = folder.open();
    assert_eq!(indexes(&replay), [1], "a torn end, not damage");
}

#[test]
fn a_frame_counts_at_its_own_place_only() {
    let frame = [&frame_head(20, b"payload")[..], b"payload"].concat();
    for start in [19, 20, 21] {
        let bytes = [&vec![0; start], &frame[..]].concat();
        assert_eq!(frame_at(&bytes, start).is_some(), start == 20, "at {start}");
    }
}

#[test]
fn a_snapshot_takes_the_place_of_what_is_purged() {
    let folder = Folder::new();
    let (mut log, _) = folder.open();
    log.append(&[commands(1), commands(2), Record::Vote(vote(2)), commands(3)]).unwrap();
    log.snapshots().write(&snapshot(2)).unwrap();
    let (mut log, replay) = folder.open();
    assert_eq!(replay.snapshot, Some(snapshot(2)));
    assert_eq!(indexes(&replay), [1, 2, 3], "not purged yet");
    assert_eq!(replay.snapshot_bytes, fs::metadata(folder.file("snapshot")).unwrap().len());
    let before = log.log_bytes();
    log.purge(at(2), &[Record::Vote(vote(2)), commands(3)]).unwrap();
    assert!(log.log_bytes() < before);
    log.append(&[commands(4)]).unwrap();
    let (mut log, replay) = folder.open();
    assert_eq!((indexes(&replay), replay.purged, replay.vote), (vec![3, 4], Some(at(2)), Some(vote(2))));
    log.snapshots().write(&snapshot(4)).unwrap();
    log.purge(at(4), &[]).unwrap();
    log.append(&[commands(5)]).unwrap();
    let (_, replay) = folder.open();
    assert_eq!((indexes(&replay), replay.snapshot.unwrap().last), (vec![5], Some(at(4))));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let gap = |prepare: &dyn Fn(&mut MetaLog, &Folder)| {
        let folder = Folder::new();
        let (mut log, _) = folder.open();
        prepare(&mut log, &folder);
        drop(log);
        let error = folder.try_open().expect_err("it does not fit");
        assert!(matches!(error, MetaLogError::Corrupt { .. }), "{error}");
        error.to_string()
    };
    let text = gap(&|log, _| log.append(&[commands(1), commands(3)]).unwrap());
    assert!(text.contains("index: 3") && text.contains("index: 1"), "{text}");
    let text = gap(&|log, _| log.append(&[commands(2)]).unwrap());
    assert!(text.contains("first entry is 2, not 1"), "{text}");
    let falling = Record::Entry(LogEntry { at: LogPosition { term: 0, ..at(2) }, payload: Payload::Blank });
    gap(&|log, _| log.append(&[commands(1), falling.clone()]).unwrap());
    let text = gap(&|log, _| log.purge(at(2), &[commands(3)]).unwrap());
    assert!(text.contains("purged"), "{text}");
    let text = gap(&|log, folder| {
        log.snapshots().write(&snapshot(2)).unwrap();
        fs::remove_file(folder.file("log")).unwrap();
    });
    assert!(text.contains("missing"), "{text}");
    let text = gap(&|log, folder| {
        log.snapshots().write(&snapshot(2)).unwrap();
        log.purge(at(2), &[]).unwrap();
        fs::remove_file(folder.file("snapshot")).unwrap();
    });
    assert!(text.contains("purged"), "{text}");
}

#[test]
fn a_damaged_snapshot_is_refused_at_every_byte() {
    let folder = Folder::new();
    let (log, _) = folder.open();
    log.snapshots().write(&snapshot(2)).unwrap();
    let good = fs::read(folder.file("snapshot")).unwrap();
    for byte in 0..good.len() {
        let mut bad = good.clone();
        bad[byte] ^= 0x80;
        fs::write(folder.file("snapshot"), &bad).unwrap();
        let error = folder.try_open().unwrap_err();
        assert!(matches!(error, MetaLogError::Corrupt { .. }), "byte {byte}: {error}");
        fs::write(folder.file("snapshot"), &good[..byte]).unwrap();
        assert!(folder.try_open().is_err(), "cut at {byte}");
    }
}

#[test]
fn files_of_a_later_version_are_named_as_such() {
    let folder = Folder::new();
    let (log, _) = folder.open();
    fs::write(folder.file("snapshot"), file_head(b"BUSLSNAP", 2)).unwrap();
    let error = folder.try_open().unwrap_err();
    assert!(matches!(error, MetaLogError::Newer { found: 2, .. }), "{error}");
    fs::remove_file(folder.file("snapshot")).unwrap();
    fs::write(folder.file("log"), file_head(b"BUSLMETA", 7)).unwrap();
    let error = folder.try_open().unwrap_err();
    assert!(error.to_string().contains("later version (format 7, which this one does not know)"), "{error}");
    drop(log);
}

#[test]
fn leftovers_of_a_killed_rewrite_are_written_over() {
    let folder = Folder::new();
    let (mut log, _) = folder.open();
    log.append(&[commands(1)]).unwrap();
    fs::write(folder.file("log.new"), [9; 9_000]).unwrap();
    fs::write(folder.file("snapshot.new"), [9; 9_000]).unwrap();
    let (mut log, replay) = folder.open();
    assert_eq!(indexes(&replay), [1]);
    log.snapshots().write(&snapshot(1)).unwrap();
    log.purge(at(1), &[]).unwrap();
    let (_, replay) = folder.open();
    assert_eq!((indexes(&replay), replay.snapshot), (vec![], Some(snapshot(1))));
}

#[test]
fn after_a_failed_write_or_sync_the_log_takes_nothing_more() {
    for sync in [false, true] {
        let folder = Folder::new();
        let faulty = FaultyFs::new(Arc::new(Disk));
        let (mut log, _) = MetaLog::open(Arc::new(faulty.clone()), folder.dir.path()).unwrap();
        log.append(&[commands(1)]).unwrap();
        if sync {
            faulty.fail_next_sync();
        } else {
            faulty.fail_writes(5);
        }
        let error = log.append(&[commands(2)]).unwrap_err();
        assert!(matches!(error, MetaLogError::Io { .. }), "{error}");
        faulty.heal();
        let error = log.append(&[commands(2)]).unwrap_err();
        assert!(matches!(error, MetaLogError::Failed { .. }), "{error}");
        assert!(matches!(log.purge(at(1), &[]), Err(MetaLogError::Failed { .. })));
        let (_, replay) = folder.open();
        assert_eq!(indexes(&replay)[0], 1);
    }
}

/// Each record of the log and a snapshot, as they stand in the files that people have.
#[test]
fn what_level_1_wrote_around_commands_is_read_as_ever() {
    let at = LogPosition { term: 3, leader: NodeId(1), index: 7 };
    let voters = Voters {
        groups: vec![vec![NodeId(1), NodeId(2)]],
        members: vec![Member { node: NodeId(1), address: "10.0.0.1:9093".to_owned() }],
    };
    let entry = |payload| Record::Entry(LogEntry { at, payload });
    let records = [
        ("Blank", entry(Payload::Blank)),
        ("Commands", entry(Payload::Commands([1u8, 2, 3][..].into()))),
        ("Membership", entry(Payload::Membership(voters.clone()))),
        ("Vote", Record::Vote(Vote { term: 4, node: NodeId(2), committed: true })),
        ("Truncate", Record::Truncate(9)),
        ("Purged", Record::Purged(at)),
    ];
    let snapshot = Snapshot { last: Some(at), voters_at: None, voters, image: vec![9, 8, 7] };
    let mut written = String::new();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for (name, record) in &records {
        let bytes = encode(std::slice::from_ref(record));
        let back: Record = decode_leveled(&mut minicbor::Decoder::new(&bytes)).unwrap();
        assert_eq!(back, *record);
        written += &format!("{name} {}\n", hex(&bytes));
    }
    let folder = Folder::new();
    let (log, _) = folder.open();
    log.snapshots().write(&snapshot).unwrap();
    let file = fs::read(folder.file("snapshot")).unwrap();
    written += &format!("snapshot {}\n", hex(&file));
    assert_eq!(log.snapshots().read().unwrap().unwrap().0, snapshot);
    let golden: String = include_str!("../../tests/golden/files-level-1.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(written, golden);
}

#[test]
fn a_record_of_a_later_level_is_not_called_damage() {
    let folder = Folder::new();
    drop(folder.open());
    let mut bytes = fs::read(folder.file("log")).unwrap();
    let mut payload = Vec::new();
    crate::encoding::encode_leveled(crate::encoding::LEVEL + 1, &Record::Truncate(0), &mut payload);
    bytes.extend(frame_head(bytes.len() as u64, &payload));
    bytes.extend(&payload);
    fs::write(folder.file("log"), bytes).unwrap();
    let error = folder.try_open().unwrap_err();
    assert!(
        matches!(error, MetaLogError::Newer { found, .. } if found == u32::from(crate::encoding::LEVEL) + 1),
        "{error}"
    );
}
