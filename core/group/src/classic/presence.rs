//! Heartbeat, LeaveGroup, and what silence does.

use std::sync::Arc;

use buslane_wire::ErrorCode;

use super::group::{ClassicGroup, GroupState};
use super::join::refuse;
use crate::api::{
    Event, Heartbeat, LeaveGroup, LeaveGroupReply, LeavingMember, LeftMember, RemovalCause, Reply, RequestId,
    SyncGroupReply,
};
use crate::turn::{Timer, Turn};

impl ClassicGroup {
    /// What a heartbeat is answered.
    pub fn heartbeat(&mut self, turn: &mut Turn<'_>, request: &Heartbeat) -> Result<(), ErrorCode> {
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        self.restart_session(turn, &request.member_id);
        match self.state() {
            GroupState::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            _ => Ok(()),
        }
    }

    /// Members leave (KIP-345: several at once, by name too).
    pub fn leave(&mut self, turn: &mut Turn<'_>, to: RequestId, request: LeaveGroup) {
        let mut left = Vec::new();
        let members = request
            .members
            .into_iter()
            .map(|leaving| {
                let error_code = match self.leave_one(turn, &leaving) {
                    Ok(member_id) => {
                        left.push(match &leaving.reason {
                            Some(reason) => format!("{member_id} ({reason})"),
                            None => member_id.to_string(),
                        });
                        ErrorCode::NONE
                    }
                    Err(error) => error,
                };
                LeftMember { member_id: leaving.member_id, instance_id: leaving.instance_id, error_code }
            })
            .collect();
        if !left.is_empty() {
            let why = || format!("members leave: {}", left.join(", "));
            match self.state() {
                GroupState::Stable | GroupState::CompletingRebalance => {
                    self.rebalance_or_complete(turn, why())
                }
                GroupState::PreparingRebalance => self.complete_if_everyone_joined(turn),
                GroupState::Empty | GroupState::Dead => {}
            }
        }
        let reply = LeaveGroupReply { error_code: ErrorCode::NONE, members };
        turn.reply_committed(to, Reply::LeaveGroup(reply));
    }

    fn leave_one(&mut self, turn: &mut Turn<'_>, leaving: &LeavingMember) -> Result<Arc<str>, ErrorCode> {
        let instance_id = leaving.instance_id.as_deref();
        let member_id = if leaving.member_id.is_empty() {
            let named = instance_id.and_then(|instance_id| self.static_member_id(instance_id));
            named.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?.clone()
        } else {
            if !self.pending_join.contains(&leaving.member_id) {
                self.check_member(&leaving.member_id, instance_id)?;
            }
            leaving.member_id.clone()
        };
        self.drop_member(turn, &member_id, ErrorCode::UNKNOWN_MEMBER_ID);
        Ok(member_id)
    }

    /// The deadline of a member has passed.
    pub fn member_silent(&mut self, turn: &mut Turn<'_>, member_id: &Arc<str>) {
        let is_member = match self.member(member_id) {
            // It waits for us; its session starts anew with the answer.
            Some(member) if member.is_waiting() => return,
            Some(_) => true,
            None if self.pending_join.contains(member_id) => false,
            None => unreachable!("group {}: {member_id} is gone, its deadline is not", self.id),
        };
        self.drop_member(turn, member_id, ErrorCode::UNKNOWN_MEMBER_ID);
        if is_member {
            let (group, member_id) = (self.id.clone(), member_id.clone());
            turn.event(Event::MemberRemoved { group, member_id, cause: RemovalCause::Silent });
        }
        match self.state() {
            GroupState::Stable | GroupState::CompletingRebalance if is_member => {
                self.rebalance_or_complete(turn, format!("member is silent: {member_id}"));
            }
            // Kafka lets a group that lost one of its first members go on before the initial delay is over; so does this.
            GroupState::PreparingRebalance if self.has_everyone_joined() => self.complete_join(turn),
            _ => {}
        }
    }

    /// Takes a member, or one that was to come back with its id, out of the group; its requests that wait are answered.
    pub(super) fn drop_member(&mut self, turn: &mut Turn<'_>, member_id: &Arc<str>, error: ErrorCode) {
        turn.timers.cancel(&Timer::Member { group: self.id.clone(), member_id: member_id.clone() });
        let Some(member) = self.remove(member_id) else { return };
        if let Some(join) = member.awaiting_join {
            refuse(turn, join, "".into(), error);
        }
        if let Some(sync) = member.awaiting_sync {
            turn.reply(sync, Reply::SyncGroup(SyncGroupReply::error(error)));
        }
    }

    /// A sign of life: the session timeout runs from now on.
    pub fn restart_session(&self, turn: &mut Turn<'_>, member_id: &Arc<str>) {
        let member = self.member(member_id).expect("the caller found the member");
        let timer = Timer::Member { group: self.id.clone(), member_id: member_id.clone() };
        turn.timers.set(timer, turn.after(member.session_timeout_ms));
    }
}
