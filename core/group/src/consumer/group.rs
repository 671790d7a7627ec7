//! The state of one consumer group: what the log says of it, and the deadlines that only memory knows.

use std::collections::{BTreeMap, BTreeSet};

use buslane_wire::ids::TopicId;

use super::error::GroupError;
use super::fact::{CurrentAssignment, Fact, MemberMetadata, ResolvedRegex};
use super::partitions::{HeldPartitions, Partitions};
use super::subscription::Subscriptions;
use super::timers::Timers;
use super::topics::TopicsView;

/// A consumer group (KIP-848).
///
/// Every call that changes it takes a list of facts and appends to it what it changed. The changes have already happened
/// in memory when the call returns; the caller appends the facts to the log, in one piece, before it sends the answer. When
/// that fails it drops this group and loads it again: memory must not run ahead of the log.
///
/// Loading is [`ConsumerGroup::new`], [`ConsumerGroup::replay`] for each record in the order of the log, then
/// [`ConsumerGroup::loaded`].
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    pub(super) group_id: String,
    pub(super) durable: Durable,
    pub(super) subscriptions: Subscriptions,
    pub(super) static_members: BTreeMap<String, String>,
    /// Who has a partition assigned or pending revocation.
    pub(super) owners: BTreeMap<TopicId, BTreeMap<i32, String>>,
    /// The version of the topics with which `metadata_hash` was last compared.
    pub(super) compared_with: Option<u64>,
    /// The version of the topics, and the time, with which all patterns were last resolved.
    pub(super) resolved_with: Option<(u64, i64)>,
    pub(super) timers: Timers,
}

/// What the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Durable {
    pub epoch: i32,
    pub metadata_hash: i64,
    pub target_epoch: i32,
    pub target_computed_at_ms: i64,
    pub members: BTreeMap<String, Member>,
    pub target: BTreeMap<String, Partitions>,
    pub regexes: BTreeMap<String, ResolvedRegex>,
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// What it told of itself.
    pub metadata: MemberMetadata,
    /// What it has.
    pub current: CurrentAssignment,
}

impl Member {
    /// True for a member that speaks the classic protocol.
    pub fn is_classic(&self) -> bool {
        self.metadata.classic.is_some()
    }
}

/// The state of a group as tools see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupState {
    /// No members.
    Empty,
    /// The target is older than the group.
    Assigning,
    /// Some member is not yet at the target.
    Reconciling,
    /// All members are at the target.
    Stable,
}

impl GroupState {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::Assigning => "Assigning",
            GroupState::Reconciling => "Reconciling",
            GroupState::Stable => "Stable",
        }
    }
}

/// The epoch of a static member that is away, and of a request by which it goes.
pub const LEAVE_STATIC_EPOCH: i32 = -2;

/// The epoch of a request by which a member leaves.
pub const LEAVE_EPOCH: i32 = -1;

impl ConsumerGroup {
    /// A group without members at epoch 0. Nothing of it is in the log until the first member joins.
    pub fn new(group_id: &str) -> ConsumerGroup {
        ConsumerGroup {
            group_id: group_id.to_string(),
            durable: Durable::default(),
            subscriptions: Subscriptions::default(),
            static_members: BTreeMap::new(),
            owners: BTreeMap::new(),
            compared_with: None,
            resolved_with: None,
            timers: Timers::default(),
        }
    }

    /// The group's id.
    pub fn group_id(&self) -> &str {
        &self.group_id
    }

    /// The group's epoch: rises when a new target is needed. 0 before the first member.
    pub fn epoch(&self) -> i32 {
        self.durable.epoch
    }

    /// The epoch for which the target was computed.
    pub fn target_epoch(&self) -> i32 {
        self.durable.target_epoch
    }

    /// The members by id.
    pub fn members(&self) -> &BTreeMap<String, Member> {
        &self.durable.members
    }

    /// What each member is to have.
    pub fn target(&self) -> &BTreeMap<String, Partitions> {
        &self.durable.target
    }

    /// The patterns with what they match.
    pub fn regexes(&self) -> &BTreeMap<String, ResolvedRegex> {
        &self.durable.regexes
    }

    /// The member that goes by this name.
    pub fn static_member(&self, instance_id: &str) -> Option<(&str, &Member)> {
        let (id, member) = self.durable.members.get_key_value(self.static_members.get(instance_id)?)?;
        Some((id, member))
    }

    /// The group's state.
    pub fn state(&self) -> GroupState {
        let members = &self.durable.members;
        if members.is_empty() {
            GroupState::Empty
        } else if self.durable.epoch > self.durable.target_epoch {
            GroupState::Assigning
        } else if members.values().any(|member| !member.current.is_reconciled_to(self.durable.target_epoch)) {
            GroupState::Reconciling
        } else {
            GroupState::Stable
        }
    }

