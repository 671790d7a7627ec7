//! The cluster image: what is true of the whole cluster, as of one applied entry.
//!
//! Immutable; changing it makes a new one that shares everything unchanged, so a clone costs a few pointers.
//! Source: design/core.md, "Metadata".
//!
//! Room is left for users, ACLs, lanes, several listeners of a node and tiered objects: they come as further
//! maps here or further fields there, each with a higher level of the encoding (docs/decisions/0004).

use std::collections::BTreeMap;
use std::sync::Arc;

use buslane_wire::ids::{NodeId, TopicId, TopicPartition};
use minicbor::{Decode, Encode};

use crate::partition::PartitionImage;
use crate::quotas::Quotas;

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct TopicImage {
    /// Its id for ever.
    #[cbor(n(0), with = "crate::encoding::ids::topic")]
    pub id: TopicId,
    /// Its name.
    #[n(1)]
    pub name: String,
    /// The settings it sets itself.
    #[n(2)]
    pub config: BTreeMap<String, String>,
    /// Its partitions by index.
    #[cbor(n(3), with = "crate::encoding::shared::vector")]
    pub partitions: imbl::Vector<Arc<PartitionImage>>,
}

impl TopicImage {
    /// The settings it sets itself.
    pub fn config_map(&self) -> BTreeMap<String, String> {
        self.config.clone()
    }

    /// True for the topics that Kafka keeps for itself; it tells them by their names, too.
    pub fn is_internal(&self) -> bool {
        matches!(self.name.as_str(), "__consumer_offsets" | "__transaction_state" | "__share_group_state")
    }
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct NodeImage {
    /// Where clients reach it.
    #[n(0)]
    pub host: String,
    /// And the port.
    #[n(1)]
    pub port: u16,
    /// Its rack.
    #[n(2)]
    pub rack: Option<String>,
    /// Of its store: rises with each start.
    #[n(3)]
    pub incarnation: u64,
}

/// What the cluster does with a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum NodeState {
    /// It may own partitions and store segments.
    #[default]
    #[n(0)]
    Active,
    /// It hands over what it owns and gets nothing new.
    #[n(1)]
    Draining,
    /// It was silent for too long: nothing is its own until it registers anew.
    #[n(2)]
    Fenced,
}

/// See the module's head.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    /// Index of the newest log entry in it; 0 before the first.
    pub version: u64,
    /// The cluster's name for ever, once it has one.
    pub cluster_id: Option<Arc<str>>,
    /// Topics by id.
    pub topics: imbl::OrdMap<TopicId, Arc<TopicImage>>,
    /// Ids by name.
    pub(crate) names: imbl::OrdMap<String, TopicId>,
    /// Nodes by id.
    pub nodes: imbl::OrdMap<NodeId, Arc<NodeImage>>,
    /// Nodes that are not [`NodeState::Active`].
    pub(crate) node_states: imbl::OrdMap<NodeId, NodeState>,
    /// First producer id that was not given out.
    pub next_producer_id: i64,
    /// Levels of the features that were switched on (Kafka's finalized features); 0 is off and absent.
    pub features: imbl::OrdMap<String, u16>,
    /// Client quotas.
    pub quotas: Quotas,
    /// Settings of brokers that were changed while they ran: of one, or (none) of all that have none of their own. Nobody
    /// stands in it without a setting.
    pub broker_configs: imbl::OrdMap<Option<NodeId>, Arc<BTreeMap<String, String>>>,
}

impl Image {
    /// The topic with that id.
    pub fn topic(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(&id)
    }

    /// The topic with that name.
    pub fn topic_named(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.names.get(name).and_then(|id| self.topics.get(id))
    }

    /// That partition.
    pub fn partition(&self, id: TopicPartition) -> Option<&Arc<PartitionImage>> {
        let index = usize::try_from(id.partition).ok()?;
        self.topics.get(&id.topic)?.partitions.get(index)
    }

    /// Every partition.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &Arc<PartitionImage>)> {
        self.topics.values().flat_map(|t| {
            let id = t.id;
            t.partitions
                .iter()
                .enumerate()
                .map(move |(i, p)| (TopicPartition { topic: id, partition: i as i32 }, p))
        })
    }

    /// What the cluster does with a node; `None` for one that never registered.
    pub fn node_state(&self, id: NodeId) -> Option<NodeState> {
        self.nodes.contains_key(&id).then(|| self.node_states.get(&id).copied().unwrap_or_default())
    }

    /// The level of a feature, 0 while it is off.
    pub fn feature(&self, name: &str) -> u16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// Every invariant of every partition; see [`PartitionImage::check`].
    ///
    /// # Panics
    /// When one of them is broken.
    pub fn check(&self) {
        for (_, partition) in self.partitions() {
            partition.check();
        }
        assert_eq!(self.names.len(), self.topics.len(), "each topic has one name");
        for (name, id) in &self.names {
            let there = self.topics.get(id).map(|t| t.name.as_str());
            assert_eq!(there, Some(name.as_str()), "topic {id} is named by another");
        }
        for node in self.node_states.keys() {
            assert!(self.nodes.contains_key(node), "node {node} has a state and never registered");
        }
        assert!(self.next_producer_id >= 0, "producer ids fell to {}", self.next_producer_id);
        for (entity, values) in &self.quotas {
            assert_eq!(entity.check(), Ok(()), "{entity:?}");
            assert!(!values.is_empty(), "{entity:?} has no quota and stands among those who have");
        }
        for (node, settings) in &self.broker_configs {
            assert!(!settings.is_empty(), "{node:?} has no setting and stands among those who have");
            let known = node.is_none_or(|node| self.nodes.contains_key(&node));
            assert!(known, "node {node:?} has settings and never registered");
        }
    }
}
