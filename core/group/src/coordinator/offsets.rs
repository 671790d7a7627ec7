//! OffsetCommit, OffsetFetch, OffsetDelete, and topics that are deleted.

use std::sync::Arc;

use buslane_wire::ErrorCode;
use buslane_wire::ids::TopicId;

use super::{Call, Group, Shard};
use crate::api::{
    CommitTopic, CommittedTopic, DeletedTopic, Effects, FetchTopic, FetchedPartition, FetchedTopic,
    OffsetCommit, OffsetCommitReply, OffsetDelete, OffsetDeleteReply, OffsetFetch, OffsetFetchReply, Reply,
    RequestId,
};
use crate::classic::{ClassicGroup, GroupState};
use crate::consumer::{Committer, ConsumerGroup, GroupError, TopicsView};
use crate::offsets::{StoredOffset, tombstone};

/// First version of OffsetCommit in which an unknown group has an error of its own.
const COMMIT_KNOWS_GROUP_ERRORS: i16 = 9;
/// First version of OffsetCommit and OffsetFetch with topic ids.
const TOPIC_IDS: i16 = 10;

impl Shard {
    /// These topics were deleted: their offsets go, in every group. A topic that was created again under the same name keeps
    /// the offsets that were committed by its new id.
    pub fn topics_deleted(&mut self, now_ms: i64, deleted: &[(&str, TopicId)]) -> Effects {
        let mut call = self.call(now_ms);
        let mut gone = Vec::new();
        for (group, topics) in call.offsets.iter() {
            for (topic, id) in deleted {
                let partitions = topics.get(*topic).into_iter().flatten();
                let of_this = partitions.filter(|(_, offset)| !offset.is_of_another(*id));
                gone.extend(of_this.map(|(partition, _)| (group.clone(), *topic, *partition)));
            }
        }
        gone.sort();
        for (group, topic, partition) in gone {
            call.remove_offset(&group, topic, partition);
        }
        call.turn.finish()
    }
}

