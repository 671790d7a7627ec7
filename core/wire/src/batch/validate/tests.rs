use proptest::prelude::*;

use super::super::{BatchBuilder, BatchOptions, BatchProducer, HEADER_LEN, NewRecord, StampedBatch, crc_of};
use super::*;
use crate::ids::LeaderEpoch;

const NOW: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

fn rules(depth: Depth) -> Rules {
    Rules {
        depth,
        produce_version: 9,
        max_batch_bytes: 1 << 20,
        max_decompressed_bytes: 16 << 20,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: HOUR,
        keys_required: false,
    }
}

const RELAXED: Depth = Depth::Relaxed;
const STRICT: Depth = Depth::Strict;

fn check(batch: &[u8], rules: &Rules) -> Result<Accepted, Refused> {
    validate(batch, rules, NOW, &mut Decompressor::new())
}

fn both(batch: &[u8]) -> Refused {
    let relaxed = check(batch, &rules(RELAXED)).unwrap_err();
    assert_eq!(check(batch, &rules(STRICT)).unwrap_err(), relaxed);
    relaxed
}

fn built(compression: Compression, timestamps: &[i64]) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for timestamp in timestamps {
        builder.push(&NewRecord { timestamp: *timestamp, value: Some(b"value"), ..NewRecord::default() });
    }
    let mut out = Vec::new();
    builder.build(&BatchOptions { compression, ..BatchOptions::default() }, &mut out).unwrap();
    out
}

/// A batch with a changed header, other records, and a CRC and a length that fit.
fn changed(batch: &[u8], records: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = BatchHeader::parse(batch).unwrap();
    header.batch_length = (HEADER_LEN - 12 + records.len()) as i32;
    change(&mut header);
    let mut out = [&header.encode()[..], records].concat();
    let crc = crc_of(&out);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}

fn with(change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let good = built(Compression::None, &[NOW, NOW]);
    changed(&good, &good[HEADER_LEN..], change)
}

#[test]
fn a_good_batch_passes_in_every_codec_and_both_depths() {
    for codec in Compression::ALL {
        let good = built(codec, &[NOW, NOW + 5, NOW + 3]);
        for depth in [RELAXED, STRICT] {
            let header = BatchHeader::parse(&good).unwrap();
            assert_eq!(check(&good, &rules(depth)), Ok(Accepted { header, max_timestamp: None }), "{codec}");
        }
    }
    let producer = BatchProducer { id: 0, epoch: 0, base_sequence: 0 };
    let mut builder = BatchBuilder::default();
    builder.push(&NewRecord { timestamp: NOW, ..NewRecord::default() });
    let mut out = Vec::new();
    builder.build(&BatchOptions { producer: Some(producer), ..BatchOptions::default() }, &mut out).unwrap();
    assert!(check(&out, &rules(STRICT)).is_ok());
}

#[test]
fn each_fault_of_the_header_is_told_by_name_in_both_depths() {
    use RefusalKind::*;
    let said = |batch: &[u8]| {
        let refused = both(batch);
        (refused.kind(), refused)
    };
    let good = built(Compression::None, &[NOW, NOW]);
    assert_eq!(said(&[]), (InvalidRecord, Refused::Empty));
    for cut in [1, 16, 20, 60, 61, good.len() - 1] {
        assert_eq!(said(&good[..cut]).0, Corrupt, "{cut}");
    }
    let twice = [&good[..], &good].concat();
    assert_eq!(said(&twice), (InvalidRecord, Refused::Several { after: good.len() }));
    for magic in [0, 1, 3, 255] {
        let mut other = good.clone();
        other[16] = magic;
        assert_eq!(said(&other), (MessageFormat, Refused::Batch(BatchError::Magic(magic as i8))));
    }
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let (kind, refused) = said(&flipped);
    assert!(kind == Corrupt && matches!(refused, Refused::Batch(BatchError::Crc { .. })));

    assert_eq!(said(&with(|h| h.base_offset = 5)), (InvalidRecord, Refused::BaseOffset { base_offset: 5 }));
    for (record_count, last_offset_delta) in [(3, 1), (1, 1), (0, 0), (2, i32::MAX)] {
        let batch = with(|h| (h.record_count, h.last_offset_delta) = (record_count, last_offset_delta));
        assert_eq!(said(&batch), (InvalidRecord, Refused::Count { record_count, last_offset_delta }));
    }
    assert_eq!(said(&with(|h| h.record_count = -1)).0, InvalidRecord);
    assert_eq!(said(&with(|h| h.last_offset_delta = -1)).0, InvalidRecord);
    assert_eq!(said(&with(|h| h.batch_length = 48)).0, Corrupt);
    assert_eq!(said(&with(|h| h.attributes = 1 << 9)).0, InvalidRecord);
    assert_eq!(said(&with(|h| h.attributes = 5)), (CompressionType, Refused::Codec { bits: 5 }));
    assert_eq!(said(&with(|h| h.attributes = 8)), (InvalidTimestamp, Refused::AppendTime));
    assert_eq!(said(&with(|h| h.attributes = 16)), (Transaction, Refused::Transactional));
    assert_eq!(said(&with(|h| h.attributes = 32)), (InvalidRecord, Refused::Control));
    assert_eq!(said(&with(|h| h.attributes = 64)), (InvalidRecord, Refused::DeleteHorizon));
    for (id, epoch, sequence) in [(7, -1, 0), (7, 0, -1)] {
        let batch = with(|h| (h.producer_id, h.producer_epoch, h.base_sequence) = (id, epoch, sequence));
        assert_eq!(said(&batch), (InvalidRecord, Refused::Producer { id, epoch, sequence }));
    }
    // Without an id the two mean nothing.
    let nobody = with(|h| (h.producer_id, h.producer_epoch, h.base_sequence) = (-1, 0, 0));
    assert!(check(&nobody, &rules(STRICT)).is_ok());
}

