//! Groups as `/metrics` shows them: members, committed offsets, lag. Gathered when somebody asks, so that a broker with many
//! groups pays for it then only.

use std::sync::Arc;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Groups;
use crate::metrics;
use crate::node::Node;

/// What a shard has, at one moment.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Group, type, state, number of members.
    pub groups: Vec<(Arc<str>, &'static str, &'static str, usize)>,
    /// Group, topic, partition, committed offset.
    pub offsets: Vec<(Arc<str>, Arc<str>, i32, i64)>,
}

type Labels = Vec<(&'static str, String)>;

impl Groups {
    /// The groups of this node in the text of `/metrics`, its end mark included. Shards that are being loaded are left out.
    pub async fn metrics(&self, node: &Node) -> String {
        let (members, offsets, lags) = (
            Family::<Labels, Gauge>::default(),
            Family::<Labels, Gauge>::default(),
            Family::<Labels, Gauge>::default(),
        );
        let shards: Vec<_> = self.shards.lock().values().cloned().collect();
        let topics = node.topics.load_full();
        for shard in shards {
            let Some(seen) = shard.look().await else { continue };
            for (group, group_type, state, count) in seen.groups {
                let labels = vec![
                    ("group", group.to_string()),
                    ("type", group_type.to_owned()),
                    ("state", state.to_owned()),
                ];
                members.get_or_create(&labels).set(count as i64);
            }
            for (group, topic, partition, offset) in seen.offsets {
                let labels = vec![
                    ("group", group.to_string()),
                    ("topic", topic.to_string()),
                    ("partition", partition.to_string()),
                ];
                offsets.get_or_create(&labels).set(offset);
                let end =
                    topics.named(&topic).and_then(|t| t.partition(partition)).and_then(|p| p.offsets().ok());
                if let Some(end) = end {
                    // An offset beyond the end is what a loss leaves, or a client that commits what it likes.
                    lags.get_or_create(&labels).set((end.high_watermark - offset).max(0));
                }
            }
        }
        let mut registry = metrics::registry();
        registry.register("group_members", "Members of a consumer group, by its state", members);
        registry.register("group_offset", "Committed offset: the next one to read", offsets);
        registry.register("group_lag", "Records between the committed offset and the high watermark", lags);
        metrics::text(&registry)
    }
}
