//! What each member is to have.

use std::collections::BTreeMap;
use std::rc::Rc;

use buslane_wire::ids::TopicId;

use super::assignor::{GroupSpec, MemberSpec, TopicSpec};
use super::config::ConsumerGroupConfig;
use super::fact::{Fact, MemberMetadata};
use super::group::ConsumerGroup;
use super::partitions::Partitions;
use super::topics::TopicsView;

impl ConsumerGroup {
    /// True when the target is older than the group. A group without members needs none.
    pub(super) fn target_is_due(&self) -> bool {
        self.durable.epoch > self.durable.target_epoch && !self.durable.members.is_empty()
    }

    /// Computes the target when it is older than the group and the last computation is long enough ago.
    pub(super) fn update_target(
        &mut self,
        now_ms: i64,
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
        facts: &mut Vec<Fact>,
    ) {
        let computed_at_ms = self.durable.target_computed_at_ms;
        // A clock that was set back does not hold a group up.
        let too_soon = (computed_at_ms..computed_at_ms + config.assignment_interval_ms).contains(&now_ms);
        if !self.target_is_due() || (computed_at_ms != 0 && too_soon) {
            return;
        }
        let changed = self.compute_target(topics, config);
        for (member_id, partitions) in changed {
            self.emit(Fact::Target { member_id, partitions }, facts);
        }
        self.emit(Fact::TargetEpoch { epoch: self.durable.epoch, computed_at_ms: now_ms }, facts);
    }

    /// True when the target of this epoch is not what would be computed now. It is asked once after a load: when the last
    /// facts before a crash reached the log in part, the reason for a new target may have, and the new epoch not. (A group
    /// that is whole keeps its target: an assignor moves nothing when nothing has changed.)
    pub(super) fn target_is_wrong(&self, topics: &dyn TopicsView, config: &ConsumerGroupConfig) -> bool {
        let at_target = self.durable.epoch == self.durable.target_epoch;
        at_target
            && self.compute_target(topics, config).iter().any(|(member_id, partitions)| {
                self.durable
                    .target
                    .get(member_id)
                    .map_or(!partitions.is_empty(), |target| target != partitions)
            })
    }

    /// The targets that differ from those that stand.
    fn compute_target(
        &self,
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
    ) -> Vec<(String, Partitions)> {
        let wants = self.wants_of_members(topics);
        let sizes: BTreeMap<TopicId, i32> = self
            .subscribed_topics()
            .filter_map(|name| topics.by_name(name))
            .map(|topic| (topic.id, topic.partitions))
            .collect();
        let places: BTreeMap<TopicId, usize> =
            sizes.keys().enumerate().map(|(place, id)| (*id, place)).collect();
        let nothing = Partitions::new();
        let mut shared: BTreeMap<*const Vec<TopicId>, Rc<[usize]>> = BTreeMap::new();
        let members = self
            .durable
            .members
            .iter()
            .zip(&wants)
            .map(|((member_id, member), wants)| MemberSpec {
                member_id,
                instance_id: member.metadata.instance_id.as_deref(),
                wants: Rc::clone(
                    shared
                        .entry(Rc::as_ptr(wants))
                        .or_insert_with(|| wants.iter().map(|id| places[id]).collect()),
                ),
                assigned: self.durable.target.get(member_id).unwrap_or(&nothing),
            })
            .collect();
        let topics = sizes.into_iter().map(|(id, partitions)| TopicSpec { id, partitions }).collect();
        let spec = GroupSpec { topics, members };
        let result = self.subscriptions.preferred_assignor(&config.assignors).assign(&spec);
        assert_eq!(result.len(), self.durable.members.len(), "an assignment for each member");
        let ids = self.durable.members.keys();
        ids.zip(result)
            .filter(|(member_id, partitions)| self.durable.target.get(*member_id) != Some(partitions))
            .map(|(member_id, partitions)| (member_id.clone(), partitions))
            .collect()
    }

    /// What each member wants, in the order of the members. Those that want the same by the same words share one list.
    fn wants_of_members(&self, topics: &dyn TopicsView) -> Vec<Rc<Vec<TopicId>>> {
        let mut known: Vec<(&MemberMetadata, Rc<Vec<TopicId>>)> = Vec::new();
        let mut result = Vec::with_capacity(self.durable.members.len());
        for member in self.durable.members.values() {
            let metadata = &member.metadata;
            // Groups have one or two subscriptions, rarely more; beyond some the comparison costs more than it saves.
            let same = known.iter().rev().take(4).find(|(other, _)| {
                other.subscribed_topic_regex == metadata.subscribed_topic_regex
                    && other.subscribed_topic_names == metadata.subscribed_topic_names
            });
            let wants = match same {
                Some((_, wants)) => Rc::clone(wants),
                None => {
                    let wants = Rc::new(self.wanted_by(metadata, topics).into_iter().collect::<Vec<_>>());
                    known.push((metadata, Rc::clone(&wants)));
                    wants
                }
            };
            result.push(wants);
        }
        result
    }
}
