//! The broker's own settings in Kafka's names and units, as DescribeConfigs tells them. Settings that are defaults of
//! topics are told from `topic_config`.

use std::time::Duration;

use buslane_wire::ids::NodeId;

use crate::config::{ServerConfig, TopicsSection};
use crate::topic_config::ValueType;

/// One setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerSetting {
    /// Kafka's name.
    pub name: &'static str,
    /// In Kafka's unit.
    pub value: String,
    /// How the value is written.
    pub value_type: ValueType,
    /// Somebody set it. A value that was written out and is the default counts as the default.
    pub is_set: bool,
    /// The value when nobody sets it, unless each broker has its own.
    pub default: Option<String>,
    /// For people.
    pub doc: &'static str,
}

const ADVERTISED: &str = "advertised.listeners";
const NODE_ID: &str = "node.id";

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// All of them, sorted by name.
pub fn of(config: &ServerConfig) -> Vec<BrokerSetting> {
    let defaults = values(&ServerConfig::default());
    values(config)
        .into_iter()
        .zip(defaults)
        .map(|((name, value_type, value, doc), (_, _, default, _))| {
            let (is_set, default) = match name {
                // Follows from others when it is not set.
                ADVERTISED => (config.server.advertise.0.is_some(), None),
                NODE_ID => (config.server.node_id.0.is_some(), None),
                _ => (value != default, Some(default)),
            };
            BrokerSetting { name, value, value_type, is_set, default, doc }
        })
        .collect()
}

/// Enters the node's id, which is known once the data folder is open.
pub fn with_node_id(mut settings: Vec<BrokerSetting>, id: NodeId) -> Vec<BrokerSetting> {
    for setting in settings.iter_mut().filter(|setting| setting.name == NODE_ID) {
        setting.value = id.to_string();
    }
    settings
}

