//! OffsetCommit, OffsetFetch, OffsetDelete.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use buslane_wire::ids::TopicId;
use buslane_wire::{ErrorCode, messages};

/// Stores offsets of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The request's version: from 9 on an unknown group is GROUP_ID_NOT_FOUND, from 10 on topics come by id.
    pub version: i16,
    /// The group; may be empty for a consumer without a group protocol.
    pub group: Arc<str>,
    /// The generation (classic) or the member's epoch; -1 for a consumer without a group protocol.
    pub generation_or_epoch: i32,
    /// The member; may be empty.
    pub member_id: Arc<str>,
    /// The name of a static member.
    pub instance_id: Option<Arc<str>>,
    /// How long to keep the offsets, in milliseconds; -1 for the broker's setting.
    pub retention_ms: i64,
    /// What to store.
    pub topics: Vec<CommitTopic>,
}

/// An element of [`OffsetCommit::topics`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTopic {
    /// Empty from version 10 on.
    pub name: Arc<str>,
    /// Zero below version 10.
    pub id: TopicId,
    /// What to store.
    pub partitions: Vec<CommitPartition>,
}

/// An element of [`CommitTopic::partitions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPartition {
    /// The partition's index.
    pub index: i32,
    /// The next offset to read.
    pub offset: i64,
    /// Epoch of the last record consumed; -1 when unknown.
    pub leader_epoch: i32,
    /// Text of the consumer's.
    pub metadata: Option<Arc<str>>,
}

impl OffsetCommit {
    /// Copies a request out of its frame.
    pub fn from_wire(message: &messages::OffsetCommitRequest<'_>, version: i16) -> OffsetCommit {
        let topic = |topic: &messages::offset_commit::OffsetCommitRequestTopic<'_>| CommitTopic {
            name: topic.name.into(),
            id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| CommitPartition {
                    index: partition.partition_index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.map(Into::into),
                })
                .collect(),
        };
        OffsetCommit {
            version,
            group: message.group_id.into(),
            generation_or_epoch: message.generation_id_or_member_epoch,
            member_id: message.member_id.into(),
            instance_id: message.group_instance_id.map(Into::into),
            retention_ms: message.retention_time_ms,
            topics: message.topics.iter().map(topic).collect(),
        }
    }

    pub(crate) fn refuse(&self, code: ErrorCode) -> OffsetCommitReply {
        let topic = |topic: &CommitTopic| CommittedTopic {
            name: topic.name.clone(),
            id: topic.id,
            partitions: topic.partitions.iter().map(|partition| (partition.index, code)).collect(),
        };
        OffsetCommitReply { topics: self.topics.iter().map(topic).collect() }
    }
}

/// One result a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitReply {
    /// In the order of the request.
    pub topics: Vec<CommittedTopic>,
}

/// An element of [`OffsetCommitReply::topics`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    /// The name.
    pub name: Arc<str>,
    /// The id.
    pub id: TopicId,
    /// Index and error.
    pub partitions: Vec<(i32, ErrorCode)>,
}

impl OffsetCommitReply {
    pub(crate) fn fail(&mut self, code: ErrorCode) {
        let partitions = self.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        partitions.filter(|(_, error)| !error.is_err()).for_each(|(_, error)| *error = code);
    }

    /// The message, the same in every version: each carries the name or the id.
    pub fn to_wire(&self) -> messages::OffsetCommitResponse<'_> {
        use messages::offset_commit as wire;
        let topics = self.topics.iter().map(|topic| wire::OffsetCommitResponseTopic {
            name: &topic.name,
            topic_id: topic.id,
            partitions: topic
                .partitions
                .iter()
                .map(|(partition_index, error_code)| wire::OffsetCommitResponsePartition {
                    partition_index: *partition_index,
                    error_code: *error_code,
                })
                .collect(),
        });
        messages::OffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }
    }
}

