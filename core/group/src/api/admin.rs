//! DescribeGroups, ListGroups, DeleteGroups.

use std::sync::Arc;

use buslane_wire::{ErrorCode, messages};
use bytes::Bytes;

/// Asks about classic groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroups {
    /// The request's version: from 6 on an unknown group is an error (KIP-1043).
    pub version: i16,
    /// Groups of this shard.
    pub groups: Vec<Arc<str>>,
}

impl DescribeGroups {
    pub(super) fn refuse(&self, code: ErrorCode) -> DescribeGroupsReply {
        let groups = self.groups.iter().map(|group| DescribedGroup::error(group.clone(), code));
        DescribeGroupsReply { groups: groups.collect() }
    }
}

/// State and members of each group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsReply {
    /// In the order of the request.
    pub groups: Vec<DescribedGroup>,
}

/// An element of [`DescribeGroupsReply::groups`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// What went wrong.
    pub error_code: ErrorCode,
    /// The same in words.
    pub error_message: Option<Arc<str>>,
    /// The group.
    pub group: Arc<str>,
    /// Kafka's name of the state; empty on an error of the coordinator.
    pub state: &'static str,
    /// `consumer`, `connect`, empty.
    pub protocol_type: Arc<str>,
    /// The protocol chosen, of a stable group.
    pub protocol: Arc<str>,
    /// By id.
    pub members: Vec<DescribedMember>,
}

/// An element of [`DescribedGroup::members`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// The member.
    pub member_id: Arc<str>,
    /// The name of a static member.
    pub instance_id: Option<Arc<str>>,
    /// The client's name for itself.
    pub client_id: Arc<str>,
    /// Its address.
    pub client_host: Arc<str>,
    /// Its subscription, of a stable group.
    pub metadata: Bytes,
    /// What it was assigned.
    pub assignment: Bytes,
}

impl DescribedGroup {
    fn error(group: Arc<str>, error_code: ErrorCode) -> DescribedGroup {
        DescribedGroup {
            error_code,
            error_message: None,
            group,
            state: "",
            protocol_type: "".into(),
            protocol: "".into(),
            members: Vec::new(),
        }
    }

    /// What Kafka says of a group that does not exist.
    pub(crate) fn unknown(group: Arc<str>, version: i16, why: String) -> DescribedGroup {
        let (error_code, error_message) = match version {
            6.. => (ErrorCode::GROUP_ID_NOT_FOUND, Some(why.into())),
            _ => (ErrorCode::NONE, None),
        };
        DescribedGroup { error_message, state: "Dead", ..DescribedGroup::error(group, error_code) }
    }

    /// The element of the message. The caller fills in the authorized operations where they were asked for.
    pub fn to_wire(&self) -> messages::describe_groups::DescribedGroup<'_> {
        messages::describe_groups::DescribedGroup {
            error_code: self.error_code,
            error_message: self.error_message.as_deref(),
            group_id: &self.group,
            group_state: self.state,
            protocol_type: &self.protocol_type,
            protocol_data: &self.protocol,
            members: self.members.iter().map(DescribedMember::to_wire).collect(),
            authorized_operations: i32::MIN,
        }
    }
}

impl DescribedMember {
    fn to_wire(&self) -> messages::describe_groups::DescribedGroupMember<'_> {
        messages::describe_groups::DescribedGroupMember {
            member_id: &self.member_id,
            group_instance_id: self.instance_id.as_deref(),
            client_id: &self.client_id,
            client_host: &self.client_host,
            member_metadata: &self.metadata,
            member_assignment: &self.assignment,
        }
    }
}

impl DescribeGroupsReply {
    pub(super) fn fail(&mut self, code: ErrorCode) {
        for group in &mut self.groups {
            *group = DescribedGroup::error(group.group.clone(), code);
        }
    }
}

/// Asks which groups there are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ListGroups {
    /// Names of states in any case (KIP-518); empty for all.
    pub states: Vec<Arc<str>>,
    /// Names of types in any case (KIP-848); empty for all.
    pub types: Vec<Arc<str>>,
}

impl ListGroups {
    /// Copies a request out of its frame.
    pub fn from_wire(message: &messages::ListGroupsRequest<'_>) -> ListGroups {
        ListGroups {
            states: message.states_filter.iter().map(|name| (*name).into()).collect(),
            types: message.types_filter.iter().map(|name| (*name).into()).collect(),
        }
    }
}

/// Groups of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListGroupsReply {
    /// What went wrong.
    pub error_code: ErrorCode,
    /// By id.
    pub groups: Vec<ListedGroup>,
}

/// An element of [`ListGroupsReply::groups`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group: Arc<str>,
    /// `consumer`, `connect`, empty.
    pub protocol_type: Arc<str>,
    /// Kafka's name of the state.
    pub state: &'static str,
    /// Kafka's name of the type.
    pub group_type: &'static str,
}

impl ListedGroup {
    /// The element of the message.
    pub fn to_wire(&self) -> messages::list_groups::ListedGroup<'_> {
        messages::list_groups::ListedGroup {
            group_id: &self.group,
            protocol_type: &self.protocol_type,
            group_state: self.state,
            group_type: self.group_type,
        }
    }
}

/// Deletes groups and their offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteGroups {
    /// Groups of this shard.
    pub groups: Vec<Arc<str>>,
}

impl DeleteGroups {
    pub(super) fn refuse(&self, code: ErrorCode) -> DeleteGroupsReply {
        DeleteGroupsReply { groups: self.groups.iter().map(|group| (group.clone(), code)).collect() }
    }
}

/// One result a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteGroupsReply {
    /// Group and error, each group once, in the order of the request.
    pub groups: Vec<(Arc<str>, ErrorCode)>,
}
