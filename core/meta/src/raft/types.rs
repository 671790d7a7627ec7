//! The consensus library's types filled in with ours, and the way from its records to those of the log and back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::Arc;

use buslane_wire::ids::NodeId;
use openraft::{BasicNode, CommittedLeaderId, Entry, EntryPayload, LogId, Membership, TokioRuntime};

use crate::apply::Outcomes;
use crate::meta_log::{LogEntry, LogPosition, Member, Payload, Vote, Voters};

/// One entry's commands, encoded: what is appended, kept in memory and applied are the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct EntryBytes(pub(crate) Arc<[u8]>);

openraft::declare_raft_types!(
    /// See the module's head.
    pub(crate) TypeConfig:
        D = EntryBytes,
        R = Outcomes,
        NodeId = NodeId,
        Node = BasicNode,
        Entry = Entry<TypeConfig>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = TokioRuntime,
);

pub(crate) type StorageError = openraft::StorageError<NodeId>;
pub(crate) type StoredMembership = openraft::StoredMembership<NodeId, BasicNode>;

pub(crate) fn log_id(at: LogPosition) -> LogId<NodeId> {
    LogId::new(CommittedLeaderId::new(at.term, at.leader), at.index)
}

pub(crate) fn position(id: &LogId<NodeId>) -> LogPosition {
    LogPosition { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

pub(crate) fn vote_of(vote: &openraft::Vote<NodeId>) -> Vote {
    Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

pub(crate) fn raft_vote(vote: Vote) -> openraft::Vote<NodeId> {
    if vote.committed {
        openraft::Vote::new_committed(vote.term, vote.node)
    } else {
        openraft::Vote::new(vote.term, vote.node)
    }
}

pub(crate) fn stored_entry(entry: Entry<TypeConfig>) -> LogEntry {
    let payload = match entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(EntryBytes(bytes)) => Payload::Commands(bytes),
        EntryPayload::Membership(membership) => Payload::Membership(voters_of(&membership)),
    };
    LogEntry { at: position(&entry.log_id), payload }
}

pub(crate) fn raft_entry(entry: &LogEntry) -> Entry<TypeConfig> {
    let payload = match &entry.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Commands(bytes) => EntryPayload::Normal(EntryBytes(bytes.clone())),
        Payload::Membership(voters) => EntryPayload::Membership(membership(voters)),
    };
    Entry { log_id: log_id(entry.at), payload }
}

pub(crate) fn voters_of(membership: &Membership<NodeId, BasicNode>) -> Voters {
    Voters {
        groups: membership.get_joint_config().iter().map(|g| g.iter().copied().collect()).collect(),
        members: membership
            .nodes()
            .map(|(node, told)| Member { node: *node, address: told.addr.clone() })
            .collect(),
    }
}

pub(crate) fn membership(voters: &Voters) -> Membership<NodeId, BasicNode> {
    let groups: Vec<BTreeSet<NodeId>> = voters.groups.iter().map(|g| g.iter().copied().collect()).collect();
    let members: BTreeMap<NodeId, BasicNode> =
        voters.members.iter().map(|m| (m.node, BasicNode::new(m.address.clone()))).collect();
    Membership::new(groups, members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_votes_keep_everything_on_the_way_through_the_library() {
        let at = LogPosition { term: 3, leader: NodeId(2), index: 17 };
        let members = [1, 2, 3].map(|id| Member { node: NodeId(id), address: format!("host-{id}:9093") });
        let groups = vec![vec![NodeId(1), NodeId(2)], vec![NodeId(2)]];
        let voters = Voters { groups, members: members.to_vec() };
        for payload in
            [Payload::Blank, Payload::Commands([1, 2, 3].as_slice().into()), Payload::Membership(voters)]
        {
            let entry = LogEntry { at, payload };
            assert_eq!(stored_entry(raft_entry(&entry)), entry);
        }
        for committed in [false, true] {
            let vote = Vote { term: 9, node: NodeId(4), committed };
            assert_eq!(vote_of(&raft_vote(vote)), vote);
        }
    }
}
