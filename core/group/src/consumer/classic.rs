//! Classic members of a consumer group: JoinGroup, SyncGroup, Heartbeat and LeaveGroup answered on the group's behalf.
//!
//! While a group moves from one protocol to the other it has members of both. A classic member's generation is its member
//! epoch. It joins alone, without waiting for others; nobody is leader, and SyncGroup answers with what the coordinator
//! assigned. Where a consumer member would be told in its heartbeat, a classic one is told to rejoin: to give partitions
//! up (its next JoinGroup says what it still holds), to take what has become free, or to get to a newer target.
//! Source: KIP-848, "Online migration".

use bytes::Bytes;

use super::config::ConsumerGroupConfig;
use super::error::GroupError;
use super::fact::{ClassicMetadata, ClassicProtocol, Fact, MemberState};
use super::group::{ConsumerGroup, Member};
use super::protocol::{
    CONSUMER_PROTOCOL_TYPE, embedded_version, read_subscription, to_partitions, write_assignment,
};
use super::timers::Deadline;
use super::topics::TopicsView;

/// A JoinGroup for a consumer group.
#[derive(Clone, Debug, Default)]
pub struct ClassicJoin {
    /// The member's id; where the request had none, one that the caller made.
    pub member_id: String,
    /// True where the request had none.
    pub is_new_id: bool,
    /// True where a member without an id must be told one first (KIP-394): dynamic, of version 4 or later.
    pub must_know_id: bool,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Where the request comes from.
    pub client_host: String,
    /// Its session timeout, ms.
    pub session_timeout_ms: i32,
    /// How long it may take to rejoin, ms; of version 0, which has none of its own, the session timeout.
    pub rebalance_timeout_ms: i32,
    /// Must be "consumer".
    pub protocol_type: String,
    /// Its protocols, best first.
    pub protocols: Vec<ClassicProtocol>,
}

/// The answer to a [`ClassicJoin`]. There is no leader and there are no members in it; the protocol type is "consumer".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClassicJoinReply {
    /// MEMBER_ID_REQUIRED: it is to join again under this id.
    MemberIdRequired {
        /// The id.
        member_id: String,
    },
    /// It has joined.
    Joined {
        /// Its id.
        member_id: String,
        /// Its generation.
        generation_id: i32,
        /// The first of its protocols.
        protocol_name: String,
    },
}

/// The answer to a Heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassicHeartbeatReply {
    /// No error.
    Stay,
    /// REBALANCE_IN_PROGRESS: the member is to send JoinGroup.
    Rejoin,
}

/// Who sends a Heartbeat, a SyncGroup or a LeaveGroup.
#[derive(Clone, Copy, Debug)]
pub struct ClassicSender<'a> {
    /// The member's id; in LeaveGroup it may be empty where a tool removes a static member.
    pub member_id: &'a str,
    /// The name of a static member.
    pub instance_id: Option<&'a str>,
}

