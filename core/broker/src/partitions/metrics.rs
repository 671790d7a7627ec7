//! The partitions as `/metrics` shows them: how many are not served and which, and what is known to be lost. Gathered when
//! somebody asks; a partition has a line of its own only while it is not well.

use std::fmt;
use std::sync::{Arc, OnceLock};

use buslane_partition::Phase;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::node::Node;

/// The partitions of one node, once it is there.
#[derive(Clone, Default)]
pub struct PartitionMetrics {
    node: Arc<OnceLock<Arc<Node>>>,
}

impl PartitionMetrics {
    /// Makes them known to a registry.
    pub fn register(registry: &mut Registry) -> PartitionMetrics {
        let m = PartitionMetrics::default();
        registry.register_collector(Box::new(m.clone()));
        m
    }

    /// From now on these are the node's partitions.
    pub fn of(&self, node: Arc<Node>) {
        assert!(self.node.set(node).is_ok(), "metrics are of one node");
    }
}

impl fmt::Debug for PartitionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionMetrics").field("served", &self.node.get().is_some()).finish()
    }
}

/// A topic, an index, and what is told of that partition.
type Told = (Arc<str>, i32, i64);

impl Collector for PartitionMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Some(node) = self.node.get() else { return Ok(()) };
        let (mut here, mut recovering) = (0, 0);
        let (mut offline, mut losses) = (Vec::<Told>::new(), Vec::<Told>::new());
        let image = node.consensus.image();
        for topic in node.topics.load().iter() {
            let images = image.topic(topic.id).map(|t| &t.partitions);
            for partition in &topic.partitions {
                let index = partition.id.partition;
                here += 1;
                if partition.offline().is_some() {
                    offline.push((topic.name.clone(), index, 1));
                } else if partition.phase() == Phase::Recovering {
                    recovering += 1;
                }
                let recorded =
                    images.and_then(|images| images.get(index as usize)).map_or(0, |p| p.losses.len());
                if recorded > 0 {
                    losses.push((topic.name.clone(), index, recorded as i64));
                }
            }
        }
        let counts = [
            ("partitions", "Partitions of this node", here),
            ("partitions_recovering", "Partitions whose end is being found out: not served yet", recovering),
            (
                "partitions_offline",
                "Partitions that cannot be read or written; the log says why",
                offline.len() as i64,
            ),
        ];
        for (name, help, count) in counts {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(count).encode(encoder)?;
        }
        let told = [
            ("partition_offline", "1 for each partition that cannot be read or written", offline),
            (
                "partition_losses",
                "Recorded losses of a partition, until its log start has passed them",
                losses,
            ),
        ];
        for (name, help, partitions) in told.into_iter().filter(|(.., partitions)| !partitions.is_empty()) {
            let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (topic, index, value) in partitions {
                let labels = [("topic", topic.to_string()), ("partition", index.to_string())];
                ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
            }
        }
        let encoder = encoder.encode_descriptor(
            "losses",
            "Losses recorded since the start: acknowledged records may be gone; the log says which",
            None,
            MetricType::Counter,
        )?;
        node.context.losses.encode(encoder)
    }
}