/// Asks for offsets of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetch {
    /// The request's version: from 10 on topics come by id.
    pub version: i16,
    /// The group; may be empty.
    pub group: Arc<str>,
    /// The member, from version 9 on; classic groups pay no heed.
    pub member_id: Option<Arc<str>>,
    /// Its epoch, from version 9 on; -1 for none.
    pub member_epoch: i32,
    /// `None` asks for everything the group has.
    pub topics: Option<Vec<FetchTopic>>,
    /// Answer UNSTABLE_OFFSET_COMMIT where a transaction's commit is open (KIP-447). There are no transactions yet.
    pub require_stable: bool,
}

/// An element of [`OffsetFetch::topics`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    /// Empty from version 10 on.
    pub name: Arc<str>,
    /// Zero below version 10.
    pub id: TopicId,
    /// Indexes.
    pub partitions: Vec<i32>,
}

impl OffsetFetch {
    /// Copies a request out of its frame: one for each group. What stands there more than once is asked for once, so that
    /// a small request has no huge answer.
    pub fn from_wire(message: &messages::OffsetFetchRequest<'_>, version: i16) -> Vec<OffsetFetch> {
        let require_stable = message.require_stable;
        if version < 8 {
            let topics = message.topics.as_ref().map(|topics| {
                once(topics.iter().map(|topic| (topic.name, TopicId::ZERO, &topic.partition_indexes[..])))
            });
            let (group, member_id) = (message.group_id.into(), None);
            return vec![OffsetFetch { version, group, member_id, member_epoch: -1, topics, require_stable }];
        }
        let group = |group: &messages::offset_fetch::OffsetFetchRequestGroup<'_>| OffsetFetch {
            version,
            group: group.group_id.into(),
            member_id: group.member_id.map(Into::into),
            member_epoch: group.member_epoch,
            topics: group.topics.as_ref().map(|topics| {
                once(topics.iter().map(|topic| (topic.name, topic.topic_id, &topic.partition_indexes[..])))
            }),
            require_stable,
        };
        let mut seen = HashSet::new();
        message.groups.iter().filter(|asked| seen.insert(asked.group_id)).map(group).collect()
    }

    pub(crate) fn refuse(&self, error_code: ErrorCode) -> OffsetFetchReply {
        // Version 1 has no place for an error but the partitions.
        let topics = match &self.topics {
            Some(topics) if self.version < 2 => topics
                .iter()
                .map(|topic| FetchedTopic {
                    name: topic.name.clone(),
                    id: topic.id,
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|index| FetchedPartition::error(*index, error_code))
                        .collect(),
                })
                .collect(),
            _ => Vec::new(),
        };
        OffsetFetchReply { group: self.group.clone(), error_code, topics }
    }
}

/// Topics and partitions, each once, in the order in which they came first.
fn once<'a>(topics: impl Iterator<Item = (&'a str, TopicId, &'a [i32])>) -> Vec<FetchTopic> {
    let mut places: HashMap<(&str, TopicId), usize> = HashMap::new();
    let mut seen = HashSet::new();
    let mut asked: Vec<FetchTopic> = Vec::new();
    for (name, id, partitions) in topics {
        let place = *places.entry((name, id)).or_insert_with(|| {
            asked.push(FetchTopic { name: name.into(), id, partitions: Vec::new() });
            asked.len() - 1
        });
        let new = partitions.iter().filter(|index| seen.insert((place, **index)));
        asked[place].partitions.extend(new);
    }
    asked
}

/// The offsets of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchReply {
    /// The group.
    pub group: Arc<str>,
    /// What went wrong with all of it.
    pub error_code: ErrorCode,
    /// In the order of the request; by name where everything was asked for.
    pub topics: Vec<FetchedTopic>,
}

/// An element of [`OffsetFetchReply::topics`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    /// The name.
    pub name: Arc<str>,
    /// The id; zero below version 10.
    pub id: TopicId,
    /// The offsets.
    pub partitions: Vec<FetchedPartition>,
}

/// An element of [`FetchedTopic::partitions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The partition's index.
    pub index: i32,
    /// The next offset to read; -1 when nothing is committed.
    pub offset: i64,
    /// Epoch of the last record consumed; -1 when unknown.
    pub leader_epoch: i32,
    /// Text of the consumer's.
    pub metadata: Arc<str>,
    /// What went wrong with this one.
    pub error_code: ErrorCode,
}

