//! A command of the metadata log with names for its fields, in the order in which a reader wants them.
//!
//! One exhaustive `match`, so that a new command cannot be forgotten here; what a field means is said at [`Command`].

use std::collections::BTreeMap;
use std::fmt::Write;

use buslane_meta::{Command, NodeState, OfflineMeta, OpenSegment, QuotaName, Replacement};
use buslane_wire::ids::{NodeId, TopicId, TopicPartition};
use serde_json::{Map, Value, json};

use crate::units::format_time;

/// The default user or client id, as Kafka's tools show it.
const DEFAULT_ENTITY: &str = "<default>";

/// Topics by id: those that are there, and those that the log tells of though they were deleted since.
pub(super) struct Names(BTreeMap<TopicId, String>);

impl Names {
    pub(super) fn of(meta: &OfflineMeta) -> Names {
        let created =
            meta.entries.iter().flat_map(|entry| &entry.commands).filter_map(|command| match command {
                Command::CreateTopic { id, name, .. } => Some((*id, name.clone())),
                _ => None,
            });
        let there = meta.image.topics.values().map(|topic| (topic.id, topic.name.clone()));
        Names(created.chain(there).collect())
    }
}

/// What a command says.
pub(super) struct Named {
    /// In words, with underscores: `create_topic`.
    pub(super) kind: &'static str,
    /// What is absent is null.
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Named {
    pub(super) fn new(command: &Command, names: &Names) -> Named {
        let (kind, fields) = name(command, names);
        Named { kind, fields }
    }

    /// `{"command": KIND, FIELD: VALUE, ...}`
    pub(super) fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("command".to_owned(), self.kind.into());
        object.extend(self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Value::Object(object)
    }

    /// `kind: field value, field value`, without what is absent.
    pub(super) fn text(&self) -> String {
        let fields = self.fields.iter().map(|(name, value)| (*name, value));
        format!("{}: {}", self.kind.replace('_', " "), in_words(fields))
    }
}

fn name(command: &Command, names: &Names) -> (&'static str, Vec<(&'static str, Value)>) {
    let topic = |id: TopicId| vec![("topic", json!(names.0.get(&id))), ("topic_id", json!(id))];
    // Fields of a command about one partition.
    let of = |id: TopicPartition, fields: Vec<(&'static str, Value)>| {
        [topic(id.topic), vec![("partition", json!(id.partition))], fields].concat()
    };
    match command {
        Command::RegisterNode { node, image } => (
            "register_node",
            vec![
                ("node", json!(node)),
                ("host", json!(image.host)),
                ("port", json!(image.port)),
                ("rack", json!(image.rack)),
                ("incarnation", json!(image.incarnation)),
            ],
        ),
        Command::CreateTopic { id, name, plans, config } => (
            "create_topic",
            vec![
                ("topic", json!(name)),
                ("topic_id", json!(id)),
                ("partitions", json!(plans.len())),
                ("plans", json!(plans)),
                ("config", json!(config)),
            ],
        ),
        Command::DeleteTopic { topic: id } => ("delete_topic", topic(*id)),
        Command::CreatePartitions { topic: id, expected_count, plans } => {
            let fields = vec![("expected_count", json!(expected_count)), ("plans", json!(plans))];
            ("create_partitions", [topic(*id), fields].concat())
        }
        Command::AlterTopicConfig { topic: id, changes } => {
            ("alter_topic_config", [topic(*id), vec![("changes", json!(changes))]].concat())
        }
        Command::Assign { partition, expected_epoch, owner } => (
            "assign",
            of(*partition, vec![("expected_epoch", json!(expected_epoch)), ("owner", json!(owner))]),
        ),
        Command::Open { partition, epoch, open } => {
            ("open", [of(*partition, vec![("epoch", json!(epoch))]), opened(open)].concat())
        }
        Command::Seal {
            partition,
            epoch,
            segment,
            end_offset,
            bytes,
            max_timestamp,
            complete,
            loss,
            next,
        } => {
            let loss = loss.map(|loss| json!({"epoch": loss.epoch, "end_offset": loss.end_offset}));
            let next = next.as_ref().map(|next| {
                opened(next).into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()
            });
            let fields = vec![
                ("epoch", json!(epoch)),
                ("segment", json!(segment)),
                ("end_offset", json!(end_offset)),
                ("bytes", json!(bytes)),
                ("max_timestamp", json!((*max_timestamp >= 0).then_some(max_timestamp))),
                ("complete", json!(complete)),
                ("loss", json!(loss)),
                ("next", json!(next)),
            ];
            ("seal", of(*partition, fields))
        }
        Command::AdvanceLogStart { partition, offset, epoch } => {
            ("advance_log_start", of(*partition, vec![("offset", json!(offset)), ("epoch", json!(epoch.0))]))
        }
        Command::AllocateProducerIds { count } => ("allocate_producer_ids", vec![("count", json!(count))]),
        Command::SetClusterId { cluster_id } => ("set_cluster_id", vec![("cluster_id", json!(cluster_id))]),
        Command::SetNodeState { node, incarnation, state } => {
            let state = match state {
                NodeState::Active => "active",
                NodeState::Draining => "draining",
                NodeState::Fenced => "fenced",
            };
            let fields =
                vec![("node", json!(node)), ("incarnation", json!(incarnation)), ("state", json!(state))];
            ("set_node_state", fields)
        }
        Command::AlterPlan { partition, expected, plan } => {
            ("alter_plan", of(*partition, vec![("expected", json!(expected)), ("plan", json!(plan))]))
        }
        Command::AlterStores { partition, segment, expected, stores } => {
            let fields =
                vec![("segment", json!(segment)), ("expected", json!(expected)), ("stores", json!(stores))];
            ("alter_stores", of(*partition, fields))
        }
        Command::SetFeature { name, expected, level } => (
            "set_feature",
            vec![("feature", json!(name)), ("expected", json!(expected)), ("level", json!(level))],
        ),
        Command::ReplaceSegments { partition, epoch, replacements, clean_end_offset } => {
            let replaced = |one: &Replacement| {
                json!({
                    "old": one.old,
                    "new": one.new,
                    "base_offset": one.base_offset,
                    "end_offset": one.end_offset,
                    "bytes": one.bytes,
                    "max_timestamp": (one.max_timestamp >= 0).then_some(one.max_timestamp),
                    "stores": one.stores,
                })
            };
            let replacements: Vec<Value> = replacements.iter().map(replaced).collect();
            let fields = vec![
                ("epoch", json!(epoch)),
                ("replacements", json!(replacements)),
                ("clean_end_offset", json!(clean_end_offset)),
            ];
            ("replace_segments", of(*partition, fields))
        }
        Command::AlterQuotas { entity, changes } => {
            let part = |name: &Option<QuotaName>| {
                json!(name.as_ref().map(|name| name.as_deref().unwrap_or(DEFAULT_ENTITY)))
            };
            let changes: Map<String, Value> = changes
                .iter()
                .map(|(key, value)| (key.name().to_owned(), json!(value.map(|value| value.get()))))
                .collect();
            let fields = vec![
                ("user", part(&entity.user)),
                ("client_id", part(&entity.client_id)),
                ("ip", part(&entity.ip)),
                ("changes", Value::Object(changes)),
            ];
            ("alter_quotas", fields)
        }
        Command::AlterBrokerConfig { node, changes } => {
            ("alter_broker_config", vec![("node", json!(node)), ("changes", json!(changes))])
        }
    }
}

