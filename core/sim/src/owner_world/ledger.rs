//! What was acknowledged, and which losses the faults explain.

use std::collections::{BTreeMap, BTreeSet};

use buslane_log::OpenReport;
use buslane_meta::Image;
use buslane_wire::ids::{Durability, NodeId, SegmentId, SegmentRef, TopicPartition};

use crate::batches::Producer;
use crate::violation::{Violation, ensure, names};

/// A batch that was acknowledged with acks=all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Acknowledged {
    pub(super) base_offset: i64,
    pub(super) end_offset: i64,
    pub(super) producer: Producer,
}

/// A segment that is open, or being opened.
#[derive(Clone, Debug)]
struct Open {
    base_offset: i64,
    stores: Vec<NodeId>,
    durability: Durability,
    /// Stores that lost power, not after a clean stop, while it was open.
    doubtful: BTreeSet<NodeId>,
    /// The metadata knew it open.
    opened: bool,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    acknowledged: BTreeMap<TopicPartition, Vec<Acknowledged>>,
    /// The bytes of each batch as they were placed.
    placed: BTreeMap<(SegmentRef, i64), Vec<u8>>,
    open: BTreeMap<SegmentRef, Open>,
    /// What each store confirmed: end offset of the segment.
    confirmed: BTreeMap<(SegmentRef, NodeId), i64>,
    committed: BTreeMap<TopicPartition, i64>,
    incarnations: BTreeMap<NodeId, u64>,
    /// Version of the newest answered metadata.
    version: u64,
    lossy: BTreeSet<TopicPartition>,
    /// Acknowledged batches gone in recorded losses.
    pub(super) lost: u64,
    /// Losses recorded.
    pub(super) losses: u64,
}

impl Ledger {
    pub(super) fn power_cut(&mut self, node: NodeId) {
        for open in self.open.values_mut() {
            open.doubtful.insert(node);
        }
    }

    pub(super) fn started(&mut self, node: NodeId, report: &OpenReport) -> Result<(), Violation> {
        let last = self.incarnations.insert(node, report.incarnation).unwrap_or(0);
        let got = report.incarnation;
        ensure!(got > last, names::INCARNATION_RISES, "store {node}: incarnation {got} after {last}");
        Ok(())
    }

    /// The metadata was opened again.
    pub(super) fn metadata_found(&mut self, image: &Image) -> Result<(), Violation> {
        let (found, answered) = (image.version, self.version);
        ensure!(found >= answered, names::COMMAND_SURVIVES, "metadata of {found}, answered {answered}");
        self.follow(image)
    }

    /// Copies are about to be made: from now on a power cut counts against them.
    pub(super) fn opens(
        &mut self,
        segment: SegmentRef,
        base_offset: i64,
        node: NodeId,
        durability: Durability,
    ) {
        let open = self.open.entry(segment).or_insert(Open {
            base_offset,
            stores: Vec::new(),
            durability,
            doubtful: BTreeSet::new(),
            opened: false,
        });
        open.stores.push(node);
    }

    /// The metadata as it is now: which segments it opened and sealed since.
    pub(super) fn follow(&mut self, image: &Image) -> Result<(), Violation> {
        self.version = self.version.max(image.version);
        for (partition, state) in image.partitions() {
            let known: Vec<SegmentRef> =
                self.open.keys().copied().filter(|segment| segment.partition == partition).collect();
            for segment in known {
                let in_chain = state.chain.iter().find(|s| s.id == segment.segment);
                let open = self.open.get_mut(&segment).expect("it was just listed");
                let end = match in_chain {
                    // Those that failed to make a copy are not in the set.
                    Some(found) if found.end_offset().is_none() => {
                        open.stores.clone_from(&found.stores);
                        open.opened = true;
                        continue;
                    }
                    Some(found) => found.end_offset().expect("it is sealed"),
                    // It left the chain empty.
                    None if open.opened => open.base_offset,
                    None => continue,
                };
                let epoch = (segment.segment.0 >> 32) as i32;
                let loss = state.losses.iter().any(|l| (l.epoch.0, l.end_offset) == (epoch, end));
                self.sealed(segment, end, loss)?;
            }
        }
        Ok(())
    }