impl FetchedPartition {
    /// Nothing is committed, or nothing is told because of an error.
    pub(crate) fn error(index: i32, error_code: ErrorCode) -> FetchedPartition {
        FetchedPartition { index, offset: -1, leader_epoch: -1, metadata: "".into(), error_code }
    }
}

impl OffsetFetchReply {
    /// The message for a request of `version`, from the replies for its groups.
    ///
    /// # Panics
    /// Below version 8 with more or fewer than one reply.
    pub fn to_wire(replies: &[OffsetFetchReply], version: i16) -> messages::OffsetFetchResponse<'_> {
        use messages::offset_fetch as wire;
        if version >= 8 {
            let groups = replies.iter().map(|reply| wire::OffsetFetchResponseGroup {
                group_id: &reply.group,
                error_code: reply.error_code,
                topics: reply
                    .topics
                    .iter()
                    .map(|topic| wire::OffsetFetchResponseTopics {
                        name: &topic.name,
                        topic_id: topic.id,
                        partitions: topic
                            .partitions
                            .iter()
                            .map(|partition| wire::OffsetFetchResponsePartitions {
                                partition_index: partition.index,
                                committed_offset: partition.offset,
                                committed_leader_epoch: partition.leader_epoch,
                                metadata: Some(&partition.metadata),
                                error_code: partition.error_code,
                            })
                            .collect(),
                    })
                    .collect(),
            });
            return messages::OffsetFetchResponse { groups: groups.collect(), ..Default::default() };
        }
        let [reply] = replies else { panic!("{} replies for one group", replies.len()) };
        let topics = reply.topics.iter().map(|topic| wire::OffsetFetchResponseTopic {
            name: &topic.name,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| wire::OffsetFetchResponsePartition {
                    partition_index: partition.index,
                    committed_offset: partition.offset,
                    committed_leader_epoch: partition.leader_epoch,
                    metadata: Some(&partition.metadata),
                    error_code: partition.error_code,
                })
                .collect(),
        });
        messages::OffsetFetchResponse {
            topics: topics.collect(),
            error_code: reply.error_code,
            ..Default::default()
        }
    }
}

/// Deletes offsets of one group (KIP-496).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDelete {
    /// The group.
    pub group: Arc<str>,
    /// What to delete.
    pub topics: Vec<DeleteTopic>,
}

/// An element of [`OffsetDelete::topics`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTopic {
    /// The name.
    pub name: Arc<str>,
    /// Indexes.
    pub partitions: Vec<i32>,
}

impl OffsetDelete {
    /// Copies a request out of its frame.
    pub fn from_wire(message: &messages::OffsetDeleteRequest<'_>) -> OffsetDelete {
        let topic = |topic: &messages::offset_delete::OffsetDeleteRequestTopic<'_>| DeleteTopic {
            name: topic.name.into(),
            partitions: topic.partitions.iter().map(|partition| partition.partition_index).collect(),
        };
        OffsetDelete { group: message.group_id.into(), topics: message.topics.iter().map(topic).collect() }
    }
}

/// One result a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteReply {
    /// What went wrong with all of it.
    pub error_code: ErrorCode,
    /// In the order of the request.
    pub topics: Vec<DeletedTopic>,
}

/// An element of [`OffsetDeleteReply::topics`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// The name.
    pub name: Arc<str>,
    /// Index and error.
    pub partitions: Vec<(i32, ErrorCode)>,
}

impl OffsetDeleteReply {
    /// The message.
    pub fn to_wire(&self) -> messages::OffsetDeleteResponse<'_> {
        use messages::offset_delete as wire;
        let topics = self.topics.iter().map(|topic| wire::OffsetDeleteResponseTopic {
            name: &topic.name,
            partitions: topic
                .partitions
                .iter()
                .map(|(partition_index, error_code)| wire::OffsetDeleteResponsePartition {
                    partition_index: *partition_index,
                    error_code: *error_code,
                })
                .collect(),
        });
        messages::OffsetDeleteResponse {
            error_code: self.error_code,
            throttle_time_ms: 0,
            topics: topics.collect(),
        }
    }
}
