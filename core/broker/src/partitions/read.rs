//! Reading a partition: by offset, by timestamp, by epoch.
//!
//! Whole batches are found in the chain's segment that holds the offset and handed on as a range of its file; nobody
//! reads at or above the committed offset (CommittedOnly). Two ways: [`Partition::read_at_hand`] for runtime threads,
//! which answers what needs no disk, and [`Partition::read`] for the blocking pool, which answers everything.

use std::sync::Arc;

use buslane_log::{ReadError, ReadSlice, Segment, SegmentState, TimestampedOffset};
use buslane_meta::{PartitionImage, SegmentImage, SegmentStatus};
use buslane_wire::ids::LeaderEpoch;

use super::partition::{NotReadable, Offsets, Partition};

/// What a read found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whole batches from the one that holds the offset on; none when nothing is committed there yet.
    pub slice: Option<ReadSlice>,
    /// The partition's offsets at that moment.
    pub offsets: Offsets,
}

/// Why a read is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadRefused {
    /// See there.
    #[error(transparent)]
    NotReadable(#[from] NotReadable),
    /// Below the log start or above the high watermark: OFFSET_OUT_OF_RANGE. Carries what is there.
    #[error("offset is out of range {}..{}", .0.log_start_offset, .0.high_watermark)]
    OutOfRange(Offsets),
}

/// Which offset a ListOffsets request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sought {
    /// The log start offset.
    Earliest,
    /// The high watermark.
    Latest,
    /// The record with the greatest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record with at least this timestamp.
    Timestamp(i64),
}

impl Partition {
    /// Finds up to `max_bytes` of whole batches from the one that holds `offset` on; with `at_least_one` the first one
    /// even when it is larger (KIP-74). May read the index and batch headers from disk, and make an index anew.
    pub fn read(
        self: &Arc<Self>,
        offset: i64,
        max_bytes: u64,
        at_least_one: bool,
    ) -> Result<Found, ReadRefused> {
        self.as_of_now(|| self.read_once(offset, max_bytes, at_least_one))
    }

    /// Does something with the chain's segments, and does it again when compaction has put others in their place meanwhile:
    /// then their files may be gone.
    fn as_of_now<T, E>(&self, mut with_the_chain: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        let made_by_compaction = || {
            let image = self.context.consensus.image();
            image.partition(self.id).map(|p| (p.clean_end_offset, p.chain.first().map(|s| s.id)))
        };
        loop {
            let before = made_by_compaction();
            let done = with_the_chain();
            if done.is_ok() || before == made_by_compaction() {
                return done;
            }
        }
    }

    fn read_once(
        self: &Arc<Self>,
        offset: i64,
        max_bytes: u64,
        at_least_one: bool,
    ) -> Result<Found, ReadRefused> {
        let (offsets, open) = self.readable_at(offset)?;
        if offset == offsets.high_watermark {
            return Ok(Found { slice: None, offsets });
        }
        let mut below = offsets.high_watermark;
        let segment = match open {
            Some(open) if offset >= open.base_offset() => open,
            _ => {
                // A hole at the log's start, after a loss: nothing is there.
                let Some(sealed) = self.sealed_at(offset)? else { return Ok(Found { slice: None, offsets }) };
                let from = offset.max(sealed.base_offset());
                let damage = &self.context.damage;
                below = damage
                    .readable_below(&sealed.reference(), from, below)
                    .map_err(|refused| NotReadable::Storage(refused.to_string().into()))?;
                sealed
            }
        };
        let from = offset.max(segment.base_offset());
        let slice =
            segment.read(from, max_bytes, below, at_least_one).map_err(|error| self.unreadable(error))?;
        Ok(Found { slice: Some(slice).filter(|s| s.len > 0), offsets })
    }

