//! From the classic protocol to the consumer protocol and back, while members stay (KIP-848, "Online migration").
//!
//! Up: the first ConsumerGroupHeartbeat that joins turns a classic group into a consumer group whose members are all
//! classic. Down: when the last consumer member goes and classic ones are left, the group turns back.

use bytes::Bytes;

use super::config::ConsumerGroupConfig;
use super::error::GroupError;
use super::fact::{ClassicMetadata, ClassicProtocol, CurrentAssignment, Fact, MemberMetadata, MemberState};
use super::group::ConsumerGroup;
use super::partitions::{HeldPartitions, Partitions};
use super::protocol::{
    CONSUMER_PROTOCOL_TYPE, embedded_version, read_assignment, read_subscription, to_partitions,
    write_assignment,
};
use super::subscription::metadata_hash;
use super::topics::TopicsView;

/// A classic group as far as the other protocol cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicGroupView {
    /// Its generation.
    pub generation_id: i32,
    /// The type that all members have.
    pub protocol_type: Option<String>,
    /// The protocol chosen; `None` before the first generation, and from [`ConsumerGroup::downgrade`], where the classic
    /// group chooses.
    pub protocol_name: Option<String>,
    /// Its members.
    pub members: Vec<ClassicMemberView>,
}

/// A member of a classic group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicMemberView {
    /// Its id.
    pub member_id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// How long it may take to rejoin, ms.
    pub rebalance_timeout_ms: i32,
    /// Its session timeout, ms.
    pub session_timeout_ms: i32,
    /// Its protocols, best first.
    pub protocols: Vec<ClassicProtocol>,
    /// A version-prefixed ConsumerProtocolAssignment; empty where it has not synced yet.
    pub assignment: Bytes,
}

impl ConsumerGroup {
    /// Turns a classic group with members into a consumer group, all of whose members are classic. The caller answers
    /// REBALANCE_IN_PROGRESS to members that wait in JoinGroup or SyncGroup, takes the classic group out of the log first,
    /// and passes on the heartbeat that was the reason. The group's epoch is the generation; that heartbeat raises it.
    ///
    /// A classic group without members is not turned: the caller deletes it and makes a new group.
    ///
    /// # Errors
    /// [`GroupError::MigrationRefused`]; nothing has changed then.
    pub fn upgrade(
        group_id: &str,
        from: &ClassicGroupView,
        now_ms: i64,
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
        facts: &mut Vec<Fact>,
    ) -> Result<ConsumerGroup, GroupError> {
        let refuse = |reason: String| GroupError::MigrationRefused { group_id: group_id.to_string(), reason };
        if !config.migration_policy.upgrades() {
            return Err(refuse("online upgrade is disabled".into()));
        }
        if from.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL_TYPE) {
            return Err(refuse("the group does not use the consumer embedded protocol".into()));
        }
        if from.members.len() > config.max_size {
            return Err(refuse("the group size exceeds the consumer group maximum size".into()));
        }
        let mut seen = Partitions::new();
        let mut members = Vec::with_capacity(from.members.len());
        for member in &from.members {
            let (metadata, mut held) =
                read_member(member, from.protocol_name.as_deref(), topics).map_err(refuse)?;
            // An assignor on a client may have given one partition to two members. All rejoin soon; until then the first
            // counts as its owner.
            held = held.iter().filter(|(topic, partition)| seen.insert(*topic, *partition)).collect();
            members.push((member.member_id.clone(), metadata, held));
        }