impl Call<'_> {
    pub(super) fn offset_commit(&mut self, to: RequestId, request: &OffsetCommit, topics: &dyn TopicsView) {
        let mut reply = OffsetCommitReply { topics: Vec::with_capacity(request.topics.len()) };
        let mut any = false;
        for topic in &request.topics {
            let partitions = checked_partitions(topic, request.version, topics);
            any |= partitions.iter().any(|(_, error)| !error.is_err());
            let name = match request.version {
                TOPIC_IDS.. => topics.name_of(topic.id).map(Into::into).unwrap_or_default(),
                _ => topic.name.clone(),
            };
            reply.topics.push(CommittedTopic { name, id: topic.id, partitions });
        }
        if any {
            match self.check_commit(request, &reply, topics) {
                Ok(()) => self.store_offsets(request, &mut reply, topics),
                Err(error) => reply.fail(error),
            }
        }
        self.turn.reply_committed(to, Reply::OffsetCommit(reply));
    }

    fn check_commit(
        &mut self,
        request: &OffsetCommit,
        reply: &OffsetCommitReply,
        topics: &dyn TopicsView,
    ) -> Result<(), ErrorCode> {
        let generation = request.generation_or_epoch;
        let group = match self.groups.get_mut(&request.group) {
            Some(Group::Classic(group)) => group,
            Some(Group::Consumer(group)) => {
                return check_consumer_commit(group, request, reply, topics).map_err(|error| error.code());
            }
            // A simple consumer's first commit makes the group.
            None if generation < 0 => return Ok(()),
            None if request.version >= COMMIT_KNOWS_GROUP_ERRORS => {
                return Err(ErrorCode::GROUP_ID_NOT_FOUND);
            }
            None => return Err(ErrorCode::ILLEGAL_GENERATION),
        };
        group.check_commit(&request.member_id, request.instance_id.as_deref(), generation)?;
        if matches!(group.state(), GroupState::Stable | GroupState::PreparingRebalance) {
            // A member that commits is alive.
            group.restart_session(&mut self.turn, &request.member_id);
        }
        Ok(())
    }

    fn store_offsets(
        &mut self,
        request: &OffsetCommit,
        reply: &mut OffsetCommitReply,
        topics: &dyn TopicsView,
    ) {
        let now_ms = self.turn.now_ms;
        let expire_timestamp_ms =
            (request.retention_ms != -1).then(|| now_ms.saturating_add(request.retention_ms));
        for (topic, answered) in request.topics.iter().zip(&mut reply.topics) {
            // Also of those that come by name: another topic of that name has other offsets.
            let topic_id = topics.by_name(&answered.name).map_or(topic.id, |found| found.id);
            for (partition, (_, error)) in topic.partitions.iter().zip(&mut answered.partitions) {
                if error.is_err() {
                    continue;
                }
                let metadata = partition.metadata.clone().unwrap_or_default();
                if is_longer(&metadata, self.turn.config.offset_metadata_max) {
                    *error = ErrorCode::OFFSET_METADATA_TOO_LARGE;
                    continue;
                }
                let offset = StoredOffset {
                    offset: partition.offset,
                    leader_epoch: partition.leader_epoch,
                    metadata,
                    commit_timestamp_ms: now_ms,
                    expire_timestamp_ms,
                    topic_id,
                };
                let record = offset.to_record(&request.group, &answered.name, partition.index);
                self.turn.record(record);
                self.put_offset(&request.group, &answered.name, partition.index, offset);
            }
        }
    }

    /// An offset, and the group it belongs to: a simple consumer's when there is none.
    pub(super) fn put_offset(&mut self, group: &str, topic: &str, partition: i32, offset: StoredOffset) {
        let id = match self.groups.get_key_value(group) {
            Some((id, _)) => id.clone(),
            None => {
                let id: Arc<str> = group.into();
                let made = ClassicGroup::new(id.clone(), Some(self.turn.now_ms));
                self.groups.insert(id.clone(), Group::Classic(made));
                id
            }
        };
        self.offsets.put(id, topic, partition, offset);
    }

    pub(super) fn remove_offset(&mut self, group: &str, topic: &str, partition: i32) {
        self.turn.record(tombstone(group, topic, partition));
        self.offsets.remove(group, topic, partition);
    }

    pub(super) fn offset_fetch(&mut self, to: RequestId, request: &OffsetFetch, topics: &dyn TopicsView) {
        if let Some(Group::Consumer(group)) = self.groups.get(&request.group)
            && let Err(error) = group.check_fetch(request.member_id.as_deref(), request.member_epoch)
        {
            let reply = request.refuse(error.code());
            return self.turn.reply_committed(to, Reply::OffsetFetch(reply));
        }
        let by_id = request.version >= TOPIC_IDS;
        let found = match &request.topics {
            Some(asked) => {
                asked.iter().map(|topic| self.fetch_topic(&request.group, topic, by_id, topics)).collect()
            }
            None => self.fetch_all(&request.group, by_id, topics),
        };
        let reply =
            OffsetFetchReply { group: request.group.clone(), error_code: ErrorCode::NONE, topics: found };
        self.turn.reply_committed(to, Reply::OffsetFetch(reply));
    }

    fn fetch_topic(
        &self,
        group: &str,
        asked: &FetchTopic,
        by_id: bool,
        topics: &dyn TopicsView,
    ) -> FetchedTopic {
        let known = if by_id { topics.name_of(asked.id) } else { Some(&*asked.name) };
        let id = known.and_then(|name| topics.by_name(name)).map_or(asked.id, |found| found.id);
        let fetch = |index: i32| {
            let Some(name) = known else {
                return FetchedPartition::error(index, ErrorCode::UNKNOWN_TOPIC_ID);
            };
            match self.offsets.get(group, name, index).filter(|offset| !offset.is_of_another(id)) {
                Some(offset) => fetched(index, offset),
                None => FetchedPartition::error(index, ErrorCode::NONE),
            }
        };
        FetchedTopic {
            name: known.map(Into::into).unwrap_or_default(),
            id: asked.id,
            partitions: asked.partitions.iter().map(|index| fetch(*index)).collect(),
        }
    }

    fn fetch_all(&self, group: &str, by_id: bool, topics: &dyn TopicsView) -> Vec<FetchedTopic> {
        let mut found = Vec::new();
        for (name, partitions) in self.offsets.of_group(group).into_iter().flatten() {
            let id = match topics.by_name(name) {
                Some(topic) => topic.id,
                None if !by_id => TopicId::ZERO,
                // There is no way to name it.
                None => continue,
            };
            let of_this = partitions.iter().filter(|(_, offset)| !offset.is_of_another(id));
            let partitions: Vec<_> = of_this.map(|(index, offset)| fetched(*index, offset)).collect();
            if !partitions.is_empty() {
                let id = if by_id { id } else { TopicId::ZERO };
                found.push(FetchedTopic { name: name.clone(), id, partitions });
            }
        }
        found
    }

    pub(super) fn offset_delete(&mut self, to: RequestId, request: &OffsetDelete, topics: &dyn TopicsView) {
        if let Err(error_code) = self.check_offset_delete(&request.group) {
            let reply = OffsetDeleteReply { error_code, topics: Vec::new() };
            return self.turn.reply_committed(to, Reply::OffsetDelete(reply));
        }
        let mut reply = OffsetDeleteReply { error_code: ErrorCode::NONE, topics: Vec::new() };
        for topic in request.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
            let exists = topics.by_name(&topic.name).map_or(0, |found| found.partitions);
            let subscribed = self.is_subscribed(&request.group, &topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for index in &topic.partitions {
                let error = if !(0..exists).contains(index) {
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                } else if subscribed {
                    ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
                } else {
                    if self.offsets.get(&request.group, &topic.name, *index).is_some() {
                        self.remove_offset(&request.group, &topic.name, *index);
                    }
                    ErrorCode::NONE
                };
                partitions.push((*index, error));
            }
            reply.topics.push(DeletedTopic { name: topic.name.clone(), partitions });
        }
        self.turn.reply_committed(to, Reply::OffsetDelete(reply));
    }

    /// True when a member of the group may be reading the topic.
    pub(super) fn is_subscribed(&self, group: &str, topic: &str) -> bool {
        match self.groups.get(group) {
            Some(Group::Classic(group)) => group.is_subscribed(topic),
            Some(Group::Consumer(group)) => group.is_subscribed_to(topic),
            None => false,
        }
    }

    fn check_offset_delete(&self, group: &str) -> Result<(), ErrorCode> {
        match self.groups.get(group) {
            _ if group.is_empty() => Err(ErrorCode::INVALID_GROUP_ID),
            Some(Group::Classic(group)) => group.check_offset_delete(),
            // What each member reads is known.
            Some(Group::Consumer(_)) => Ok(()),
            None => Err(ErrorCode::GROUP_ID_NOT_FOUND),
        }
    }
}