    pub(super) fn place(&mut self, segment: SegmentRef, base_offset: i64, bytes: Vec<u8>) {
        let before = self.placed.insert((segment, base_offset), bytes);
        assert!(before.is_none(), "{segment}: two batches were placed at {base_offset}");
    }

    pub(super) fn placed(&self, segment: SegmentRef, base_offset: i64) -> Option<&Vec<u8>> {
        self.placed.get(&(segment, base_offset))
    }

    pub(super) fn confirms(&mut self, segment: SegmentRef, node: NodeId, end_offset: i64) {
        let confirmed = self.confirmed.entry((segment, node)).or_default();
        *confirmed = (*confirmed).max(end_offset);
    }

    /// An owner of the newest epoch says that everything below is committed.
    pub(super) fn committed(&mut self, partition: TopicPartition, offset: i64) -> Result<(), Violation> {
        let before = self.committed.entry(partition).or_default();
        ensure!(
            offset >= *before,
            names::COMMITTED_ONLY,
            "{partition}: committed {offset}, after {before} without a recorded loss"
        );
        *before = offset;
        Ok(())
    }

    /// The owner counts a batch as stored by all. It lies in the open segment, and every store of it has confirmed it,
    /// or in one that is sealed beyond it.
    pub(super) fn acknowledge(
        &mut self,
        partition: TopicPartition,
        batch: Acknowledged,
        sealed_end_offset: i64,
        open: Option<SegmentId>,
    ) -> Result<(), Violation> {
        if batch.end_offset > sealed_end_offset {
            let held = open.and_then(|segment| {
                let segment = SegmentRef { partition, segment };
                let stores = &self.open.get(&segment)?.stores;
                Some(stores.iter().all(|node| {
                    self.confirmed.get(&(segment, *node)).is_some_and(|end| *end >= batch.end_offset)
                }))
            });
            ensure!(
                held == Some(true),
                names::NO_ACK_IN_FLIGHT,
                "{partition}: {batch:?} is acknowledged, sealed up to {sealed_end_offset}; all stores of the open \
                 segment {open:?} confirmed it: {held:?}"
            );
        }
        self.acknowledged.entry(partition).or_default().push(batch);
        Ok(())
    }

    /// A seal is in the metadata. What it gives up of what was acknowledged leaves the ledger, when it is recorded and the
    /// faults explain it.
    fn sealed(&mut self, segment: SegmentRef, end_offset: i64, loss: bool) -> Result<(), Violation> {
        let open = self.open.remove(&segment).expect("the caller found it");
        let partition = segment.partition;
        let acknowledged = self.acknowledged.entry(partition).or_default();
        let beyond = acknowledged.iter().filter(|batch| batch.end_offset > end_offset).count();
        ensure!(
            beyond == 0 || loss,
            names::SEAL_COVERS_ACKS,
            "{segment} is sealed at {end_offset} without a loss, {beyond} acknowledged batches lie beyond"
        );
        let explained = open.stores.iter().all(|store| open.doubtful.contains(store));
        ensure!(
            !loss || explained,
            names::PROMISED,
            "{segment}: a loss is recorded at {end_offset}, but of {:?} only {:?} lost power",
            open.stores,
            open.doubtful
        );
        ensure!(
            beyond == 0 || open.durability == Durability::Replicated,
            names::PROMISED,
            "{segment}: {beyond} batches acknowledged as synced are gone"
        );
        acknowledged.retain(|batch| batch.end_offset <= end_offset);
        self.lost += beyond as u64;
        if loss {
            self.losses += 1;
            let committed = self.committed.entry(partition).or_default();
            *committed = (*committed).min(end_offset);
            self.lossy.insert(partition);
        }
        Ok(())
    }

    /// Something was lost here: producers' sequences may be unknown.
    pub(super) fn is_lossy(&self, partition: TopicPartition) -> bool {
        self.lossy.contains(&partition)
    }

    pub(super) fn all_acknowledged(&self, partition: TopicPartition) -> Vec<Acknowledged> {
        self.acknowledged.get(&partition).cloned().unwrap_or_default()
    }
}
