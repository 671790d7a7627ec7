use proptest::prelude::*;

use super::super::{BatchRecords, RecordError, TimestampType, verify_crc};
use super::*;

type Header = (Vec<u8>, Option<Vec<u8>>);

/// A record that owns its bytes.
#[derive(Clone, PartialEq, Debug)]
struct Owned {
    offset_delta: i32,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<Header>,
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}

prop_compose! {
    fn any_record()(
        gap in 1..50i32,
        timestamp in -10_000_000_000_000..10_000_000_000_000i64,
        key in prop::option::of(bytes(40)),
        value in prop::option::of(bytes(300)),
        // Few different keys, so that they repeat.
        headers in prop::collection::vec((prop::sample::select(vec![vec![], b"a".to_vec(), vec![0xff]]), prop::option::of(bytes(9))), 0..5),
    ) -> Owned {
        Owned { offset_delta: gap, timestamp, key, value, headers }
    }
}

fn add(builder: &mut BatchBuilder, record: &Owned) -> Result<(), BuildError> {
    let headers: Vec<_> =
        record.headers.iter().map(|(key, value)| RecordHeader { key, value: value.as_deref() }).collect();
    builder.add_at(
        record.offset_delta,
        &NewRecord {
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        },
    )
}

fn read(batch: &[u8]) -> Result<Vec<Owned>, RecordError> {
    BatchRecords::open(batch, 1 << 24)?
        .iter()
        .map(|record| {
            record.map(|r| Owned {
                offset_delta: r.offset_delta,
                timestamp: r.timestamp,
                key: r.key.map(<[u8]>::to_vec),
                value: r.value.map(<[u8]>::to_vec),
                headers: r.headers.iter().map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect(),
            })
        })
        .collect()
}

proptest! {
    #[test]
    fn what_was_built_is_read(
        mut records in prop::collection::vec(any_record(), 1..30),
        codec in prop::sample::select(Compression::ALL.to_vec()),
        base_offset in 0..i64::MAX / 2,
    ) {
        let mut delta = -1;
        for record in &mut records {
            delta += record.offset_delta;
            record.offset_delta = delta;
        }
        let mut builder = BatchBuilder::default();
        let mut out = b"before".to_vec();
        // Twice with the same builder: it starts over by itself.
        for _ in 0..2 {
            out.truncate(6);
            for record in &records {
                add(&mut builder, record).unwrap();
            }
            prop_assert_eq!(builder.len(), records.len());
            let options = BatchOptions {
                base_offset,
                leader_epoch: Some(LeaderEpoch(4)),
                compression: codec,
                producer: Some(BatchProducer { id: 3, epoch: 2, base_sequence: 1 }),
                ..BatchOptions::default()
            };
            let header = builder.build(&options, &mut out).unwrap();
            prop_assert!(builder.is_empty());
            let batch = out.strip_prefix(b"before").unwrap();
            prop_assert_eq!(BatchHeader::parse(batch), Ok(header));
            prop_assert_eq!(verify_crc(batch), Ok(()));
            prop_assert_eq!(header.total_len(), batch.len());
            prop_assert_eq!(header.compression(), Ok(codec));
            prop_assert_eq!(header.last_offset(), base_offset + i64::from(delta));
            prop_assert_eq!(Some(header.max_timestamp), records.iter().map(|r| r.timestamp).max());
            prop_assert_eq!(header.base_timestamp, records[0].timestamp);
            prop_assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (3, 2, 1));
            prop_assert_eq!(header.partition_leader_epoch, 4);
            prop_assert_eq!(&read(batch).unwrap(), &records);
        }
    }

    #[test]
    fn a_batch_with_changed_bytes_is_read_or_refused(
        records in prop::collection::vec(any_record(), 1..6),
        codec in prop::sample::select(Compression::ALL.to_vec()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut builder = BatchBuilder::default();
        for (delta, record) in records.iter().enumerate() {
            add(&mut builder, &Owned { offset_delta: delta as i32, ..record.clone() }).unwrap();
        }
        let mut out = Vec::new();
        builder.build(&BatchOptions { compression: codec, ..BatchOptions::default() }, &mut out).unwrap();
        for (at, byte) in changes {
            let at = at.index(out.len());
            out[at] ^= byte;
        }
        let _ = read(&out);
        let _ = read(&out[..cut.index(out.len())]);
    }
}

#[test]
fn flags_are_set_as_asked() {
    let mut builder = BatchBuilder::default();
    let mut out = Vec::new();
    for (transactional, control) in [(false, false), (true, false), (true, true)] {
        builder.add(&NewRecord::default()).unwrap();
        let options = BatchOptions { transactional, control, ..BatchOptions::default() };
        let header = builder.build(&options, &mut out).unwrap();
        assert_eq!((header.is_transactional(), header.is_control()), (transactional, control));
        assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
        assert!(!header.has_producer() && header.base_sequence == -1);
    }
}

#[test]
fn a_batch_that_is_too_large_is_not_written_and_keeps_its_records() {
    let mut builder = BatchBuilder::default();
    builder.add(&NewRecord { value: Some(&[b'x'; 1000]), ..NewRecord::default() }).unwrap();
    let mut out = b"before".to_vec();
    let mut options = BatchOptions { max_bytes: 1000, ..BatchOptions::default() };
    let bytes = HEADER_LEN + builder.records_len();
    assert_eq!(builder.build(&options, &mut out), Err(BuildError::TooLarge { bytes, max: 1000 }));
    assert_eq!(out, b"before");
    // It is the compressed size that counts.
    options.compression = Compression::Gzip;
    let header = builder.build(&options, &mut out).unwrap();
    assert!(header.total_len() < 1000);
    options = BatchOptions { max_bytes: header.total_len(), ..options };
    builder.add(&NewRecord { value: Some(&[b'x'; 1000]), ..NewRecord::default() }).unwrap();
    assert!(builder.build(&options, &mut out).is_ok(), "exactly the limit");
}

