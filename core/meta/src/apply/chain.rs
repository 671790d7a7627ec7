//! The commands that change one partition's chain and epochs.

use std::ops::Range;
use std::sync::Arc;

use buslane_wire::ids::{LeaderEpoch, NodeId, SegmentId};

use super::{check_stores, other_stores};
use crate::command::{DroppedSegment, Event, OpenSegment, Replacement};
use crate::partition::{COMPACTED, Loss, PartitionImage, SegmentImage, SegmentStatus};
use crate::refused::{ChainMismatch, Refused};

fn expect_epoch(partition: &PartitionImage, got: LeaderEpoch) -> Result<(), Refused> {
    if partition.epoch == got { Ok(()) } else { Err(Refused::Epoch { got, current: partition.epoch }) }
}

pub(super) fn assign(
    partition: &mut PartitionImage,
    expected: LeaderEpoch,
    owner: NodeId,
) -> Result<Event, Refused> {
    expect_epoch(partition, expected)?;
    let Some(epoch) = expected.0.checked_add(1).map(LeaderEpoch) else {
        return Err(Refused::BeyondEnd { got: i64::from(expected.0) + 1, end: i64::from(i32::MAX) });
    };
    partition.epoch = epoch;
    partition.owner = Some(owner);
    if partition.open_segment().is_none() {
        // Nothing to recover: the epoch starts at the end of the chain. Else at the seal that recovers.
        partition.epochs.begin(epoch, partition.sealed_end_offset);
    }
    Ok(Event::Assigned(epoch))
}

pub(super) fn open(
    partition: &mut PartitionImage,
    epoch: LeaderEpoch,
    open: &OpenSegment,
) -> Result<Event, Refused> {
    expect_epoch(partition, epoch)?;
    if let Some(there) = partition.open_segment() {
        return Err(Refused::Chain(ChainMismatch::IsOpen { open: there.id }));
    }
    check_open(partition, partition.sealed_end_offset, open)?;
    push_open(partition, epoch, open);
    Ok(Event::Done)
}

/// What a seal says of the segment it ends.
pub(super) struct Seal<'a> {
    pub(super) segment: SegmentId,
    pub(super) end_offset: i64,
    pub(super) bytes: u64,
    pub(super) max_timestamp: i64,
    pub(super) complete: &'a [NodeId],
    pub(super) loss: Option<Loss>,
}

pub(super) fn seal(
    partition: &mut PartitionImage,
    epoch: LeaderEpoch,
    seal: &Seal<'_>,
    next: Option<&OpenSegment>,
) -> Result<Event, Refused> {
    expect_epoch(partition, epoch)?;
    let open = partition.open_segment();
    let Some(open) = open.filter(|s| s.id == seal.segment).cloned() else {
        let mismatch = ChainMismatch::NotOpen { got: seal.segment, open: open.map(|s| s.id) };
        return Err(Refused::Chain(mismatch));
    };
    if seal.end_offset < open.base_offset {
        let mismatch = ChainMismatch::BeforeBase { got: seal.end_offset, base_offset: open.base_offset };
        return Err(Refused::Chain(mismatch));
    }
    let empty = seal.end_offset == open.base_offset;
    if !(empty && seal.complete.is_empty()) {
        check_stores(seal.complete)?;
    }
    if let Some(Loss { epoch, end_offset }) = seal.loss
        && (epoch != open.epoch || end_offset != seal.end_offset)
    {
        return Err(Refused::Chain(ChainMismatch::Loss { epoch, end_offset }));
    }
    // DeleteRecords may have moved the log start above what a power cut left of the open segment. The log start never
    // falls, so the chain goes on from there.
    let end = seal.end_offset.max(partition.log_start_offset);
    if let Some(next) = next {
        check_open(partition, end, next)?;
    }

    partition.chain.pop();
    if !empty {
        partition.chain.push(Arc::new(SegmentImage {
            stores: seal.complete.to_vec(),
            status: SegmentStatus::Sealed {
                end_offset: seal.end_offset,
                bytes: seal.bytes,
                max_timestamp: seal.max_timestamp,
            },
            ..SegmentImage::clone(&open)
        }));
    }
    partition.sealed_end_offset = end;
    partition.losses.extend(seal.loss);
    if open.epoch < epoch {
        partition.epochs.begin(epoch, end);
    }
    let mut dropped = drop_below_start(partition);
    if empty {
        dropped.push(DroppedSegment { id: open.id, base_offset: open.base_offset });
    }
    if let Some(next) = next {
        push_open(partition, epoch, next);
    }
    Ok(if dropped.is_empty() { Event::Done } else { Event::Dropped(dropped) })
}

pub(super) fn advance_log_start(
    partition: &mut PartitionImage,
    offset: i64,
    epoch: LeaderEpoch,
) -> Result<Event, Refused> {
    let end = partition.sealed_end_offset;
    if offset > end {
        // Inside the open segment its owner, who proposes, knows how far it is committed; one before it knew otherwise.
        let open = partition.open_segment().ok_or(Refused::BeyondEnd { got: offset, end })?;
        let end = open.base_offset.saturating_add(i64::from(u32::MAX));
        if offset > end {
            return Err(Refused::BeyondEnd { got: offset, end });
        }
        if epoch != partition.epoch {
            return Err(Refused::Epoch { got: epoch, current: partition.epoch });
        }
    }
    if offset <= partition.log_start_offset {
        return Ok(Event::Dropped(Vec::new()));
    }
    partition.log_start_offset = offset;
    partition.epochs.cut(offset);
    partition.losses.retain(|loss| loss.end_offset >= offset);
    Ok(Event::Dropped(drop_below_start(partition)))
}

