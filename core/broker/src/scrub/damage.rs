//! What is known to be damaged, and what may be read beside it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use buslane_log::DamagedRange;
use buslane_wire::ids::SegmentRef;
use parking_lot::RwLock;

/// A fetch would read bytes that are known to be false.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: damaged at byte {}: {}; bring the file back from another copy or a backup", .0.file.display(), .0.position, .0.what)]
pub struct Refused(DamagedRange);

/// The damaged ranges of all segments on this store.
#[derive(Debug, Default)]
pub struct DamageTable {
    segments: RwLock<HashMap<SegmentRef, Arc<[DamagedRange]>>>,
}

impl DamageTable {
    /// How far a read of a segment may go that starts at `from`, and below `below`; both are offsets.
    pub fn readable_below(&self, segment: &SegmentRef, from: i64, below: i64) -> Result<i64, Refused> {
        let Some(ranges) = self.segments.read().get(segment).cloned() else { return Ok(below) };
        // Ranges come in the order of the log and do not touch.
        match ranges.iter().find(|range| range.end_offset > from) {
            Some(range) if range.base_offset <= from => Err(Refused(range.clone())),
            Some(range) => Ok(below.min(range.base_offset)),
            None => Ok(below),
        }
    }

    /// Whether a search of a segment's records from `from` on may answer `found` (`None`: no such record is there): what
    /// it was looking for could stand in a damaged range that it passed.
    pub fn searched(&self, segment: &SegmentRef, from: i64, found: Option<i64>) -> Result<(), Refused> {
        let Some(ranges) = self.segments.read().get(segment).cloned() else { return Ok(()) };
        let passed = |range: &&DamagedRange| {
            range.end_offset > from && found.is_none_or(|offset| range.base_offset <= offset)
        };
        ranges.iter().find(passed).map_or(Ok(()), |range| Err(Refused(range.clone())))
    }

    /// The parts of `offsets` in a segment that are not damaged, in order.
    pub fn sound(&self, segment: &SegmentRef, offsets: Range<i64>) -> Vec<Range<i64>> {
        let ranges = self.segments.read().get(segment).cloned().unwrap_or_default();
        let mut parts = Vec::new();
        let mut from = offsets.start;
        for range in ranges.iter() {
            parts.push(from..range.base_offset.min(offsets.end));
            from = from.max(range.end_offset);
        }
        parts.push(from..offsets.end);
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// Number of segments with damage.
    pub fn segments(&self) -> usize {
        self.segments.read().len()
    }

    /// Takes what a scrub found in place of what an earlier one found, which is returned.
    pub(super) fn replace(&self, segment: SegmentRef, found: Vec<DamagedRange>) -> Arc<[DamagedRange]> {
        let mut segments = self.segments.write();
        let before =
            if found.is_empty() { segments.remove(&segment) } else { segments.insert(segment, found.into()) };
        before.unwrap_or_default()
    }

    /// Forgets segments that are no longer there.
    pub(super) fn retain(&self, keep: impl Fn(&SegmentRef) -> bool) {
        self.segments.write().retain(|segment, _| keep(segment));
    }
}

#[cfg(test)]
mod tests {
    use buslane_wire::ids::SegmentId;

    use super::*;

    #[test]
    fn reads_stop_before_damage_and_go_on_behind_it() {
        let range = |base_offset, end_offset| DamagedRange {
            file: "f".into(),
            position: 0,
            end_position: 1,
            base_offset,
            end_offset,
            what: "wrong".into(),
        };
        let (table, segment) = (DamageTable::default(), SegmentRef::default());
        assert_eq!(table.readable_below(&segment, 0, 100), Ok(100));
        assert!(table.replace(segment, vec![range(10, 20), range(50, 60)]).is_empty());
        for (from, right) in
            [(0, Some(10)), (9, Some(10)), (10, None), (19, None), (20, Some(50)), (60, Some(100))]
        {
            assert_eq!(table.readable_below(&segment, from, 100).ok(), right, "from {from}");
        }
        assert_eq!(table.readable_below(&segment, 0, 5), Ok(5));
        for (from, found, right) in [
            (0, Some(9), true),
            (0, Some(10), false),
            (0, Some(30), false),
            (20, Some(30), true),
            (20, Some(49), true),
            (20, None, false),
            (60, None, true),
        ] {
            assert_eq!(table.searched(&segment, from, found).is_ok(), right, "from {from}, found {found:?}");
        }
        let sound = |from, below| table.sound(&segment, from..below);
        assert_eq!(sound(0, 100), [0..10, 20..50, 60..100]);
        assert_eq!(sound(15, 55), vec![20..50]);
        assert_eq!(sound(25, 30), vec![25..30]);
        assert_eq!((sound(10, 20), sound(70, 70)), (vec![], vec![]));
        assert_eq!(
            table.sound(&SegmentRef { partition: segment.partition, segment: SegmentId(9) }, 3..5),
            vec![3..5]
        );
        assert_eq!((table.segments(), table.replace(segment, vec![]).len(), table.segments()), (1, 2, 0));
    }
}
