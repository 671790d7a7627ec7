//! A classic group on its way to the consumer protocol, and one that came back (KIP-848, "Online migration").

use std::sync::Arc;

use buslane_wire::ErrorCode;

use super::group::{ClassicGroup, GroupState};
use super::join::refuse;
use super::member::Member;
use crate::api::{Protocol, Reply, SyncGroupReply};
use crate::consumer::{ClassicGroupView, ClassicMemberView, ClassicProtocol};
use crate::records::Record;
use crate::turn::{Timer, Turn};

impl ClassicGroup {
    /// The group as far as the other protocol cares.
    pub fn view(&self) -> ClassicGroupView {
        let member = |member: &Member| ClassicMemberView {
            member_id: member.id.to_string(),
            instance_id: member.instance_id.as_ref().map(|name| name.to_string()),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            protocols: member
                .protocols
                .iter()
                .map(|protocol| ClassicProtocol {
                    name: protocol.name.to_string(),
                    metadata: protocol.metadata.clone(),
                })
                .collect(),
            assignment: member.assignment.clone(),
        };
        ClassicGroupView {
            generation_id: self.generation,
            protocol_type: self.protocol_type.as_ref().map(|name| name.to_string()),
            protocol_name: self.protocol.as_ref().map(|name| name.to_string()),
            members: self.members().map(member).collect(),
        }
    }

    /// The group has become one of the other protocol: requests that wait are told to rejoin, deadlines are forgotten.
    pub fn end(&mut self, turn: &mut Turn<'_>) {
        let group = self.id.clone();
        turn.timers.cancel(&Timer::Join { group: group.clone() });
        turn.timers.cancel(&Timer::Sync { group: group.clone() });
        let members: Vec<Arc<str>> = self.members().map(|member| member.id.clone()).collect();
        for member_id in members.iter().chain(&self.pending_join) {
            turn.timers.cancel(&Timer::Member { group: group.clone(), member_id: member_id.clone() });
        }
        for member in self.members_mut() {
            if let Some(join) = member.awaiting_join.take() {
                refuse(turn, join, member.id.clone(), ErrorCode::REBALANCE_IN_PROGRESS);
            }
            if let Some(sync) = member.awaiting_sync.take() {
                let error = SyncGroupReply::error(ErrorCode::REBALANCE_IN_PROGRESS);
                turn.reply(sync, Reply::SyncGroup(error));
            }
        }
    }

    /// A stable group of members that were left in a consumer group, with its record.
    ///
    /// # Panics
    /// Without members.
    pub fn of_view(id: Arc<str>, view: ClassicGroupView, turn: &mut Turn<'_>) -> (ClassicGroup, Record) {
        let mut group = ClassicGroup::new(id, Some(turn.now_ms));
        group.generation = view.generation_id;
        let protocol_type: Arc<str> = view.protocol_type.unwrap_or_default().into();
        for member in view.members {
            // Out of a log with a hole two may have the same name: as when such a log is loaded.
            let instance = member.instance_id.filter(|name| group.static_member_id(name).is_none());
            let member = Member {
                id: member.member_id.into(),
                instance_id: instance.map(Into::into),
                client_id: member.client_id.into(),
                client_host: member.client_host.into(),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                protocols: member
                    .protocols
                    .into_iter()
                    .map(|protocol| Protocol { name: protocol.name.into(), metadata: protocol.metadata })
                    .collect(),
                assignment: member.assignment,
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            };
            group.add(member, &protocol_type);
        }
        group.load_as_stable();
        group.protocol = view.protocol_name.map(Into::into).or_else(|| group.select_protocol());
        group.find_subscribed();
        let members: Vec<Arc<str>> = group.members().map(|member| member.id.clone()).collect();
        for member_id in &members {
            group.restart_session(turn, member_id);
        }
        assert_eq!(group.state(), GroupState::Stable);
        let record =
            group.to_record(|member| member.assignment.clone(), usize::MAX).expect("there is no limit");
        (group, record)
    }
}
