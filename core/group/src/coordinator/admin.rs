//! DescribeGroups, ListGroups, DeleteGroups.

use std::collections::HashSet;
use std::sync::Arc;

use buslane_wire::ErrorCode;

use super::{Call, Group};
use crate::api::{
    DeleteGroups, DeleteGroupsReply, DescribeGroups, DescribeGroupsReply, DescribedGroup, ListGroups,
    ListGroupsReply, ListedGroup, Reply, RequestId,
};
use crate::consumer::CONSUMER_PROTOCOL_TYPE;

impl Call<'_> {
    pub(super) fn describe_groups(&mut self, to: RequestId, request: &DescribeGroups) {
        let describe = |id: &Arc<str>| match self.groups.get(id) {
            Some(Group::Classic(group)) => group.describe(),
            Some(Group::Consumer(_)) => {
                let why = format!("Group {id} is not a classic group.");
                DescribedGroup::unknown(id.clone(), request.version, why)
            }
            None => DescribedGroup::unknown(id.clone(), request.version, format!("Group {id} not found.")),
        };
        let groups = request.groups.iter().map(describe).collect();
        self.turn.reply_committed(to, Reply::DescribeGroups(DescribeGroupsReply { groups }));
    }

    pub(super) fn list_groups(&mut self, to: RequestId, request: &ListGroups) {
        let wanted = |names: &[Arc<str>], name: &str| {
            names.is_empty() || names.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
        };
        let listed = self.groups.iter().map(|(id, group)| match group {
            Group::Classic(group) => group.list(),
            Group::Consumer(group) => ListedGroup {
                group: id.clone(),
                protocol_type: CONSUMER_PROTOCOL_TYPE.into(),
                state: group.state().name(),
                group_type: "consumer",
            },
        });
        let mut groups: Vec<_> = listed
            .filter(|group| wanted(&request.states, group.state) && wanted(&request.types, group.group_type))
            .collect();
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        let reply = ListGroupsReply { error_code: ErrorCode::NONE, groups };
        self.turn.reply_committed(to, Reply::ListGroups(reply));
    }

    pub(super) fn delete_groups(&mut self, to: RequestId, request: &DeleteGroups) {
        let mut seen = HashSet::new();
        let mut groups = Vec::with_capacity(request.groups.len());
        for id in request.groups.iter().filter(|id| seen.insert(*id)) {
            groups.push((id.clone(), self.delete_group(id).err().unwrap_or(ErrorCode::NONE)));
        }
        self.turn.reply_committed(to, Reply::DeleteGroups(DeleteGroupsReply { groups }));
    }

    /// Takes a group without members out of the log.
    pub(super) fn remove_empty_group(&mut self, id: &Arc<str>) {
        match self.groups.get(id) {
            Some(Group::Classic(group)) => {
                let tombstone = group.tombstone();
                self.turn.record(tombstone);
                self.remove_group(id);
            }
            Some(Group::Consumer(_)) => self.remove_empty_consumer(id),
            None => {}
        }
    }

    fn delete_group(&mut self, id: &Arc<str>) -> Result<(), ErrorCode> {
        match self.groups.get(id) {
            Some(Group::Classic(group)) => group.check_delete()?,
            Some(Group::Consumer(group)) => group.check_delete().map_err(|error| error.code())?,
            None => return Err(ErrorCode::GROUP_ID_NOT_FOUND),
        }
        let offsets = self.offsets.of_group(id).into_iter().flatten();
        let all: Vec<_> = offsets
            .flat_map(|(topic, partitions)| partitions.keys().map(|index| (topic.clone(), *index)))
            .collect();
        for (topic, index) in all {
            self.remove_offset(id, &topic, index);
        }
        // Last: a log that breaks off in between leaves a group with fewer offsets, not offsets without a group.
        self.remove_empty_group(id);
        Ok(())
    }
}
