use buslane_wire::ids::TopicId;

use super::*;

fn offset_key() -> OffsetCommitKey<'static> {
    OffsetCommitKey { group: "g", topic: "t", partition: 7 }
}

fn offset_value() -> OffsetCommitValue<'static> {
    OffsetCommitValue {
        offset: 42,
        leader_epoch: 3,
        metadata: "m",
        commit_timestamp: 1_000,
        expire_timestamp: -1,
        topic_id: TopicId([9; 16]),
    }
}

fn known(record: &Record) -> Known<'_> {
    match parse(&record.key, record.value.as_deref()).unwrap() {
        Parsed::Known(known) => known,
        unknown => panic!("{unknown:?}"),
    }
}

#[test]
fn an_offset_survives_its_record() {
    let record = record(&offset_key(), &offset_value(), 4).unwrap();
    assert_eq!(known(&record), Known::OffsetCommit(offset_key(), Some(offset_value())));
    let gone = tombstone(&offset_key()).unwrap();
    assert_eq!(gone.key, record.key);
    assert_eq!(known(&gone), Known::OffsetCommit(offset_key(), None));
}

#[test]
fn a_version_drops_what_it_cannot_carry() {
    let value = OffsetCommitValue { expire_timestamp: 5_000, ..offset_value() };
    let record = record(&offset_key(), &value, 1).unwrap();
    let Known::OffsetCommit(_, Some(read)) = known(&record) else { panic!("an offset") };
    assert_eq!(read, OffsetCommitValue { leader_epoch: -1, topic_id: TopicId::ZERO, ..value });
}

#[test]
fn the_oldest_offsets_read_as_offsets() {
    let key = LegacyOffsetCommitKey { group: "g", topic: "t", partition: 7 };
    let value = LegacyOffsetCommitValue { offset: 42, metadata: "m", commit_timestamp: 1_000 };
    assert_eq!(OffsetCommitKey::from(key), offset_key());
    assert_eq!(
        OffsetCommitValue::from(value),
        OffsetCommitValue { leader_epoch: -1, topic_id: TopicId::ZERO, ..offset_value() }
    );
}

#[test]
fn unknown_types_and_versions_are_told_apart_from_damage() {
    // Streams groups (17) and whatever comes later.
    assert_eq!(
        parse(&[0, 17, 0xff], Some(&[0, 0])).unwrap(),
        Parsed::Unknown { record_type: 17, value_version: None }
    );
    let key = offset_key().to_bytes().unwrap();
    assert_eq!(
        parse(&key, Some(&[0, 5, 1, 2])).unwrap(),
        Parsed::Unknown { record_type: 1, value_version: Some(5) }
    );
    assert_eq!(
        parse(&key, Some(&[0xff, 0xff])).unwrap(),
        Parsed::Unknown { record_type: 1, value_version: Some(-1) }
    );
    assert!(matches!(parse(&key, Some(&[0])), Err(RecordError::Short { what: "value" })));
    assert!(matches!(parse(&key, Some(&[0, 4, 1])), Err(RecordError::Value { version: 4, .. })));
    assert!(matches!(parse(&key[..5], None), Err(RecordError::Key { kind: RecordType::OffsetCommit, .. })));
    assert!(matches!(parse(&[1], None), Err(RecordError::Short { what: "key" })));
}

proptest::proptest! {
    #[test]
    fn any_bytes_parse_without_panic(key: Vec<u8>, value: Option<Vec<u8>>, kind in 0i16..18, version in 0i16..6) {
        let mut typed_key = kind.to_be_bytes().to_vec();
        typed_key.extend(&key);
        let typed_value = value.as_ref().map(|value| {
            let mut typed = version.to_be_bytes().to_vec();
            typed.extend(value);
            typed
        });
        let _ = parse(&typed_key, typed_value.as_deref());
        let _ = parse(&key, value.as_deref());
    }
}
