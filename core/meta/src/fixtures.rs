//! What the tests of this crate share: one of each command, and a small image.

use std::collections::BTreeMap;

use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId, TopicId, TopicPartition};

use crate::apply::apply;
use crate::command::{Command, OpenSegment, Replacement};
use crate::image::{Image, NodeImage, NodeState};
use crate::partition::{COMPACTED, Loss};
use crate::quotas::{QuotaEntity, QuotaKey, QuotaName, QuotaValue};

pub(crate) const TOPIC: TopicId = TopicId([7; 16]);
pub(crate) const P0: TopicPartition = TopicPartition { topic: TOPIC, partition: 0 };

pub(crate) fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

pub(crate) fn node_image(incarnation: u64) -> NodeImage {
    NodeImage { host: "127.0.0.1".to_owned(), port: 9092, rack: Some("a".to_owned()), incarnation }
}

pub(crate) fn create_topic(id: TopicId, name: &str, partitions: usize) -> Command {
    let config = BTreeMap::from([("retention.ms".to_owned(), "60000".to_owned())]);
    Command::CreateTopic { id, name: name.to_owned(), plans: vec![nodes(&[1, 2]); partitions], config }
}

pub(crate) fn open_segment(segment: u64, base_offset: i64) -> OpenSegment {
    OpenSegment {
        segment: SegmentId(segment),
        base_offset,
        stores: nodes(&[1, 2]),
        durability: Durability::Synced,
    }
}

pub(crate) fn open(epoch: i32, segment: u64, base_offset: i64) -> Command {
    Command::Open { partition: P0, epoch: LeaderEpoch(epoch), open: open_segment(segment, base_offset) }
}

pub(crate) fn assign(expected_epoch: i32, owner: i32) -> Command {
    Command::Assign { partition: P0, expected_epoch: LeaderEpoch(expected_epoch), owner: NodeId(owner) }
}

pub(crate) fn seal(epoch: i32, segment: u64, end_offset: i64) -> Command {
    seal_with(epoch, segment, end_offset, None, None)
}

pub(crate) fn seal_with(
    epoch: i32,
    segment: u64,
    end_offset: i64,
    loss: Option<Loss>,
    next: Option<OpenSegment>,
) -> Command {
    Command::Seal {
        partition: P0,
        epoch: LeaderEpoch(epoch),
        segment: SegmentId(segment),
        end_offset,
        bytes: 1_000,
        max_timestamp: 1_700_000_000_000,
        complete: nodes(&[1]),
        loss,
        next,
    }
}

pub(crate) fn advance(offset: i64) -> Command {
    advance_in(0, offset)
}

pub(crate) fn advance_in(epoch: i32, offset: i64) -> Command {
    Command::AdvanceLogStart { partition: P0, offset, epoch: LeaderEpoch(epoch) }
}

/// A segment of compaction's in the place of others.
pub(crate) fn replacement(old: &[u64], new: u64, base_offset: i64, end_offset: i64) -> Replacement {
    Replacement {
        old: old.iter().copied().map(SegmentId).collect(),
        new: SegmentId(COMPACTED | new),
        base_offset,
        end_offset,
        bytes: 700,
        max_timestamp: 1_600_000_000_000,
        stores: nodes(&[2]),
    }
}

pub(crate) fn replace(epoch: i32, replacements: Vec<Replacement>, clean_end_offset: i64) -> Command {
    Command::ReplaceSegments { partition: P0, epoch: LeaderEpoch(epoch), replacements, clean_end_offset }
}

/// Quotas of a user's default client id, one set and one removed.
pub(crate) fn alter_quotas() -> Command {
    let entity = QuotaEntity {
        user: Some(QuotaName::Named("anna".to_owned())),
        client_id: Some(QuotaName::Default),
        ip: None,
    };
    let changes = BTreeMap::from([
        (QuotaKey::ProducerByteRate, QuotaValue::new(1_048_576.0)),
        (QuotaKey::RequestPercentage, None),
    ]);
    Command::AlterQuotas { entity, changes }
}

