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

/// A batch of one record from `producer_id`, stored at `base_offset`.
fn one_of(producer_id: i64, sequence: i32, base_offset: i64) -> BatchHeader {
    BatchHeader { producer_id, ..batch(0, sequence, 1, base_offset) }
}

#[test]
fn the_producers_that_wrote_last_are_remembered_and_no_more_than_the_bound() {
    let max = PRODUCERS_MAX as i64;
    let mut t = ProducerTable::default();
    (0..max).for_each(|id| t.record(0, &one_of(id, 0, id)));
    // The first one writes again, so the second one is now the oldest.
    t.record(0, &one_of(0, 1, max));
    assert_eq!(t.len(), PRODUCERS_MAX);
    t.record(0, &one_of(max, 0, max + 1));
    assert_eq!(t.len(), PRODUCERS_MAX - FORGOTTEN_AT_ONCE);
    let forgotten = FORGOTTEN_AT_ONCE as i64 + 1;
    for id in [1, 2, forgotten] {
        assert_eq!(t.check(0, DAY, &one_of(id, 77, 0)), Ok(SequenceCheck::Fresh), "{id} may start anywhere");
    }
    for (id, sequence) in [(0, 1), (forgotten + 1, 0), (max - 1, 0), (max, 0)] {
        let told = t.check(0, DAY, &one_of(id, sequence, 0));
        assert!(matches!(told, Ok(SequenceCheck::Duplicate { .. })), "{id}: {told:?}");
        assert!(t.check(0, DAY, &one_of(id, 77, 0)).is_err(), "a gap in those of {id}");
    }
    // A flood of ids never makes more of them, and a replay remembers the same.
    let mut replayed = ProducerTable::decode(&t.encode()).unwrap();
    for id in max + 1..2 * max {
        t.record(0, &one_of(id, 0, id + 1));
        replayed.record(9, &one_of(id, 0, id + 1));
        assert!(t.len() <= PRODUCERS_MAX);
    }
    assert!(t.producers.keys().eq(replayed.producers.keys()));
}

#[test]
fn the_greatest_table_makes_no_greater_checkpoint_than_it_may() {
    let mut t = ProducerTable::default();
    let mut offset = 0;
    for sequence in 0..REMEMBERED as i32 {
        for id in 0..PRODUCERS_MAX as i64 {
            t.record(0, &one_of(id, sequence, offset));
            offset += 1;
        }
    }
    assert_eq!((t.len(), t.encode().len()), (PRODUCERS_MAX, CHECKPOINT_MAX));
    // One that was written before there was a bound, and one in which all have the same offset, as no log has.
    let more = PRODUCERS_MAX as i64 + 10;
    for last_offset in [|id: i64| id, |_| 7] {
        let producers = (0..more).map(|id| {
            let batches = vec![Remembered { last_sequence: 0, delta: 0, last_offset: last_offset(id) }];
            (id, Producer { epoch: 0, touched_ms: 0, batches })
        });
        let unbounded = ProducerTable { producers: producers.collect() };
        let read = ProducerTable::decode(&unbounded.encode()).unwrap();
        assert!(!read.is_empty() && read.len() <= PRODUCERS_MAX);
        assert!(read.producers.contains_key(&(more - 1)));
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
