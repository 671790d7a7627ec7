//! SyncGroup (versions 0 to 5): KIP-559 protocol checks from version 5 on.

use std::collections::HashMap;
use std::sync::Arc;

use buslane_wire::ErrorCode;
use bytes::Bytes;

use super::group::{ClassicGroup, GroupState};
use crate::api::{AppendId, Event, Reply, RequestId, SyncGroup, SyncGroupReply};
use crate::turn::{AfterCommit, Timer, Turn};

impl ClassicGroup {
    /// A SyncGroup. It is answered now, or stays with its member until the leader's assignment is committed.
    pub fn sync(&mut self, turn: &mut Turn<'_>, to: RequestId, request: SyncGroup) {
        if let Err(error) = self.check_sync(&request) {
            return turn.reply(to, Reply::SyncGroup(SyncGroupReply::error(error)));
        }
        let member_id = &request.member_id;
        match self.state() {
            GroupState::PreparingRebalance => {
                let error = SyncGroupReply::error(ErrorCode::REBALANCE_IN_PROGRESS);
                turn.reply(to, Reply::SyncGroup(error));
            }
            GroupState::CompletingRebalance => {
                let member = self.member_mut(member_id).expect("it was checked");
                if let Some(before) = member.awaiting_sync.replace(to) {
                    // From a connection that is gone.
                    let error = SyncGroupReply::error(ErrorCode::REBALANCE_IN_PROGRESS);
                    turn.reply(before, Reply::SyncGroup(error));
                }
                self.has_synced(turn, member_id);
                if self.is_leader(member_id) && self.assignment_in_flight.is_none() {
                    self.take_assignment(turn, request);
                }
            }
            GroupState::Stable => {
                self.has_synced(turn, member_id);
                let member = self.member(member_id).expect("it was checked");
                turn.reply(to, Reply::SyncGroup(self.assigned(member.assignment.clone())));
            }
            GroupState::Empty | GroupState::Dead => unreachable!("it has a member"),
        }
    }

    fn check_sync(&self, request: &SyncGroup) -> Result<(), ErrorCode> {
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        // A group whose generation has no protocol yet contradicts nobody.
        let differs = |named: &Option<Arc<str>>, ours: &Option<Arc<str>>| {
            named.as_ref().zip(ours.as_ref()).is_some_and(|(named, ours)| named != ours)
        };
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol, &self.protocol)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        Ok(())
    }

    fn has_synced(&mut self, turn: &mut Turn<'_>, member_id: &Arc<str>) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            turn.timers.cancel(&Timer::Sync { group: self.id.clone() });
        }
    }

    /// The leader's assignment goes into the log. A leader that asks again before it is there gets the first one, so that
    /// the log's last word is what the members are told.
    fn take_assignment(&mut self, turn: &mut Turn<'_>, request: SyncGroup) {
        let given: HashMap<Arc<str>, Bytes> = request.assignments.into_iter().collect();
        let of = |id: &Arc<str>| given.get(id).cloned().unwrap_or_default();
        match self.to_record(|member| of(&member.id), turn.config.record_max_bytes) {
            Some(record) => {
                turn.record(record);
                self.assignment_in_flight = Some(turn.append_id());
                let assignments = self.members().map(|member| (member.id.clone(), of(&member.id))).collect();
                let (group, append) = (self.id.clone(), turn.append_id());
                turn.after_commit(AfterCommit::Assigned { group, append, assignments });
            }
            None => {
                // As Kafka answers an append that is too large.
                self.fail_syncs(turn, ErrorCode::UNKNOWN_SERVER_ERROR);
                self.rebalance_or_complete(turn, "the assignment is larger than a record may be".to_string());
            }
        }
    }

    /// An assignment is committed. It counts if nothing has happened to its generation since.
    pub fn assignment_committed(
        &mut self,
        turn: &mut Turn<'_>,
        append: AppendId,
        assignments: Vec<(Arc<str>, Bytes)>,
    ) {
        if self.assignment_in_flight != Some(append) {
            return;
        }
        let mut assignments: HashMap<Arc<str>, Bytes> = assignments.into_iter().collect();
        let mut waiting = Vec::new();
        for member in self.members_mut() {
            member.assignment = assignments.remove(&member.id).unwrap_or_default();
            if let Some(sync) = member.awaiting_sync.take() {
                waiting.push((sync, member.id.clone(), member.assignment.clone()));
            }
        }
        for (sync, member_id, assignment) in waiting {
            turn.reply(sync, Reply::SyncGroup(self.assigned(assignment)));
            self.restart_session(turn, &member_id);
        }
        self.transition(GroupState::Stable, turn.now_ms);
        turn.event(Event::Stable { group: self.id.clone(), generation: self.generation });
    }

    /// Nobody gets an assignment of this generation: those that wait for theirs are told why.
    pub(super) fn fail_syncs(&mut self, turn: &mut Turn<'_>, error: ErrorCode) {
        assert_eq!(self.state(), GroupState::CompletingRebalance, "group {}", self.id);
        let mut waiting = Vec::new();
        for member in self.members_mut() {
            member.assignment = Bytes::new();
            if let Some(sync) = member.awaiting_sync.take() {
                waiting.push((sync, member.id.clone()));
            }
        }
        for (sync, member_id) in waiting {
            turn.reply(sync, Reply::SyncGroup(SyncGroupReply::error(error)));
            self.restart_session(turn, &member_id);
        }
    }

    fn assigned(&self, assignment: Bytes) -> SyncGroupReply {
        SyncGroupReply {
            error_code: ErrorCode::NONE,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment,
        }
    }
}
