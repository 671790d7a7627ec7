//! JoinGroup (versions 0 to 9): KIP-345 static members, KIP-394 required ids, KIP-800 reasons, KIP-814 skipped assignments.

use std::sync::Arc;

use buslane_wire::ErrorCode;
use bytes::Bytes;

use super::group::{ClassicGroup, GroupState};
use super::member::Member;
use crate::api::{JoinGroup, JoinGroupReply, Reply, RequestId, SyncGroupReply};
use crate::turn::{Timer, Turn};

/// First version in which a new member must come back with the id it is given (KIP-394).
const REQUIRES_KNOWN_ID: i16 = 4;
/// First version in which a leader can be told to skip the assignment (KIP-814).
const CAN_SKIP_ASSIGNMENT: i16 = 9;
/// Bytes of a string in a message or record, at most.
const STRING_MAX: usize = i16::MAX as usize;

impl ClassicGroup {
    /// A JoinGroup whose timeouts were checked. It is answered now, or stays with its member until the generation begins.
    pub fn join(&mut self, turn: &mut Turn<'_>, to: RequestId, request: JoinGroup) {
        if !self.has_room_for(&request.member_id, turn.config.group_max_size) {
            // A member that rejoins when the places are taken has lost its own. As in Kafka, the rebalance goes on to its
            // deadline, though it may have waited for this member alone.
            self.drop_member(turn, &request.member_id, ErrorCode::GROUP_MAX_SIZE_REACHED);
            return refuse(turn, to, "".into(), ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        if !self.supports(&request.protocol_type, &request.protocols) {
            return refuse(turn, to, request.member_id, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if request.member_id.is_empty() {
            self.join_new(turn, to, request);
        } else {
            self.join_known(turn, to, request);
        }
    }

    fn has_room_for(&self, member_id: &str, max: usize) -> bool {
        let member = self.member(member_id);
        match self.state() {
            GroupState::PreparingRebalance => {
                member.is_some_and(|member| member.awaiting_join.is_some()) || self.awaiting_join() < max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || self.members().len() < max
            }
            GroupState::Empty | GroupState::Dead => true,
        }
    }

    fn join_new(&mut self, turn: &mut Turn<'_>, to: RequestId, request: JoinGroup) {
        let name = request.instance_id.as_ref().unwrap_or(&request.caller.client_id);
        let member_id: Arc<str> = format!("{name}-{}", request.new_member_suffix).into();
        if member_id.len() > STRING_MAX {
            return refuse(turn, to, "".into(), ErrorCode::INVALID_REQUEST);
        }
        if let Some(instance_id) = &request.instance_id {
            match self.static_member_id(instance_id).cloned() {
                Some(old) => self.replace(turn, to, request, &old, member_id),
                None => self.add_and_rebalance(turn, to, request, member_id),
            }
        } else if request.version >= REQUIRES_KNOWN_ID {
            // A client whose answer is lost never comes back with this id, so it leaves no member behind.
            self.pending_join.insert(member_id.clone());
            let timer = Timer::Member { group: self.id.clone(), member_id: member_id.clone() };
            turn.timers.set(timer, turn.after(request.session_timeout_ms));
            refuse(turn, to, member_id, ErrorCode::MEMBER_ID_REQUIRED);
        } else {
            self.add_and_rebalance(turn, to, request, member_id);
        }
    }

    fn join_known(&mut self, turn: &mut Turn<'_>, to: RequestId, request: JoinGroup) {
        let member_id = request.member_id.clone();
        if self.pending_join.contains(&member_id) {
            if request.instance_id.is_some() {
                // Kafka's answer as well: static members are never told to come back with an id.
                return refuse(turn, to, member_id, ErrorCode::UNKNOWN_SERVER_ERROR);
            }
            return self.add_and_rebalance(turn, to, request, member_id);
        }
        if let Err(error) = self.check_member(&member_id, request.instance_id.as_deref()) {
            return refuse(turn, to, member_id, error);
        }
        let member = self.member(&member_id).expect("it was checked");
        let unchanged = member.protocols == request.protocols;
        let is_leader = self.is_leader(&member_id);
        match self.state() {
            // The answer to its last JoinGroup was lost, or a follower asks again out of caution: nothing changes.
            GroupState::CompletingRebalance if unchanged => {
                let reply = self.joined(&member_id, is_leader);
                turn.reply(to, Reply::JoinGroup(reply));
            }
            GroupState::Stable if unchanged && !is_leader => {
                let reply = self.joined(&member_id, false);
                turn.reply(to, Reply::JoinGroup(reply));
            }
            GroupState::PreparingRebalance | GroupState::CompletingRebalance | GroupState::Stable => {
                let what = match self.state() {
                    GroupState::PreparingRebalance => "member rejoins",
                    GroupState::Stable if is_leader => "leader rejoins",
                    _ => "member changes its protocols",
                };
                let why = format!("{what}: {member_id}{}", said(&request.reason));
                self.update_member(turn, to, &member_id, request);
                self.rebalance_or_complete(turn, why);
            }
            GroupState::Empty | GroupState::Dead => unreachable!("it has a member"),
        }
    }

    fn add_and_rebalance(
        &mut self,
        turn: &mut Turn<'_>,
        to: RequestId,
        request: JoinGroup,
        member_id: Arc<str>,
    ) {
        let why = format!("member joins: {member_id}{}", said(&request.reason));
        if self.is_initial_rebalance() {
            self.new_member_added = true;
        }
        let member = Member {
            id: member_id.clone(),
            instance_id: request.instance_id,
            client_id: request.caller.client_id,
            client_host: request.caller.client_host,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::new(),
            awaiting_join: Some(to),
            awaiting_sync: None,
            is_new: true,
        };
        self.add(member, &request.protocol_type);
        // Longer than a session: its JoinGroup may wait for a whole rebalance. See `Member::is_new`.
        let timer = Timer::Member { group: self.id.clone(), member_id };
        turn.timers.set(timer, turn.after(turn.config.new_member_join_timeout_ms));
        self.rebalance_or_complete(turn, why);
    }

    /// A static member came back without its id: it takes its own place, and whoever still uses the old id is fenced.
    fn replace(
        &mut self,
        turn: &mut Turn<'_>,
        to: RequestId,
        request: JoinGroup,
        old: &Arc<str>,
        new: Arc<str>,
    ) {
        let leader_before = self.leader.clone();
        turn.timers.cancel(&Timer::Member { group: self.id.clone(), member_id: old.clone() });
        let (join, sync) = self.replace_static(old, new.clone());
        if let Some(join) = join {
            refuse(turn, join, old.clone(), ErrorCode::FENCED_INSTANCE_ID);
        }
        if let Some(sync) = sync {
            turn.reply(sync, Reply::SyncGroup(SyncGroupReply::error(ErrorCode::FENCED_INSTANCE_ID)));
        }
        if self.pending_sync.is_empty() {
            turn.timers.cancel(&Timer::Sync { group: self.id.clone() });
        }
        let (version, reason) = (request.version, request.reason.clone());
        let why = |what: &str| format!("static member {what}: {new}{}", said(&reason));
        // With the old timeout, as in Kafka: the new one counts from its next sign of life on.
        self.restart_session(turn, &new);
        self.update_member(turn, to, &new, request);
        match self.state() {
            GroupState::Stable => {
                let record = match self.select_protocol() == self.protocol {
                    true => self.to_record(|member| member.assignment.clone(), turn.config.record_max_bytes),
                    false => None,
                };
                let Some(record) = record else {
                    return self.rebalance_or_complete(turn, why("changes the group's protocol"));
                };
                // The assignment holds: nobody else needs to know, but a restart must know the new id.
                turn.record(record);
                let join = self.take_join(&new).expect("it was just set");
                let is_leader = self.is_leader(&new);
                let reply = if version >= CAN_SKIP_ASSIGNMENT {
                    JoinGroupReply { skip_assignment: is_leader, ..self.joined(&new, is_leader) }
                } else {
                    // The old leader's id keeps an older client from computing an assignment that would not be taken.
                    JoinGroupReply {
                        leader: leader_before.unwrap_or_else(|| "".into()),
                        ..self.joined(&new, false)
                    }
                };
                turn.reply_committed(join, Reply::JoinGroup(reply));
            }
            // The assignment on its way names the old id.
            GroupState::CompletingRebalance => self.prepare_rebalance(turn, why("returns")),
            GroupState::PreparingRebalance => self.complete_if_everyone_joined(turn),
            GroupState::Empty | GroupState::Dead => unreachable!("it has a member"),
        }
    }

    /// Makes this JoinGroup the member's; one that waited before is from a connection that is gone.
    fn update_member(
        &mut self,
        turn: &mut Turn<'_>,
        to: RequestId,
        member_id: &Arc<str>,
        request: JoinGroup,
    ) {
        let JoinGroup { protocols, rebalance_timeout_ms, session_timeout_ms, .. } = request;
        let before = self.update(member_id, protocols, rebalance_timeout_ms, session_timeout_ms, to);
        if let Some(before) = before {
            refuse(turn, before, member_id.clone(), ErrorCode::REBALANCE_IN_PROGRESS);
        }
    }

    /// What a member of this generation is told, with the others when it leads.
    pub(super) fn joined(&self, member_id: &Arc<str>, with_members: bool) -> JoinGroupReply {
        JoinGroupReply {
            error_code: ErrorCode::NONE,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_else(|| "".into()),
            skip_assignment: false,
            member_id: member_id.clone(),
            members: if with_members { self.joined_members() } else { Vec::new() },
        }
    }
}

pub(super) fn refuse(turn: &mut Turn<'_>, to: RequestId, member_id: Arc<str>, error: ErrorCode) {
    turn.reply(to, Reply::JoinGroup(JoinGroupReply::error(member_id, error)));
}

/// The client's own words (KIP-800).
fn said(reason: &Option<Arc<str>>) -> String {
    reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
}
