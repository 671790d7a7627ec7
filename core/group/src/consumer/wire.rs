//! The requests and answers of the consumer protocol on the wire.

use buslane_wire::ErrorCode;
use buslane_wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use buslane_wire::messages::{consumer_group_describe as describe, consumer_group_heartbeat as heartbeat};

use super::describe::{Description, MemberDescription};
use super::error::GroupError;
use super::heartbeat::{Heartbeat, HeartbeatReply};
use super::partitions::Partitions;
use super::topics::TopicsView;

impl Heartbeat {
    /// Copies a request out of its frame. `client_id` is of its header, empty for none; `client_host` as Kafka writes it:
    /// "/127.0.0.1".
    pub fn from_wire(
        message: &ConsumerGroupHeartbeatRequest<'_>,
        client_id: &str,
        client_host: &str,
    ) -> Heartbeat {
        let text = |text: Option<&str>| text.map(str::to_string);
        Heartbeat {
            member_id: message.member_id.to_string(),
            member_epoch: message.member_epoch,
            instance_id: text(message.instance_id),
            rack_id: text(message.rack_id),
            rebalance_timeout_ms: message.rebalance_timeout_ms,
            subscribed_topic_names: message
                .subscribed_topic_names
                .as_ref()
                .map(|names| names.iter().map(|name| name.to_string()).collect()),
            subscribed_topic_regex: text(message.subscribed_topic_regex),
            server_assignor: text(message.server_assignor),
            owned: message.topic_partitions.as_ref().map(|topics| {
                topics
                    .iter()
                    .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic_id, *partition)))
                    .collect()
            }),
            client_id: client_id.to_string(),
            client_host: client_host.to_string(),
        }
    }
}

impl HeartbeatReply {
    /// The answer; `throttle_time_ms` is the broker's to fill in.
    pub fn to_wire(&self) -> ConsumerGroupHeartbeatResponse<'_> {
        ConsumerGroupHeartbeatResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::NONE,
            error_message: None,
            member_id: Some(&self.member_id),
            member_epoch: self.member_epoch,
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            assignment: self.assignment.as_ref().map(assignment),
        }
    }
}

impl GroupError {
    /// The answer to a heartbeat that was refused. `message` is what this error displays.
    pub fn to_heartbeat<'a>(&self, message: &'a str) -> ConsumerGroupHeartbeatResponse<'a> {
        ConsumerGroupHeartbeatResponse {
            throttle_time_ms: 0,
            error_code: self.code(),
            error_message: Some(message),
            member_id: None,
            member_epoch: 0,
            heartbeat_interval_ms: 0,
            assignment: None,
        }
    }
}

fn assignment(partitions: &Partitions) -> heartbeat::Assignment {
    let topic_partitions = partitions
        .topics()
        .map(|(topic_id, set)| heartbeat::TopicPartitions {
            topic_id,
            partitions: set.iter().copied().collect(),
        })
        .collect();
    heartbeat::Assignment { topic_partitions }
}

impl<'a> Description<'a> {
    /// The group of a describe answer. Topics that no longer exist are left out. `authorized_operations` is the broker's to
    /// fill in.
    pub fn to_wire(&self, group_id: &'a str, topics: &'a dyn TopicsView) -> describe::DescribedGroup<'a> {
        describe::DescribedGroup {
            error_code: ErrorCode::NONE,
            error_message: None,
            group_id,
            group_state: self.state.name(),
            group_epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor_name: self.assignor,
            members: self.members.iter().map(|member| member.to_wire(topics)).collect(),
            authorized_operations: i32::MIN,
        }
    }
}