fn values(config: &ServerConfig) -> Vec<(&'static str, ValueType, String, &'static str)> {
    use ValueType::{Boolean, Double, Int, List, Long, String as Text};
    let ServerConfig { server, limits, topics, groups, compaction, .. } = config;
    let TopicsSection { auto_create, partitions, replication, .. } = topics;
    let node_id = server.node_id.0.map_or("-1".to_owned(), |id| id.to_string());
    let advertised = server.advertise.0.as_ref().map_or_else(
        || format!("PLAINTEXT://{}", server.listen),
        |a| format!("PLAINTEXT://{}:{}", a.host, a.port),
    );
    let memory = limits.memory.0.map_or("-1".to_owned(), |m| m.0.to_string());
    vec![
        (ADVERTISED, List, advertised, "Where clients are told to connect."),
        ("auto.create.topics.enable", Boolean, auto_create.to_string(), "Topics are created when asked for."),
        (
            "connections.max.idle.ms",
            Long,
            millis(limits.idle),
            "A connection that does nothing is closed after this.",
        ),
        ("default.replication.factor", Int, replication.to_string(), "Copies of a new topic's partitions."),
        ("fetch.max.bytes", Int, topics.fetch_max.0.to_string(), "Bytes of records in one fetch response."),
        (
            "group.consumer.assignment.interval.ms",
            Int,
            millis(groups.consumer_assignment_interval),
            "Shortest time between two new assignments.",
        ),
        (
            "group.consumer.assignors",
            List,
            groups.consumer_assignors.joined(),
            "Assignors that members may ask for.",
        ),
        (
            "group.consumer.heartbeat.interval.ms",
            Int,
            millis(groups.consumer_heartbeat_interval),
            "How often members are told to send heartbeats.",
        ),
        (
            "group.consumer.max.size",
            Int,
            groups.consumer_size_max.to_string(),
            "Members of a group, at most.",
        ),
        (
            "group.consumer.migration.policy",
            Text,
            groups.consumer_migration.as_str().to_owned(),
            "Which way a group may change its protocol.",
        ),
        (
            "group.consumer.regex.refresh.interval.ms",
            Int,
            millis(groups.consumer_regex_refresh),
            "How often patterns are resolved anew.",
        ),
        (
            "group.consumer.session.timeout.ms",
            Int,
            millis(groups.consumer_session_timeout),
            "Silence after which a member is removed.",
        ),
        (
            "group.initial.rebalance.delay.ms",
            Int,
            millis(groups.initial_rebalance_delay),
            "How long an empty classic group waits for members.",
        ),
        (
            "group.max.session.timeout.ms",
            Int,
            millis(groups.session_timeout_max),
            "Longest session of a classic member.",
        ),
        ("group.max.size", Int, groups.size_max.to_string(), "Members of a classic group, at most."),
        (
            "group.min.session.timeout.ms",
            Int,
            millis(groups.session_timeout_min),
            "Shortest session of a classic member.",
        ),
        ("listeners", List, format!("PLAINTEXT://{}", server.listen), "Where the broker listens."),
        (
            "log.cleaner.backoff.ms",
            Long,
            millis(compaction.check),
            "Pause between two looks at what is to be compacted.",
        ),
        (
            "log.cleaner.dedupe.buffer.size",
            Long,
            compaction.memory.0.to_string(),
            "Memory for the keys of a compaction.",
        ),
        (
            "log.cleaner.io.max.bytes.per.second",
            Double,
            compaction.rate.0.to_string(),
            "Bytes a second that are read for compaction, at most.",
        ),
        ("log.dirs", Text, server.data.display().to_string(), "Folder of all data."),
        (
            "log.retention.check.interval.ms",
            Long,
            millis(topics.retention_check),
            "How often old segments are looked for.",
        ),
        ("max.connections", Int, limits.connections.to_string(), "Connections in all."),
        (
            "max.connections.per.ip",
            Int,
            limits.connections_per_address.to_string(),
            "Connections from one address.",
        ),
        (NODE_ID, Int, node_id, "Number of this node."),
        ("num.partitions", Int, partitions.to_string(), "Partitions of a new topic."),
        (
            "offset.metadata.max.bytes",
            Int,
            groups.offset_metadata_max.0.to_string(),
            "Longest text of a committed offset.",
        ),
        (
            "offsets.retention.check.interval.ms",
            Long,
            millis(groups.offsets_retention_check),
            "How often expired offsets are looked for.",
        ),
        (
            "offsets.retention.minutes",
            Int,
            groups.offsets_retention.as_secs().div_ceil(60).to_string(),
            "When offsets that nobody uses are dropped.",
        ),
        (
            "producer.id.expiration.ms",
            Int,
            millis(topics.producer_expiry),
            "When a silent producer is forgotten.",
        ),
        (
            "queued.max.request.bytes",
            Long,
            memory,
            "All request and response bytes in memory; -1: by the machine.",
        ),
        ("socket.request.max.bytes", Int, limits.request_max.0.to_string(), "Longest request."),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_sorted_and_know_whether_somebody_set_them() {
        let mut config = ServerConfig::default();
        config.topics.partitions = 7;
        let all = of(&config);
        assert!(all.windows(2).all(|w| w[0].name < w[1].name));
        let set: Vec<_> = all.iter().filter(|s| s.is_set).map(|s| (s.name, s.value.as_str())).collect();
        assert_eq!(set, [("num.partitions", "7")]);
    }

    #[test]
    fn what_follows_from_other_settings_was_set_by_nobody() {
        let mut config = ServerConfig::default();
        config.server.listen = "127.0.0.1:19092".parse().unwrap();
        let one = |config: &ServerConfig, name| {
            let found = with_node_id(of(config), NodeId(3)).into_iter().find(|s| s.name == name).unwrap();
            (found.value, found.is_set)
        };
        let address = "PLAINTEXT://127.0.0.1:19092".to_owned();
        assert_eq!(one(&config, "listeners"), (address.clone(), true));
        assert_eq!(one(&config, ADVERTISED), (address, false));
        assert_eq!(one(&config, NODE_ID), ("3".to_owned(), false));
        config.server.node_id.0 = Some(3);
        assert_eq!(one(&config, NODE_ID), ("3".to_owned(), true));
    }
}
