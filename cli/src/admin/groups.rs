//! Consumer groups: list, describe, delete; and their committed offsets.

use std::collections::BTreeMap;

use buslane_wire::ErrorCode;
use buslane_wire::messages::consumer_group_describe::{self, Assignment};
use buslane_wire::messages::describe_groups;
use buslane_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use buslane_wire::messages::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use buslane_wire::messages::offset_fetch::OffsetFetchRequestGroup;
use buslane_wire::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
};

use super::assignment::{self, Owned};
use super::cluster::TopicPartition;
use super::{Admin, Node, Refusal, Trouble, refused};
use crate::exit::Failure;

/// A group as its coordinator lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub group: String,
    /// `Stable`, `Empty`, ...; empty from brokers before Kafka 2.6.
    pub state: String,
    /// `classic`, `consumer`, `share`, `streams`; empty from brokers before Kafka 4.0.
    pub kind: String,
    pub coordinator: Node,
}

/// A group with its members.
#[derive(Clone, Debug)]
pub struct Group {
    pub group: String,
    pub state: String,
    /// The group's protocol: `classic` or `consumer` (KIP-848).
    pub kind: &'static str,
    /// What its members are to each other: `consumer`, `connect`; empty where only offsets were committed.
    pub protocol_type: String,
    /// What decides who gets what; empty without members.
    pub assignor: String,
    /// Of the group and of its assignment; the classic protocol does not tell its generation.
    pub epochs: Option<(i32, i32)>,
    pub members: Vec<Member>,
}

#[derive(Clone, Debug)]
pub struct Member {
    pub member_id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
    pub client_id: String,
    /// As the broker saw it: `/10.0.0.7`.
    pub host: String,
    /// Only in the consumer protocol.
    pub epoch: Option<i32>,
    /// What it owns now; none where it is not a consumer.
    pub owned: Option<Owned>,
    /// What it is to own, where that is something else.
    pub target: Option<Owned>,
}

/// Offsets by partition.
pub type Committed = BTreeMap<TopicPartition, i64>;

/// An error for each partition that was refused.
pub type RefusedPartitions = BTreeMap<TopicPartition, Refusal>;

impl Admin {
    /// The groups of all brokers, by name.
    pub fn groups(&mut self) -> Result<Vec<Listed>, Trouble> {
        let mut groups = Vec::new();
        for node in self.cluster()?.nodes.into_values() {
            groups.extend(self.patiently(|admin| admin.groups_of(&node))?);
        }
        groups.sort_unstable_by(|a, b| a.group.cmp(&b.group));
        Ok(groups)
    }

    fn groups_of(&mut self, node: &Node) -> Result<Vec<Listed>, Trouble> {
        let answer = self.ask(node, 0..=5, &ListGroupsRequest::default())?;
        let response = answer.read()?;
        refused(response.error_code, None)?;
        let listed = response.groups.iter().map(|group| Listed {
            group: group.group_id.to_owned(),
            state: group.group_state.to_owned(),
            kind: group.group_type.to_lowercase(),
            coordinator: node.clone(),
        });
        Ok(listed.collect())
    }

    /// The broker that has the group, or would have it.
    fn coordinator(&mut self, group: &str) -> Result<Node, Trouble> {
        let request = FindCoordinatorRequest { coordinator_keys: vec![group], ..Default::default() };
        let answer = self.ask(&self.any(), 4..=6, &request)?;
        let response = answer.read()?;
        let found = response.coordinators.first().ok_or_else(|| unmentioned(group))?;
        refused(found.error_code, found.error_message)?;
        let port = u16::try_from(found.port).map_err(|_| {
            Failure::failed(format!("the coordinator of '{group}' has no port: {}", found.port))
        })?;
        Ok(Node { id: Some(found.node_id), host: found.host.to_owned(), port })
    }

    /// Asks the group's coordinator, again when it moves or still loads.
    fn ask_coordinator<T>(
        &mut self,
        group: &str,
        mut ask: impl FnMut(&mut Self, &Node) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.patiently(|admin| {
            let node = admin.coordinator(group)?;
            ask(admin, &node)
        })
    }