#[test]
fn a_batch_may_have_exactly_the_size_that_is_allowed() {
    let good = built(Compression::None, &[NOW]);
    let bytes = good.len();
    assert!(check(&good, &Rules { max_batch_bytes: bytes, ..rules(RELAXED) }).is_ok());
    let refused = check(&good, &Rules { max_batch_bytes: bytes - 1, ..rules(RELAXED) }).unwrap_err();
    assert_eq!(refused, Refused::TooLarge { bytes, max: bytes - 1 });
    assert_eq!(refused.kind(), RefusalKind::TooLarge);
    assert!(refused.to_string().contains("max.message.bytes"));
}

#[test]
fn zstd_needs_a_request_that_knows_it() {
    let zstd = built(Compression::Zstd, &[NOW]);
    let at = |produce_version| check(&zstd, &Rules { produce_version, ..rules(RELAXED) });
    assert!(at(7).is_ok());
    let refused = at(6).unwrap_err();
    assert_eq!(refused, Refused::ZstdTooEarly { produce_version: 6 });
    assert_eq!(refused.kind(), RefusalKind::CompressionType);
}

#[test]
fn timestamps_have_bounds_on_both_sides() {
    let bounded =
        |depth| Rules { timestamp_before_max_ms: 1_000, timestamp_after_max_ms: 500, ..rules(depth) };
    for depth in [RELAXED, STRICT] {
        assert!(check(&built(Compression::None, &[NOW - 1_000, NOW + 500]), &bounded(depth)).is_ok());
        let late = OutOfTime::Ahead { timestamp: NOW + 501, by_ms: 501, max_ms: 500 };
        let early = OutOfTime::Behind { timestamp: NOW - 1_001, by_ms: 1_001, max_ms: 1_000 };
        for (timestamps, out) in [([NOW, NOW + 501], late), ([NOW - 1_001, NOW], early)] {
            let refused = check(&built(Compression::None, &timestamps), &bounded(depth)).unwrap_err();
            assert_eq!((refused.kind(), refused), (RefusalKind::InvalidTimestamp, Refused::OutOfTime(out)));
        }
        // No timestamp has no age.
        assert!(check(&built(Compression::None, &[-1]), &bounded(depth)).is_ok());
        // Nor do they matter where the broker's clock counts.
        let append_time = Rules { timestamp_type: TimestampType::LogAppendTime, ..bounded(depth) };
        assert!(check(&built(Compression::None, &[0, i64::MAX]), &append_time).is_ok());
    }
    // Beyond what a difference can hold.
    for timestamp in [i64::MIN, i64::MAX] {
        assert!(check(&built(Compression::None, &[timestamp]), &bounded(RELAXED)).is_err());
    }
    // One in the middle is seen only by looking at it.
    let hidden = built(Compression::None, &[NOW, NOW - 5_000, NOW - 6_000, NOW + 1]);
    assert!(check(&hidden, &bounded(RELAXED)).is_ok());
    let refused = check(&hidden, &bounded(STRICT)).unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::InvalidTimestamp);
    let Refused::Records { faults, total } = &refused else { panic!("{refused:?}") };
    assert_eq!((faults.iter().map(|f| f.index).collect::<Vec<_>>(), *total), (vec![1, 2], 2));
    assert!(refused.to_string().starts_with("2 wrong records; record 1: timestamp"), "{refused}");
}