        let epoch = from.generation_id;
        let mut group = ConsumerGroup::new(group_id);
        for (member_id, metadata, _) in &members {
            group.emit(
                Fact::MemberMetadata { member_id: member_id.clone(), metadata: metadata.clone() },
                facts,
            );
        }
        let hash = metadata_hash(group.subscribed_topics(), topics);
        group.emit(Fact::GroupEpoch { epoch, metadata_hash: hash }, facts);
        for (member_id, _, held) in &members {
            group.emit(Fact::Target { member_id: member_id.clone(), partitions: held.clone() }, facts);
        }
        group.emit(Fact::TargetEpoch { epoch, computed_at_ms: 0 }, facts);
        for (member_id, _, held) in members {
            let current = CurrentAssignment {
                member_epoch: epoch,
                previous_member_epoch: epoch,
                state: MemberState::Stable,
                assigned: HeldPartitions::given(&held, epoch),
                pending_revocation: HeldPartitions::new(),
            };
            group.emit(Fact::CurrentAssignment { member_id, current }, facts);
        }
        group.loaded(now_ms, config);
        Ok(group)
    }

    /// True when only classic members are left and the group is to become a classic group. To be asked after each call
    /// that may have removed a member: a heartbeat that leaves, [`ConsumerGroup::on_timeout`],
    /// [`ConsumerGroup::classic_leave`], [`ConsumerGroup::classic_join`] of a static member.
    pub fn should_downgrade(&self, config: &ConsumerGroupConfig) -> bool {
        let members = self.durable.members.len();
        members > 0
            && self.subscriptions.classic_members() == members
            && config.migration_policy.downgrades()
            && members <= config.classic_max_size
    }

    /// Takes the consumer group out of the log and hands its members over. The caller makes a stable classic group of
    /// them, writes it, and starts a rebalance.
    ///
    /// # Panics
    /// When not all members are classic.
    pub fn downgrade(mut self, topics: &dyn TopicsView, facts: &mut Vec<Fact>) -> ClassicGroupView {
        let nothing = Partitions::new();
        let members = self.durable.members.iter().map(|(member_id, member)| {
            let metadata = &member.metadata;
            let classic = metadata.classic.as_ref().expect("only classic members are left");
            let version = classic.protocols.first().and_then(|first| embedded_version(&first.metadata).ok());
            let target = self.durable.target.get(member_id).unwrap_or(&nothing);
            ClassicMemberView {
                member_id: member_id.clone(),
                instance_id: metadata.instance_id.clone(),
                client_id: metadata.client_id.clone(),
                client_host: metadata.client_host.clone(),
                rebalance_timeout_ms: metadata.rebalance_timeout_ms,
                session_timeout_ms: classic.session_timeout_ms,
                protocols: classic.protocols.clone(),
                assignment: write_assignment(target, topics, version.unwrap_or(0)),
            }
        });
        // Not the group's epoch, which the departure of the last consumer member has just raised: a heartbeat of a member
        // whose generation is not the group's would be told ILLEGAL_GENERATION, and the member would give up what it has
        // instead of rejoining with it.
        let newest = self.durable.members.values().map(|member| member.current.member_epoch).max();
        let generation_id = newest.filter(|epoch| *epoch > 0).unwrap_or(self.durable.epoch);
        let view = ClassicGroupView {
            generation_id,
            protocol_type: Some(CONSUMER_PROTOCOL_TYPE.to_string()),
            protocol_name: None,
            members: members.collect(),
        };
        self.remove(facts);
        view
    }
}

/// What a classic member wants and holds; why it cannot be taken over.
fn read_member(
    member: &ClassicMemberView,
    protocol: Option<&str>,
    topics: &dyn TopicsView,
) -> Result<(MemberMetadata, Partitions), String> {
    let chosen = member.protocols.iter().find(|known| protocol.is_none_or(|name| known.name == name));
    let metadata =
        chosen.ok_or_else(|| format!("member {} does not know the group's protocol", member.member_id))?;
    let malformed = |error| format!("the embedded consumer protocol is malformed: {error}");
    let subscription = read_subscription(&metadata.metadata).map_err(malformed)?;
    let mut held = Partitions::new();
    if !member.assignment.is_empty() {
        let assignment = read_assignment(&member.assignment).map_err(malformed)?;
        if assignment.user_data.is_some_and(|data| !data.is_empty()) {
            return Err("a custom assignor's user data would be lost".to_string());
        }
        held = to_partitions(&assignment.assigned_partitions, topics);
    }
    let metadata = MemberMetadata {
        instance_id: member.instance_id.clone(),
        rack_id: subscription.rack_id.map(str::to_string),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: subscription.topics.iter().map(|name| name.to_string()).collect(),
        subscribed_topic_regex: None,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: None,
        classic: Some(ClassicMetadata {
            session_timeout_ms: member.session_timeout_ms,
            protocols: member.protocols.clone(),
        }),
    };
    Ok((metadata, held))
}