    /// As [`Self::read`], without ever waiting for a disk; `None` when it would have to. What is sealed is never at hand,
    /// what is open where its end is remembered or its index and headers are in cached pages.
    pub fn read_at_hand(
        &self,
        offset: i64,
        max_bytes: u64,
        at_least_one: bool,
    ) -> Result<Option<Found>, ReadRefused> {
        let (offsets, open) = self.readable_at(offset)?;
        if offset == offsets.high_watermark {
            return Ok(Some(Found { slice: None, offsets }));
        }
        let Some(open) = open.filter(|open| offset >= open.base_offset()) else { return Ok(None) };
        let slice = open.read_at_hand(offset, max_bytes, offsets.high_watermark, at_least_one);
        Ok(slice.map(|slice| Found { slice: Some(slice).filter(|s| s.len > 0), offsets }))
    }

    fn readable_at(&self, offset: i64) -> Result<(Offsets, Option<Arc<Segment>>), ReadRefused> {
        let (offsets, open) = self.readable()?;
        if offset < offsets.log_start_offset || offset > offsets.high_watermark {
            return Err(ReadRefused::OutOfRange(offsets));
        }
        Ok((offsets, open))
    }

    /// Where a client's log diverges from this one, by the epoch of its last record (KIP-595): the largest epoch at or
    /// below that, and its end, when the client is beyond it.
    pub fn divergence(&self, last_fetched: LeaderEpoch, fetch_offset: i64) -> Option<(LeaderEpoch, i64)> {
        let high_watermark = self.offsets().ok()?.high_watermark;
        let image = self.context.consensus.image();
        let (epoch, end) = image.partition(self.id)?.end_offset_for_epoch(last_fetched, high_watermark)?;
        (epoch < last_fetched || end < fetch_offset).then_some((epoch, end))
    }

    /// The copy of the sealed segment that holds `offset`, or of the first one after it.
    fn sealed_at(self: &Arc<Self>, offset: i64) -> Result<Option<Arc<Segment>>, NotReadable> {
        let image = self.context.consensus.image();
        let Some(partition) = image.partition(self.id) else { return Err(NotReadable::NotOwner) };
        let sealed = partition.chain.iter().find(|s| match s.status {
            SegmentStatus::Sealed { end_offset, .. } => end_offset > offset,
            SegmentStatus::Open => false,
        });
        sealed.map(|s| self.load_sealed(s)).transpose()
    }

    /// The local copy of a sealed segment.
    pub(crate) fn load_sealed(self: &Arc<Self>, segment: &SegmentImage) -> Result<Arc<Segment>, NotReadable> {
        let SegmentStatus::Sealed { end_offset, bytes, max_timestamp } = segment.status else {
            panic!("{self:?}: segment {} is open", segment.id);
        };
        let state = SegmentState::Sealed { end_offset, bytes, max_timestamp };
        self.context.store.load(self.segment_ref(segment.id), segment.base_offset, state).map_err(|error| {
            tracing::error!(partition = ?self, %error, "a sealed segment cannot be opened");
            NotReadable::Storage(error.to_string().into())
        })
    }

    /// Timestamp of the first batch of a sealed segment, in ms since the Unix epoch, where it has one.
    pub fn first_ms(self: &Arc<Self>, segment: &SegmentImage) -> Option<i64> {
        self.load_sealed(segment).ok()?.first_timestamp().ok()?
    }

    /// When a sealed segment's file was written last, in ms since the Unix epoch, where that is known.
    pub fn written_ms(self: &Arc<Self>, segment: &SegmentImage) -> Option<i64> {
        self.load_sealed(segment).ok()?.written_ms().ok()?
    }

    fn unreadable(&self, error: ReadError) -> NotReadable {
        tracing::error!(partition = ?self, %error, "read failed");
        NotReadable::Storage(error.to_string().into())
    }

    /// Answers ListOffsets: timestamp, offset and that offset's own leader epoch; `None`: no such record.
    pub fn find_offset(self: &Arc<Self>, sought: Sought) -> Result<Option<TimestampedOffset>, NotReadable> {
        self.as_of_now(|| self.find_offset_once(sought))
    }

