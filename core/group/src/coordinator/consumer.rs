//! Groups of the consumer protocol (KIP-848) in the shard: their requests, classic requests to them, and migration.

use std::sync::Arc;

use buslane_wire::ErrorCode;

use super::{Call, Group};
use crate::api::{
    ConsumerGroupDescribe, ConsumerGroupDescribeReply, ConsumerGroupHeartbeat, ConsumerGroupHeartbeatReply,
    DescribedConsumerGroup, Event, Heartbeat, HeartbeatReply, JoinGroup, JoinGroupReply, LeaveGroup,
    LeaveGroupReply, LeftMember, Refusal, RemovalCause, Reply, RequestId, SyncGroup, SyncGroupReply,
};
use crate::classic::{ClassicGroup, GroupState};
use crate::consumer::{
    self, ClassicHeartbeatReply, ClassicJoin, ClassicJoinReply, ClassicProtocol, ClassicSender,
    ConsumerGroup, ConsumerGroupConfig, Deadline, Fact, GroupError, TopicsView,
};
use crate::turn::Timer;

impl Call<'_> {
    pub(super) fn consumer_heartbeat(
        &mut self,
        to: RequestId,
        request: ConsumerGroupHeartbeat,
        topics: &dyn TopicsView,
    ) {
        let result = self.try_consumer_heartbeat(request, topics).map_err(Refusal::from);
        self.turn.reply_committed(to, Reply::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatReply { result }));
    }

    fn try_consumer_heartbeat(
        &mut self,
        request: ConsumerGroupHeartbeat,
        topics: &dyn TopicsView,
    ) -> Result<consumer::HeartbeatReply, GroupError> {
        let ConsumerGroupHeartbeat { version, group: id, new_member_id, mut heartbeat } = request;
        let (config, now_ms) = (&self.turn.config.consumer, self.turn.now_ms);
        heartbeat.check(&id, version, config)?;
        if heartbeat.member_id.is_empty() {
            heartbeat.member_id = new_member_id.to_string();
        }
        let not_found = || GroupError::GroupIdNotFound { group_id: id.to_string() };
        let mut facts = Vec::new();
        // A group that is made by this request is there only if the request is not refused.
        let mut made = match self.groups.get(&id) {
            Some(Group::Consumer(_)) => None,
            _ if !heartbeat.may_create_group() => return Err(not_found()),
            None => Some(ConsumerGroup::new(&id)),
            Some(Group::Classic(classic)) if classic.state() == GroupState::Empty => {
                Some(ConsumerGroup::new(&id))
            }
            Some(Group::Classic(classic)) => {
                let upgraded =
                    ConsumerGroup::upgrade(&id, &classic.view(), now_ms, topics, config, &mut facts)?;
                Some(upgraded)
            }
        };
        if let Some(group) = &mut made {
            let reply = group.heartbeat(now_ms, &heartbeat, topics, config, &mut facts)?;
            if let Some(Group::Classic(mut classic)) = self.groups.remove(&id) {
                self.turn.record(classic.tombstone());
                classic.end(&mut self.turn);
            }
            self.write_facts(&id, &facts);
            self.groups.insert(id.clone(), Group::Consumer(made.take().expect("it was just lent")));
            self.set_consumer_deadline(&id);
            return Ok(reply);
        }
        let reply = self.with_consumer(&id, |group, config, now_ms, facts| {
            group.heartbeat(now_ms, &heartbeat, topics, config, facts)
        });
        self.downgrade_if_due(&id, topics);
        reply
    }

    /// Calls into a consumer group, writes what comes of it, and sets the group's deadline.
    fn with_consumer<R>(
        &mut self,
        id: &Arc<str>,
        call: impl FnOnce(&mut ConsumerGroup, &ConsumerGroupConfig, i64, &mut Vec<Fact>) -> R,
    ) -> R {
        let Some(Group::Consumer(group)) = self.groups.get_mut(id) else {
            unreachable!("the caller found the group")
        };
        let mut facts = Vec::new();
        let result = call(group, &self.turn.config.consumer, self.turn.now_ms, &mut facts);
        self.write_facts(id, &facts);
        self.set_consumer_deadline(id);
        result
    }

    fn write_facts(&mut self, id: &str, facts: &[Fact]) {
        for fact in facts {
            let record = fact.to_record(id);
            self.turn.record(record.expect("every string came in a message or a record"));
        }
    }

    pub(super) fn set_consumer_deadline(&mut self, id: &Arc<str>) {
        let Some(Group::Consumer(group)) = self.groups.get(id) else { return };
        let timer = Timer::Consumer { group: id.clone() };
        match group.next_timeout(&self.turn.config.consumer) {
            Some(deadline_ms) => self.turn.timers.set(timer, deadline_ms),
            None => self.turn.timers.cancel(&timer),
        }
    }

    /// The deadline of a consumer group has passed.
    pub(super) fn consumer_deadline_passed(&mut self, id: &Arc<str>, topics: &dyn TopicsView) {
        let expired = self.with_consumer(id, |group, config, now_ms, facts| {
            group.on_timeout(now_ms, topics, config, facts)
        });
        for expired in expired {
            let cause = match expired.missed {
                Deadline::Session => RemovalCause::Silent,
                Deadline::Revocation => RemovalCause::NotRevoked,
                Deadline::Join => RemovalCause::NotRejoined,
                Deadline::Sync => RemovalCause::NotSynced,
            };
            let (group, member_id) = (id.clone(), expired.member_id.into());
            self.turn.event(Event::MemberRemoved { group, member_id, cause });
        }
        self.downgrade_if_due(id, topics);
    }

    /// A group in which only classic members are left becomes a classic group.
    fn downgrade_if_due(&mut self, id: &Arc<str>, topics: &dyn TopicsView) {
        let config = &self.turn.config.consumer;
        let due =
            matches!(self.groups.get(id), Some(Group::Consumer(group)) if group.should_downgrade(config));
        if !due {
            return;
        }
        let Some(Group::Consumer(group)) = self.groups.remove(id) else { unreachable!("it was just found") };
        let mut facts = Vec::new();
        let view = group.downgrade(topics, &mut facts);
        self.write_facts(id, &facts);
        self.turn.timers.cancel(&Timer::Consumer { group: id.clone() });
        let (mut classic, record) = ClassicGroup::of_view(id.clone(), view, &mut self.turn);
        self.turn.record(record);
        classic.prepare_rebalance(&mut self.turn, "only members of the classic protocol are left".into());
        self.groups.insert(id.clone(), Group::Classic(classic));
    }

    /// Takes a consumer group without members out of the log, so that a group of the other protocol can take its place.
    pub(super) fn remove_empty_consumer(&mut self, id: &Arc<str>) {
        self.with_consumer(id, |group, _, _, facts| {
            assert!(group.members().is_empty(), "group {} has members", group.group_id());
            group.remove(facts);
        });
        self.remove_group(id);
    }

    pub(super) fn consumer_describe(&mut self, to: RequestId, request: &ConsumerGroupDescribe) {
        let refuse = |error_code, message: String| Refusal { error_code, message: Some(message.into()) };
        let not_found = ErrorCode::GROUP_ID_NOT_FOUND;
        let describe = |id: &Arc<str>| match self.groups.get(id) {
            _ if id.is_empty() => Err(Refusal::from(ErrorCode::INVALID_GROUP_ID)),
            Some(Group::Consumer(group)) => Ok(Box::new(group.clone())),
            Some(Group::Classic(_)) => Err(refuse(not_found, format!("Group {id} is not a consumer group."))),
            None => Err(refuse(not_found, format!("Group {id} not found."))),
        };
        let described = |id: &Arc<str>| DescribedConsumerGroup { id: id.clone(), group: describe(id) };
        let groups = request.groups.iter().map(described).collect();
        self.turn.reply_committed(to, Reply::ConsumerGroupDescribe(ConsumerGroupDescribeReply { groups }));
    }

    // Classic requests to a consumer group that has members.

    pub(super) fn join_consumer(&mut self, to: RequestId, request: JoinGroup, topics: &dyn TopicsView) {
        let is_new_id = request.member_id.is_empty();
        let name = request.instance_id.as_ref().unwrap_or(&request.caller.client_id);
        let member_id = match is_new_id {
            true => format!("{name}-{}", request.new_member_suffix),
            false => request.member_id.to_string(),
        };
        if member_id.len() > i16::MAX as usize {
            let reply = JoinGroupReply::error(request.member_id, ErrorCode::INVALID_REQUEST);
            return self.turn.reply(to, Reply::JoinGroup(reply));
        }
        let join = ClassicJoin {
            member_id,
            is_new_id,
            must_know_id: request.version >= 4 && request.instance_id.is_none(),
            instance_id: request.instance_id.as_ref().map(|name| name.to_string()),
            client_id: request.caller.client_id.to_string(),
            client_host: request.caller.client_host.to_string(),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocol_type: request.protocol_type.to_string(),
            protocols: request
                .protocols
                .into_iter()
                .map(|protocol| ClassicProtocol {
                    name: protocol.name.to_string(),
                    metadata: protocol.metadata,
                })
                .collect(),
        };
        let result = self.with_consumer(&request.group, |group, config, now_ms, facts| {
            group.classic_join(now_ms, &join, topics, config, facts)
        });
        self.downgrade_if_due(&request.group, topics);
        let reply = match result {
            Err(error) => JoinGroupReply::error(request.member_id, error.code()),
            Ok(ClassicJoinReply::MemberIdRequired { member_id }) => {
                JoinGroupReply::error(member_id.into(), ErrorCode::MEMBER_ID_REQUIRED)
            }
            Ok(ClassicJoinReply::Joined { member_id, generation_id, protocol_name }) => JoinGroupReply {
                generation: generation_id,
                protocol_type: Some(consumer::CONSUMER_PROTOCOL_TYPE.into()),
                protocol: Some(protocol_name.into()),
                ..JoinGroupReply::error(member_id.into(), ErrorCode::NONE)
            },
        };
        self.turn.reply_committed(to, Reply::JoinGroup(reply));
    }

    pub(super) fn sync_consumer(&mut self, to: RequestId, request: &SyncGroup, topics: &dyn TopicsView) {
        let result = self.with_consumer(&request.group, |group, _, now_ms, _| {
            let sender =
                ClassicSender { member_id: &request.member_id, instance_id: request.instance_id.as_deref() };
            let (kind, protocol) = (request.protocol_type.as_deref(), request.protocol.as_deref());
            group.classic_sync(now_ms, sender, request.generation, kind, protocol, topics)
        });
        let reply = match result {
            Err(error) => SyncGroupReply::error(error.code()),
            Ok(assignment) => SyncGroupReply {
                error_code: ErrorCode::NONE,
                protocol_type: request.protocol_type.clone(),
                protocol: request.protocol.clone(),
                assignment,
            },
        };
        self.turn.reply_committed(to, Reply::SyncGroup(reply));
    }

    pub(super) fn heartbeat_consumer(&mut self, to: RequestId, request: &Heartbeat, topics: &dyn TopicsView) {
        let result = self.with_consumer(&request.group, |group, config, now_ms, facts| {
            let sender =
                ClassicSender { member_id: &request.member_id, instance_id: request.instance_id.as_deref() };
            group.classic_heartbeat(now_ms, sender, request.generation, topics, config, facts)
        });
        let error_code = match result {
            Ok(ClassicHeartbeatReply::Stay) => ErrorCode::NONE,
            Ok(ClassicHeartbeatReply::Rejoin) => ErrorCode::REBALANCE_IN_PROGRESS,
            Err(error) => error.code(),
        };
        self.turn.reply_committed(to, Reply::Heartbeat(HeartbeatReply { error_code }));
    }

    pub(super) fn leave_consumer(&mut self, to: RequestId, request: LeaveGroup, topics: &dyn TopicsView) {
        let results = self.with_consumer(&request.group, |group, config, now_ms, facts| {
            let senders: Vec<_> = request
                .members
                .iter()
                .map(|leaving| ClassicSender {
                    member_id: &leaving.member_id,
                    instance_id: leaving.instance_id.as_deref(),
                })
                .collect();
            group.classic_leave(now_ms, &senders, topics, config, facts)
        });
        self.downgrade_if_due(&request.group, topics);
        let members = request.members.into_iter().zip(results).map(|(leaving, result)| LeftMember {
            member_id: leaving.member_id,
            instance_id: leaving.instance_id,
            error_code: result.err().map_or(ErrorCode::NONE, |error| error.code()),
        });
        let reply = LeaveGroupReply { error_code: ErrorCode::NONE, members: members.collect() };
        self.turn.reply_committed(to, Reply::LeaveGroup(reply));
    }
}
