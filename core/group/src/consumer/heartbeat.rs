//! ConsumerGroupHeartbeat: joining, staying, leaving (KIP-848; as Kafka 4.4 answers it).
//!
//! Two deviations, both more patient with members that lost an answer: a static member that joins again under its own id
//! is taken back (Kafka: UNRELEASED_INSTANCE_ID until its session times out), and staying at an epoch does not overwrite
//! the previous one (see [`super::reconcile`]). Patterns are resolved while the heartbeat is handled, not after it.

use super::assignor::AssignorKind;
use super::config::ConsumerGroupConfig;
use super::error::GroupError;
use super::fact::{CurrentAssignment, Fact, MemberMetadata, MemberState};
use super::group::{ConsumerGroup, LEAVE_EPOCH, LEAVE_STATIC_EPOCH, Member};
use super::partitions::Partitions;
use super::regex::TopicPattern;
use super::timers::Deadline;
use super::topics::TopicsView;

/// When a member that waits for partitions of others is to ask again, ms. Clients follow the interval of the last answer;
/// Kafka always tells the configured one, 5 s, which is half of what a rebalance takes there.
const WAITING_HEARTBEAT_MS: i32 = 500;

/// A heartbeat as a member sent it. `None` means "as before".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// The member's id. Members of version 1 make it themselves; for one of version 0 that has none yet the caller makes
    /// it after [`Heartbeat::check`].
    pub member_id: String,
    /// The epoch that the member knows; 0 to join, -1 to leave, -2 to leave for a while.
    pub member_epoch: i32,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// Where it runs.
    pub rack_id: Option<String>,
    /// How long it may take to give up partitions, ms; -1 for "as before".
    pub rebalance_timeout_ms: i32,
    /// The topics it wants by name.
    pub subscribed_topic_names: Option<Vec<String>>,
    /// The pattern of topics it wants; empty for none.
    pub subscribed_topic_regex: Option<String>,
    /// The assignor it asks for.
    pub server_assignor: Option<String>,
    /// The partitions that it holds.
    pub owned: Option<Partitions>,
    /// The client's name for itself, of the request's header.
    pub client_id: String,
    /// Where the request comes from, as Kafka writes it: "/10.0.0.7".
    pub client_host: String,
}

/// Bytes of topic names, and 8 for each, that a member may leave with its group: it has to fit into a record.
const SUBSCRIBED_MAX: usize = 1 << 20;

impl Heartbeat {
    /// Refuses what no group can answer. To be called before the group is looked up.
    ///
    /// # Errors
    /// [`GroupError::InvalidRequest`], [`GroupError::UnsupportedAssignor`].
    pub fn check(
        &self,
        group_id: &str,
        api_version: i16,
        config: &ConsumerGroupConfig,
    ) -> Result<(), GroupError> {
        let refuse = |reason| Err(GroupError::InvalidRequest(reason));
        let blank = |text: &str| text.trim().is_empty();
        if (api_version >= 1 || self.member_epoch > 0 || self.member_epoch == LEAVE_EPOCH)
            && blank(&self.member_id)
        {
            return refuse("MemberId can't be empty.");
        }
        if blank(group_id) {
            return refuse("GroupId can't be empty.");
        }
        if self.instance_id.as_deref().is_some_and(blank) {
            return refuse("InstanceId can't be empty.");
        }
        if self.rack_id.as_deref().is_some_and(blank) {
            return refuse("RackId can't be empty.");
        }
        match self.member_epoch {
            0 => {
                if self.rebalance_timeout_ms == -1 {
                    return refuse("RebalanceTimeoutMs must be provided in first request.");
                }
                if !self.owned.as_ref().is_some_and(Partitions::is_empty) {
                    return refuse("TopicPartitions must be empty when (re-)joining.");
                }
                if self.subscribed_topic_names.is_none() && self.subscribed_topic_regex.is_none() {
                    return refuse(
                        "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                    );
                }
            }
            LEAVE_STATIC_EPOCH if self.instance_id.is_none() => return refuse("InstanceId can't be null."),
            epoch if epoch < LEAVE_STATIC_EPOCH => return refuse("MemberEpoch is invalid."),
            _ => {}
        }
        let named = self.subscribed_topic_names.iter().flatten().map(|name| name.len() + 8).sum::<usize>();
        if named > SUBSCRIBED_MAX {
            return refuse(
                "SubscribedTopicNames must have less than 1 MiB in all; subscribe by a regular expression.",
            );
        }
        if let Some(asked) = &self.server_assignor
            && !AssignorKind::parse(asked).is_some_and(|kind| config.assignors.contains(&kind))
        {
            let offered: Vec<&str> = config.assignors.iter().map(|kind| kind.name()).collect();
            return Err(GroupError::UnsupportedAssignor {
                asked: asked.clone(),
                offered: offered.join(", "),
            });
        }
        Ok(())
    }

    /// True when the request may create its group.
    pub fn may_create_group(&self) -> bool {
        self.member_epoch == 0
    }

    /// A member tells everything when it joins and after any error: then it is told everything, too.
    fn is_full(&self) -> bool {
        self.rebalance_timeout_ms != -1
            && (self.subscribed_topic_names.is_some() || self.subscribed_topic_regex.is_some())
            && self.owned.is_some()
    }
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// The member's id.
    pub member_id: String,
    /// The epoch it is to carry from now on; -1 or -2 after it left.
    pub member_epoch: i32,
    /// When it is to send the next heartbeat, ms; 0 after it left.
    pub heartbeat_interval_ms: i32,
    /// All that it is to hold; `None` when that is as before.
    pub assignment: Option<Partitions>,
}

impl ConsumerGroup {
    /// Handles a heartbeat that passed [`Heartbeat::check`].
    ///
    /// # Errors
    /// Any [`GroupError`] that the protocol knows; nothing has changed then.
    pub fn heartbeat(
        &mut self,
        now_ms: i64,
        request: &Heartbeat,
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
        facts: &mut Vec<Fact>,
    ) -> Result<HeartbeatReply, GroupError> {
        match request.member_epoch {
            LEAVE_EPOCH | LEAVE_STATIC_EPOCH => self.leave(now_ms, request, topics, config, facts),
            _ => self.join_or_stay(now_ms, request, topics, config, facts),
        }
    }