    fn find_offset_once(self: &Arc<Self>, sought: Sought) -> Result<Option<TimestampedOffset>, NotReadable> {
        let (offsets, open) = self.readable()?;
        let at = |offset| TimestampedOffset {
            timestamp: -1,
            offset,
            leader_epoch: self.epoch_of(offset, offsets.leader_epoch),
        };
        let wanted = match sought {
            Sought::Earliest => return Ok(Some(at(offsets.log_start_offset))),
            Sought::Latest => {
                return Ok(Some(TimestampedOffset {
                    leader_epoch: offsets.leader_epoch,
                    ..at(offsets.high_watermark)
                }));
            }
            Sought::Timestamp(timestamp) => Some(timestamp),
            Sought::MaxTimestamp => None,
        };
        let image = self.context.consensus.image();
        let Some(partition) = image.partition(self.id) else { return Err(NotReadable::NotOwner) };
        match wanted {
            Some(timestamp) => self.first_at(partition, open, timestamp, offsets),
            None => self.greatest(partition, open, offsets),
        }
    }

    fn first_at(
        self: &Arc<Self>,
        partition: &PartitionImage,
        open: Option<Arc<Segment>>,
        timestamp: i64,
        offsets: Offsets,
    ) -> Result<Option<TimestampedOffset>, NotReadable> {
        for segment in partition.chain.iter() {
            let SegmentStatus::Sealed { end_offset, max_timestamp, .. } = segment.status else { continue };
            if max_timestamp < timestamp || end_offset <= offsets.log_start_offset {
                continue;
            }
            let copy = self.load_sealed(segment)?;
            // Records below the log start were deleted though their segment is still there.
            let found = copy
                .offset_for_timestamp(timestamp, offsets.log_start_offset, offsets.high_watermark)
                .map_err(|e| self.unreadable(e))?;
            self.searched(&copy, offsets, found)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        match open {
            Some(open) => open
                .offset_for_timestamp(timestamp, offsets.log_start_offset, offsets.high_watermark)
                .map_err(|e| self.unreadable(e)),
            None => Ok(None),
        }
    }

    fn greatest(
        self: &Arc<Self>,
        partition: &PartitionImage,
        open: Option<Arc<Segment>>,
        offsets: Offsets,
    ) -> Result<Option<TimestampedOffset>, NotReadable> {
        let mut best: Option<TimestampedOffset> = None;
        let mut copies = Vec::new();
        for segment in partition.chain.iter() {
            if let SegmentStatus::Sealed { end_offset, max_timestamp, .. } = segment.status
                && end_offset > offsets.log_start_offset
            {
                copies.push((max_timestamp, segment.clone()));
            }
        }
        // The first of those with the greatest maximum; the open one only when it has a greater one.
        if let Some((_, segment)) = copies.iter().rev().max_by_key(|(max, _)| *max) {
            let copy = self.load_sealed(segment)?;
            best = copy
                .max_timestamp_record(offsets.log_start_offset, offsets.high_watermark)
                .map_err(|e| self.unreadable(e))?;
            self.searched(&copy, offsets, best)?;
        }
        if let Some(open) = open {
            let newest = open
                .max_timestamp_record(offsets.log_start_offset, offsets.high_watermark)
                .map_err(|e| self.unreadable(e))?;
            if newest.is_some_and(|n| best.is_none_or(|b| n.timestamp > b.timestamp)) {
                best = newest;
            }
        }
        Ok(best)
    }

    /// Refuses what a search of a sealed copy found, where it passed known damage.
    fn searched(
        &self,
        copy: &Segment,
        offsets: Offsets,
        found: Option<TimestampedOffset>,
    ) -> Result<(), NotReadable> {
        let found = found.map(|found| found.offset);
        let searched = self.context.damage.searched(&copy.reference(), offsets.log_start_offset, found);
        searched.map_err(|refused| NotReadable::Storage(refused.to_string().into()))
    }

    /// The leader epoch in which the record at `offset` was written.
    fn epoch_of(&self, offset: i64, current: LeaderEpoch) -> LeaderEpoch {
        let image = self.context.consensus.image();
        image.partition(self.id).map_or(current, |p| p.epoch_of(offset).unwrap_or(current))
    }
}
