//! The open segment seen by its owner: what was appended, what each store confirmed, what is committed.

use buslane_wire::ids::{Durability, NodeId, SegmentId};

use crate::Millis;

/// Owner side of one partition's open segment. Owns the committed offset while the segment is open; does not own any
/// file.
#[derive(Clone, Debug)]
pub struct SegmentWriter {
    segment: SegmentId,
    base_offset: i64,
    durability: Durability,
    /// End of what was handed to the stores, exclusive.
    appended_offset: i64,
    /// Bytes of the segment up to `appended_offset`.
    appended_bytes: u64,
    /// What each store of the set confirmed, exclusive. A lost store stays in the list (the full set is what
    /// acknowledgements are counted over until the seal is committed: NoAckInFlight).
    confirmed: Vec<(NodeId, i64)>,
    lost: Vec<NodeId>,
    committed_offset: i64,
    opened_ms: Millis,
    appended_ms: Millis,
    /// Bytes at the last producer checkpoint.
    checkpoint_bytes: u64,
}

impl SegmentWriter {
    /// A segment just opened on `stores`, empty.
    pub fn new(
        now_ms: Millis,
        segment: SegmentId,
        base_offset: i64,
        durability: Durability,
        stores: &[NodeId],
    ) -> SegmentWriter {
        assert!(!stores.is_empty(), "segment {segment} opened without a store");
        SegmentWriter {
            segment,
            base_offset,
            durability,
            appended_offset: base_offset,
            appended_bytes: 0,
            confirmed: stores.iter().map(|s| (*s, base_offset)).collect(),
            lost: Vec::new(),
            committed_offset: base_offset,
            opened_ms: now_ms,
            appended_ms: now_ms,
            checkpoint_bytes: 0,
        }
    }

    /// The segment.
    pub fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Offset of its first record.
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Durability fixed at its opening.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Log end offset: the next batch's base offset.
    pub fn appended_offset(&self) -> i64 {
        self.appended_offset
    }

    /// Bytes appended.
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// Everything below is confirmed by every store of the segment.
    pub fn committed_offset(&self) -> i64 {
        self.committed_offset
    }

    /// Everything below is confirmed by at least one store: what acks=1 waits for.
    pub fn first_confirmed_offset(&self) -> i64 {
        self.confirmed.iter().map(|(_, end)| *end).max().unwrap_or(self.base_offset)
    }

    /// When it was opened and last appended to.
    pub fn ages(&self) -> (Millis, Millis) {
        (self.opened_ms, self.appended_ms)
    }

    /// The stores of the set that are not lost.
    pub fn surviving(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.confirmed.iter().map(|(node, _)| *node).filter(|n| !self.lost.contains(n))
    }

    /// True when a store of the set is lost: the segment is to be sealed at the next append.
    pub fn is_degraded(&self) -> bool {
        !self.lost.is_empty()
    }

    /// A batch was handed to the stores.
    pub fn on_appended(&mut self, now_ms: Millis, end_offset: i64, bytes: u64) {
        assert!(
            end_offset > self.appended_offset,
            "append ends at {end_offset}, log at {}",
            self.appended_offset
        );
        self.appended_offset = end_offset;
        self.appended_bytes += bytes;
        self.appended_ms = now_ms;
    }

    /// A store confirms every record below `end_offset`. Returns the new committed offset when it advanced.
    pub fn on_confirmed(&mut self, node: NodeId, end_offset: i64) -> Option<i64> {
        assert!(
            end_offset <= self.appended_offset,
            "store {node} confirms {end_offset}, beyond the appended {}",
            self.appended_offset
        );
        let entry = self.confirmed.iter_mut().find(|(n, _)| *n == node)?;
        if self.lost.contains(&node) || end_offset <= entry.1 {
            return None;
        }
        entry.1 = end_offset;
        // CommittedOnly: the minimum over the full set, lost stores included; it never moves back.
        let all = self.confirmed.iter().map(|(_, end)| *end).min().expect("the set is not empty");
        if all <= self.committed_offset {
            return None;
        }
        self.committed_offset = all;
        Some(all)
    }

    /// A store is lost to this segment for good: it erred, restarted or is too slow. True when it was of the set and
    /// not lost before.
    pub fn on_lost(&mut self, node: NodeId) -> bool {
        if self.lost.contains(&node) || !self.confirmed.iter().any(|(n, _)| *n == node) {
            return false;
        }
        self.lost.push(node);
        true
    }

    /// True (once) each time another `every` bytes were appended since the last producer checkpoint.
    pub fn checkpoint_due(&mut self, every: u64) -> bool {
        let due = self.appended_bytes - self.checkpoint_bytes >= every;
        if due {
            self.checkpoint_bytes = self.appended_bytes;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn writer() -> SegmentWriter {
        SegmentWriter::new(0, SegmentId(7), 100, Durability::Replicated, &[A, B])
    }

    #[test]
    fn committed_is_what_every_store_confirmed() {
        let mut w = writer();
        w.on_appended(1, 110, 500);
        assert_eq!(w.on_confirmed(A, 110), None);
        assert_eq!(w.first_confirmed_offset(), 110);
        assert_eq!(w.on_confirmed(B, 105), Some(105));
        assert_eq!(w.on_confirmed(B, 110), Some(110));
        assert_eq!(w.on_confirmed(B, 108), None, "confirmations never move back");
        assert_eq!(w.committed_offset(), 110);
    }

    #[test]
    fn a_lost_store_holds_the_committed_offset_until_the_seal() {
        let mut w = writer();
        w.on_appended(1, 110, 500);
        assert!(w.on_lost(B));
        assert!(!w.on_lost(B));
        assert!(!w.on_lost(NodeId(9)));
        assert_eq!(w.on_confirmed(A, 110), None);
        assert_eq!(w.on_confirmed(B, 110), None, "a lost store's late confirmation counts for nothing");
        assert_eq!(w.committed_offset(), 100);
        assert_eq!(w.surviving().collect::<Vec<_>>(), [A]);
    }

    #[test]
    fn a_producer_checkpoint_is_due_once_per_step() {
        let mut w = writer();
        w.on_appended(1, 101, 60);
        assert!(!w.checkpoint_due(100));
        w.on_appended(1, 102, 60);
        assert!(w.checkpoint_due(100));
        assert!(!w.checkpoint_due(100));
    }

    #[test]
    #[should_panic(expected = "beyond the appended")]
    fn a_confirmation_beyond_the_appended_end_is_our_fault() {
        writer().on_confirmed(A, 101);
    }
}