    /// True when the group wants this topic, by name or by a pattern that matched it: such a topic's offsets do not
    /// expire while the group has members.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed_topics().any(|name| name == topic)
    }

    /// The names of the topics that the group wants, some perhaps twice, whether they exist or not.
    pub(super) fn subscribed_topics(&self) -> impl Iterator<Item = &str> {
        let by_pattern = self
            .durable
            .regexes
            .iter()
            .filter(|(regex, _)| self.subscriptions.with_regex(regex) > 0)
            .flat_map(|(_, resolved)| resolved.topics.iter().map(String::as_str));
        self.subscriptions.names().chain(by_pattern)
    }

    /// True when the member wants the topic. An unresolved pattern matches nothing.
    pub(super) fn member_wants(&self, metadata: &MemberMetadata, topic: &str) -> bool {
        metadata.subscribed_topic_names.contains(topic)
            || metadata
                .subscribed_topic_regex
                .as_ref()
                .and_then(|regex| self.durable.regexes.get(regex))
                .is_some_and(|resolved| resolved.topics.contains(topic))
    }

    /// True when no other member has the partition.
    pub(super) fn is_free_for(&self, member_id: &str, topic: TopicId, partition: i32) -> bool {
        self.owner_of(topic, partition).is_none_or(|owner| owner == member_id)
    }

    /// The member that has the partition assigned or pending revocation.
    pub fn owner_of(&self, topic: TopicId, partition: i32) -> Option<&str> {
        self.owners.get(&topic).and_then(|partitions| partitions.get(&partition)).map(String::as_str)
    }

    /// The member, or [`GroupError::UnknownMemberId`].
    pub(super) fn known(&self, member_id: &str) -> Result<&Member, GroupError> {
        self.durable.members.get(member_id).ok_or_else(|| self.unknown(format!("Member {member_id}")))
    }

    pub(super) fn unknown(&self, who: String) -> GroupError {
        GroupError::UnknownMemberId { group_id: self.group_id.clone(), who }
    }

    /// What a member has, in facts of its own, and appended to `facts`.
    pub(super) fn emit(&mut self, fact: Fact, facts: &mut Vec<Fact>) {
        if let Fact::CurrentAssignment { member_id, current } = &fact {
            for (topic, partition, _) in current.assigned.iter().chain(current.pending_revocation.iter()) {
                let owner = self.owner_of(topic, partition);
                assert!(
                    owner.is_none_or(|owner| owner == member_id),
                    "{topic}/{partition} goes to {member_id} while {owner:?} has it"
                );
            }
        }
        self.apply(&fact);
        facts.push(fact);
    }

    /// Takes one record of the group from the log. The order of the log may have holes: compaction takes away what a later
    /// record of the same key replaces.
    pub fn replay(&mut self, fact: Fact) {
        self.apply(&fact);
    }

    fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::GroupEpoch { epoch, metadata_hash } => {
                self.durable.epoch = *epoch;
                self.durable.metadata_hash = *metadata_hash;
            }
            Fact::GroupRemoved => {
                self.durable.epoch = 0;
                self.durable.metadata_hash = 0;
            }
            Fact::MemberMetadata { member_id, metadata } => self.set_metadata(member_id, metadata),
            Fact::MemberRemoved { member_id } => self.remove_member(member_id),
            Fact::TargetEpoch { epoch, computed_at_ms } => {
                self.durable.target_epoch = *epoch;
                self.durable.target_computed_at_ms = *computed_at_ms;
            }
            Fact::TargetEpochRemoved => {
                self.durable.target_epoch = 0;
                self.durable.target_computed_at_ms = 0;
            }
            Fact::Target { member_id, partitions } => {
                self.durable.target.insert(member_id.clone(), partitions.clone());
            }
            Fact::TargetRemoved { member_id } => {
                self.durable.target.remove(member_id);
            }
            Fact::CurrentAssignment { member_id, current } => self.set_current(member_id, current.clone()),
            Fact::CurrentAssignmentRemoved { member_id } => {
                if self.durable.members.contains_key(member_id) {
                    self.set_current(member_id, CurrentAssignment::fresh());
                }
            }
            Fact::Regex { regex, resolved } => {
                self.durable.regexes.insert(regex.clone(), resolved.clone());
            }
            Fact::RegexRemoved { regex } => {
                self.durable.regexes.remove(regex);
            }
        }
    }

    fn set_metadata(&mut self, member_id: &str, metadata: &MemberMetadata) {
        let member = self.member_entry(member_id);
        let old = std::mem::replace(&mut member.metadata, metadata.clone());
        self.subscriptions.remove(&old);
        self.forget_name(&old, member_id);
        self.subscriptions.add(metadata);
        if let Some(instance_id) = &metadata.instance_id {
            self.static_members.insert(instance_id.clone(), member_id.to_string());
        }
    }

    fn remove_member(&mut self, member_id: &str) {
        if !self.durable.members.contains_key(member_id) {
            return;
        }
        self.set_current(member_id, CurrentAssignment::fresh());
        let Some(member) = self.durable.members.remove(member_id) else { return };
        self.subscriptions.remove(&member.metadata);
        self.forget_name(&member.metadata, member_id);
        self.timers.remove(member_id);
    }

    fn forget_name(&mut self, metadata: &MemberMetadata, member_id: &str) {
        if let Some(instance_id) = &metadata.instance_id
            && self.static_members.get(instance_id).is_some_and(|holder| holder == member_id)
        {
            self.static_members.remove(instance_id);
        }
    }

    fn set_current(&mut self, member_id: &str, current: CurrentAssignment) {
        let old = std::mem::replace(&mut self.member_entry(member_id).current, current.clone());
        for held in [&old.assigned, &old.pending_revocation] {
            self.release(held, member_id);
        }
        for held in [&current.assigned, &current.pending_revocation] {
            for (topic, partition, _) in held.iter() {
                // In a log with holes an older owner may still stand here; the later record is right.
                self.owners.entry(topic).or_default().insert(partition, member_id.to_string());
            }
        }
    }

    fn release(&mut self, held: &HeldPartitions, member_id: &str) {
        for (topic, partition, _) in held.iter() {
            let Some(partitions) = self.owners.get_mut(&topic) else { continue };
            if partitions.get(&partition).is_some_and(|owner| owner == member_id) {
                partitions.remove(&partition);
            }
            if partitions.is_empty() {
                self.owners.remove(&topic);
            }
        }
    }

    fn member_entry(&mut self, member_id: &str) -> &mut Member {
        self.durable.members.entry(member_id.to_string()).or_insert_with(|| Member {
            metadata: MemberMetadata::default(),
            current: CurrentAssignment::fresh(),
        })
    }

    /// Whether the group may be deleted.
    ///
    /// # Errors
    /// [`GroupError::NonEmptyGroup`] while it has members.
    pub fn check_delete(&self) -> Result<(), GroupError> {
        if self.durable.members.is_empty() { Ok(()) } else { Err(GroupError::NonEmptyGroup) }
    }

    /// Takes everything of the group out of the log. The caller drops it then.
    pub fn remove(&mut self, facts: &mut Vec<Fact>) {
        let members: Vec<String> = self.durable.members.keys().cloned().collect();
        for member_id in &members {
            self.emit(Fact::CurrentAssignmentRemoved { member_id: member_id.clone() }, facts);
        }
        // Targets without members cannot be, except in a log with holes.
        let targets: BTreeSet<String> = self.durable.target.keys().chain(&members).cloned().collect();
        for member_id in targets {
            self.emit(Fact::TargetRemoved { member_id }, facts);
        }
        self.emit(Fact::TargetEpochRemoved, facts);
        for member_id in members {
            self.emit(Fact::MemberRemoved { member_id }, facts);
        }
        for regex in self.durable.regexes.keys().cloned().collect::<Vec<_>>() {
            self.emit(Fact::RegexRemoved { regex }, facts);
        }
        self.emit(Fact::GroupRemoved, facts);
    }

    /// True when both say the same of the group, whatever their deadlines.
    pub fn same_as(&self, other: &ConsumerGroup) -> bool {
        self.group_id == other.group_id
            && self.durable == other.durable
            && self.subscriptions == other.subscriptions
            && self.static_members == other.static_members
            && self.owners == other.owners
    }

    /// The names of the topics that a member wants and that exist, with what else the assignors need.
    pub(super) fn wanted_by(&self, metadata: &MemberMetadata, topics: &dyn TopicsView) -> BTreeSet<TopicId> {
        let by_pattern = metadata
            .subscribed_topic_regex
            .as_ref()
            .and_then(|regex| self.durable.regexes.get(regex))
            .into_iter()
            .flat_map(|resolved| &resolved.topics);
        metadata
            .subscribed_topic_names
            .iter()
            .chain(by_pattern)
            .filter_map(|name| topics.by_name(name))
            .map(|topic| topic.id)
            .collect()
    }
}
