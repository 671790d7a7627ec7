//! Adding batches to the end of a copy.

use std::io::{self, IoSlice};
use std::sync::Arc;

use buslane_wire::batch::{BatchError, BatchHeader, StampedBatch};
use buslane_wire::ids::{LeaderEpoch, SegmentRef};

use super::{MAX_BYTES, Phase, Segment};
use crate::batch_chain::Gaps;
use crate::index::Entry;
use crate::journal::JournalFailed;
use crate::journal::record::Record;
use crate::layout::Part;
use crate::walk::whole_batch;

/// Where a copy ends after an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Exclusive.
    pub end_offset: i64,
    /// Bytes of the log file.
    pub end_position: u64,
}

/// Why nothing was appended. None of these gets better by trying the same again.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A higher epoch was promised (SingleWriter): the writer is no longer the owner.
    #[error("{segment}: epoch {got} is fenced, epoch {promised} was promised")]
    Fenced {
        /// The segment.
        segment: SegmentRef,
        /// The writer's epoch.
        got: LeaderEpoch,
        /// The lowest epoch accepted.
        promised: LeaderEpoch,
    },
    /// The writer's epoch is not the one that may write here (SingleWriter).
    #[error("{segment}: epoch {got} may not write here, only epoch {expected}")]
    WrongEpoch {
        /// The segment.
        segment: SegmentRef,
        /// The writer's epoch.
        got: LeaderEpoch,
        /// The one that may: of the segment for appends, the promised one for recovery's copies.
        expected: LeaderEpoch,
    },
    /// The copy takes no such append (any more).
    #[error("{segment}: the copy is {state}")]
    NotWritable {
        /// The segment.
        segment: SegmentRef,
        /// What it is instead.
        state: &'static str,
    },
    /// A batch does not start where the one before it ended.
    #[error("{segment}: a batch starts at offset {got}, expected {expected}")]
    OutOfOrder {
        /// The segment.
        segment: SegmentRef,
        /// The end of the copy or of the batch before.
        expected: i64,
        /// Base offset of the batch.
        got: i64,
    },
    /// Not a batch, or a damaged one.
    #[error("{segment}: batch {number} of the append is refused: {reason}")]
    Invalid {
        /// The segment.
        segment: SegmentRef,
        /// Counted from 0.
        number: usize,
        /// What is wrong with it.
        reason: BatchError,
    },
    /// The segment would outgrow 4 GiB or 2^32 offsets: seal it and open the next.
    #[error("{segment}: the segment is full")]
    Full {
        /// The segment.
        segment: SegmentRef,
    },
    /// The disk failed. The copy is given up.
    #[error("{file}: write failed: {source}; the copy is given up, its partition goes on elsewhere")]
    Io {
        /// The log file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The store can make nothing durable any more.
    #[error(transparent)]
    Journal(#[from] JournalFailed),
}

impl Segment {
    /// Appends the owner's batches in one write. `epoch` is the owner's and must be the one the segment was opened in,
    /// with no higher promise (SingleWriter); the first batch starts at the end of the copy, each other one where its
    /// predecessor ends. All or nothing is appended. The bytes are in the page cache afterwards; [`Segment::sync`] or
    /// [`crate::Store::request_sync`] makes them durable.
    ///
    /// After a failed write the copy is given up for ever, unless the error came before the write.
    pub fn append(
        self: &Arc<Self>,
        epoch: LeaderEpoch,
        batches: &[StampedBatch<'_>],
    ) -> Result<Appended, AppendError> {
        let segment = self.reference;
        let mut headers = Vec::with_capacity(batches.len());
        for (number, batch) in batches.iter().enumerate() {
            let invalid = |reason| AppendError::Invalid { segment, number, reason };
            let header = BatchHeader::parse(&batch.head).map_err(invalid)?;
            let (need, have) = (header.total_len(), batch.head.len() + batch.records.len());
            if need != have {
                return Err(invalid(BatchError::Incomplete { have, need }));
            }
            headers.push(header);
        }
        // Held until the bytes are written: a promise waits for this append, and the report after it counts it.
        let promised = self.fence.0.read();
        if *promised > epoch {
            return Err(AppendError::Fenced { segment, got: epoch, promised: *promised });
        }
        if epoch != self.epoch {
            return Err(AppendError::WrongEpoch { segment, got: epoch, expected: self.epoch });
        }
        let _writer = self.writer.lock();
        let mut slices = Vec::with_capacity(2 * batches.len());
        for batch in batches {
            slices.push(IoSlice::new(&batch.head));
            slices.push(IoSlice::new(batch.records));
        }
        self.write(&headers, &mut slices, Gaps::Refused, |phase| *phase == Phase::Open)
    }

    /// Appends batches of another copy, verbatim, on behalf of a recovery or repair. `recovery_epoch` must be exactly the
    /// one this store promised; every batch must be whole, with a matching CRC, and follow on the one before.
    ///
    /// A copy that was sealed here is open again afterwards, until it is sealed at its new end.
    pub fn append_recovered(
        self: &Arc<Self>,
        recovery_epoch: LeaderEpoch,
        bytes: &[u8],
    ) -> Result<Appended, AppendError> {
        let segment = self.reference;
        let mut headers = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let number = headers.len();
            let header =
                whole_batch(rest).map_err(|reason| AppendError::Invalid { segment, number, reason })?;
            rest = &rest[header.total_len()..];
            headers.push(header);
        }
        let promised = self.fence.0.read();
        if *promised != recovery_epoch {
            return Err(AppendError::WrongEpoch { segment, got: recovery_epoch, expected: *promised });
        }
        let _writer = self.writer.lock();
        // One that does not follow changes nothing: it may have come twice.
        if self.is_sealed() && headers.first().is_some_and(|first| first.base_offset == self.end_offset()) {
            self.unseal()?;
        }
        self.write(&headers, &mut [IoSlice::new(bytes)], Gaps::Refused, |phase| *phase == Phase::Recovered)
    }

    /// Appends what compaction left of other segments' batches, which are `headers` of `bytes`; offsets between them may be
    /// missing. For a copy of [`crate::Store::create_cleaned`], which nobody reads before the chain knows it.
    pub(crate) fn append_cleaned(
        self: &Arc<Self>,
        headers: &[BatchHeader],
        bytes: &[u8],
    ) -> Result<Appended, AppendError> {
        let len: usize = headers.iter().map(BatchHeader::total_len).sum();
        assert_eq!(len, bytes.len(), "{}: bytes of other batches", self.reference);
        let _promised = self.fence.0.read();
        let _writer = self.writer.lock();
        self.write(headers, &mut [IoSlice::new(bytes)], Gaps::Allowed, |phase| *phase == Phase::Recovered)
    }

    /// Takes the local seal back, because a later recovery found more. Not synced: a machine crash that loses this
    /// record leaves a copy that is whole up to its old end, which is true.
    fn unseal(&self) -> Result<(), AppendError> {
        let Some(mut copy) = self.copy_state() else {
            return Err(AppendError::NotWritable { segment: self.reference, state: "sealed in the chain" });
        };
        copy.sealed = false;
        self.store.journal.write(&[Record::Copy { segment: self.reference, copy }])?;
        self.tail.lock().phase = Phase::Recovered;
        Ok(())
    }

    /// The one place that adds bytes. The caller holds the fence (shared) and `writer`.
    fn write(
        self: &Arc<Self>,
        headers: &[BatchHeader],
        slices: &mut [IoSlice<'_>],
        gaps: Gaps,
        writable: impl Fn(&Phase) -> bool,
    ) -> Result<Appended, AppendError> {
        let segment = self.reference;
        let (mut expected, start) = {
            let tail = self.tail.lock();
            if !writable(&tail.phase) || self.store.is_closed() {
                let state = if self.store.is_closed() { "closed" } else { tail.phase.describe() };
                return Err(AppendError::NotWritable { segment, state });
            }
            (tail.end_offset, tail.end_position)
        };
        let mut end = start;
        for header in headers {
            let in_gap = header.base_offset > expected && gaps == Gaps::Allowed;
            if header.base_offset != expected && !in_gap {
                return Err(AppendError::OutOfOrder { segment, expected, got: header.base_offset });
            }
            expected = header.next_offset();
            end += header.total_len() as u64;
            if end > MAX_BYTES || expected - self.base_offset > i64::from(u32::MAX) {
                return Err(AppendError::Full { segment });
            }
        }
        if headers.is_empty() {
            return Ok(Appended { end_offset: expected, end_position: start });
        }
        let io_error = |source| AppendError::Io { file: self.file_name(Part::Log), source };
        let written = self.log().and_then(|log| log.write_all_at(slices, start));
        if let Err(error) = written {
            // Bytes may stand beyond the end; recovery cuts them. A full disk touched nothing that was accepted
            // before, so the copy stays whole; after any other failure nobody knows.
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            self.fail(&format!("write failed: {error}"), !full);
            return Err(io_error(error));
        }
        let (flush, press) = {
            let mut tail = self.tail.lock();
            let mut at = start;
            for header in headers {
                let max_before = tail.max_timestamp;
                tail.sparse.enter(Entry { offset: header.base_offset, position: at, max_before });
                tail.remember(header.base_offset, at);
                tail.max_timestamp = max_before.max(header.max_timestamp);
                at += header.total_len() as u64;
            }
            // Readers see the batches from here on.
            tail.end_offset = expected;
            tail.end_position = end;
            self.list_dirty(&mut tail);
            let unsynced =
                |position: u64| position.saturating_sub(tail.synced_position) / self.store.options.sync_bytes;
            (tail.sparse.wants_flush(), unsynced(end) > unsynced(start))
        };
        if flush {
            self.flush_index();
        }
        if press {
            self.store.queue.push(self, None);
        }
        Ok(Appended { end_offset: expected, end_position: end })
    }
}
