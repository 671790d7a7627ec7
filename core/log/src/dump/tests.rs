use buslane_wire::batch::{BatchBuilder, Compression, NewRecord, RecordHeader};

use super::*;
use crate::disk::Disk;
use crate::fixtures::*;

/// A batch of two records, the second without key and with a value that is no text.
fn received(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    let header = |value| RecordHeader { key: b"trace", value };
    let headers = [header(Some(&b"1"[..])), header(None)];
    builder.push(&NewRecord { timestamp: 77, key: Some(b"key"), value: Some(b"value"), headers: &headers });
    builder.push(&NewRecord { timestamp: 70, key: None, value: Some(&[0xFF, 0]), headers: &[] });
    let header = BatchHeader::parse(&opaque(1, 0, 0)).unwrap();
    let mut bytes = Vec::new();
    builder.finish(header, compression, &mut bytes);
    bytes
}

#[test]
fn a_log_is_dumped_with_its_records_until_the_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), "boot 1");
    let copy = store.create(spec(segment(0, 1), 100)).unwrap();
    append(&copy, &received(Compression::None));
    append(&copy, &received(Compression::Zstd));
    let end = copy.end_position();
    let path = layout::part(dir.path(), &segment(0, 1), 100, Part::Log);
    let file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &file, &[7; 100]).unwrap();
    let mut items = Vec::new();
    let mut keep = |item| {
        items.push(item);
        ControlFlow::Continue(())
    };
    dump_log(&Disk, &path, LogDumpOptions { records: true, from: None }, &mut keep).unwrap();
    let [LogDump::Batch(first), LogDump::Batch(second), LogDump::Damage { position, .. }] = &items[..] else {
        panic!("{items:?}");
    };
    assert_eq!((first.base_offset, second.base_offset, *position), (100, 102, end));
    assert_eq!((first.compression.as_str(), second.compression.as_str()), ("none", "zstd"));
    assert!(first.crc_ok && second.crc_ok);
    let records = second.records.as_ref().unwrap();
    assert_eq!((records[0].offset, records[0].timestamp, records[1].offset), (102, 77, 103));
    assert_eq!(records[0].headers.len(), 2, "repeated keys are kept");
    let json = serde_json::to_value(records).unwrap();
    assert_eq!(json[0]["key"], "key");
    assert_eq!(json[0]["headers"][1]["value"], serde_json::Value::Null);
    assert_eq!(json[1]["value"]["hex"], "ff00");
    assert_eq!(FileKind::of(&path), Some(FileKind::Log));
    assert_eq!(FileKind::of(Path::new("notes.txt")), None);
    assert_eq!(FileKind::of(Path::new("orphans/repair-t-0-0-1.log.from-5610.1")), Some(FileKind::Log));

    let mut from = Vec::new();
    let mut keep = |item| {
        from.push(item);
        ControlFlow::Break(())
    };
    dump_log(&Disk, &path, LogDumpOptions { records: false, from: Some(103) }, &mut keep).unwrap();
    assert!(
        matches!(&from[..], [LogDump::Batch(b)] if b.base_offset == 102 && b.records.is_none()),
        "{from:?}"
    );
}

#[test]
fn index_checkpoints_and_journal_are_dumped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), "boot 1");
    let copy = store.create(spec(segment(0, 1), 100)).unwrap();
    fill(&copy, 20_000, 1000);
    copy.checkpoint_producers(105, b"state").unwrap();
    copy.seal(copy.end_offset()).unwrap();
    store.close().unwrap();
    let path = |part| layout::part(dir.path(), &segment(0, 1), 100, part);
    let mut entries = Vec::new();
    let mut keep = |entry: IndexDump| {
        entries.push(entry.entry.unwrap());
        ControlFlow::Continue(())
    };
    dump_index(&Disk, &path(Part::Index), &mut keep).unwrap();
    assert_eq!(entries.len(), 4);
    assert!(entries.windows(2).all(|e| e[0].position + 4096 <= e[1].position));
    assert!(matches!(dump_index(&Disk, &path(Part::Log), |_| panic!()), Err(DumpError::Name { .. })));
    let (checkpoints, rest) = dump_producers(&Disk, &path(Part::Producers)).unwrap();
    let checkpoint = ProducersDump { position: 0, end_offset: 105, payload: Some(b"state".to_vec()) };
    assert_eq!((&checkpoints[..], rest), (&[checkpoint][..], None));
    let journal = dump_journal(&Disk, dir.path()).unwrap();
    assert!(journal.clean_stop);
    assert_eq!(journal.incarnation, 1);
    let kinds: Vec<_> = journal.records.iter().map(|r| r.kind).collect();
    assert_eq!(kinds, ["start", "copy", "sealed", "clean stop"]);
}

#[test]
fn damaged_files_are_dumped_up_to_the_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), "boot 1");
    let copy = store.create(spec(segment(0, 1), 100)).unwrap();
    fill(&copy, 20_000, 1000);
    copy.checkpoint_producers(105, b"one").unwrap();
    copy.checkpoint_producers(106, b"two").unwrap();
    copy.seal(copy.end_offset()).unwrap();
    store.close().unwrap();
    let path = |part| layout::part(dir.path(), &segment(0, 1), 100, part);
    let change = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    };

    change(&path(Part::Index), &|bytes| bytes.truncate(50));
    let mut entries = Vec::new();
    let mut keep = |entry: IndexDump| {
        entries.push((entry.position, entry.entry.is_some()));
        ControlFlow::Continue(())
    };
    dump_index(&Disk, &path(Part::Index), &mut keep).unwrap();
    assert_eq!(entries.last().unwrap(), &(50 / ENTRY_LEN * ENTRY_LEN, false));
    assert!(entries[..entries.len() - 1].iter().all(|(_, good)| *good));

    change(&path(Part::Producers), &|bytes| {
        bytes[21] ^= 1;
        bytes.extend([7; 3]);
    });
    let (checkpoints, rest) = dump_producers(&Disk, &path(Part::Producers)).unwrap();
    assert_eq!((&checkpoints[0].payload, &checkpoints[1].payload), (&None, &Some(b"two".to_vec())));
    assert_eq!(rest.unwrap().position, 46);

    let whole = dump_journal(&Disk, dir.path()).unwrap();
    assert!(whole.damage.is_none());
    // After a clean stop nothing can be torn.
    let path = dir.path().join(layout::JOURNAL);
    let len = std::fs::metadata(&path).unwrap().len();
    change(&path, &|bytes| bytes.extend([7; 3]));
    let journal = dump_journal(&Disk, dir.path()).unwrap();
    assert_eq!(journal.damage.unwrap().position, len);
    assert!(!journal.records.is_empty());
    assert_eq!(journal.records, whole.records);
}
