//! The producer table as of an offset, from checkpoints and batch headers.

use buslane_wire::batch::BatchHeader;

use super::ProducerTable;
use crate::Millis;

/// A copy of a segment, as far as producers go.
pub trait ProducerHistory {
    /// Why it cannot be read.
    type Error;

    /// Offset of the segment's first record.
    fn base_offset(&self) -> i64;

    /// The newest good checkpoint at or below `end_offset`: as of which offset, and [`ProducerTable::encode`]'s bytes.
    fn checkpoint(&self, end_offset: i64) -> Result<Option<(i64, Vec<u8>)>, Self::Error>;

    /// When it was last written to, where that is known.
    fn written_ms(&self) -> Option<Millis> {
        None
    }

    /// Calls `each` with the header of every batch in `[from, below)`, in order.
    fn headers(&self, from: i64, below: i64, each: &mut dyn FnMut(&BatchHeader)) -> Result<(), Self::Error>;
}

/// What [`load_producers`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LoadedProducers {
    /// The producers.
    pub table: ProducerTable,
    /// The greatest timestamp among the headers that were read; none when none was.
    pub newest_ms: Option<Millis>,
    /// Checkpoints that were there and could not be read.
    pub unreadable: usize,
}

/// The producers as of the newest copy's end: the newest checkpoint that can be read, and the headers after it.
///
/// `older` gives copies with their ends, newest first: the segment itself, then its predecessors, which say the same when a
/// segment has no checkpoint (any more), as after a power cut that came before the first one was synced. None is asked for
/// that is not needed. Without any checkpoint the headers that are there have to do.
///
/// A producer's last time is the checkpoint's. Of a batch after it no more is known than that it was written before its
/// segment was written to last: remembered a little longer than without the restart is the safe side, but not anew with
/// each restart. Its timestamps are the client's and may lie years back, as a mirror's do.
pub fn load_producers<H: ProducerHistory, E: From<H::Error>>(
    now_ms: Millis,
    mut older: impl FnMut() -> Result<Option<(H, i64)>, E>,
) -> Result<LoadedProducers, E> {
    let mut copies: Vec<(H, i64)> = Vec::new();
    let mut loaded = LoadedProducers::default();
    let mut at = i64::MIN;
    while let Some((copy, end_offset)) = older()? {
        let found = copy.checkpoint(end_offset)?;
        copies.push((copy, end_offset));
        let Some((as_of, payload)) = found else { continue };
        match ProducerTable::decode(&payload) {
            Ok(table) => {
                (at, loaded.table) = (as_of, table);
                break;
            }
            Err(_) => loaded.unreadable += 1,
        }
    }
    for (copy, end_offset) in copies.iter().rev() {
        let written_ms = copy.written_ms().map_or(now_ms, |at| at.min(now_ms));
        copy.headers(at.max(copy.base_offset()), *end_offset, &mut |header| {
            loaded.table.record(written_ms, header);
            loaded.newest_ms = loaded.newest_ms.max(Some(header.max_timestamp));
        })?;
        at = *end_offset;
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment with one batch of one record at each offset, by producers 0, 1, 2 in turn.
    struct Segment {
        base: i64,
        checkpoint: Option<(i64, Vec<u8>)>,
        written_ms: Option<Millis>,
    }

    fn header(offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset: offset,
            producer_id: offset % 3,
            producer_epoch: 0,
            base_sequence: (offset / 3) as i32,
            record_count: 1,
            max_timestamp: offset,
            ..BatchHeader::default()
        }
    }

    fn table(end_offset: i64) -> ProducerTable {
        let mut table = ProducerTable::default();
        (0..end_offset).for_each(|offset| table.record(0, &header(offset)));
        table
    }

    impl ProducerHistory for Segment {
        type Error = String;

        fn base_offset(&self) -> i64 {
            self.base
        }

        fn checkpoint(&self, end_offset: i64) -> Result<Option<(i64, Vec<u8>)>, String> {
            Ok(self.checkpoint.clone().filter(|(at, _)| *at <= end_offset))
        }

        fn written_ms(&self) -> Option<Millis> {
            self.written_ms
        }

        fn headers(&self, from: i64, below: i64, each: &mut dyn FnMut(&BatchHeader)) -> Result<(), String> {
            assert!(from >= self.base, "nobody reads below a segment's start");
            (from..below).for_each(|offset| each(&header(offset)));
            Ok(())
        }
    }

    /// Loads from segments [0, 10), [10, 20), [20, 25) with these checkpoints; returns how many were asked for, too.
    fn load(checkpoints: [Option<(i64, Vec<u8>)>; 3]) -> (LoadedProducers, usize) {
        let bases = [0, 10, 20];
        let mut segments: Vec<_> = bases
            .into_iter()
            .zip(checkpoints)
            .map(|(base, checkpoint)| Segment { base, checkpoint, written_ms: None })
            .collect();
        let (mut end, mut asked) = (25, 0);
        let loaded = load_producers::<Segment, String>(0, || {
            let Some(segment) = segments.pop() else { return Ok(None) };
            asked += 1;
            let ends_at = std::mem::replace(&mut end, segment.base);
            Ok(Some((segment, ends_at)))
        });
        (loaded.unwrap(), asked)
    }

    #[test]
    fn whatever_checkpoint_is_left_the_table_is_the_same() {
        let at = |offset| Some((offset, table(offset).encode()));
        let expected = table(25);
        for (checkpoints, asked) in [
            ([at(10), at(20), at(25)], 1),
            ([at(10), at(20), at(20)], 1),
            ([at(10), at(20), at(23)], 1),
            ([at(10), at(20), None], 2),
            ([at(10), at(15), None], 2),
            ([at(10), None, None], 3),
            ([None, None, None], 3),
        ] {
            let (loaded, asked_for) = load(checkpoints);
            assert_eq!((&loaded.table, loaded.unreadable, asked_for), (&expected, 0, asked));
        }
    }

    #[test]
    fn last_times_are_the_checkpoints_and_those_of_the_segments_not_the_loads() {
        const EXPIRY: i64 = 1_000;
        // Producers 0 and 1 in the checkpoint at time 0, 2 and 0 in this segment, 1 in the next.
        let load = |first: Option<Millis>, second: Option<Millis>| {
            let mut older = vec![
                (Segment { base: 0, checkpoint: Some((2, table(2).encode())), written_ms: first }, 4),
                (Segment { base: 4, checkpoint: None, written_ms: second }, 5),
            ];
            load_producers::<Segment, String>(10_000, || Ok(older.pop())).unwrap().table
        };
        let known = |table: &ProducerTable, now_ms| {
            let mut table = table.clone();
            table.expire(now_ms, EXPIRY);
            table.producers.keys().copied().collect::<Vec<_>>()
        };
        let loaded = load(Some(2_000), Some(3_000));
        assert_eq!(known(&loaded, 3_000), [0, 1, 2]);
        assert_eq!(known(&loaded, 3_001), [1], "it wrote later");
        assert!(known(&loaded, 4_001).is_empty());
        // A clock that was put back since, and a file system that does not say: now, and not later.
        assert_eq!(known(&load(Some(99_999), None), 11_000), [0, 1, 2]);
        assert!(known(&load(Some(99_999), None), 11_001).is_empty());
    }

    #[test]
    fn a_checkpoint_that_cannot_be_read_is_passed_over_and_counted() {
        let broken = Some((25, vec![99]));
        let (loaded, asked) = load([None, Some((20, table(20).encode())), broken]);
        assert_eq!((&loaded.table, loaded.unreadable, asked), (&table(25), 1, 2));
        assert_eq!(loaded.newest_ms, Some(24));
    }
}
