//! What is known to be damaged, and what a fetch may read beside it.

use std::collections::HashMap;
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
        assert_eq!((table.segments(), table.replace(segment, vec![]).len(), table.segments()), (1, 2, 0));
    }
}
