//! What a change of members or topics leads to: patterns resolved, the group's epoch raised, members brought towards the
//! target. Both protocols' requests end here.

use std::collections::BTreeSet;

use super::config::ConsumerGroupConfig;
use super::fact::{CurrentAssignment, Fact, MemberMetadata, MemberState, ResolvedRegex};
use super::group::ConsumerGroup;
use super::partitions::Partitions;
use super::reconcile::{Goal, reconcile};
use super::regex::TopicPattern;
use super::subscription::metadata_hash;
use super::timers::Deadline;
use super::topics::TopicsView;

/// Patterns are not resolved again sooner than this after the last time, ms, though topics came or went.
pub const REGEX_REFRESH_MIN_MS: i64 = 10_000;

impl ConsumerGroup {
    /// Records what the member told, drops a pattern that nobody has any more and resolves a new one. True when the
    /// topics that the member wants may be others now.
    pub(super) fn update_member(
        &mut self,
        now_ms: i64,
        member_id: &str,
        metadata: MemberMetadata,
        topics: &dyn TopicsView,
        facts: &mut Vec<Fact>,
    ) -> bool {
        let old = self.durable.members.get(member_id).map(|member| member.metadata.clone());
        if old.as_ref() == Some(&metadata) {
            return false;
        }
        let old = old.unwrap_or_default();
        let names_changed = old.subscribed_topic_names != metadata.subscribed_topic_names;
        let new_regex = metadata.subscribed_topic_regex.clone();
        let regex_changed = old.subscribed_topic_regex != new_regex;
        self.emit(Fact::MemberMetadata { member_id: member_id.to_string(), metadata }, facts);
        if regex_changed {
            self.drop_unused_regexes(facts);
            if let Some(regex) = new_regex.filter(|regex| !self.durable.regexes.contains_key(regex)) {
                let resolved = resolve(&regex, now_ms, topics);
                self.emit(Fact::Regex { regex, resolved }, facts);
            }
        }
        names_changed || regex_changed
    }

    fn drop_unused_regexes(&mut self, facts: &mut Vec<Fact>) {
        let unused: Vec<String> = self
            .durable
            .regexes
            .keys()
            .filter(|regex| self.subscriptions.with_regex(regex) == 0)
            .cloned()
            .collect();
        for regex in unused {
            self.emit(Fact::RegexRemoved { regex }, facts);
        }
    }

    /// Resolves all patterns again when topics came or went, though not too often, and now and then for the sake of
    /// permissions. Only what matches other topics than before is recorded; true when anything does.
    pub(super) fn refresh_regexes(
        &mut self,
        now_ms: i64,
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
        facts: &mut Vec<Fact>,
    ) -> bool {
        if !self.regexes_are_stale(now_ms, topics, config) {
            return false;
        }
        let regexes: Vec<String> = self.subscriptions.regexes().map(str::to_string).collect();
        let mut changed = false;
        for regex in regexes {
            let resolved = resolve(&regex, now_ms, topics);
            if self.durable.regexes.get(&regex).is_none_or(|old| old.topics != resolved.topics) {
                self.emit(Fact::Regex { regex, resolved }, facts);
                changed = true;
            }
        }
        self.resolved_with = Some((topics.version(), now_ms));
        changed
    }

    fn regexes_are_stale(&self, now_ms: i64, topics: &dyn TopicsView, config: &ConsumerGroupConfig) -> bool {
        let mut regexes = self.subscriptions.regexes().peekable();
        if regexes.peek().is_none() {
            return false;
        }
        let Some((version, at_ms)) = self.resolved_with else { return true };
        let age_ms = now_ms - at_ms;
        let topics_changed = version != topics.version();
        age_ms >= config.regex_refresh_interval_ms
            || (topics_changed && !(0..REGEX_REFRESH_MIN_MS).contains(&age_ms))
            || regexes.any(|regex| !self.durable.regexes.contains_key(regex))
    }

    /// Raises the group's epoch when a new target is needed: somebody wants other topics, or the topics are others.
    pub(super) fn update_epoch(
        &mut self,
        bump: bool,
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
        facts: &mut Vec<Fact>,
    ) {
        let bump = bump || self.durable.epoch == 0;
        if !bump && self.compared_with == Some(topics.version()) {
            return;
        }
        let hash = metadata_hash(self.subscribed_topics(), topics);
        let just_loaded = self.compared_with.is_none();
        self.compared_with = Some(topics.version());
        if bump || hash != self.durable.metadata_hash || (just_loaded && self.target_is_wrong(topics, config))
        {
            self.emit(Fact::GroupEpoch { epoch: self.durable.epoch + 1, metadata_hash: hash }, facts);
        }
    }

