//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup: from the shard to the group.

use buslane_wire::ErrorCode;

use super::{Call, Group};
use crate::api::{
    Heartbeat, HeartbeatReply, JoinGroup, JoinGroupReply, LeaveGroup, LeaveGroupReply, LeftMember, Reply,
    RequestId, SyncGroup, SyncGroupReply,
};
use crate::classic::ClassicGroup;
use crate::consumer::TopicsView;

/// Protocols that a member may offer. Clients offer one to three.
const PROTOCOLS_MAX: usize = 100;

/// Bytes that a member may leave with its group until it leaves, of all its protocols: it has to fit into a record, which
/// Kafka limits to as much (`message.max.bytes`) for a whole group.
const METADATA_MAX: usize = 1 << 20;

impl Call<'_> {
    pub(super) fn join_group(&mut self, to: RequestId, request: JoinGroup, topics: &dyn TopicsView) {
        if let Err(error) = self.check_join(&request) {
            let reply = JoinGroupReply::error(request.member_id, error);
            return self.turn.reply(to, Reply::JoinGroup(reply));
        }
        if let Some(Group::Consumer(group)) = self.groups.get(&request.group) {
            if !group.members().is_empty() {
                return self.join_consumer(to, request, topics);
            }
            self.remove_empty_consumer(&request.group);
        }
        let is_new = !self.groups.contains_key(&request.group);
        let records = self.turn.record_count();
        if is_new {
            let group = ClassicGroup::new(request.group.clone(), Some(self.turn.now_ms));
            self.groups.insert(request.group.clone(), Group::Classic(group));
        }
        let Some(Group::Classic(group)) = self.groups.get_mut(&request.group) else {
            unreachable!("it was just made")
        };
        group.join(&mut self.turn, to, request);
        // The group is there from now on, though it has no generation yet. The reply tells nothing of it.
        if is_new && self.turn.record_count() == records {
            let record = group.created_record();
            self.turn.record(record);
        }
    }

    fn check_join(&self, request: &JoinGroup) -> Result<(), ErrorCode> {
        let config = self.turn.config;
        let sessions = config.session_timeout_min_ms..=config.session_timeout_max_ms;
        if request.group.is_empty() {
            Err(ErrorCode::INVALID_GROUP_ID)
        } else if !sessions.contains(&request.session_timeout_ms) {
            Err(ErrorCode::INVALID_SESSION_TIMEOUT)
        } else if request.protocols.len() > PROTOCOLS_MAX
            || request.protocols.iter().map(|p| p.name.len() + p.metadata.len()).sum::<usize>() > METADATA_MAX
        {
            Err(ErrorCode::INVALID_REQUEST)
        } else if !request.member_id.is_empty() && self.knows_nobody(&request.group) {
            Err(ErrorCode::UNKNOWN_MEMBER_ID)
        } else {
            Ok(())
        }
    }

    /// True when there is no group, or one of the consumer protocol without members, which would make room for a new one.
    fn knows_nobody(&self, group: &str) -> bool {
        match self.groups.get(group) {
            None => true,
            Some(Group::Consumer(group)) => group.members().is_empty(),
            Some(Group::Classic(_)) => false,
        }
    }

    pub(super) fn sync_group(&mut self, to: RequestId, request: SyncGroup, topics: &dyn TopicsView) {
        let error = match self.groups.get_mut(&request.group) {
            _ if !request.names_protocol() => ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
            Some(Group::Consumer(_)) => return self.sync_consumer(to, &request, topics),
            Some(Group::Classic(group)) => return group.sync(&mut self.turn, to, request),
            None if request.group.is_empty() => ErrorCode::INVALID_GROUP_ID,
            None => ErrorCode::UNKNOWN_MEMBER_ID,
        };
        self.turn.reply(to, Reply::SyncGroup(SyncGroupReply::error(error)));
    }

    pub(super) fn heartbeat(&mut self, to: RequestId, request: &Heartbeat, topics: &dyn TopicsView) {
        let result = match self.groups.get_mut(&request.group) {
            _ if request.group.is_empty() => Err(ErrorCode::INVALID_GROUP_ID),
            Some(Group::Classic(group)) => group.heartbeat(&mut self.turn, request),
            Some(Group::Consumer(_)) => return self.heartbeat_consumer(to, request, topics),
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        };
        let error_code = result.err().unwrap_or(ErrorCode::NONE);
        self.turn.reply(to, Reply::Heartbeat(HeartbeatReply { error_code }));
    }

    pub(super) fn leave_group(&mut self, to: RequestId, request: LeaveGroup, topics: &dyn TopicsView) {
        let reply = match self.groups.get_mut(&request.group) {
            _ if request.group.is_empty() => {
                LeaveGroupReply { error_code: ErrorCode::INVALID_GROUP_ID, members: Vec::new() }
            }
            Some(Group::Classic(group)) => return group.leave(&mut self.turn, to, request),
            Some(Group::Consumer(_)) => return self.leave_consumer(to, request, topics),
            None => {
                let unknown = request.members.into_iter().map(|leaving| LeftMember {
                    member_id: leaving.member_id,
                    instance_id: leaving.instance_id,
                    error_code: ErrorCode::UNKNOWN_MEMBER_ID,
                });
                LeaveGroupReply { error_code: ErrorCode::NONE, members: unknown.collect() }
            }
        };
        self.turn.reply(to, Reply::LeaveGroup(reply));
    }
}
