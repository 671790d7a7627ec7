//! The partitions of this node, and the table by which requests find them.

mod actions;
mod metrics;
mod owner_pool;
mod partition;
mod read;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;

use buslane_log::Store;
use buslane_meta::{Consensus, DroppedSegment, PartitionImage};
use buslane_partition::{ChainView, OpenView};
use buslane_wire::ids::{LeaderEpoch, NodeId, SegmentRef, TopicId, TopicPartition};
use prometheus_client::metrics::counter::Counter;

pub use metrics::PartitionMetrics;
pub use owner_pool::OwnerPool;
pub use partition::{AppendRefused, Batch, NotReadable, Offsets, Partition, Ticket};
pub use read::{ReadRefused, Sought};
pub use waiting::{Acks, Appended, FetchWait, Waiting};

use crate::clock::Clock;
use crate::scrub::DamageTable;
use crate::topic_config::TopicConfig;

/// What every partition of a node shares.
pub struct Context {
    /// This node.
    pub me: NodeId,
    /// Its store.
    pub store: Store,
    /// The cluster's metadata.
    pub consensus: Arc<dyn Consensus>,
    /// The clock.
    pub clock: Clock,
    /// What the scrub found damaged on this store.
    pub damage: DamageTable,
    /// Where tasks and blocking work run.
    pub runtime: tokio::runtime::Handle,
    /// Where owners' work on the disk runs.
    pub owners: OwnerPool,
    /// What waits at its partitions.
    pub waiting: Waiting,
    /// Losses recorded since the start.
    pub losses: Counter,
    /// A segment that nothing was written to for this long is sealed.
    pub segment_idle_ms: i64,
    /// `producer.id.expiration.ms`.
    pub producer_expiry_ms: i64,
}

impl Context {
    /// The chain has sealed a segment: the journal need not know of its copy any more. Only a note: the first load of the
    /// segment does the same.
    pub fn settle(self: &Arc<Self>, segment: SegmentRef) {
        let context = self.clone();
        drop(self.runtime.spawn_blocking(move || context.store.settle(&segment)));
    }

    /// Removes the copies of segments that left a chain. Their going is durable in the metadata by now
    /// (DurableBeforeDelete); a file that cannot be removed is an orphan at the next start.
    pub fn remove_dropped(self: &Arc<Self>, partition: TopicPartition, dropped: Vec<DroppedSegment>) {
        if dropped.is_empty() {
            return;
        }
        let context = self.clone();
        drop(self.runtime.spawn_blocking(move || {
            for segment in dropped {
                let reference = SegmentRef { partition, segment: segment.id };
                if let Err(error) = context.store.delete(&reference, segment.base_offset) {
                    tracing::warn!(%error, segment = %reference, "file not removed; it goes after the next start");
                }
            }
        }));
    }
}

/// A topic as requests see it.
#[derive(Debug)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: Arc<str>,
    /// Its settings in force.
    pub config: Arc<TopicConfig>,
    /// Its partitions by index.
    pub partitions: Vec<Arc<Partition>>,
}

impl Topic {
    /// The partition of that index.
    pub fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        usize::try_from(index).ok().and_then(|i| self.partitions.get(i))
    }
}

/// All topics; replaced as a whole when one changes.
#[derive(Debug, Default, Clone)]
pub struct Topics {
    version: u64,
    by_name: HashMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
}

impl Topics {
    /// Rises with each change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// By name.
    pub fn named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// By id.
    pub fn with_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// In no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_id.values()
    }

    /// Enters a topic, or replaces it.
    pub fn insert(&mut self, topic: Arc<Topic>) {
        self.version += 1;
        self.by_name.insert(topic.name.clone(), topic.clone());
        self.by_id.insert(topic.id, topic);
    }

    /// Takes a topic out.
    pub fn remove(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        self.version += 1;
        // The name may be a newer topic's by now.
        if self.by_name.get(&topic.name).is_some_and(|t| t.id == id) {
            self.by_name.remove(&topic.name);
        }
        Some(topic)
    }
}

/// What an owner sees of a partition's image.
pub(crate) fn chain_view(partition: &PartitionImage) -> ChainView {
    ChainView {
        epoch: partition.epoch,
        sealed_end_offset: partition.sealed_end_offset,
        log_start_offset: partition.log_start_offset,
        open: partition.open_segment().map(|s| OpenView {
            segment: s.id,
            base_offset: s.base_offset,
            epoch: s.epoch,
            stores: s.stores.clone(),
            durability: s.durability,
        }),
    }
}

/// What an owner sees of a partition that was deleted: it is fenced.
fn gone(epoch: LeaderEpoch) -> ChainView {
    ChainView {
        epoch: LeaderEpoch(epoch.0.saturating_add(1)),
        sealed_end_offset: 0,
        log_start_offset: 0,
        open: None,
    }
}

#[cfg(test)]
mod tests;
