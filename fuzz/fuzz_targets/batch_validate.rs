//! Any bytes as a produced batch, with rules of their own. Length and CRC are made to fit, so that the fuzzer gets past
//! them. What strict accepts holds what it promises.
#![no_main]

use buslane_wire::batch::{
    BatchHeader, Decompressor, Depth, HEADER_LEN, Rules, StampedBatch, TimestampType, crc_of,
    first_at_or_after, first_of_max_timestamp, validate, verify_crc,
};
use buslane_wire::ids::LeaderEpoch;
use libfuzzer_sys::fuzz_target;

const NOW: i64 = 1_700_000_000_000;

/// Bytes that the batch may decompress to.
const LIMIT: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let mut bytes = bytes.to_vec();
    let rules = Rules {
        depth: Depth::Strict,
        produce_version: if choice & 1 == 0 { 9 } else { 3 },
        max_batch_bytes: if choice & 2 == 0 { 1 << 20 } else { 100 },
        max_decompressed_bytes: LIMIT,
        timestamp_type: if choice & 4 == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        },
        timestamp_before_max_ms: if choice & 8 == 0 { i64::MAX } else { 1_000 },
        timestamp_after_max_ms: if choice & 16 == 0 { i64::MAX } else { 1_000 },
        keys_required: choice & 32 != 0,
    };
    let mut decompressor = Decompressor::new();
    // As they came, too.
    let _ = validate(&bytes, &rules, NOW, &mut decompressor)
        .map_err(|refused| (refused.kind(), refused.to_string()));
    if bytes.len() < HEADER_LEN {
        return;
    }
    let len = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&len.to_be_bytes());
    bytes[16] = 2;
    let crc = crc_of(&bytes);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());

    let strict = validate(&bytes, &rules, NOW, &mut decompressor);
    let relaxed = validate(&bytes, &Rules { depth: Depth::Relaxed, ..rules }, NOW, &mut decompressor);
    let accepted = match (strict, relaxed) {
        (Ok(accepted), Ok(_)) => accepted,
        (Ok(_), Err(refused)) => panic!("strict accepts what relaxed refuses: {refused}"),
        (Err(refused), _) => {
            let (_, text) = (refused.kind(), refused.to_string());
            return assert!(!text.is_empty());
        }
    };

    // The records are what the header says, and as contiguous as a producer's must be.
    let records: Vec<(i32, i64)> = decompressor
        .records(&bytes, LIMIT)
        .and_then(|records| records.iter().map(|r| r.map(|r| (r.offset_delta, r.timestamp))).collect())
        .expect("what strict accepts can be read");
    assert!(records.iter().map(|(delta, _)| *delta).eq(0..accepted.header.record_count));
    let greatest = records.iter().map(|(_, t)| *t).max().expect("at least one record");

    // Stamped, it is a batch of the log.
    let mut stamped = StampedBatch::new(&bytes, 1_000, LeaderEpoch(7)).expect("checked");
    match rules.timestamp_type {
        TimestampType::LogAppendTime => stamped.stamp_log_append_time(NOW),
        TimestampType::CreateTime => {
            assert_eq!(accepted.max_timestamp.unwrap_or(accepted.header.max_timestamp), greatest);
            if let Some(max) = accepted.max_timestamp {
                stamped.stamp_max_timestamp(max);
            }
        }
    }
    let stored = [&stamped.head[..], stamped.records].concat();
    verify_crc(&stored).expect("stamping keeps the CRC true");
    let header = BatchHeader::parse(&stored).expect("a stamped header is one");
    assert_eq!((header.base_offset, header.partition_leader_epoch), (1_000, 7));

    // Found by time as by looking at all of them.
    let records: Vec<(i64, i64)> = match rules.timestamp_type {
        TimestampType::CreateTime => {
            records.iter().map(|(delta, t)| (1_000 + i64::from(*delta), *t)).collect()
        }
        TimestampType::LogAppendTime => {
            records.iter().map(|(delta, _)| (1_000 + i64::from(*delta), NOW)).collect()
        }
    };
    for (from, _) in &records {
        let rest = records.iter().filter(|(offset, _)| offset >= from);
        let max = rest.clone().map(|(_, t)| *t).max();
        let found = first_of_max_timestamp(&stored, *from, LIMIT, &mut decompressor).expect("readable");
        let expected = rest.clone().find(|(_, t)| Some(*t) == max);
        assert_eq!(found.map(|at| (at.offset, at.timestamp)).as_ref(), expected);
        let wanted = records[0].1;
        let found = first_at_or_after(&stored, *from, wanted, LIMIT, &mut decompressor).expect("readable");
        assert_eq!(
            found.map(|at| (at.offset, at.timestamp)).as_ref(),
            rest.clone().find(|(_, t)| *t >= wanted)
        );
        if *from > 1_010 {
            break;
        }
    }
});