    /// One group, with its coordinator. GROUP_ID_NOT_FOUND when there is none, and for those that are no consumer groups.
    pub fn group(&mut self, group: &str) -> Result<(Group, Node), Trouble> {
        self.ask_coordinator(group, |admin, node| {
            // What kind it is only the answer tells. An old broker does not have this request at all.
            let first = admin.describe_consumer_groups(node, &[group]).ok().and_then(|mut all| all.pop());
            let described = match first {
                Some(Ok(found)) => Ok(found),
                Some(Err(refusal)) if refusal.is_not_now() => Err(refusal),
                _ => {
                    admin.describe_classic_groups(node, &[group])?.pop().ok_or_else(|| unmentioned(group))?
                }
            };
            Ok((described?, node.clone()))
        })
    }

    /// Groups of the consumer protocol, all of one coordinator.
    pub fn describe_consumer_groups(
        &mut self,
        node: &Node,
        groups: &[&str],
    ) -> Result<Vec<Result<Group, Refusal>>, Failure> {
        let request = ConsumerGroupDescribeRequest { group_ids: groups.to_vec(), ..Default::default() };
        let answer = self.ask(node, 0..=1, &request)?;
        Ok(answer.read()?.groups.iter().map(consumer_group).collect())
    }

    /// Groups of the classic protocol, all of one coordinator.
    pub fn describe_classic_groups(
        &mut self,
        node: &Node,
        groups: &[&str],
    ) -> Result<Vec<Result<Group, Refusal>>, Failure> {
        let request = DescribeGroupsRequest { groups: groups.to_vec(), ..Default::default() };
        let answer = self.ask(node, 0..=6, &request)?;
        Ok(answer.read()?.groups.iter().map(classic_group).collect())
    }

    /// All offsets the group has committed. A group that is not there has none.
    pub fn committed(&mut self, group: &str) -> Result<Committed, Trouble> {
        let fetched = self.ask_coordinator(group, |admin, node| {
            // Version 10 names topics by their ids only.
            let wanted = OffsetFetchRequestGroup { group_id: group, topics: None, ..Default::default() };
            let request = OffsetFetchRequest { groups: vec![wanted], ..Default::default() };
            let answer = admin.ask(node, 8..=9, &request)?;
            let response = answer.read()?;
            let found = response.groups.first().ok_or_else(|| unmentioned(group))?;
            refused(found.error_code, None)?;
            let mut committed = Committed::new();
            for topic in &found.topics {
                for partition in topic.partitions.iter().filter(|partition| partition.committed_offset >= 0) {
                    refused(partition.error_code, None)?;
                    committed.insert(at(topic.name, partition.partition_index), partition.committed_offset);
                }
            }
            Ok(committed)
        });
        match fetched {
            Err(trouble) if trouble.is(ErrorCode::GROUP_ID_NOT_FOUND) => Ok(Committed::new()),
            fetched => fetched,
        }
    }

    /// Commits offsets in place of the members; the coordinator refuses while there are any.
    pub fn commit(&mut self, group: &str, offsets: &Committed) -> Result<RefusedPartitions, Trouble> {
        self.ask_coordinator(group, |admin, node| {
            let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition<'_>>> = BTreeMap::new();
            for (partition, offset) in offsets {
                topics.entry(&partition.topic).or_default().push(OffsetCommitRequestPartition {
                    partition_index: partition.partition,
                    committed_offset: *offset,
                    committed_metadata: Some(""),
                    ..Default::default()
                });
            }
            let topics = topics.into_iter().map(|(name, partitions)| OffsetCommitRequestTopic {
                name,
                partitions,
                ..Default::default()
            });
            let request =
                OffsetCommitRequest { group_id: group, topics: topics.collect(), ..Default::default() };
            let answer = admin.ask(node, 2..=9, &request)?;
            let mut refusals = RefusedPartitions::new();
            for topic in answer.read()?.topics {
                for partition in topic.partitions {
                    sort_out(&mut refusals, at(topic.name, partition.partition_index), partition.error_code)?;
                }
            }
            Ok(refusals)
        })
    }

