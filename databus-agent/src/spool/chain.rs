//! One log of the spool: a chain of segments that this process alone writes.
//!
//! The store keeps a segment from being written by two owners; the lock of the spool's folder makes sure that there is one.
//! So every segment has the same epoch, and the chain is what lies in the folder, by base offset. A segment that an earlier
//! run wrote takes no more appends: the next append begins a new one, as after a write that failed.

use std::collections::VecDeque;
use std::sync::Arc;

use buslane_log::{
    AppendError, CreateError, ReadError, ReadSlice, RecoverError, Segment, SegmentSpec, Store, SyncError,
};
use buslane_wire::batch::StampedBatch;
use buslane_wire::ids::{Durability, LeaderEpoch, SegmentId, SegmentRef, TopicPartition};
use parking_lot::Mutex;

/// The one epoch; promised at each start.
pub const EPOCH: LeaderEpoch = LeaderEpoch(1);

/// More offsets than a segment can have.
const SEGMENT_OFFSETS_MAX: i64 = 1 << 32;

/// A log.
#[derive(Debug)]
pub struct Chain {
    store: Arc<Store>,
    partition: TopicPartition,
    /// The next append begins a new segment when the last one has so many bytes.
    segment_bytes: u64,
    links: Mutex<Links>,
}

#[derive(Debug)]
struct Links {
    /// By base offset, each beginning where the one before ends.
    segments: VecDeque<Arc<Segment>>,
    /// Exclusive end of the chain.
    end: i64,
    next_id: u64,
    /// The last segment takes appends.
    writable: bool,
    /// The last segment failed: it is looked at again before anything is appended.
    failed: bool,
}

/// What opening a chain found. To be logged and counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Torn ends that were cut off: what each of them was.
    pub cuts: Vec<String>,
    /// Damaged segments that were set aside: why, and from which offset to which events are missing.
    pub quarantined: Vec<(String, i64, i64)>,
}

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A segment cannot be begun.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// Nothing was appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The end of a segment is not known.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// A sync failed.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// A read failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The folder cannot be read or changed.
    #[error("{0}")]
    Io(String),
}

impl ChainError {
    /// True when bytes on the disk are damaged or gone: what comes after them may be well.
    pub fn is_damage(&self) -> bool {
        matches!(self, ChainError::Read(ReadError::Corrupt(_) | ReadError::Missing { .. }))
    }
}