/// Settings of one broker or of all, one set and one removed.
pub(crate) fn alter_broker_config(node: Option<NodeId>) -> Command {
    let setting = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    let changes =
        BTreeMap::from([setting("log.retention.ms", Some("1000")), setting("message.max.bytes", None)]);
    Command::AlterBrokerConfig { node, changes }
}

/// One of each command, with every optional part in use.
pub(crate) fn each_command() -> Vec<(&'static str, Command)> {
    let loss = Loss { epoch: LeaderEpoch(3), end_offset: 500 };
    let changes = BTreeMap::from([
        ("cleanup.policy".to_owned(), Some("delete".to_owned())),
        ("retention.ms".to_owned(), None),
    ]);
    vec![
        ("RegisterNode", Command::RegisterNode { node: NodeId(1), image: node_image(5) }),
        ("CreateTopic", create_topic(TOPIC, "orders", 2)),
        ("DeleteTopic", Command::DeleteTopic { topic: TOPIC }),
        (
            "CreatePartitions",
            Command::CreatePartitions { topic: TOPIC, expected_count: 2, plans: vec![nodes(&[2, 1])] },
        ),
        ("AlterTopicConfig", Command::AlterTopicConfig { topic: TOPIC, changes }),
        ("Assign", assign(3, 2)),
        ("Open", open(4, 4 << 32 | 1, 500)),
        ("Seal", seal_with(4, 3 << 32 | 2, 500, Some(loss), Some(open_segment(4 << 32 | 1, 500)))),
        ("AdvanceLogStart", advance_in(3, 400)),
        ("AllocateProducerIds", Command::AllocateProducerIds { count: 1_000 }),
        ("SetClusterId", Command::SetClusterId { cluster_id: "AAAAbbbbCCCCdddd".to_owned() }),
        (
            "SetNodeState",
            Command::SetNodeState { node: NodeId(1), incarnation: 5, state: NodeState::Draining },
        ),
        ("AlterPlan", Command::AlterPlan { partition: P0, expected: nodes(&[1, 2]), plan: nodes(&[3, 1]) }),
        (
            "AlterStores",
            Command::AlterStores {
                partition: P0,
                segment: SegmentId(1),
                expected: nodes(&[1]),
                stores: nodes(&[1, 3]),
            },
        ),
        ("ReplaceSegments", replace(4, vec![replacement(&[1, 2], 1, 0, 500)], 480)),
        ("AlterQuotas", alter_quotas()),
        ("AlterBrokerConfig", alter_broker_config(Some(NodeId(1)))),
        ("SetFeature", Command::SetFeature { name: "group.version".to_owned(), expected: 0, level: 1 }),
    ]
}

/// An image after these commands.
///
/// # Panics
/// When one is refused.
pub(crate) fn image_of(commands: &[Command]) -> Image {
    let mut image = Image::default();
    for command in commands {
        (image, _) = apply(&image, command).unwrap_or_else(|e| panic!("{command:?}: {e}"));
        image.check();
    }
    image
}

/// A cluster in use: two nodes, a topic whose first partition lost something and is written to.
pub(crate) fn used_image() -> Image {
    let loss = Loss { epoch: LeaderEpoch(0), end_offset: 150 };
    image_of(&[
        Command::SetClusterId { cluster_id: "AAAAbbbbCCCCdddd".to_owned() },
        Command::RegisterNode { node: NodeId(1), image: node_image(5) },
        Command::RegisterNode { node: NodeId(2), image: NodeImage { rack: None, ..node_image(9) } },
        Command::SetNodeState { node: NodeId(2), incarnation: 9, state: NodeState::Fenced },
        create_topic(TOPIC, "orders", 3),
        open(0, 1, 0),
        seal_with(0, 1, 100, None, Some(open_segment(2, 100))),
        assign(0, 2),
        seal_with(1, 2, 150, Some(loss), Some(open_segment(1 << 32 | 1, 150))),
        advance(60),
        Command::AllocateProducerIds { count: 1_000 },
        Command::SetFeature { name: "group.version".to_owned(), expected: 0, level: 1 },
    ])
}