impl ConsumerGroup {
    /// JoinGroup of a classic member.
    ///
    /// # Errors
    /// [`GroupError::GroupMaxSizeReached`], [`GroupError::InconsistentGroupProtocol`], and for static members
    /// [`GroupError::UnknownMemberId`] and [`GroupError::FencedInstanceId`]; nothing has changed then.
    pub fn classic_join(
        &mut self,
        now_ms: i64,
        request: &ClassicJoin,
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
        facts: &mut Vec<Fact>,
    ) -> Result<ClassicJoinReply, GroupError> {
        let member_id = request.member_id.as_str();
        assert!(!member_id.is_empty(), "the caller makes an id for a member without one");
        self.check_capacity(member_id, config)?;
        let inconsistent = || GroupError::InconsistentGroupProtocol { member_id: member_id.to_string() };
        let known = |protocol: &ClassicProtocol| self.subscriptions.all_classic_know(&protocol.name);
        if request.protocol_type != CONSUMER_PROTOCOL_TYPE || !request.protocols.iter().any(known) {
            return Err(inconsistent());
        }
        let subscription = read_subscription(&request.protocols[0].metadata).map_err(|_| inconsistent())?;
        if request.must_know_id && request.is_new_id {
            return Ok(ClassicJoinReply::MemberIdRequired { member_id: member_id.to_string() });
        }
        let replaces = match &request.instance_id {
            None => None,
            // Whoever comes with the name and without an id is the restarted member.
            Some(instance_id) if request.is_new_id => {
                self.static_member(instance_id).map(|(id, _)| id.to_string())
            }
            Some(instance_id) => {
                self.classic_member(ClassicSender { member_id, instance_id: Some(instance_id) })?;
                None
            }
        };
        let owned = to_partitions(&subscription.owned_partitions, topics);
        self.check_state(replaces.as_deref().unwrap_or(member_id), subscription.generation_id, Some(&owned))?;

        // From here on nothing is refused.
        if let Some(old_id) = replaces {
            self.replace_static_member(&old_id, member_id, facts);
        }
        let mut metadata =
            self.durable.members.get(member_id).map(|member| member.metadata.clone()).unwrap_or_default();
        if request.instance_id.is_some() {
            metadata.instance_id.clone_from(&request.instance_id);
        }
        if let Some(rack_id) = subscription.rack_id {
            metadata.rack_id = Some(rack_id.to_string());
        }
        metadata.rebalance_timeout_ms = request.rebalance_timeout_ms;
        metadata.subscribed_topic_names = subscription.topics.iter().map(|name| name.to_string()).collect();
        metadata.subscribed_topic_regex = None;
        metadata.client_id.clone_from(&request.client_id);
        metadata.client_host.clone_from(&request.client_host);
        metadata.classic = Some(ClassicMetadata {
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols.clone(),
        });

        let assignor_before = self.subscriptions.preferred_assignor(&config.assignors);
        let subscribed = self.update_member(now_ms, member_id, metadata, topics, facts);
        let matched = self.refresh_regexes(now_ms, topics, config, facts);
        let assignor_changed = self.subscriptions.preferred_assignor(&config.assignors) != assignor_before;
        self.update_epoch(subscribed || matched || assignor_changed, topics, config, facts);
        self.update_target(now_ms, topics, config, facts);
        self.reconcile_member(now_ms, member_id, Some(&owned), topics, facts);

        self.timers.clear(member_id, Deadline::Join);
        self.timers.clear(member_id, Deadline::Revocation);
        self.timers.set(member_id, Deadline::Session, now_ms + i64::from(request.session_timeout_ms));
        self.timers.set(member_id, Deadline::Sync, now_ms + i64::from(request.rebalance_timeout_ms));
        Ok(ClassicJoinReply::Joined {
            member_id: member_id.to_string(),
            generation_id: self.durable.members[member_id].current.member_epoch,
            protocol_name: request.protocols[0].name.clone(),
        })
    }

    /// SyncGroup of a classic member: its assignment, a version-prefixed ConsumerProtocolAssignment.
    ///
    /// # Errors
    /// [`GroupError::UnknownMemberId`], [`GroupError::FencedInstanceId`], [`GroupError::IllegalGeneration`],
    /// [`GroupError::InconsistentGroupProtocol`], [`GroupError::RebalanceInProgress`].
    pub fn classic_sync(
        &mut self,
        now_ms: i64,
        sender: ClassicSender<'_>,
        generation_id: i32,
        protocol_type: Option<&str>,
        protocol_name: Option<&str>,
        topics: &dyn TopicsView,
    ) -> Result<Bytes, GroupError> {
        let (member_id, member, classic) = self.classic_member_at(sender, generation_id)?;
        let first = classic.protocols.first();
        if protocol_type.is_some_and(|kind| kind != CONSUMER_PROTOCOL_TYPE)
            || protocol_name.is_some_and(|name| first.is_none_or(|protocol| protocol.name != name))
        {
            return Err(GroupError::InconsistentGroupProtocol { member_id: member_id.to_string() });
        }
        // While it gives partitions up it has rejoined already: first it learns what to give up, then it rejoins again.
        if self.durable.epoch > member.current.member_epoch
            && member.current.state != MemberState::UnrevokedPartitions
        {
            return Err(self.rejoin(now_ms, member_id.to_string()));
        }
        let version = first.and_then(|protocol| embedded_version(&protocol.metadata).ok()).unwrap_or(0);
        let assignment = write_assignment(&member.current.assigned.partitions(), topics, version);
        let (member_id, session_ms) = (member_id.to_string(), i64::from(classic.session_timeout_ms));
        self.timers.clear(&member_id, Deadline::Sync);
        self.timers.set(&member_id, Deadline::Session, now_ms + session_ms);
        Ok(assignment)
    }