pub(super) fn alter_stores(
    partition: &mut PartitionImage,
    segment: SegmentId,
    expected: &[NodeId],
    stores: &[NodeId],
) -> Result<Event, Refused> {
    let sealed = partition.chain.iter_mut().find(|s| s.id == segment && s.end_offset().is_some());
    let Some(sealed) = sealed else {
        return Err(Refused::Chain(ChainMismatch::NotSealed { got: segment }));
    };
    if sealed.stores != expected {
        return Err(other_stores(expected, &sealed.stores));
    }
    Arc::make_mut(sealed).stores = stores.to_vec();
    Ok(Event::Done)
}

pub(super) fn replace(
    partition: &mut PartitionImage,
    epoch: LeaderEpoch,
    replacements: &[Replacement],
    clean_end_offset: i64,
) -> Result<Event, Refused> {
    expect_epoch(partition, epoch)?;
    let end = partition.sealed_end_offset;
    if clean_end_offset > end {
        return Err(Refused::BeyondEnd { got: clean_end_offset, end });
    }
    // All are found before anything changes.
    let mut found = Vec::with_capacity(replacements.len());
    let mut from = 0;
    for replacement in replacements {
        let place = place_of(partition, from, replacement)?;
        from = place.end;
        found.push(place);
    }
    for (at, Replacement { new, .. }) in replacements.iter().enumerate() {
        let taken = partition.chain.iter().any(|s| s.id == *new)
            || replacements[..at].iter().any(|earlier| earlier.new == *new);
        if taken || new.0 & COMPACTED == 0 {
            return Err(Refused::Chain(ChainMismatch::NotNew { got: *new }));
        }
    }
    let mut dropped = Vec::new();
    // From the back, so that the places before stay where they are.
    for (replacement, place) in replacements.iter().zip(found).rev() {
        let last = &partition.chain[place.end - 1];
        let made = SegmentImage {
            id: replacement.new,
            base_offset: replacement.base_offset,
            epoch: last.epoch,
            stores: replacement.stores.clone(),
            durability: last.durability,
            status: SegmentStatus::Sealed {
                end_offset: replacement.end_offset,
                bytes: replacement.bytes,
                max_timestamp: replacement.max_timestamp,
            },
        };
        let old = partition.chain.splice(place, [Arc::new(made)]);
        dropped.extend(old.map(|s| DroppedSegment { id: s.id, base_offset: s.base_offset }));
    }
    partition.clean_end_offset = Some(clean_end_offset.max(partition.clean_end_offset.unwrap_or(0)));
    Ok(Event::Dropped(dropped))
}

/// Where in the chain the segments that go are, at or after `from`.
fn place_of(
    partition: &PartitionImage,
    from: usize,
    replacement: &Replacement,
) -> Result<Range<usize>, Refused> {
    let Replacement { old, new, base_offset, end_offset, .. } = replacement;
    let not_sealed = |got: SegmentId| Refused::Chain(ChainMismatch::NotSealed { got });
    let first = *old.first().ok_or(not_sealed(*new))?;
    let start =
        partition.chain.iter().skip(from).position(|s| s.id == first).ok_or(not_sealed(first))? + from;
    for (at, id) in old.iter().enumerate() {
        let there = partition.chain.get(start + at).filter(|s| s.id == *id && s.end_offset().is_some());
        let Some(there) = there else { return Err(not_sealed(*id)) };
        let before = (at > 0).then(|| partition.chain[start + at - 1].end_offset()).flatten();
        if before.is_some_and(|end| end != there.base_offset) {
            return Err(not_sealed(*id));
        }
    }
    let place = start..start + old.len();
    let (base, end) = (partition.chain[start].base_offset, partition.chain[place.end - 1].end_offset());
    if (base, end) != (*base_offset, Some(*end_offset)) {
        return Err(Refused::Chain(ChainMismatch::Range {
            got: (*base_offset, *end_offset),
            current: (base, end.unwrap_or(base)),
        }));
    }
    Ok(place)
}

fn check_open(partition: &PartitionImage, end: i64, open: &OpenSegment) -> Result<(), Refused> {
    if open.base_offset != end {
        return Err(Refused::Chain(ChainMismatch::End { got: open.base_offset, end }));
    }
    if open.segment <= partition.last_segment {
        let mismatch = ChainMismatch::SegmentId { got: open.segment, last: partition.last_segment };
        return Err(Refused::Chain(mismatch));
    }
    check_stores(&open.stores)
}

fn push_open(partition: &mut PartitionImage, epoch: LeaderEpoch, open: &OpenSegment) {
    partition.last_segment = open.segment;
    partition.chain.push(Arc::new(SegmentImage {
        id: open.segment,
        base_offset: open.base_offset,
        epoch,
        stores: open.stores.clone(),
        durability: open.durability,
        status: SegmentStatus::Open,
    }));
}

fn drop_below_start(partition: &mut PartitionImage) -> Vec<DroppedSegment> {
    let start = partition.log_start_offset;
    let below = partition.chain.partition_point(|s| s.end_offset().is_some_and(|end| end <= start));
    partition.chain.drain(..below).map(|s| DroppedSegment { id: s.id, base_offset: s.base_offset }).collect()
}
