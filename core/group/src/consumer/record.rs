//! Facts as records of `__consumer_offsets`, and back.

use std::borrow::Cow;

use buslane_wire::ids::TopicId;
use bytes::Bytes;

use super::fact::{
    ClassicMetadata, ClassicProtocol, CurrentAssignment, Fact, MemberMetadata, MemberState, ResolvedRegex,
};
use super::partitions::{HeldPartitions, Partitions};
use crate::EncodeError;
use crate::records::{self, Known, Record, record, tombstone};

impl Fact {
    /// The fact as a record of the group.
    ///
    /// # Errors
    /// When a string has more than 32,767 bytes. What came over the wire never has.
    pub fn to_record(&self, group_id: &str) -> Result<Record, EncodeError> {
        let group_key = records::ConsumerGroupMetadataKey { group_id };
        let target_key = records::ConsumerGroupTargetAssignmentMetadataKey { group_id };
        match self {
            Fact::GroupEpoch { epoch, metadata_hash } => {
                let value =
                    records::ConsumerGroupMetadataValue { epoch: *epoch, metadata_hash: *metadata_hash };
                record(&group_key, &value, 0)
            }
            Fact::GroupRemoved => tombstone(&group_key),
            Fact::MemberMetadata { member_id, metadata } => {
                let key = records::ConsumerGroupMemberMetadataKey { group_id, member_id };
                record(&key, &member_value(metadata), 0)
            }
            Fact::MemberRemoved { member_id } => {
                tombstone(&records::ConsumerGroupMemberMetadataKey { group_id, member_id })
            }
            Fact::TargetEpoch { epoch, computed_at_ms } => {
                let value = records::ConsumerGroupTargetAssignmentMetadataValue {
                    assignment_epoch: *epoch,
                    assignment_timestamp: *computed_at_ms,
                };
                record(&target_key, &value, 0)
            }
            Fact::TargetEpochRemoved => tombstone(&target_key),
            Fact::Target { member_id, partitions } => {
                let key = records::ConsumerGroupTargetAssignmentMemberKey { group_id, member_id };
                let topic_partitions = partitions
                    .topics()
                    .map(|(topic_id, set)| records::TopicPartition {
                        topic_id,
                        partitions: set.iter().copied().collect(),
                    })
                    .collect();
                record(&key, &records::ConsumerGroupTargetAssignmentMemberValue { topic_partitions }, 0)
            }
            Fact::TargetRemoved { member_id } => {
                tombstone(&records::ConsumerGroupTargetAssignmentMemberKey { group_id, member_id })
            }
            Fact::CurrentAssignment { member_id, current } => {
                let key = records::ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id };
                let value = records::ConsumerGroupCurrentMemberAssignmentValue {
                    member_epoch: current.member_epoch,
                    previous_member_epoch: current.previous_member_epoch,
                    state: current.state.to_byte(),
                    assigned_partitions: held_value(&current.assigned),
                    partitions_pending_revocation: held_value(&current.pending_revocation),
                };
                record(&key, &value, 0)
            }
            Fact::CurrentAssignmentRemoved { member_id } => {
                tombstone(&records::ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id })
            }
            Fact::Regex { regex, resolved } => {
                let key = records::ConsumerGroupRegularExpressionKey { group_id, regular_expression: regex };
                let value = records::ConsumerGroupRegularExpressionValue {
                    topics: resolved.topics.iter().map(String::as_str).collect(),
                    version: resolved.version,
                    timestamp: resolved.resolved_at_ms,
                };
                record(&key, &value, 0)
            }
            Fact::RegexRemoved { regex } => {
                tombstone(&records::ConsumerGroupRegularExpressionKey { group_id, regular_expression: regex })
            }
        }
    }

    /// The group and the fact of a record; `None` for records of other kinds, and for ConsumerGroupPartitionMetadata,
    /// which Kafka before 4.1 wrote and for which [`Fact::GroupEpoch`] has a hash now.
    pub fn from_record<'a>(known: &Known<'a>) -> Option<(&'a str, Fact)> {
        match known {
            Known::ConsumerGroupMetadata(key, value) => {
                let fact = value.as_ref().map_or(Fact::GroupRemoved, |value| Fact::GroupEpoch {
                    epoch: value.epoch,
                    metadata_hash: value.metadata_hash,
                });
                Some((key.group_id, fact))
            }
            Known::ConsumerGroupMemberMetadata(key, value) => {
                let member_id = key.member_id.to_string();
                let fact = match value {
                    None => Fact::MemberRemoved { member_id },
                    Some(value) => Fact::MemberMetadata { member_id, metadata: read_member(value) },
                };
                Some((key.group_id, fact))
            }
            Known::ConsumerGroupTargetAssignmentMetadata(key, value) => {
                let fact = value.as_ref().map_or(Fact::TargetEpochRemoved, |value| Fact::TargetEpoch {
                    epoch: value.assignment_epoch,
                    computed_at_ms: value.assignment_timestamp,
                });
                Some((key.group_id, fact))
            }
            Known::ConsumerGroupTargetAssignmentMember(key, value) => {
                let member_id = key.member_id.to_string();
                let fact = match value {
                    None => Fact::TargetRemoved { member_id },
                    Some(value) => Fact::Target { member_id, partitions: read_target(value) },
                };
                Some((key.group_id, fact))
            }
            Known::ConsumerGroupCurrentMemberAssignment(key, value) => {
                let member_id = key.member_id.to_string();
                let fact = match value {
                    None => Fact::CurrentAssignmentRemoved { member_id },
                    Some(value) => Fact::CurrentAssignment { member_id, current: read_current(value) },
                };
                Some((key.group_id, fact))
            }
            Known::ConsumerGroupRegularExpression(key, value) => {
                let regex = key.regular_expression.to_string();
                let fact = match value {
                    None => Fact::RegexRemoved { regex },
                    Some(value) => Fact::Regex { regex, resolved: read_regex(value) },
                };
                Some((key.group_id, fact))
            }
            Known::LegacyOffsetCommit(..)
            | Known::OffsetCommit(..)
            | Known::GroupMetadata(..)
            | Known::ConsumerGroupPartitionMetadata(..) => None,
        }
    }
}