    /// Forgets committed offsets. The coordinator refuses those of topics that members are subscribed to.
    pub fn delete_offsets(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<RefusedPartitions, Trouble> {
        self.ask_coordinator(group, |admin, node| {
            let mut topics: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
            for partition in partitions {
                let index = OffsetDeleteRequestPartition { partition_index: partition.partition };
                topics.entry(&partition.topic).or_default().push(index);
            }
            let topics =
                topics.into_iter().map(|(name, partitions)| OffsetDeleteRequestTopic { name, partitions });
            let request = OffsetDeleteRequest { group_id: group, topics: topics.collect() };
            let answer = admin.ask(node, 0..=0, &request)?;
            let response = answer.read()?;
            refused(response.error_code, None)?;
            let mut refusals = RefusedPartitions::new();
            for topic in response.topics {
                for partition in topic.partitions {
                    sort_out(&mut refusals, at(topic.name, partition.partition_index), partition.error_code)?;
                }
            }
            Ok(refusals)
        })
    }

    /// Deletes a group and its offsets. The coordinator refuses while it has members.
    pub fn delete_group(&mut self, group: &str) -> Result<(), Trouble> {
        self.ask_coordinator(group, |admin, node| {
            let request = DeleteGroupsRequest { groups_names: vec![group] };
            let answer = admin.ask(node, 0..=3, &request)?;
            let response = answer.read()?;
            let result = response.results.first().ok_or_else(|| unmentioned(group))?;
            Ok(refused(result.error_code, result.error_message)?)
        })
    }
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}

fn unmentioned(group: &str) -> Failure {
    Failure::failed(format!("the broker's answer does not mention group '{group}'"))
}

/// An error of one partition. A coordinator that is not ready says so at each of them, and all are to be asked again.
fn sort_out(
    refusals: &mut RefusedPartitions,
    partition: TopicPartition,
    code: ErrorCode,
) -> Result<(), Refusal> {
    match refused(code, None) {
        Err(refusal) if refusal.is_not_now() => return Err(refusal),
        Err(refusal) => drop(refusals.insert(partition, refusal)),
        Ok(()) => {}
    }
    Ok(())
}

fn classic_group(group: &describe_groups::DescribedGroup<'_>) -> Result<Group, Refusal> {
    refused(group.error_code, group.error_message)?;
    // So brokers before Kafka 4.0 say that it is not there.
    if group.group_state == "Dead" {
        return Err(Refusal { code: ErrorCode::GROUP_ID_NOT_FOUND, message: None });
    }
    let member = |member: &describe_groups::DescribedGroupMember<'_>| Member {
        member_id: member.member_id.to_owned(),
        instance_id: member.group_instance_id.map(str::to_owned),
        client_id: member.client_id.to_owned(),
        host: member.client_host.to_owned(),
        epoch: None,
        owned: (group.protocol_type == "consumer")
            .then(|| assignment::parse(member.member_assignment).ok())
            .flatten(),
        target: None,
    };
    Ok(Group {
        group: group.group_id.to_owned(),
        state: group.group_state.to_owned(),
        kind: "classic",
        protocol_type: group.protocol_type.to_owned(),
        assignor: group.protocol_data.to_owned(),
        epochs: None,
        members: group.members.iter().map(member).collect(),
    })
}

fn consumer_group(group: &consumer_group_describe::DescribedGroup<'_>) -> Result<Group, Refusal> {
    refused(group.error_code, group.error_message)?;
    let member = |member: &consumer_group_describe::Member<'_>| {
        let (now, target) = (owned(&member.assignment), owned(&member.target_assignment));
        Member {
            member_id: member.member_id.to_owned(),
            instance_id: member.instance_id.map(str::to_owned),
            client_id: member.client_id.to_owned(),
            host: member.client_host.to_owned(),
            epoch: Some(member.member_epoch),
            target: Some(target).filter(|target| *target != now),
            owned: Some(now),
        }
    };
    Ok(Group {
        group: group.group_id.to_owned(),
        state: group.group_state.to_owned(),
        kind: "consumer",
        protocol_type: "consumer".to_owned(),
        assignor: group.assignor_name.to_owned(),
        epochs: Some((group.group_epoch, group.assignment_epoch)),
        members: group.members.iter().map(member).collect(),
    })
}

fn owned(assignment: &Assignment<'_>) -> Owned {
    let mut owned = Owned::new();
    for topic in &assignment.topic_partitions {
        owned.entry(topic.topic_name.to_owned()).or_default().extend(&topic.partitions);
    }
    owned.values_mut().for_each(|partitions| partitions.sort_unstable());
    owned
}