    /// Brings the member as far towards the target as it can get. True when the partitions that it is to hold changed.
    pub(super) fn reconcile_member(
        &mut self,
        now_ms: i64,
        member_id: &str,
        owned: Option<&Partitions>,
        topics: &dyn TopicsView,
        facts: &mut Vec<Fact>,
    ) -> bool {
        let member = &self.durable.members[member_id];
        // At the target, and the target fits the subscription: the case of nearly every heartbeat.
        if member.current.is_reconciled_to(self.durable.epoch)
            && self.durable.target_epoch == self.durable.epoch
        {
            return false;
        }
        let nothing = Partitions::new();
        let goal = Goal {
            target_epoch: self.durable.target_epoch,
            target: self.durable.target.get(member_id).unwrap_or(&nothing),
            wants: &|topic| {
                topics.name_of(topic).is_some_and(|name| self.member_wants(&member.metadata, name))
            },
            is_free: &|topic, partition| self.is_free_for(member_id, topic, partition),
            owned,
        };
        let next = reconcile(&member.current, &goal).expect("the state was checked before");
        let Some(current) = next else { return false };
        let changed = !current.assigned.same_partitions(&member.current.assigned);
        let (state, classic) = (current.state, member.is_classic());
        let deadline = now_ms + i64::from(member.metadata.rebalance_timeout_ms);
        self.emit(Fact::CurrentAssignment { member_id: member_id.to_string(), current }, facts);
        match state {
            // A classic member is bounded by its deadlines for joining and syncing.
            _ if classic => {}
            MemberState::UnrevokedPartitions => self.timers.set(member_id, Deadline::Revocation, deadline),
            _ => self.timers.clear(member_id, Deadline::Revocation),
        }
        changed
    }

    /// The new member takes over everything of the old one and starts at epoch 0.
    pub(super) fn replace_static_member(&mut self, old_id: &str, new_id: &str, facts: &mut Vec<Fact>) {
        let old = self.durable.members[old_id].clone();
        let target = self.durable.target.get(old_id).cloned().unwrap_or_default();
        self.emit_removal(old_id, facts);
        let member_id = new_id.to_string();
        self.emit(Fact::MemberMetadata { member_id: member_id.clone(), metadata: old.metadata }, facts);
        self.emit(Fact::Target { member_id: member_id.clone(), partitions: target }, facts);
        let current = CurrentAssignment { member_epoch: 0, previous_member_epoch: 0, ..old.current };
        self.emit(Fact::CurrentAssignment { member_id, current }, facts);
    }

    fn emit_removal(&mut self, member_id: &str, facts: &mut Vec<Fact>) {
        self.emit(Fact::CurrentAssignmentRemoved { member_id: member_id.to_string() }, facts);
        self.emit(Fact::TargetRemoved { member_id: member_id.to_string() }, facts);
        self.emit(Fact::MemberRemoved { member_id: member_id.to_string() }, facts);
    }

    /// Takes members out and raises the group's epoch, once for all of them.
    pub(super) fn remove_members(
        &mut self,
        gone: &[String],
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
        facts: &mut Vec<Fact>,
    ) {
        let gone: BTreeSet<&String> =
            gone.iter().filter(|member_id| self.durable.members.contains_key(*member_id)).collect();
        if gone.is_empty() {
            return;
        }
        for member_id in gone {
            self.emit_removal(member_id, facts);
        }
        self.drop_unused_regexes(facts);
        self.update_epoch(true, topics, config, facts);
        if self.durable.members.is_empty() {
            // A group without members has nothing to compute (KAFKA-20442), and the next one to join need not wait.
            self.emit(Fact::TargetEpoch { epoch: self.durable.epoch, computed_at_ms: 0 }, facts);
        }
    }
}

fn resolve(regex: &str, now_ms: i64, topics: &dyn TopicsView) -> ResolvedRegex {
    // A pattern in the log was good once; another version of the library may think otherwise. It then matches nothing.
    let names =
        TopicPattern::compile(regex).map(|pattern| pattern.resolve(topics.names())).unwrap_or_default();
    ResolvedRegex { topics: names, version: topics.version() as i64, resolved_at_ms: now_ms }
}