impl<'a> MemberDescription<'a> {
    fn to_wire(&self, topics: &'a dyn TopicsView) -> describe::Member<'a> {
        let metadata = &self.member.metadata;
        describe::Member {
            member_id: self.member_id,
            instance_id: metadata.instance_id.as_deref(),
            rack_id: metadata.rack_id.as_deref(),
            member_epoch: self.member.current.member_epoch,
            client_id: &metadata.client_id,
            client_host: &metadata.client_host,
            subscribed_topic_names: metadata.subscribed_topic_names.iter().map(String::as_str).collect(),
            // Kafka's members without a pattern have the empty one.
            subscribed_topic_regex: Some(metadata.subscribed_topic_regex.as_deref().unwrap_or_default()),
            assignment: named(&self.assignment, topics),
            target_assignment: named(&self.target, topics),
            member_type: self.member_type,
        }
    }
}

fn named<'a>(partitions: &Partitions, topics: &'a dyn TopicsView) -> describe::Assignment<'a> {
    let topic_partitions = partitions
        .topics()
        .filter_map(|(topic_id, set)| {
            let topic_name = topics.name_of(topic_id)?;
            Some(describe::TopicPartitions {
                topic_id,
                topic_name,
                partitions: set.iter().copied().collect(),
            })
        })
        .collect();
    describe::Assignment { topic_partitions }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{parts, table, topic_id};
    use super::super::{ConsumerGroup, ConsumerGroupConfig};
    use super::*;

    fn request() -> ConsumerGroupHeartbeatRequest<'static> {
        ConsumerGroupHeartbeatRequest {
            group_id: "g",
            member_id: "m",
            member_epoch: 0,
            instance_id: Some("i"),
            rack_id: None,
            rebalance_timeout_ms: 9,
            subscribed_topic_names: Some(vec!["t", "gone"]),
            subscribed_topic_regex: None,
            server_assignor: Some("range"),
            topic_partitions: Some(vec![]),
        }
    }

    #[test]
    fn a_heartbeat_goes_in_and_its_answer_out() {
        let owned = heartbeat::TopicPartitions { topic_id: topic_id("t"), partitions: vec![1, 0, 1] };
        let read = Heartbeat::from_wire(
            &ConsumerGroupHeartbeatRequest { topic_partitions: Some(vec![owned]), ..request() },
            "c",
            "/h",
        );
        assert_eq!(read.owned, Some(parts("t", &[0, 1])));
        assert_eq!((read.client_id.as_str(), read.client_host.as_str()), ("c", "/h"));
        assert_eq!(read.subscribed_topic_names.as_deref(), Some(&["t".to_string(), "gone".to_string()][..]));

        let (topics, config) = (table(&[("t", 2)]), ConsumerGroupConfig::default());
        let mut group = ConsumerGroup::new("g");
        let read = Heartbeat::from_wire(&request(), "c", "/h");
        let reply = group.heartbeat(0, &read, &topics, &config, &mut Vec::new()).unwrap();
        let wire = reply.to_wire();
        assert_eq!((wire.member_id, wire.member_epoch, wire.heartbeat_interval_ms), (Some("m"), 1, 5_000));
        let assignment = wire.assignment.unwrap().topic_partitions;
        assert_eq!(
            assignment,
            [heartbeat::TopicPartitions { topic_id: topic_id("t"), partitions: vec![0, 1] }]
        );

        let description = group.describe(&config);
        let wire = description.to_wire("g", &topics);
        assert_eq!((wire.group_state, wire.group_epoch, wire.assignor_name), ("Stable", 1, "range"));
        let member = &wire.members[0];
        assert_eq!((member.member_id, member.instance_id, member.member_type), ("m", Some("i"), 1));
        assert_eq!(member.subscribed_topic_names, ["gone", "t"]);
        assert_eq!(member.subscribed_topic_regex, Some(""));
        assert_eq!(member.assignment.topic_partitions[0].topic_name, "t");
        assert_eq!(member.assignment, member.target_assignment);
        let later = table(&[]);
        assert!(description.to_wire("g", &later).members[0].assignment.topic_partitions.is_empty());
    }

    #[test]
    fn a_refusal_has_its_code_and_message() {
        let error = GroupError::FencedMemberEpoch { received: 1, known: 2 };
        let message = error.to_string();
        let wire = error.to_heartbeat(&message);
        assert_eq!(wire.error_code, ErrorCode::FENCED_MEMBER_EPOCH);
        assert!(wire.error_message.unwrap().contains("epoch 1"));
    }
}