#[test]
fn an_unset_maximum_is_found_and_strict_corrects_a_false_one() {
    for codec in Compression::ALL {
        let good = built(codec, &[NOW, NOW + 9, NOW + 2]);
        let records = &good[HEADER_LEN..];
        for unset in [-1, NOW - 1, i64::MIN] {
            let batch = changed(&good, records, |h| h.max_timestamp = unset);
            assert_eq!(check(&batch, &rules(RELAXED)).unwrap().max_timestamp, Some(NOW + 9), "{unset}");
            // The broker's clock takes its place anyway.
            let append_time = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules(RELAXED) };
            assert_eq!(check(&batch, &append_time).unwrap().max_timestamp, None);
        }
        let wrong = changed(&good, records, |h| h.max_timestamp = NOW + 50);
        assert_eq!(check(&wrong, &rules(RELAXED)).unwrap().max_timestamp, None, "relaxed does not look");
        let accepted = check(&wrong, &rules(STRICT)).unwrap();
        assert_eq!(accepted.max_timestamp, Some(NOW + 9));
        // Stored with it, the batch is right.
        let mut stamped = StampedBatch::new(&wrong, 0, LeaderEpoch(0)).unwrap();
        stamped.stamp_max_timestamp(NOW + 9);
        let stored = [&stamped.head[..], stamped.records].concat();
        assert_eq!(check(&stored, &rules(STRICT)).unwrap().max_timestamp, None);
    }
    // An unset one does not hide a late record.
    let good = built(Compression::Gzip, &[NOW, NOW + 2 * HOUR]);
    let hidden = changed(&good, &good[HEADER_LEN..], |h| h.max_timestamp = -1);
    assert_eq!(check(&hidden, &rules(RELAXED)).unwrap_err().kind(), RefusalKind::InvalidTimestamp);
}

#[test]
fn what_only_strict_sees() {
    use RefusalKind::{Corrupt, InvalidRecord};
    let good = built(Compression::None, &[NOW, NOW]);
    let records = &good[HEADER_LEN..];
    let half = records.len() / 2;
    let mut repeated = records.to_vec();
    // The second record claims the first one's offset; the fields before it are length, attributes, time.
    repeated[half + 3] = 0;
    let packed = built(Compression::Gzip, &[NOW, NOW]);
    let rubbish = vec![7; packed.len() - HEADER_LEN];
    let cases = [
        ("more promised", changed(&good, &records[..half], |_| {}), InvalidRecord, Some(1)),
        ("fewer promised", changed(&good, &[records, records].concat(), |_| {}), InvalidRecord, Some(2)),
        ("bytes behind", changed(&good, &[records, &[0, 0]].concat(), |_| {}), InvalidRecord, Some(2)),
        ("an offset twice", changed(&good, &repeated, |_| {}), InvalidRecord, Some(1)),
        ("rubbish", changed(&good, &[0xff; 50], |_| {}), InvalidRecord, Some(0)),
        ("none", changed(&good, &[], |_| {}), InvalidRecord, Some(0)),
        (
            "a huge count",
            with(|h| (h.record_count, h.last_offset_delta) = (i32::MAX, i32::MAX - 1)),
            InvalidRecord,
            Some(2),
        ),
        ("rubbish as gzip", changed(&packed, &rubbish, |_| {}), Corrupt, None),
    ];
    for (name, batch, kind, index) in cases {
        assert!(check(&batch, &rules(RELAXED)).is_ok(), "{name}: relaxed stores it as it came");
        let refused = check(&batch, &rules(STRICT)).unwrap_err();
        assert_eq!(refused.kind(), kind, "{name}: {refused}");
        let first = match &refused {
            Refused::Records { faults, .. } => Some(faults[0].index),
            _ => None,
        };
        assert_eq!(first, index, "{name}: {refused}");
    }
}

#[test]
fn a_gap_is_compactions_not_a_producers() {
    let mut builder = BatchBuilder::default();
    let record = NewRecord { timestamp: NOW, ..NewRecord::default() };
    for delta in [0, 2, 3] {
        builder.add_at(delta, &record).unwrap();
    }
    let mut out = Vec::new();
    builder.build(&BatchOptions::default(), &mut out).unwrap();
    // The header alone gives it away, unless it lies as well.
    assert!(matches!(both(&out), Refused::Count { record_count: 3, last_offset_delta: 3 }));
    let lying = changed(&out, &out[HEADER_LEN..], |h| h.record_count = 4);
    let refused = check(&lying, &rules(STRICT)).unwrap_err();
    let Refused::Records { faults, total: 3 } = &refused else { panic!("{refused:?}") };
    assert_eq!(faults[0], RecordFault { index: 1, reason: FaultReason::OffsetDelta { got: 2 } });
    assert_eq!(faults[2].reason, FaultReason::Malformed("it is cut off"));
}