#[test]
fn what_has_no_place_is_refused_and_changes_nothing() {
    let mut builder = BatchBuilder::default();
    let mut out = Vec::new();
    assert_eq!(builder.build(&BatchOptions::default(), &mut out), Err(BuildError::Empty));

    let negative = BuildError::OffsetDelta { offset_delta: -1, expected_min: 0 };
    assert_eq!(builder.add_at(-1, &NewRecord::default()), Err(negative));
    builder.add_at(7, &NewRecord { timestamp: -5, ..NewRecord::default() }).unwrap();
    let again = BuildError::OffsetDelta { offset_delta: 7, expected_min: 8 };
    assert_eq!(builder.add_at(7, &NewRecord::default()), Err(again));
    let far = NewRecord { timestamp: i64::MAX, ..NewRecord::default() };
    assert_eq!(builder.add(&far), Err(BuildError::Timestamp { timestamp: i64::MAX, base_timestamp: -5 }));
    assert_eq!(builder.add(&NewRecord::default()), Ok(8));

    builder.add_at(i32::MAX, &NewRecord::default()).unwrap();
    assert!(matches!(builder.add(&NewRecord::default()), Err(BuildError::OffsetDelta { .. })));
    for base_offset in [-1, i64::MAX - i64::from(i32::MAX)] {
        let options = BatchOptions { base_offset, ..BatchOptions::default() };
        let refused = BuildError::Offsets { base_offset, last_offset_delta: i32::MAX };
        assert_eq!(builder.build(&options, &mut out), Err(refused));
    }
    assert!(out.is_empty());
    let header = builder.build(&BatchOptions::default(), &mut out).unwrap();
    assert_eq!((header.record_count, header.last_offset_delta), (3, i32::MAX));
    assert_eq!((header.base_timestamp, header.max_timestamp), (-5, 0));
}

#[test]
fn an_empty_batch_keeps_what_compaction_must_keep() {
    let kept = BatchHeader {
        last_offset_delta: 9,
        base_timestamp: 5,
        max_timestamp: 6,
        producer_id: 1,
        ..BatchHeader::default()
    };
    let mut out = Vec::new();
    BatchBuilder::default().finish(kept, Compression::None, &mut out);
    let header = BatchHeader::parse(&out).unwrap();
    assert_eq!(header, BatchHeader { crc: header.crc, ..kept });
    assert_eq!(read(&out), Ok(vec![]));
}

proptest! {
    #[test]
    fn what_compaction_leaves_of_a_batch_keeps_its_offsets_and_its_producer(
        records in prop::collection::vec((any_record(), any::<bool>()), 1..20),
        codec in prop::sample::select(Compression::ALL.to_vec()),
        horizon in prop::option::of(0..10_000_000_000_000i64),
    ) {
        let mut builder = BatchBuilder::default();
        let numbered: Vec<(Owned, bool)> = (0..).zip(records)
            .map(|(offset_delta, (record, kept))| (Owned { offset_delta, ..record }, kept))
            .collect();
        for (record, _) in &numbered {
            add(&mut builder, record).unwrap();
        }
        let options = BatchOptions {
            base_offset: 70,
            leader_epoch: Some(LeaderEpoch(4)),
            compression: codec,
            producer: Some(BatchProducer { id: 3, epoch: 2, base_sequence: 1 }),
            ..BatchOptions::default()
        };
        let original = builder.build(&options, &mut Vec::new()).unwrap();
        let kept: Vec<Owned> = numbered.into_iter().filter(|(_, kept)| *kept).map(|(record, _)| record).collect();
        let base_timestamp = horizon.unwrap_or(original.base_timestamp);
        builder.count_from(base_timestamp);
        for record in &kept {
            add(&mut builder, record).unwrap();
        }
        let mut out = Vec::new();
        let Ok(header) = builder.rebuild(&original, horizon.is_some(), &mut out) else {
            prop_assert!(kept.is_empty());
            return Ok(());
        };
        prop_assert_eq!(verify_crc(&out), Ok(()));
        prop_assert_eq!(BatchHeader::parse(&out), Ok(header));
        prop_assert_eq!(header.delete_horizon(), horizon);
        prop_assert_eq!(&read(&out).unwrap(), &kept);
        let expected = BatchHeader {
            base_timestamp,
            max_timestamp: kept.iter().map(|r| r.timestamp).max().unwrap(),
            record_count: kept.len() as i32,
            attributes: original.attributes | if horizon.is_some() { DELETE_HORIZON_BIT } else { 0 },
            batch_length: header.batch_length,
            crc: header.crc,
            ..original
        };
        prop_assert_eq!(header, expected);
        // Once more: a horizon that was set goes when it is not given again.
        builder.count_from(original.base_timestamp);
        for record in &kept {
            add(&mut builder, record).unwrap();
        }
        let again = builder.rebuild(&header, false, &mut out).unwrap();
        prop_assert_eq!((again.delete_horizon(), again.base_timestamp), (None, original.base_timestamp));
    }
}
