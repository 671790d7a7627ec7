//! ConsumerGroupDescribe.

use super::config::ConsumerGroupConfig;
use super::fact::CurrentAssignment;
use super::group::{ConsumerGroup, GroupState, Member};
use super::partitions::Partitions;

/// A group as ConsumerGroupDescribe shows it.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// Its state.
    pub state: GroupState,
    /// Its epoch.
    pub epoch: i32,
    /// The epoch of the target.
    pub target_epoch: i32,
    /// The assignor that most members ask for, or the default.
    pub assignor: &'static str,
    /// The members by id.
    pub members: Vec<MemberDescription<'a>>,
}

/// A member as ConsumerGroupDescribe shows it. Topics that no longer exist are to be left out when their names are added.
#[derive(Clone, Debug)]
pub struct MemberDescription<'a> {
    /// Its id.
    pub member_id: &'a str,
    /// All that is known of it.
    pub member: &'a Member,
    /// What it has, with what it is giving up.
    pub assignment: Partitions,
    /// What it is to have.
    pub target: Partitions,
    /// 0 classic, 1 consumer.
    pub member_type: i8,
}

impl ConsumerGroup {
    /// The group in full.
    pub fn describe(&self, config: &ConsumerGroupConfig) -> Description<'_> {
        let members = self.members().iter().map(|(member_id, member)| MemberDescription {
            member_id,
            member,
            assignment: {
                let CurrentAssignment { assigned, pending_revocation, .. } = &member.current;
                let held = assigned.iter().chain(pending_revocation.iter());
                held.map(|(topic, partition, _)| (topic, partition)).collect()
            },
            target: self.target().get(member_id).cloned().unwrap_or_default(),
            member_type: if member.is_classic() { 0 } else { 1 },
        });
        Description {
            state: self.state(),
            epoch: self.epoch(),
            target_epoch: self.target_epoch(),
            assignor: self.subscriptions.preferred_assignor(&config.assignors).name(),
            members: members.collect(),
        }
    }
}