    fn join_or_stay(
        &mut self,
        now_ms: i64,
        request: &Heartbeat,
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
        facts: &mut Vec<Fact>,
    ) -> Result<HeartbeatReply, GroupError> {
        let member_id = request.member_id.as_str();
        assert!(!member_id.is_empty(), "the caller makes an id for a member without one");
        self.check_capacity(member_id, config)?;
        let replaces = self.check_member(request)?;
        if let Some(regex) = request.subscribed_topic_regex.as_deref().filter(|regex| !regex.is_empty()) {
            self.check_regex(regex)?;
        }
        let predecessor = replaces.as_deref().unwrap_or(member_id);
        self.check_state(predecessor, request.member_epoch, request.owned.as_ref())?;

        // From here on nothing is refused.
        if let Some(old_id) = replaces {
            self.replace_static_member(&old_id, member_id, facts);
        }
        let assignor_before = self.subscriptions.preferred_assignor(&config.assignors);
        let subscribed = match self.told(request) {
            Some(metadata) => self.update_member(now_ms, member_id, metadata, topics, facts),
            None => false,
        };
        let matched = self.refresh_regexes(now_ms, topics, config, facts);
        let assignor_changed = self.subscriptions.preferred_assignor(&config.assignors) != assignor_before;
        self.update_epoch(subscribed || matched || assignor_changed, topics, config, facts);
        self.update_target(now_ms, topics, config, facts);
        let changed = self.reconcile_member(now_ms, member_id, request.owned.as_ref(), topics, facts);
        self.timers.set(member_id, Deadline::Session, now_ms + i64::from(config.session_timeout_ms));

        let current = &self.durable.members[member_id].current;
        let tell = request.member_epoch == 0 || request.is_full() || changed;
        Ok(HeartbeatReply {
            member_id: member_id.to_string(),
            member_epoch: current.member_epoch,
            heartbeat_interval_ms: match current.state {
                // It can only be told in answer to a heartbeat that what it waits for is free.
                MemberState::UnreleasedPartitions => config.heartbeat_interval_ms.min(WAITING_HEARTBEAT_MS),
                _ => config.heartbeat_interval_ms,
            },
            assignment: tell.then(|| current.assigned.partitions()),
        })
    }

    pub(super) fn check_capacity(
        &self,
        member_id: &str,
        config: &ConsumerGroupConfig,
    ) -> Result<(), GroupError> {
        if self.durable.members.len() >= config.max_size && !self.durable.members.contains_key(member_id) {
            return Err(GroupError::GroupMaxSizeReached { max_size: config.max_size });
        }
        Ok(())
    }

    /// Whether the sender is, or may become, a member; the id of the static member whose place it takes.
    fn check_member(&self, request: &Heartbeat) -> Result<Option<String>, GroupError> {
        let member_id = request.member_id.as_str();
        let Some(instance_id) = &request.instance_id else {
            match self.durable.members.get(member_id) {
                Some(member) => check_epoch(request, &member.current)?,
                None if request.member_epoch == 0 => {}
                None => return Err(self.unknown(format!("Member {member_id}"))),
            }
            return Ok(None);
        };
        let holder = self.static_member(instance_id);
        if request.member_epoch != 0 {
            let Some((holder_id, holder)) = holder else {
                return Err(self.unknown(format!("Instance id {instance_id}")));
            };
            if holder_id != member_id {
                return Err(GroupError::FencedInstanceId {
                    member_id: member_id.to_string(),
                    instance_id: instance_id.clone(),
                    holder: holder_id.to_string(),
                });
            }
            check_epoch(request, &holder.current)?;
            return Ok(None);
        }
        match holder {
            None => Ok(None),
            // A consumer member that has not left keeps its name; against its own self it needs no keeping.
            Some((holder_id, holder))
                if !holder.is_classic() && holder.current.member_epoch != LEAVE_STATIC_EPOCH =>
            {
                if holder_id == member_id {
                    return Ok(None);
                }
                Err(GroupError::UnreleasedInstanceId {
                    member_id: member_id.to_string(),
                    instance_id: instance_id.clone(),
                    holder: holder_id.to_string(),
                })
            }
            Some((holder_id, _)) => Ok(Some(holder_id.to_string())),
        }
    }