/// Whether a member of a consumer group may commit: it carries its epoch, or has had each partition since the epoch that it
/// carries (KIP-1251).
fn check_consumer_commit(
    group: &ConsumerGroup,
    request: &OffsetCommit,
    reply: &OffsetCommitReply,
    topics: &dyn TopicsView,
) -> Result<(), GroupError> {
    let check = group.check_commit(Committer {
        member_id: &request.member_id,
        instance_id: request.instance_id.as_deref(),
        member_epoch: request.generation_or_epoch,
        commit_version: Some(request.version),
    })?;
    for topic in &reply.topics {
        let id = topics.by_name(&topic.name).map_or(topic.id, |found| found.id);
        for (index, _) in topic.partitions.iter().filter(|(_, error)| !error.is_err()) {
            check.partition(id, *index)?;
        }
    }
    Ok(())
}

/// Index and what is wrong with topic or partition, before the group is asked.
fn checked_partitions(topic: &CommitTopic, version: i16, topics: &dyn TopicsView) -> Vec<(i32, ErrorCode)> {
    let name = if version >= TOPIC_IDS { topics.name_of(topic.id) } else { Some(&*topic.name) };
    let found = name.map(|name| topics.by_name(name));
    let check = |index: i32| match found {
        None => ErrorCode::UNKNOWN_TOPIC_ID,
        Some(Some(topic)) if (0..topic.partitions).contains(&index) => ErrorCode::NONE,
        Some(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    };
    topic.partitions.iter().map(|partition| (partition.index, check(partition.index))).collect()
}

fn fetched(index: i32, offset: &StoredOffset) -> FetchedPartition {
    FetchedPartition {
        index,
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.clone(),
        error_code: ErrorCode::NONE,
    }
}

/// Kafka counts UTF-16 units, of which a text never has more than bytes.
fn is_longer(metadata: &str, max: usize) -> bool {
    metadata.len() > max && metadata.encode_utf16().count() > max
}