#[test]
fn a_compacted_topic_names_each_record_without_a_key() {
    let mut builder = BatchBuilder::default();
    for number in 0..50 {
        let key = (number % 2 == 0).then_some(&b"key"[..]);
        builder.push(&NewRecord { timestamp: NOW, key, ..NewRecord::default() });
    }
    let mut out = Vec::new();
    builder
        .build(&BatchOptions { compression: Compression::Snappy, ..BatchOptions::default() }, &mut out)
        .unwrap();
    assert!(check(&out, &rules(STRICT)).is_ok());
    let refused = check(&out, &Rules { keys_required: true, ..rules(RELAXED) }).unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::InvalidRecord);
    let Refused::Records { faults, total: 25 } = refused else { panic!("{refused:?}") };
    let odd: Vec<_> = (0..RECORD_FAULTS_MAX as i32).map(|n| 2 * n + 1).collect();
    assert_eq!(faults.iter().map(|f| f.index).collect::<Vec<_>>(), odd);
    assert!(faults.iter().all(|f| f.reason == FaultReason::NoKey));
    // A key of no bytes is one.
    builder.push(&NewRecord { timestamp: NOW, key: Some(b""), ..NewRecord::default() });
    out.clear();
    builder.build(&BatchOptions::default(), &mut out).unwrap();
    assert!(check(&out, &Rules { keys_required: true, ..rules(RELAXED) }).is_ok());
}

#[test]
fn a_decompression_bomb_is_refused_within_the_limit() {
    let zeros = vec![0; 8 << 20];
    for codec in &Compression::ALL[1..] {
        let mut builder = BatchBuilder::default();
        builder.push(&NewRecord { timestamp: NOW, value: Some(&zeros), ..NewRecord::default() });
        let mut bomb = Vec::new();
        builder.build(&BatchOptions { compression: *codec, ..BatchOptions::default() }, &mut bomb).unwrap();
        let tight = |depth| Rules { max_decompressed_bytes: 1 << 20, ..rules(depth) };
        assert!(check(&bomb, &tight(RELAXED)).is_ok());
        let refused = check(&bomb, &tight(STRICT)).unwrap_err();
        let expected = DecompressError::TooLarge { limit: 1 << 20, compressed: bomb.len() - HEADER_LEN };
        assert_eq!((refused.kind(), refused), (RefusalKind::Corrupt, Refused::Decompress(expected)));
        assert!(check(&bomb, &rules(STRICT)).is_ok());
    }
}

proptest! {
    #[test]
    fn what_a_producer_builds_is_accepted(
        times in prop::collection::vec(NOW - 1000..NOW + 1000, 1..40),
        value in prop::collection::vec(any::<u8>(), 0..200),
        codec in prop::sample::select(Compression::ALL.to_vec()),
    ) {
        let mut builder = BatchBuilder::default();
        for timestamp in &times {
            builder.push(&NewRecord { timestamp: *timestamp, value: Some(&value), ..NewRecord::default() });
        }
        let mut out = Vec::new();
        let header = builder.build(&BatchOptions { compression: codec, ..BatchOptions::default() }, &mut out).unwrap();
        for depth in [RELAXED, STRICT] {
            prop_assert_eq!(check(&out, &rules(depth)), Ok(Accepted { header, max_timestamp: None }));
        }
    }

    /// With a CRC that fits: what passes strict can be read, record for record, and passes relaxed.
    #[test]
    fn what_strict_accepts_can_be_read(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        codec in prop::sample::select(Compression::ALL.to_vec()),
    ) {
        let mut batch = built(codec, &[NOW, NOW + 1, NOW + 2]);
        for (at, byte) in changes {
            // Beyond the CRC, so that each change matters.
            let at = 21 + at.index(batch.len() - 21);
            batch[at] = byte;
        }
        let crc = crc_of(&batch);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        if let Ok(accepted) = check(&batch, &rules(STRICT)) {
            let mut decompressor = Decompressor::new();
            let records = decompressor.records(&batch, 16 << 20).unwrap();
            let times: Vec<_> = records.iter().map(|r| r.map(|r| r.timestamp)).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(times.len() as i32, accepted.header.record_count);
            let max = accepted.max_timestamp.unwrap_or(accepted.header.max_timestamp);
            prop_assert_eq!(times.into_iter().max(), Some(max));
            prop_assert!(check(&batch, &rules(RELAXED)).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_judged(mut bytes in prop::collection::vec(any::<u8>(), 0..200), strict in any::<bool>()) {
        if bytes.len() > 61 {
            bytes[16] = 2;
            let len = bytes.len() as i32 - 12;
            bytes[8..12].copy_from_slice(&len.to_be_bytes());
            bytes[..8].fill(0);
            let crc = crc_of(&bytes);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let depth = if strict { STRICT } else { RELAXED };
        let _ = check(&bytes, &rules(depth)).map_err(|refused| (refused.kind(), refused.to_string()));
    }
}