    /// A member in a state that a later version wrote can go on only without partitions.
    pub(super) fn check_state(
        &self,
        member_id: &str,
        received: i32,
        owned: Option<&Partitions>,
    ) -> Result<(), GroupError> {
        match self.durable.members.get(member_id) {
            Some(member)
                if member.current.state == MemberState::Unknown
                    && owned.is_none_or(|owned| !owned.is_empty()) =>
            {
                Err(GroupError::FencedMemberEpoch { received, known: member.current.member_epoch })
            }
            _ => Ok(()),
        }
    }

    fn check_regex(&self, regex: &str) -> Result<(), GroupError> {
        if self.durable.regexes.contains_key(regex) {
            return Ok(());
        }
        TopicPattern::compile(regex).map(drop)
    }

    /// What is known of the member after this request; `None` when that is what was known before, as it nearly always is.
    fn told(&self, request: &Heartbeat) -> Option<MemberMetadata> {
        let told_same = |member: &Member| {
            let known = &member.metadata;
            let same = |told: &Option<String>, known: &Option<String>| told.is_none() || told == known;
            known.classic.is_none()
                && known.client_id == request.client_id
                && known.client_host == request.client_host
                && same(&request.instance_id, &known.instance_id)
                && same(&request.rack_id, &known.rack_id)
                && same(&request.server_assignor, &known.server_assignor)
                && (request.rebalance_timeout_ms == -1
                    || request.rebalance_timeout_ms == known.rebalance_timeout_ms)
                && request.subscribed_topic_names.is_none()
                && request.subscribed_topic_regex.is_none()
        };
        let known = self.durable.members.get(&request.member_id);
        if known.is_some_and(told_same) {
            return None;
        }
        let mut metadata = known.map(|member| member.metadata.clone()).unwrap_or_default();
        if let Some(instance_id) = &request.instance_id {
            metadata.instance_id = Some(instance_id.clone());
        }
        if let Some(rack_id) = &request.rack_id {
            metadata.rack_id = Some(rack_id.clone());
        }
        if request.rebalance_timeout_ms != -1 {
            metadata.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        if let Some(assignor) = &request.server_assignor {
            metadata.server_assignor = Some(assignor.clone());
        }
        if let Some(names) = &request.subscribed_topic_names {
            metadata.subscribed_topic_names = names.iter().cloned().collect();
        }
        if let Some(regex) = &request.subscribed_topic_regex {
            metadata.subscribed_topic_regex = Some(regex.clone()).filter(|regex| !regex.is_empty());
        }
        metadata.client_id.clone_from(&request.client_id);
        metadata.client_host.clone_from(&request.client_host);
        metadata.classic = None;
        Some(metadata)
    }

    fn leave(
        &mut self,
        now_ms: i64,
        request: &Heartbeat,
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
        facts: &mut Vec<Fact>,
    ) -> Result<HeartbeatReply, GroupError> {
        let member_id = request.member_id.as_str();
        if let Some(instance_id) = &request.instance_id {
            let Some((holder, _)) = self.static_member(instance_id) else {
                return Err(self.unknown(format!("Instance id {instance_id}")));
            };
            if holder != member_id {
                return Err(GroupError::FencedInstanceId {
                    member_id: member_id.to_string(),
                    instance_id: instance_id.clone(),
                    holder: holder.to_string(),
                });
            }
        }
        let member = self.known(member_id)?;
        if request.member_epoch == LEAVE_STATIC_EPOCH {
            // Away for a while: its partitions wait for it until its session ends. It closed its consumer before it said
            // so, and holds nothing that it was to give up.
            let current = CurrentAssignment {
                member_epoch: LEAVE_STATIC_EPOCH,
                pending_revocation: Default::default(),
                ..member.current.clone()
            };
            self.timers.clear(member_id, Deadline::Revocation);
            self.emit(Fact::CurrentAssignment { member_id: member_id.to_string(), current }, facts);
        } else {
            self.remove_members(&[member_id.to_string()], topics, config, facts);
            self.update_target(now_ms, topics, config, facts);
        }
        Ok(HeartbeatReply {
            member_id: member_id.to_string(),
            member_epoch: request.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        })
    }
}

/// Whether the member's epoch, and what it says it holds, fit what is known of it.
fn check_epoch(request: &Heartbeat, current: &CurrentAssignment) -> Result<(), GroupError> {
    let (received, known) = (request.member_epoch, current.member_epoch);
    // 0 starts over (KAFKA-19233); the previous epoch is right when the answer with the new one was lost: then the member
    // cannot hold more than what it had before and may still have.
    let lost_answer = received == current.previous_member_epoch
        && received < known
        && request.owned.as_ref().is_some_and(|owned| current.assigned.is_superset(owned));
    if received == 0 || received == known || lost_answer {
        Ok(())
    } else {
        Err(GroupError::FencedMemberEpoch { received, known })
    }
}