fn member_value(metadata: &MemberMetadata) -> records::ConsumerGroupMemberMetadataValue<'_> {
    records::ConsumerGroupMemberMetadataValue {
        instance_id: metadata.instance_id.as_deref(),
        rack_id: metadata.rack_id.as_deref(),
        client_id: &metadata.client_id,
        client_host: &metadata.client_host,
        subscribed_topic_names: metadata.subscribed_topic_names.iter().map(String::as_str).collect(),
        // Kafka writes the empty pattern where there is none.
        subscribed_topic_regex: Some(metadata.subscribed_topic_regex.as_deref().unwrap_or_default()),
        rebalance_timeout_ms: metadata.rebalance_timeout_ms,
        server_assignor: metadata.server_assignor.as_deref(),
        classic_member_metadata: metadata.classic.as_ref().map(|classic| records::ClassicMemberMetadata {
            session_timeout_ms: classic.session_timeout_ms,
            supported_protocols: classic
                .protocols
                .iter()
                .map(|protocol| records::ClassicProtocol {
                    name: &protocol.name,
                    metadata: &protocol.metadata,
                })
                .collect(),
        }),
    }
}

fn read_member(value: &records::ConsumerGroupMemberMetadataValue<'_>) -> MemberMetadata {
    MemberMetadata {
        instance_id: value.instance_id.map(str::to_string),
        rack_id: value.rack_id.map(str::to_string),
        client_id: value.client_id.to_string(),
        client_host: value.client_host.to_string(),
        subscribed_topic_names: value.subscribed_topic_names.iter().map(|name| name.to_string()).collect(),
        subscribed_topic_regex: value
            .subscribed_topic_regex
            .filter(|regex| !regex.is_empty())
            .map(str::to_string),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        server_assignor: value.server_assignor.map(str::to_string),
        classic: value.classic_member_metadata.as_ref().map(|classic| ClassicMetadata {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic
                .supported_protocols
                .iter()
                .map(|protocol| ClassicProtocol {
                    name: protocol.name.to_string(),
                    metadata: Bytes::copy_from_slice(protocol.metadata),
                })
                .collect(),
        }),
    }
}

fn read_target(value: &records::ConsumerGroupTargetAssignmentMemberValue) -> Partitions {
    value
        .topic_partitions
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index)))
        .collect()
}

fn held_value(held: &HeldPartitions) -> Vec<records::TopicPartitions> {
    held.topics()
        .map(|(topic_id, set)| records::TopicPartitions {
            topic_id,
            partitions: set.keys().copied().collect(),
            assignment_epochs: Some(set.values().copied().collect()),
        })
        .collect()
}

