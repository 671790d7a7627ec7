//! The broker's own settings in Kafka's names and units, as DescribeConfigs tells them. Settings that are defaults of
//! topics are told from `topic_config`.

use std::time::Duration;

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
    /// Nobody set it.
    pub is_default: bool,
    /// For people.
    pub doc: &'static str,
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// All of them, sorted by name.
pub fn of(config: &ServerConfig) -> Vec<BrokerSetting> {
    let defaults = values(&ServerConfig::default());
    values(config)
        .into_iter()
        .zip(defaults)
        .map(|((name, value_type, value, doc), (_, _, default, _))| BrokerSetting {
            name,
            is_default: value == default,
            value,
            value_type,
            doc,
        })
        .collect()
}

fn values(config: &ServerConfig) -> Vec<(&'static str, ValueType, String, &'static str)> {
    use ValueType::{Boolean, Int, List, Long, String as Text};
    let ServerConfig { server, limits, topics, .. } = config;
    let TopicsSection { auto_create, partitions, replication, .. } = topics;
    let node_id = server.node_id.0.map_or("-1".to_owned(), |id| id.to_string());
    let advertised = server.advertise.0.as_ref().map_or_else(
        || format!("PLAINTEXT://{}", server.listen),
        |a| format!("PLAINTEXT://{}:{}", a.host, a.port),
    );
    let memory = limits.memory.0.map_or("-1".to_owned(), |m| m.0.to_string());
    vec![
        ("advertised.listeners", List, advertised, "Where clients are told to connect."),
        ("auto.create.topics.enable", Boolean, auto_create.to_string(), "Topics are created when asked for."),
        (
            "connections.max.idle.ms",
            Long,
            millis(limits.idle),
            "A connection that does nothing is closed after this.",
        ),
        ("default.replication.factor", Int, replication.to_string(), "Copies of a new topic's partitions."),
        ("fetch.max.bytes", Int, topics.fetch_max.0.to_string(), "Bytes of records in one fetch response."),
        ("listeners", List, format!("PLAINTEXT://{}", server.listen), "Where the broker listens."),
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
        ("node.id", Int, node_id, "Number of this node; -1: drawn at the first start."),
        ("num.partitions", Int, partitions.to_string(), "Partitions of a new topic."),
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
        let changed: Vec<_> =
            all.iter().filter(|s| !s.is_default).map(|s| (s.name, s.value.as_str())).collect();
        assert_eq!(changed, [("num.partitions", "7")]);
    }
}