    /// Heartbeat of a classic member. It looks at the topics, too (Kafka's does not): nobody in the group is leader, so no
    /// client watches them, and there may be no consumer member whose heartbeat would.
    ///
    /// # Errors
    /// [`GroupError::UnknownMemberId`], [`GroupError::FencedInstanceId`], [`GroupError::IllegalGeneration`]; nothing has
    /// changed then.
    pub fn classic_heartbeat(
        &mut self,
        now_ms: i64,
        sender: ClassicSender<'_>,
        generation_id: i32,
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
        facts: &mut Vec<Fact>,
    ) -> Result<ClassicHeartbeatReply, GroupError> {
        self.classic_member_at(sender, generation_id)?;
        self.update_epoch(false, topics, config, facts);
        let (member_id, member, classic) = self.classic_member_at(sender, generation_id)?;
        let must_rejoin = member.current.member_epoch < self.durable.epoch
            || match member.current.state {
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !self.waits_for_others(member_id, member),
                MemberState::Stable | MemberState::Unknown => false,
            };
        let (member_id, session_ms) = (member_id.to_string(), i64::from(classic.session_timeout_ms));
        self.timers.set(&member_id, Deadline::Session, now_ms + session_ms);
        if must_rejoin {
            self.rejoin(now_ms, member_id);
            Ok(ClassicHeartbeatReply::Rejoin)
        } else {
            Ok(ClassicHeartbeatReply::Stay)
        }
    }

    /// LeaveGroup: each of `leaving` is removed, of whatever protocol, or has its error. The group's epoch rises once.
    pub fn classic_leave(
        &mut self,
        now_ms: i64,
        leaving: &[ClassicSender<'_>],
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
        facts: &mut Vec<Fact>,
    ) -> Vec<Result<(), GroupError>> {
        let found: Vec<Result<String, GroupError>> = leaving
            .iter()
            .map(|sender| match sender.instance_id {
                Some(instance_id) if sender.member_id.is_empty() => self
                    .static_member(instance_id)
                    .map(|(id, _)| id.to_string())
                    .ok_or_else(|| self.unknown(format!("Instance id {instance_id}"))),
                _ => self.classic_member(*sender).map(|(id, _)| id.to_string()),
            })
            .collect();
        let gone: Vec<String> = found.iter().flatten().cloned().collect();
        self.remove_members(&gone, topics, config, facts);
        self.update_target(now_ms, topics, config, facts);
        found.into_iter().map(|found| found.map(drop)).collect()
    }

    /// The member that sends, of either protocol.
    fn classic_member(&self, sender: ClassicSender<'_>) -> Result<(&str, &Member), GroupError> {
        let Some(instance_id) = sender.instance_id else {
            let member = self.durable.members.get_key_value(sender.member_id);
            let (id, member) = member.ok_or_else(|| self.unknown(format!("Member {}", sender.member_id)))?;
            return Ok((id, member));
        };
        let Some((holder, member)) = self.static_member(instance_id) else {
            return Err(self.unknown(format!("Instance id {instance_id}")));
        };
        if holder != sender.member_id {
            return Err(GroupError::FencedInstanceId {
                member_id: sender.member_id.to_string(),
                instance_id: instance_id.to_string(),
                holder: holder.to_string(),
            });
        }
        Ok((holder, member))
    }

    /// The classic member that sends, when its generation is right.
    fn classic_member_at(
        &self,
        sender: ClassicSender<'_>,
        generation_id: i32,
    ) -> Result<(&str, &Member, &ClassicMetadata), GroupError> {
        let (member_id, member) = self.classic_member(sender)?;
        let Some(classic) = &member.metadata.classic else {
            return Err(self.unknown(format!("Member {member_id} does not use the classic protocol and")));
        };
        let known = member.current.member_epoch;
        if generation_id != known {
            return Err(GroupError::IllegalGeneration { received: generation_id, known });
        }
        Ok((member_id, member, classic))
    }

    /// True while some partition of its target is with another member.
    fn waits_for_others(&self, member_id: &str, member: &Member) -> bool {
        self.durable.target.get(member_id).is_some_and(|target| {
            target.iter().any(|(topic, partition)| {
                !member.current.assigned.contains(topic, partition)
                    && !self.is_free_for(member_id, topic, partition)
            })
        })
    }

    fn rejoin(&mut self, now_ms: i64, member_id: String) -> GroupError {
        let rebalance_ms = i64::from(self.durable.members[&member_id].metadata.rebalance_timeout_ms);
        self.timers.set_if_absent(&member_id, Deadline::Join, now_ms + rebalance_ms);
        GroupError::RebalanceInProgress { group_id: self.group_id.clone() }
    }
}