fn read_current(value: &records::ConsumerGroupCurrentMemberAssignmentValue) -> CurrentAssignment {
    let held = |topics: &[records::TopicPartitions]| {
        topics.iter().flat_map(|topic| read_held(topic, value.member_epoch)).collect()
    };
    CurrentAssignment {
        member_epoch: value.member_epoch,
        previous_member_epoch: value.previous_member_epoch,
        state: MemberState::from_byte(value.state),
        assigned: held(&value.assigned_partitions),
        pending_revocation: held(&value.partitions_pending_revocation),
    }
}

/// Kafka before 4.3 wrote no epochs of partitions: the member's own stands for them, the strictest for its commits.
fn read_held(topic: &records::TopicPartitions, member_epoch: i32) -> Vec<(TopicId, i32, i32)> {
    let epochs: Cow<'_, [i32]> = match &topic.assignment_epochs {
        Some(epochs) if epochs.len() == topic.partitions.len() => Cow::Borrowed(epochs),
        _ => Cow::Owned(vec![member_epoch; topic.partitions.len()]),
    };
    topic
        .partitions
        .iter()
        .zip(epochs.iter())
        .map(|(index, epoch)| (topic.topic_id, *index, *epoch))
        .collect()
}

fn read_regex(value: &records::ConsumerGroupRegularExpressionValue<'_>) -> ResolvedRegex {
    ResolvedRegex {
        topics: value.topics.iter().map(|name| name.to_string()).collect(),
        version: value.version,
        resolved_at_ms: value.timestamp,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{parts, read_back, topic_id};
    use super::*;

    #[test]
    fn every_kind_comes_back_as_written() {
        let member_id = "m".to_string();
        let metadata = MemberMetadata {
            instance_id: Some("i".into()),
            rack_id: Some("r".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            subscribed_topic_names: ["a".to_string(), "b".to_string()].into(),
            subscribed_topic_regex: Some("x.*".into()),
            rebalance_timeout_ms: 5,
            server_assignor: Some("range".into()),
            classic: Some(ClassicMetadata {
                session_timeout_ms: 6,
                protocols: vec![ClassicProtocol {
                    name: "p".into(),
                    metadata: Bytes::from_static(b"\0\x01"),
                }],
            }),
        };
        let current = CurrentAssignment {
            member_epoch: 4,
            previous_member_epoch: 3,
            state: MemberState::UnrevokedPartitions,
            assigned: [(topic_id("a"), 0, 2), (topic_id("a"), 1, 4)].into_iter().collect(),
            pending_revocation: [(topic_id("b"), 0, 1)].into_iter().collect(),
        };
        let resolved = ResolvedRegex { topics: ["xa".to_string()].into(), version: 9, resolved_at_ms: 10 };
        for fact in [
            Fact::GroupEpoch { epoch: 3, metadata_hash: -5 },
            Fact::GroupRemoved,
            Fact::MemberMetadata { member_id: member_id.clone(), metadata },
            Fact::MemberMetadata { member_id: member_id.clone(), metadata: MemberMetadata::default() },
            Fact::MemberRemoved { member_id: member_id.clone() },
            Fact::TargetEpoch { epoch: 3, computed_at_ms: 7 },
            Fact::TargetEpochRemoved,
            Fact::Target { member_id: member_id.clone(), partitions: parts("a", &[0, 1]) },
            Fact::TargetRemoved { member_id: member_id.clone() },
            Fact::CurrentAssignment { member_id: member_id.clone(), current },
            Fact::CurrentAssignmentRemoved { member_id },
            Fact::Regex { regex: "x.*".into(), resolved },
            Fact::RegexRemoved { regex: "x.*".into() },
        ] {
            assert_eq!(read_back("g", &fact), fact);
        }
    }

    #[test]
    fn partitions_without_epochs_have_the_members() {
        let topic = |epochs| records::TopicPartitions {
            topic_id: topic_id("a"),
            partitions: vec![0, 1],
            assignment_epochs: epochs,
        };
        let expected = vec![(topic_id("a"), 0, 8), (topic_id("a"), 1, 8)];
        assert_eq!(read_held(&topic(None), 8), expected);
        assert_eq!(read_held(&topic(Some(vec![1])), 8), expected, "as many as there are partitions, or none");
        assert_eq!(read_held(&topic(Some(vec![1, 2])), 8)[0], (topic_id("a"), 0, 1));
    }
}
