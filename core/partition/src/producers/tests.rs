use super::*;

const DAY: i64 = 24 * 3_600_000;

/// A batch of `count` records from producer 9, first sequence `sequence`, stored at `base_offset`.
fn batch(epoch: i16, sequence: i32, count: i32, base_offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset,
        batch_length: 49,
        partition_leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: 9,
        producer_epoch: epoch,
        base_sequence: sequence,
        record_count: count,
    }
}

fn table(batches: &[BatchHeader]) -> ProducerTable {
    let mut table = ProducerTable::default();
    for b in batches {
        assert_eq!(table.check(0, DAY, b), Ok(SequenceCheck::Fresh), "{b:?}");
        table.record(0, b);
    }
    table
}

#[test]
fn the_next_sequence_is_fresh_and_a_gap_is_refused() {
    let t = table(&[batch(0, 0, 10, 100)]);
    assert_eq!(t.check(0, DAY, &batch(0, 10, 1, 0)), Ok(SequenceCheck::Fresh));
    assert_eq!(
        t.check(0, DAY, &batch(0, 11, 1, 0)),
        Err(SequenceError::OutOfOrder { producer_id: 9, got: 11, expected: 10 })
    );
}

#[test]
fn a_repeated_batch_is_answered_with_its_first_offsets_while_it_is_among_the_last_five() {
    let batches: Vec<_> = (0..6).map(|i| batch(0, i * 10, 10, 100 + i64::from(i) * 10)).collect();
    let t = table(&batches);
    assert!(
        matches!(t.check(0, DAY, &batches[0]), Err(SequenceError::OutOfOrder { .. })),
        "the sixth last is forgotten"
    );
    for b in &batches[1..] {
        let expected =
            SequenceCheck::Duplicate { base_offset: b.base_offset, last_offset: b.base_offset + 9 };
        assert_eq!(t.check(0, DAY, &BatchHeader { base_offset: 0, ..*b }), Ok(expected));
    }
    // The same first sequence with another count is not the same batch.
    assert!(t.check(0, DAY, &batch(0, 50, 9, 0)).is_err());
}

#[test]
fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
    let mut t = table(&[batch(0, 0, 10, 100)]);
    assert!(matches!(
        t.check(0, DAY, &batch(1, 10, 1, 0)),
        Err(SequenceError::OutOfOrder { expected: 0, .. })
    ));
    t.record(0, &batch(1, 0, 1, 110));
    assert_eq!(
        t.check(0, DAY, &batch(0, 10, 1, 0)),
        Err(SequenceError::StaleEpoch { producer_id: 9, got: 0, current: 1 })
    );
    assert_eq!(t.check(0, DAY, &batch(1, 1, 1, 0)), Ok(SequenceCheck::Fresh));
}

#[test]
fn unknown_and_expired_producers_may_start_anywhere() {
    let t = table(&[batch(0, 0, 10, 100)]);
    assert_eq!(ProducerTable::default().check(0, DAY, &batch(3, 77, 1, 0)), Ok(SequenceCheck::Fresh));
    assert!(t.check(DAY, DAY, &batch(0, 77, 1, 0)).is_err());
    assert_eq!(t.check(DAY + 1, DAY, &batch(0, 77, 1, 0)), Ok(SequenceCheck::Fresh));
    let mut expired = t.clone();
    expired.expire(DAY + 1, DAY);
    assert!(expired.is_empty());
    // What it wrote before it was forgotten no longer makes a duplicate.
    let mut restarted = t;
    restarted.record(DAY + 1, &batch(0, 77, 1, 200));
    assert!(restarted.check(DAY + 1, DAY, &batch(0, 0, 10, 0)).is_err());
}

#[test]
fn sequences_wrap_at_the_greatest_int() {
    let t = table(&[batch(0, i32::MAX - 1, 2, 100)]);
    assert_eq!(t.check(0, DAY, &batch(0, 0, 5, 0)), Ok(SequenceCheck::Fresh));
    let mut wrapped = table(&[batch(0, i32::MAX - 1, 4, 100)]);
    assert_eq!(wrapped.check(0, DAY, &batch(0, 2, 1, 0)), Ok(SequenceCheck::Fresh));
    assert_eq!(
        wrapped.check(0, DAY, &batch(0, i32::MAX - 1, 4, 0)),
        Ok(SequenceCheck::Duplicate { base_offset: 100, last_offset: 103 })
    );
    wrapped.record(0, &batch(0, 2, 1, 104));
    assert_eq!(
        wrapped.check(0, DAY, &batch(0, 2, 1, 0)),
        Ok(SequenceCheck::Duplicate { base_offset: 104, last_offset: 104 })
    );
}

#[test]
fn batches_without_a_producer_are_always_fresh() {
    let mut plain = batch(0, -1, 1, 5);
    plain.producer_id = -1;
    let mut t = ProducerTable::default();
    t.record(0, &plain);
    assert!(t.is_empty());
    assert_eq!(t.check(0, DAY, &plain), Ok(SequenceCheck::Fresh));
}

#[test]
fn a_checkpoint_reads_back_and_a_damaged_one_is_refused_without_panic() {
    let t = table(&[batch(0, 0, 10, 100), batch(0, 10, 1, 110), batch(0, 11, 3, 111)]);
    let bytes = t.encode();
    assert_eq!(ProducerTable::decode(&bytes), Ok(t));
    for len in 0..bytes.len() {
        assert!(ProducerTable::decode(&bytes[..len]).is_err(), "cut at {len}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(ProducerTable::decode(&longer).is_err());
    let mut newer = bytes.clone();
    newer[0] = 2;
    assert_eq!(ProducerTable::decode(&newer), Err(DecodeError::Format(2)));
    for i in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1 << bit;
            let _ = ProducerTable::decode(&flipped);
        }
    }
}

proptest::proptest! {
    /// Whatever a client sends, the stored sequence of each epoch is gapless: replay equals the live table.
    #[test]
    fn replaying_the_log_gives_the_same_table(sends in proptest::collection::vec((0i16..3, 0i32..12, 1i32..4), 0..60)) {
        let mut live = ProducerTable::default();
        let mut log: Vec<BatchHeader> = Vec::new();
        let mut end = 0i64;
        for (epoch, sequence, count) in sends {
            let mut b = batch(epoch, sequence, count, 0);
            match live.check(0, DAY, &b) {
                Ok(SequenceCheck::Fresh) => {
                    b.base_offset = end;
                    end += i64::from(count);
                    live.record(0, &b);
                    log.push(b);
                }
                Ok(SequenceCheck::Duplicate { base_offset, last_offset }) => {
                    let stored = log.iter().find(|s| s.base_offset == base_offset).expect("a duplicate names a stored batch");
                    proptest::prop_assert_eq!(stored.base_sequence, sequence);
                    proptest::prop_assert_eq!(last_offset, base_offset + i64::from(count) - 1);
                }
                Err(_) => {}
            }
        }
        let mut replayed = ProducerTable::default();
        for b in &log {
            replayed.record(0, b);
        }
        proptest::prop_assert_eq!(replayed, live);
    }
}
