//! A classic group in the log: one record, written when a generation is assigned, when the group becomes empty or is
//! created, and when a static member gets another id.

use std::sync::Arc;

use bytes::Bytes;

use super::group::ClassicGroup;
use super::member::Member;
use crate::api::Protocol;
use crate::records::{self, GroupMetadataKey, GroupMetadataValue, MemberMetadata, Record};

/// What Kafka 4.x writes.
const VALUE_VERSION: i16 = 3;

const TOO_LONG: &str =
    "every string came in a message or a record, or was checked, and has at most 32767 bytes";

impl ClassicGroup {
    /// The group with these assignments; `None` when key and value exceed `max_bytes`.
    pub(super) fn to_record(
        &self,
        assignment: impl Fn(&Member) -> Bytes,
        max_bytes: usize,
    ) -> Option<Record> {
        let bytes: Vec<(Bytes, Bytes)> = self
            .members()
            .map(|member| {
                let protocol = self.protocol.as_deref().expect("a generation with members has a protocol");
                (member.metadata(protocol), assignment(member))
            })
            .collect();
        let members = self.members().zip(&bytes).map(|(member, (subscription, assignment))| MemberMetadata {
            member_id: &member.id,
            group_instance_id: member.instance_id.as_deref(),
            client_id: &member.client_id,
            client_host: &member.client_host,
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription,
            assignment,
        });
        let value = GroupMetadataValue {
            protocol_type: self.protocol_type.as_deref().unwrap_or(""),
            generation: self.generation,
            protocol: self.protocol.as_deref(),
            leader: self.leader.as_deref(),
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            members: members.collect(),
        };
        let record =
            records::record(&GroupMetadataKey { group: &self.id }, &value, VALUE_VERSION).expect(TOO_LONG);
        let len = record.key.len() + record.value.as_ref().map_or(0, Bytes::len);
        (len <= max_bytes).then_some(record)
    }

    /// The record of a group that has just been created: no type yet, whoever is about to join.
    pub fn created_record(&self) -> Record {
        let value = GroupMetadataValue {
            protocol_type: "",
            generation: 0,
            protocol: None,
            leader: None,
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            members: Vec::new(),
        };
        records::record(&GroupMetadataKey { group: &self.id }, &value, VALUE_VERSION).expect(TOO_LONG)
    }

    /// The record that removes the group.
    pub fn tombstone(&self) -> Record {
        records::tombstone(&GroupMetadataKey { group: &self.id }).expect(TOO_LONG)
    }

    /// The group that a record tells of. Members have no deadline yet.
    pub fn of_value(id: Arc<str>, value: &GroupMetadataValue<'_>) -> ClassicGroup {
        let since = (value.current_state_timestamp != -1).then_some(value.current_state_timestamp);
        let mut group = ClassicGroup::new(id, since);
        group.generation = value.generation;
        group.protocol = value.protocol.map(Into::into);
        group.leader = value.leader.map(Into::into);
        group.protocol_type = (!value.protocol_type.is_empty()).then(|| value.protocol_type.into());
        let protocol_type: Arc<str> = value.protocol_type.into();
        for member in &value.members {
            let known = group.member(member.member_id).is_some();
            let instance = member.group_instance_id.filter(|name| group.static_member_id(name).is_none());
            if known {
                // No coordinator writes a member twice; the first one stays.
                continue;
            }
            // Other protocols of the member are not in the record: it names them when it rejoins.
            let name = group.protocol.get_or_insert_with(|| "".into()).clone();
            let metadata = Bytes::copy_from_slice(member.subscription);
            let member = Member {
                id: member.member_id.into(),
                instance_id: instance.map(Into::into),
                client_id: member.client_id.into(),
                client_host: member.client_host.into(),
                rebalance_timeout_ms: match member.rebalance_timeout {
                    -1 => member.session_timeout,
                    timeout => timeout,
                },
                session_timeout_ms: member.session_timeout,
                protocols: vec![Protocol { name, metadata }],
                assignment: Bytes::copy_from_slice(member.assignment),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            };
            group.add(member, &protocol_type);
        }
        if group.members().len() > 0 {
            group.load_as_stable();
        }
        group.find_subscribed();
        group
    }
}
