//! Deadlines of members. They live in memory only and start anew when a group is loaded.

use std::collections::BTreeMap;

use super::config::ConsumerGroupConfig;
use super::fact::{Fact, MemberState};
use super::group::ConsumerGroup;
use super::topics::TopicsView;

/// The deadlines of all members, ms.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    members: BTreeMap<String, Deadlines>,
    /// No deadline is earlier than this one. It may be too early: heartbeats push deadlines back without looking at all.
    earliest: i64,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers { members: BTreeMap::new(), earliest: i64::MAX }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Deadlines([Option<i64>; 4]);

/// What a member must do in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// Show that it lives.
    Session = 0,
    /// Give up the partitions it was told to give up.
    Revocation = 1,
    /// A classic member: rejoin after it was told of a rebalance.
    Join = 2,
    /// A classic member: fetch its assignment after it joined.
    Sync = 3,
}

impl Timers {
    pub fn set(&mut self, member_id: &str, which: Deadline, at_ms: i64) {
        self.earliest = self.earliest.min(at_ms);
        match self.members.get_mut(member_id) {
            Some(deadlines) => deadlines.0[which as usize] = Some(at_ms),
            None => {
                let mut deadlines = Deadlines::default();
                deadlines.0[which as usize] = Some(at_ms);
                self.members.insert(member_id.to_string(), deadlines);
            }
        }
    }

    pub fn set_if_absent(&mut self, member_id: &str, which: Deadline, at_ms: i64) {
        if self.members.get(member_id).is_none_or(|deadlines| deadlines.0[which as usize].is_none()) {
            self.set(member_id, which, at_ms);
        }
    }

    pub fn clear(&mut self, member_id: &str, which: Deadline) {
        if let Some(deadlines) = self.members.get_mut(member_id) {
            deadlines.0[which as usize] = None;
        }
    }

    pub fn remove(&mut self, member_id: &str) {
        self.members.remove(member_id);
    }

    /// The members whose time is up, with the first thing that each missed.
    fn expired(&mut self, now_ms: i64) -> Vec<(String, Deadline)> {
        if now_ms < self.earliest {
            return Vec::new();
        }
        let which = [Deadline::Session, Deadline::Revocation, Deadline::Join, Deadline::Sync];
        let expired: Vec<(String, Deadline)> = self
            .members
            .iter()
            .filter_map(|(member_id, deadlines)| {
                let missed =
                    which.into_iter().find(|w| deadlines.0[*w as usize].is_some_and(|at| at <= now_ms));
                missed.map(|missed| (member_id.clone(), missed))
            })
            .collect();
        for (member_id, _) in &expired {
            self.members.remove(member_id);
        }
        self.earliest =
            self.members.values().flat_map(|deadlines| deadlines.0).flatten().min().unwrap_or(i64::MAX);
        expired
    }
}

/// A member that was removed because it missed a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The member.
    pub member_id: String,
    /// What it missed.
    pub missed: Deadline,
}

impl ConsumerGroup {
    /// Starts the deadlines of all members after the log was replayed: each has its whole time again.
    pub fn loaded(&mut self, now_ms: i64, config: &ConsumerGroupConfig) {
        self.timers = Timers::default();
        for (member_id, member) in &self.durable.members {
            let session_ms = match &member.metadata.classic {
                Some(classic) => classic.session_timeout_ms,
                None => config.session_timeout_ms,
            };
            self.timers.set(member_id, Deadline::Session, now_ms + i64::from(session_ms));
            if member.current.state == MemberState::UnrevokedPartitions && !member.is_classic() {
                let deadline = now_ms + i64::from(member.metadata.rebalance_timeout_ms);
                self.timers.set(member_id, Deadline::Revocation, deadline);
            }
        }
    }

    /// When [`ConsumerGroup::on_timeout`] is to be called next, ms; perhaps earlier than needed.
    pub fn next_timeout(&self, config: &ConsumerGroupConfig) -> Option<i64> {
        let members = (self.timers.earliest != i64::MAX).then_some(self.timers.earliest);
        let target =
            self.target_is_due().then(|| self.durable.target_computed_at_ms + config.assignment_interval_ms);
        members.into_iter().chain(target).min()
    }

    /// Removes the members that missed a deadline, and computes a target that had to wait.
    pub fn on_timeout(
        &mut self,
        now_ms: i64,
        topics: &dyn TopicsView,
        config: &ConsumerGroupConfig,
        facts: &mut Vec<Fact>,
    ) -> Vec<Expired> {
        let expired = self.timers.expired(now_ms);
        let gone: Vec<String> = expired.iter().map(|(member_id, _)| member_id.clone()).collect();
        self.remove_members(&gone, topics, config, facts);
        self.update_target(now_ms, topics, config, facts);
        expired.into_iter().map(|(member_id, missed)| Expired { member_id, missed }).collect()
    }
}
