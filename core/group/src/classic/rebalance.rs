//! How a rebalance begins and how a generation comes out of it.

use buslane_wire::ErrorCode;

use super::group::{ClassicGroup, GroupState};
use crate::api::{Event, RemovalCause, Reply};
use crate::turn::{Timer, Turn};

/// What happens when the time for rejoining is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinDeadline {
    /// The generation begins with those that are there.
    Rebalance,
    /// The delay of an empty group's first rebalance: if members came during it, it starts again.
    Initial {
        /// This delay, in milliseconds.
        delay_ms: i32,
        /// What is left of the rebalance timeout after it, in milliseconds.
        remaining_ms: i32,
    },
}

/// How long a group at least waits for its static members before it looks again.
const AWAIT_STATIC_MIN_MS: i32 = 1_000;

impl ClassicGroup {
    /// Something changed: starts a rebalance, or ends the one that runs when it was what that waited for.
    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>, why: String) {
        match self.state() {
            GroupState::PreparingRebalance => self.complete_if_everyone_joined(turn),
            _ => self.prepare_rebalance(turn, why),
        }
    }

    pub(crate) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>, why: String) {
        if self.state() == GroupState::CompletingRebalance {
            self.fail_syncs(turn, ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.pending_sync.clear();
        turn.timers.cancel(&Timer::Sync { group: self.id.clone() });
        let initial = self.state() == GroupState::Empty;
        self.transition(GroupState::PreparingRebalance, turn.now_ms);
        turn.event(Event::Rebalancing { group: self.id.clone(), generation: self.generation, reason: why });
        if initial {
            let delay_ms = turn.config.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
            self.new_member_added = false;
            self.set_join_deadline(turn, delay_ms, JoinDeadline::Initial { delay_ms, remaining_ms });
        } else if self.has_everyone_joined() {
            self.complete_join(turn);
        } else {
            self.set_join_deadline(turn, self.rebalance_timeout_ms(), JoinDeadline::Rebalance);
        }
    }

    /// Ends a rebalance that everyone has joined, unless the first members of an empty group are still to gather.
    pub(super) fn complete_if_everyone_joined(&mut self, turn: &mut Turn<'_>) {
        if !self.is_initial_rebalance() && self.has_everyone_joined() {
            self.complete_join(turn);
        }
    }

    /// The time for rejoining is over.
    pub fn join_deadline_passed(&mut self, turn: &mut Turn<'_>) {
        assert_eq!(self.state(), GroupState::PreparingRebalance, "group {}", self.id);
        match self.join_deadline {
            JoinDeadline::Initial { delay_ms, remaining_ms } if self.new_member_added && remaining_ms > 0 => {
                self.new_member_added = false;
                let next = JoinDeadline::Initial {
                    delay_ms: turn.config.initial_rebalance_delay_ms.min(remaining_ms),
                    remaining_ms: remaining_ms.saturating_sub(delay_ms).max(0),
                };
                let JoinDeadline::Initial { delay_ms, .. } = next else { unreachable!("it was just made") };
                self.set_join_deadline(turn, delay_ms, next);
            }
            _ => self.complete_join(turn),
        }
    }

    fn set_join_deadline(&mut self, turn: &mut Turn<'_>, timeout_ms: i32, deadline: JoinDeadline) {
        self.join_deadline = deadline;
        turn.timers.set(Timer::Join { group: self.id.clone() }, turn.after(timeout_ms));
    }

    /// The generation begins: members that did not rejoin are out, but for static ones, whose session timeout decides.
    pub(super) fn complete_join(&mut self, turn: &mut Turn<'_>) {
        turn.timers.cancel(&Timer::Join { group: self.id.clone() });
        for member_id in self.absent_dynamic() {
            self.drop_member(turn, &member_id, ErrorCode::UNKNOWN_MEMBER_ID);
            let group = self.id.clone();
            turn.event(Event::MemberRemoved { group, member_id, cause: RemovalCause::NotRejoined });
        }
        if self.members().len() > 0 && !self.elect_joined_leader() {
            // Only static members are left and none has rejoined: there is nobody to compute an assignment. Their timeout
            // is what they said it is, 0 perhaps; nothing changes that soon.
            let timeout_ms = self.rebalance_timeout_ms().max(AWAIT_STATIC_MIN_MS);
            return self.set_join_deadline(turn, timeout_ms, JoinDeadline::Rebalance);
        }
        self.next_generation(turn);
        let (group, members) = (self.id.clone(), self.members().len());
        turn.event(Event::Generation { group, generation: self.generation, members });
        if members == 0 {
            let record =
                self.to_record(|_| unreachable!("no members"), usize::MAX).expect("there is no limit");
            return turn.record(record);
        }
        let member_ids: Vec<_> = self.members().map(|member| member.id.clone()).collect();
        for member_id in &member_ids {
            if let Some(join) = self.take_join(member_id) {
                let reply = self.joined(member_id, self.is_leader(member_id));
                turn.reply(join, Reply::JoinGroup(reply));
            }
            self.restart_session(turn, member_id);
            self.member_mut(member_id).expect("it was just listed").is_new = false;
        }
        self.pending_sync = member_ids.into_iter().collect();
        turn.timers.set(Timer::Sync { group: self.id.clone() }, turn.after(self.rebalance_timeout_ms()));
    }

    fn next_generation(&mut self, turn: &mut Turn<'_>) {
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        self.protocol = self.select_protocol();
        self.find_subscribed();
        let state = match self.members().len() {
            0 => GroupState::Empty,
            _ => GroupState::CompletingRebalance,
        };
        self.transition(state, turn.now_ms);
        self.pending_sync.clear();
    }

    /// Members that joined but did not sync within the rebalance timeout are out.
    pub fn sync_deadline_passed(&mut self, turn: &mut Turn<'_>) {
        let running = matches!(self.state(), GroupState::CompletingRebalance | GroupState::Stable);
        assert!(running && !self.pending_sync.is_empty(), "group {}: {:?}", self.id, self.state());
        let late: Vec<_> = self.pending_sync.iter().cloned().collect();
        for member_id in &late {
            self.drop_member(turn, member_id, ErrorCode::UNKNOWN_MEMBER_ID);
            let (group, member_id) = (self.id.clone(), member_id.clone());
            turn.event(Event::MemberRemoved { group, member_id, cause: RemovalCause::NotSynced });
        }
        self.prepare_rebalance(turn, format!("members did not sync: {}", late.join(", ")));
    }
}