impl Chain {
    /// Takes up what the folder has of a partition; `EPOCH` was promised for it.
    ///
    /// # Errors
    /// When the disk fails. Damage is set aside, and told.
    pub fn open(
        store: Arc<Store>,
        partition: TopicPartition,
        segment_bytes: u64,
    ) -> Result<(Chain, Found), ChainError> {
        let copies = store.list_partition(partition).map_err(|e| ChainError::Io(e.to_string()))?;
        let mut found = Found::default();
        let mut links =
            Links { segments: VecDeque::new(), end: 0, next_id: 0, writable: false, failed: false };
        let bases: Vec<i64> = copies.iter().map(|copy| copy.base_offset).collect();
        for (index, copy) in copies.iter().enumerate() {
            links.next_id = links.next_id.max(copy.segment.segment.0 + 1);
            match store.recover(copy.segment, copy.base_offset, EPOCH, Durability::Replicated, EPOCH) {
                Ok((segment, recovery)) => {
                    if let Some(cut) = recovery.cut {
                        let (file, at) = (&cut.file, cut.position);
                        found
                            .cuts
                            .push(format!("{file}: {} bytes cut off at {at}: {}", cut.bytes, cut.reason));
                    }
                    if segment.base_offset() > links.end && !links.segments.is_empty() {
                        let reason = format!("{}: what comes before it is missing", copy.path.display());
                        found.quarantined.push((reason, links.end, segment.base_offset()));
                    }
                    links.end = segment.end_offset();
                    links.segments.push_back(segment);
                }
                Err(
                    error @ (RecoverError::Corrupt(_)
                    | RecoverError::Missing { .. }
                    | RecoverError::Refused { .. }),
                ) => {
                    set_aside(&copy.path)?;
                    // Its name may come again.
                    store.settle(&copy.segment).map_err(|e| ChainError::Io(e.to_string()))?;
                    // Nobody knows where it ended: no offset is given twice.
                    let beyond = copy.base_offset.saturating_add(SEGMENT_OFFSETS_MAX);
                    let next = bases.get(index + 1).copied().unwrap_or(beyond);
                    found.quarantined.push((error.to_string(), copy.base_offset, next));
                    links.end = next;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((Chain { store, partition, segment_bytes, links: Mutex::new(links) }, found))
    }

    /// Exclusive end: the offset of the next record.
    pub fn end(&self) -> i64 {
        self.links.lock().end
    }

    /// The first offset that is there; the end when nothing is.
    pub fn start(&self) -> i64 {
        let links = self.links.lock();
        links.segments.front().map_or(links.end, |first| first.base_offset())
    }

    /// Nothing below is used any more, in this run or before: an empty chain begins there.
    pub fn begin_at(&self, offset: i64) {
        let mut links = self.links.lock();
        if links.segments.is_empty() {
            links.end = links.end.max(offset);
        }
    }

    /// Bytes of its log files.
    pub fn bytes(&self) -> u64 {
        self.links.lock().segments.iter().map(|segment| segment.end_position()).sum()
    }

    /// Appends one batch as it comes from a builder; its base offset is given here and returned. In the page cache then.
    ///
    /// # Errors
    /// Nothing of it is in the chain.
    pub fn append(&self, batch: &[u8]) -> Result<i64, ChainError> {
        let mut links = self.links.lock();
        if links.failed {
            self.look_again(&mut links)?;
        }
        let full = links.segments.back().is_some_and(|last| last.end_position() >= self.segment_bytes);
        if !links.writable || full {
            self.begin(&mut links)?;
        }
        let base = links.end;
        let stamped = StampedBatch::new(batch, base, EPOCH).expect("the builder made it");
        let last = links.segments.back().expect("it was just begun").clone();
        match last.append(EPOCH, &[stamped]) {
            Ok(appended) => {
                links.end = appended.end_offset;
                Ok(base)
            }
            Err(error) => {
                (links.failed, links.writable) = (last.is_failed(), false);
                Err(error.into())
            }
        }
    }

    /// Begins a new segment now. Returns its base offset: [`Chain::trim`] to there deletes all before it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin_anew(&self) -> Result<i64, ChainError> {
        let mut links = self.links.lock();
        if links.failed {
            self.look_again(&mut links)?;
        }
        self.begin(&mut links)?;
        Ok(links.end)
    }

    /// Makes everything appended so far durable, in this thread.
    ///
    /// # Errors
    /// As [`Chain::sync`].
    pub fn sync_now(&self) -> Result<(), ChainError> {
        let segments: Vec<_> = self.links.lock().segments.iter().cloned().collect();
        for segment in segments {
            segment.sync()?;
        }
        Ok(())
    }

    fn begin(&self, links: &mut Links) -> Result<(), ChainError> {
        let segment = SegmentRef { partition: self.partition, segment: SegmentId(links.next_id) };
        // Whatever becomes of it, the id is used.
        links.next_id += 1;
        let spec =
            SegmentSpec { segment, base_offset: links.end, epoch: EPOCH, durability: Durability::Replicated };
        let made = self.store.create(spec)?;
        if let Some(last) = links.segments.back() {
            self.store.presync(last);
        }
        links.segments.push_back(made);
        links.writable = true;
        Ok(())
    }

    /// Finds out where a segment ends whose write or sync failed.
    fn look_again(&self, links: &mut Links) -> Result<(), ChainError> {
        let Some(last) = links.segments.back().cloned() else { return Ok(()) };
        let (segment, recovery) =
            self.store.recover(last.reference(), last.base_offset(), EPOCH, Durability::Replicated, EPOCH)?;
        if let Some(cut) = recovery.cut {
            tracing::warn!(
                file = cut.file,
                position = cut.position,
                bytes = cut.bytes,
                "a torn end was cut off"
            );
        }
        links.end = segment.end_offset();
        (links.failed, links.writable) = (false, false);
        Ok(())
    }

    /// Finds up to `bytes_max` of whole batches from the one with offset `from` on, below `below`. None: nothing is there.
    ///
    /// # Errors
    /// When the disk fails, or the bytes are damaged.
    pub fn read(&self, from: i64, bytes_max: u64, below: i64) -> Result<Option<ReadSlice>, ChainError> {
        let segment = {
            let links = self.links.lock();
            if from >= below.min(links.end) {
                return Ok(None);
            }
            let at = links.segments.partition_point(|segment| segment.base_offset() <= from);
            // One that is empty lies before the next with the same base offset.
            let found = links.segments.range(..at).rev().find(|segment| segment.end_offset() > from).cloned();
            found.or_else(|| links.segments.get(at).cloned())
        };
        let Some(segment) = segment else { return Ok(None) };
        let from = from.max(segment.base_offset());
        let slice = match segment.read_at_hand(from, bytes_max, below, true) {
            Some(slice) => slice,
            None => segment.read(from, bytes_max, below, true)?,
        };
        Ok((slice.len > 0).then_some(slice))
    }

    /// The first offset from `from` on that can be read again, where it cannot be read; `below` when there is none. Finds
    /// the end of the damage by trying, in a number of reads that grows with its logarithm.
    ///
    /// # Errors
    /// When the disk fails in another way.
    pub fn after_damage(&self, from: i64, below: i64) -> Result<i64, ChainError> {
        let readable = |offset: i64| match self.read(offset, 1, below) {
            Ok(Some(slice)) => Ok(Some(slice.base_offset.max(offset))),
            Ok(None) => Ok(Some(below)),
            Err(error) if error.is_damage() => Ok(None),
            Err(error) => Err(error),
        };
        let (mut bad, mut step) = (from, 1);
        let mut good = loop {
            let next = bad.saturating_add(step).min(below);
            if next >= below {
                break below;
            }
            match readable(next)? {
                Some(found) => break found,
                None => (bad, step) = (next, step * 2),
            }
        };
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            match readable(middle)? {
                Some(_) => good = middle,
                None => bad = middle,
            }
        }
        Ok(good)
    }

    /// Everything below is durable.
    pub fn durable_end(&self) -> i64 {
        let links = self.links.lock();
        durable_end(&links)
    }

    /// Makes everything appended so far durable, with whoever else waits for it. Resolves to the durable end.
    ///
    /// # Errors
    /// What is not durable may be lost with the machine; the next append looks at the segment again.
    pub async fn sync(&self) -> Result<i64, ChainError> {
        let waiting: Vec<_> = {
            let links = self.links.lock();
            let unsynced =
                links.segments.iter().filter(|segment| segment.synced().end_offset < segment.end_offset());
            unsynced
                .map(|segment| {
                    let (sender, receiver) = tokio::sync::oneshot::channel();
                    let answer = move |result| {
                        // Whoever asked may have gone.
                        let _ = sender.send(result);
                    };
                    self.store.request_sync(segment, Box::new(answer));
                    receiver
                })
                .collect()
        };
        for receiver in waiting {
            match receiver.await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    let mut links = self.links.lock();
                    links.failed |= links.segments.back().is_some_and(|last| last.is_failed());
                    links.writable &= !links.failed;
                    return Err(error.into());
                }
                Err(_) => return Err(ChainError::Io("the spool was closed".to_owned())),
            }
        }
        Ok(self.durable_end())
    }

    /// Deletes the segments that lie below `to` as a whole; the last one stays. Returns bytes freed.
    pub fn trim(&self, to: i64) -> u64 {
        let mut freed = 0;
        loop {
            let first = {
                let mut links = self.links.lock();
                let below = links.segments.get(1).is_some_and(|next| next.base_offset() <= to);
                if !below {
                    return freed;
                }
                links.segments.pop_front().expect("there are two")
            };
            freed += first.end_position();
            if let Err(error) = self.store.delete(&first.reference(), first.base_offset()) {
                // It is found again at the next start, and goes then.
                tracing::warn!(%error, "a segment of the spool that is no longer needed stays");
            }
        }
    }
}

fn durable_end(links: &Links) -> i64 {
    let unsynced = links.segments.iter().find(|segment| segment.synced().end_offset < segment.end_offset());
    unsynced.map_or(links.end, |segment| segment.synced().end_offset)
}

/// Renames a segment's files, so that they are kept and nobody takes them for a part of the chain.
fn set_aside(log: &std::path::Path) -> Result<(), ChainError> {
    let named = |error: std::io::Error| ChainError::Io(format!("{}: {error}", log.display()));
    let (Some(folder), Some(stem)) = (log.parent(), log.file_stem()) else { return Ok(()) };
    for entry in std::fs::read_dir(folder).map_err(named)? {
        let path = entry.map_err(named)?.path();
        if path.file_stem() == Some(stem) && path.extension().is_some_and(|kind| kind != "damaged") {
            let mut name = path.clone().into_os_string();
            name.push(".damaged");
            std::fs::rename(&path, name).map_err(named)?;
        }
    }
    Ok(())
}
