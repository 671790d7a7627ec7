//! Agreement with the record batches of the crate `kafka-protocol`, which others wrote.
//!
//! Only valid batches go in: it reserves memory for any count it reads. It keeps one header of each key, so keys do not
//! repeat here; `batch_golden.rs` has those that do.
#![allow(clippy::unwrap_used)]

use buslane_wire::batch::{
    BatchBuilder, BatchHeader, BatchRecords, Compression, NewRecord, RecordHeader, verify_crc,
};
use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as TheirCompression, Record as Theirs, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType as TheirTimestampType,
};
use proptest::prelude::*;

/// A record by both, with the fields of its batch beside it.
#[derive(Clone, PartialEq, Debug)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Header fields that a record of theirs carries.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Batch {
    base_offset: i64,
    leader_epoch: i32,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    transactional: bool,
    control: bool,
    delete_horizon: bool,
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    // Noise, and what compresses.
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..max),
        (any::<u8>(), 0..max * 100).prop_map(|(b, n)| vec![b; n])
    ]
}

prop_compose! {
    fn any_record()(
        timestamp in prop_oneof![-1000..2_000_000_000_000i64, Just(i64::MIN / 2), Just(i64::MAX / 2)],
        key in prop::option::of(bytes(20)),
        value in prop::option::of(bytes(300)),
        headers in prop::collection::btree_map("[a-zé]{0,5}", prop::option::of(bytes(10)), 0..4),
    ) -> Owned {
        Owned { timestamp, key, value, headers: headers.into_iter().collect() }
    }
}

prop_compose! {
    fn any_batch()(
        base_offset in 0..i64::MAX / 2,
        leader_epoch in any::<i32>(),
        producer in prop::option::of((0..i64::MAX, 0..i16::MAX, 0..i32::MAX / 2)),
        flags in any::<[bool; 3]>(),
    ) -> Batch {
        let (producer_id, producer_epoch, base_sequence) = producer.unwrap_or((-1, -1, -1));
        let [transactional, control, delete_horizon] = flags;
        Batch {
            base_offset, leader_epoch, producer_id, producer_epoch, base_sequence, transactional, control,
            delete_horizon,
        }
    }
}

fn header_of(batch: Batch) -> BatchHeader {
    BatchHeader {
        base_offset: batch.base_offset,
        partition_leader_epoch: batch.leader_epoch,
        producer_id: batch.producer_id,
        producer_epoch: batch.producer_epoch,
        base_sequence: batch.base_sequence,
        attributes: i16::from(batch.transactional) << 4
            | i16::from(batch.control) << 5
            | i16::from(batch.delete_horizon) << 6,
        ..BatchHeader::default()
    }
}

fn built_by_us(batch: Batch, records: &[Owned], codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for record in records {
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(key, value)| RecordHeader { key: key.as_bytes(), value: value.as_deref() })
            .collect();
        builder.push(&NewRecord {
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        });
    }
    let mut out = Vec::new();
    builder.finish(header_of(batch), codec, &mut out);
    out
}

fn theirs(batch: Batch, records: &[Owned]) -> Vec<Theirs> {
    let of = |(number, record): (usize, &Owned)| Theirs {
        transactional: batch.transactional,
        control: batch.control,
        delete_horizon: batch.delete_horizon,
        partition_leader_epoch: batch.leader_epoch,
        producer_id: batch.producer_id,
        producer_epoch: batch.producer_epoch,
        timestamp_type: TheirTimestampType::Creation,
        offset: batch.base_offset + number as i64,
        sequence: batch.base_sequence.wrapping_add(number as i32),
        timestamp: record.timestamp,
        key: record.key.clone().map(Bytes::from),
        value: record.value.clone().map(Bytes::from),
        headers: record
            .headers
            .iter()
            .map(|(key, value)| (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from)))
            .collect(),
    };
    records.iter().enumerate().map(of).collect()
}

fn read_by_us(bytes: &[u8]) -> Vec<Owned> {
    let opened = BatchRecords::open(bytes, 64 << 20).unwrap();
    let mut read = Vec::new();
    for (number, record) in opened.iter().enumerate() {
        let record = record.unwrap();
        assert_eq!(record.offset_delta as usize, number);
        read.push(Owned {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .iter()
                .map(|h| (String::from_utf8(h.key.to_vec()).unwrap(), h.value.map(<[u8]>::to_vec)))
                .collect(),
        });
    }
    read
}

const CODECS: [TheirCompression; 5] = [
    TheirCompression::None,
    TheirCompression::Gzip,
    TheirCompression::Snappy,
    TheirCompression::Lz4,
    TheirCompression::Zstd,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn they_read_what_we_build(batch in any_batch(), records in prop::collection::vec(any_record(), 1..12)) {
        for (ours, their) in Compression::ALL.into_iter().zip(CODECS) {
            let built = built_by_us(batch, &records, ours);
            let mut input = Bytes::from(built);
            let set = RecordBatchDecoder::decode(&mut input).map_err(|e| TestCaseError::fail(format!("{ours}: {e}")))?;
            prop_assert!(input.is_empty());
            prop_assert_eq!((set.compression, set.version), (their, 2));
            let mut expected = theirs(batch, &records);
            if batch.producer_id < 0 {
                // Without a producer they count on from -1 all the same.
                for (number, record) in expected.iter_mut().enumerate() {
                    record.sequence = set.records[number].sequence;
                }
            }
            prop_assert_eq!(&set.records, &expected, "{}", ours);
        }
    }

    #[test]
    fn we_read_what_they_build(batch in any_batch(), records in prop::collection::vec(any_record(), 1..12)) {
        for (ours, their) in Compression::ALL.into_iter().zip(CODECS) {
            let mut built = BytesMut::new();
            let options = RecordEncodeOptions { version: 2, compression: their };
            RecordBatchEncoder::encode(&mut built, &theirs(batch, &records), &options).unwrap();
            let built = built.to_vec();
            prop_assert_eq!(verify_crc(&built), Ok(()));
            let header = BatchHeader::parse(&built).unwrap();
            // They count from the smallest timestamp, we from the first.
            let (least, greatest) = (records.iter().map(|r| r.timestamp).min(), records.iter().map(|r| r.timestamp).max());
            let expected = BatchHeader {
                batch_length: built.len() as i32 - 12,
                crc: header.crc,
                attributes: header_of(batch).attributes | ours as i16,
                last_offset_delta: records.len() as i32 - 1,
                base_timestamp: least.unwrap(),
                max_timestamp: greatest.unwrap(),
                record_count: records.len() as i32,
                ..header_of(batch)
            };
            prop_assert_eq!(header, expected, "{}", ours);
            prop_assert_eq!(&read_by_us(&built), &records, "{}", ours);
        }
    }
}
