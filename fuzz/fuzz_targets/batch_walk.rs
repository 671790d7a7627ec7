//! Any bytes as record batches, one after another: the walk, each header, the records in every codec. What can be read
//! is built again and read the same.
#![no_main]

use std::cell::RefCell;

use buslane_wire::batch::{
    BatchBuilder, BatchHeader, BatchOptions, BatchRecords, Batches, Compression, Decompressor, NewRecord,
    Record, RecordError, RecordHeader, TimestampType,
};
use libfuzzer_sys::fuzz_target;

/// Bytes that one batch may decompress to.
const LIMIT: usize = 1 << 20;

thread_local! {
    /// Used again from input to input: what one leaves behind must not change what the next one gives.
    static CONTEXTS: RefCell<(Decompressor, BatchBuilder)> = RefCell::default();
}

fuzz_target!(|bytes: &[u8]| {
    let mut walk = Batches::new(bytes);
    let mut end = 0;
    while let Some(next) = walk.next() {
        let Ok((position, header, batch)) = next else { break };
        assert_eq!((position, batch.len()), (end, header.total_len()));
        assert_eq!(batch[..61], header.encode());
        assert!(header.next_offset() > header.base_offset);
        end += batch.len();
        CONTEXTS.with_borrow_mut(|(decompressor, builder)| read(&header, batch, decompressor, builder));
    }
    assert_eq!(walk.position(), end);
    assert!(walk.next().is_none());
});

fn read(header: &BatchHeader, batch: &[u8], decompressor: &mut Decompressor, builder: &mut BatchBuilder) {
    let fresh = BatchRecords::open(batch, LIMIT);
    let records = match (fresh, decompressor.records(batch, LIMIT)) {
        (Ok(fresh), Ok(records)) => {
            assert!(fresh.iter().eq(records.iter()), "a used decompressor gives what a fresh one gives");
            records
        }
        // Not the same words: what zstd finds first depends on the room it has.
        (Err(_), Err(_)) => return,
        (fresh, used) => panic!("a fresh decompressor gives {fresh:?}, a used one {used:?}"),
    };
    let all: Result<Vec<Record<'_>>, RecordError> = records.iter().collect();
    let Ok(all) = all else { return };
    assert_eq!(all.len(), header.record_count as usize);
    assert!(all.windows(2).all(|pair| pair[0].offset_delta < pair[1].offset_delta));

    // With the broker's time the deltas are not told; more than a few records make the fuzzer slow.
    if all.is_empty() || all.len() > 100 || header.timestamp_type() == TimestampType::LogAppendTime {
        return;
    }
    for compression in Compression::ALL {
        for record in &all {
            let headers: Vec<RecordHeader<'_>> = record.headers.iter().collect();
            let Record { timestamp, key, value, .. } = *record;
            let added =
                builder.add_at(record.offset_delta, &NewRecord { timestamp, key, value, headers: &headers });
            if added.is_err() {
                // Times that are further apart than a delta from the first one can say.
                return builder.clear();
            }
        }
        let mut built = Vec::new();
        builder
            .build(&BatchOptions { compression, ..BatchOptions::default() }, &mut built)
            .expect("records that lay in a batch fit into one");
        let again = BatchRecords::open(&built, usize::MAX >> 1).expect("what we build we read");
        let again: Vec<_> = again.iter().collect::<Result<_, _>>().expect("what we build we read");
        assert_eq!(again, all);
    }
}
