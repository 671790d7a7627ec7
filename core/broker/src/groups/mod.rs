//! Consumer groups on this node: for each partition of `__consumer_offsets` a shard, a task that owns its groups.
//!
//! The decisions are `buslane-group`'s; here is what it has not: the log that a shard is replayed from and writes to
//! (`log.rs`), time, and the way of requests to shards (`shard.rs`). A group belongs to the partition that Java's hash
//! of its id names, as in Kafka, so that tools that read the topic find it where they look.

mod log;
mod metrics;
mod shard;

use std::collections::HashMap;
use std::sync::Arc;

use buslane_group::Config;
use buslane_group::api::{Reply, Request};
use buslane_group::consumer::{ConsumerGroupConfig, TopicInfo, TopicsView};
use buslane_wire::ErrorCode;
use buslane_wire::ids::TopicId;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::node::Node;
use crate::partitions::{Topic, Topics};
use crate::topics::{self, NewTopic};
use shard::ShardHandle;

/// The topic that groups and their offsets are kept in.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// `offsets.topic.num.partitions`.
const OFFSETS_PARTITIONS: i32 = 50;

/// `offsets.topic.segment.bytes`.
const OFFSETS_SEGMENT_BYTES: i32 = 100 << 20;

/// The shards of this node.
pub struct Groups {
    config: Config,
    clock: Clock,
    shards: Mutex<HashMap<i32, ShardHandle>>,
}

impl Groups {
    /// No shard runs yet: each starts with the first request for it, or with [`Groups::take_up`].
    pub fn new(config: Config, clock: Clock) -> Groups {
        Groups { config, clock, shards: Mutex::default() }
    }

    /// Starts the shards of all partitions, when the topic exists: offsets expire without requests, too.
    pub fn take_up(&self, node: &Arc<Node>) {
        if let Some(topic) = node.topics.load().named(OFFSETS_TOPIC) {
            for index in 0..topic.partitions.len() as i32 {
                self.shard(node, topic, index);
            }
        }
    }

    /// The settings of groups of the consumer protocol.
    pub fn consumer_config(&self) -> &ConsumerGroupConfig {
        &self.config.consumer
    }

    /// Asks the shard of `group`.
    pub async fn ask(&self, node: &Arc<Node>, group: &str, request: Request) -> Reply {
        let topics = node.topics.load_full();
        let Some(topic) = topics.named(OFFSETS_TOPIC) else {
            return request.refuse(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        };
        let index = partition_of(group, topic.partitions.len());
        self.ask_shard(node, topic, index, request).await
    }

    /// Asks one shard of the topic.
    pub async fn ask_shard(&self, node: &Arc<Node>, topic: &Topic, index: i32, request: Request) -> Reply {
        match self.shard(node, topic, index) {
            Some(shard) => shard.ask(request).await,
            None => request.refuse(ErrorCode::NOT_COORDINATOR),
        }
    }

    fn shard(&self, node: &Arc<Node>, topic: &Topic, index: i32) -> Option<ShardHandle> {
        let partition = topic.partition(index)?;
        let mut shards = self.shards.lock();
        if let Some(shard) = shards.get(&index).filter(|shard| shard.serves(partition)) {
            return Some(shard.clone());
        }
        // Of a topic that was deleted and made anew the old shards end by themselves.
        let shard = shard::start(node, partition.clone(), self.config.clone(), self.clock);
        shards.insert(index, shard.clone());
        Some(shard)
    }

    /// Topics are gone: so are the offsets that groups committed for them.
    pub fn topics_deleted(&self, deleted: &[(Arc<str>, TopicId)]) {
        let deleted: Arc<[_]> = deleted.into();
        for shard in self.shards.lock().values() {
            shard.topics_deleted(deleted.clone());
        }
    }

    /// Answers everything that waits, and takes nothing more: the node stops.
    pub fn stop(&self) {
        for (_, shard) in self.shards.lock().drain() {
            shard.stop();
        }
    }
}

/// The partition of `__consumer_offsets` that a group belongs to, of `partitions`.
pub fn partition_of(group: &str, partitions: usize) -> i32 {
    // Java's String.hashCode, over UTF-16; Kafka's Utils.abs drops the sign bit.
    let hash =
        group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % (partitions.max(1) as i32)
}

/// The topic, made when it is missing.
pub async fn offsets_topic(node: &Arc<Node>) -> Result<Arc<Topic>, ErrorCode> {
    if let Some(topic) = node.topics.load().named(OFFSETS_TOPIC) {
        return Ok(topic.clone());
    }
    let wanted = NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: Some(OFFSETS_PARTITIONS),
        replicas: None,
        assignments: Vec::new(),
        // Offsets expire by the groups' rules, not by age.
        configs: [
            ("cleanup.policy", "compact".to_owned()),
            ("retention.ms", "-1".to_owned()),
            ("segment.bytes", OFFSETS_SEGMENT_BYTES.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), Some(value)))
        .into(),
    };
    let created = topics::create(node, &[wanted], false).await;
    node.groups.take_up(node);
    let topic = node.topics.load().named(OFFSETS_TOPIC).cloned();
    topic.ok_or_else(|| {
        // Somebody else makes it at this moment: the client asks again.
        if let Some(Err(refused)) = created.first()
            && refused.code != ErrorCode::TOPIC_ALREADY_EXISTS
        {
            tracing::error!(reason = refused.message, "{OFFSETS_TOPIC} cannot be created");
        }
        ErrorCode::COORDINATOR_NOT_AVAILABLE
    })
}

/// The topics at one moment, as groups see them.
pub struct TopicsSeen(pub Arc<Topics>);

impl TopicsView for TopicsSeen {
    fn version(&self) -> u64 {
        self.0.version()
    }

    fn by_name(&self, name: &str) -> Option<TopicInfo> {
        let topic = self.0.named(name)?;
        Some(TopicInfo { id: topic.id, partitions: topic.partitions.len() as i32 })
    }

    fn name_of(&self, id: TopicId) -> Option<&str> {
        self.0.with_id(id).map(|topic| &*topic.name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.iter().map(|topic| &*topic.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_belongs_where_java_puts_it() {
        // From `(group.hashCode() & 0x7fffffff) % 50` in Java.
        let of_java =
            [("", 0), ("a", 47), ("group", 47), ("полёт", 11), ("polygenelubricants", 0), ("g😀", 32)];
        for (group, partition) in of_java {
            assert_eq!(partition_of(group, 50), partition, "{group}");
        }
    }
}