fn opened(open: &OpenSegment) -> Vec<(&'static str, Value)> {
    let stores: Vec<NodeId> = open.stores.clone();
    vec![
        ("segment", json!(open.segment)),
        ("base_offset", json!(open.base_offset)),
        ("stores", json!(stores)),
        ("durability", json!(open.durability.as_str())),
    ]
}

fn in_words<'a>(fields: impl Iterator<Item = (&'a str, &'a Value)>) -> String {
    let mut text = String::new();
    for (name, value) in fields.filter(|(_, value)| !value.is_null() && !is_empty(value)) {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{} {}", name.replace('_', " "), shown(name, value));
    }
    text
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn shown(name: &str, value: &Value) -> String {
    match (name, value) {
        ("config" | "changes", Value::Object(settings)) => {
            let setting = |(name, value): (&String, &Value)| match value {
                Value::Null => format!("{name} removed"),
                value => format!("{name}={}", shown("", value)),
            };
            settings.iter().map(setting).collect::<Vec<_>>().join(" ")
        }
        (_, Value::Object(fields)) => {
            format!("({})", in_words(fields.iter().map(|(name, value)| (name.as_str(), value))))
        }
        // Plans: the stores of each partition.
        (_, Value::Array(items)) if items.iter().any(Value::is_array) => {
            items.iter().map(|item| shown(name, item)).collect::<Vec<_>>().join(" ")
        }
        (_, Value::Array(items)) => {
            let items: Vec<_> = items.iter().map(|item| shown("", item)).collect();
            format!("[{}]", items.join(","))
        }
        ("max_timestamp", value) => value.as_i64().map(format_time).unwrap_or_default(),
        (_, Value::String(text)) => text.clone(),
        (_, value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use buslane_meta::{Loss, QuotaEntity, QuotaKey, QuotaValue};
    use buslane_wire::ids::{Durability, LeaderEpoch, SegmentId};

    use super::*;

    fn seal(loss: Option<Loss>, next: Option<OpenSegment>) -> Command {
        Command::Seal {
            partition: TopicPartition { topic: TopicId([3; 16]), partition: 7 },
            epoch: LeaderEpoch(2),
            segment: SegmentId(1),
            end_offset: 25,
            bytes: 5530,
            max_timestamp: 0,
            complete: vec![NodeId(1)],
            loss,
            next,
        }
    }

    #[test]
    fn a_command_reads_as_words_and_leaves_out_what_is_absent() {
        let text = Named::new(&seal(None, None), &Names(BTreeMap::new())).text();
        let expected = format!(
            "seal: topic id {}, partition 7, epoch 2, segment 1, end offset 25, bytes 5530, max timestamp \
             1970-01-01T00:00:00.000Z, complete [1]",
            TopicId([3; 16])
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn json_has_every_field_with_its_type() {
        let loss = Loss { epoch: LeaderEpoch(0), end_offset: 25 };
        let next = OpenSegment {
            segment: SegmentId(9),
            base_offset: 25,
            stores: vec![NodeId(1), NodeId(2)],
            durability: Durability::Synced,
        };
        let named = Named::new(&seal(Some(loss), Some(next)), &Names(BTreeMap::new()));
        let expected = json!({
            "command": "seal", "topic": null, "topic_id": TopicId([3; 16]).to_string(), "partition": 7, "epoch": 2,
            "segment": 1, "end_offset": 25, "bytes": 5530, "max_timestamp": 0, "complete": [1],
            "loss": {"epoch": 0, "end_offset": 25},
            "next": {"segment": 9, "base_offset": 25, "stores": [1, 2], "durability": "synced"},
        });
        assert_eq!(named.json(), expected);
        let text = named.text();
        assert!(text.contains("loss (end offset 25, epoch 0)"), "{text}");
        assert!(
            text.ends_with("next (base offset 25, durability synced, segment 9, stores [1,2])"),
            "{text}"
        );
    }

    #[test]
    fn plans_and_settings_are_short() {
        let command = Command::CreateTopic {
            id: TopicId([3; 16]),
            name: "orders".to_owned(),
            plans: vec![vec![NodeId(1), NodeId(2)], vec![NodeId(2)]],
            config: [("segment.bytes".to_owned(), "20000".to_owned())].into(),
        };
        let text = Named::new(&command, &Names(BTreeMap::new())).text();
        assert!(text.starts_with("create topic: topic orders, topic id "), "{text}");
        assert!(text.ends_with("partitions 2, plans [1,2] [2], config segment.bytes=20000"), "{text}");
    }

    #[test]
    fn quotas_are_named_as_in_kafka() {
        let command = Command::AlterQuotas {
            entity: QuotaEntity { user: Some(QuotaName::Default), client_id: None, ip: None },
            changes: [
                (QuotaKey::ProducerByteRate, QuotaValue::new(1_024.0)),
                (QuotaKey::RequestPercentage, None),
            ]
            .into(),
        };
        let named = Named::new(&command, &Names(BTreeMap::new()));
        let changes = "producer_byte_rate=1024.0 request_percentage removed";
        assert_eq!(named.text(), format!("alter quotas: user <default>, changes {changes}"));
        let changes = json!({"producer_byte_rate": 1024.0, "request_percentage": null});
        let expected = json!({"command": "alter_quotas", "user": "<default>", "client_id": null, "ip": null, "changes": changes});
        assert_eq!(named.json(), expected);
    }
}
