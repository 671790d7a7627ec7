//! openraft's types in our terms, and ours in openraft's.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use buslane_wire::ids::NodeId;
use openraft::{CommittedLeaderId, EntryPayload, LogId, Membership};

use crate::apply::Outcomes;
use crate::command::Command;
use crate::encoding::{decode_entry, encode_entry};
use crate::meta_log::{LogEntry, LogPosition, Member, MetaLogError, Payload, Vote, Voters};
use crate::replay::encoding;

/// A node as openraft names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct Voter(pub(super) i32);

impl std::fmt::Display for Voter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<NodeId> for Voter {
    fn from(node: NodeId) -> Voter {
        Voter(node.0)
    }
}

impl From<Voter> for NodeId {
    fn from(voter: Voter) -> NodeId {
        NodeId(voter.0)
    }
}

/// openraft's own tests of a storage count nodes.
#[cfg(test)]
impl From<u64> for Voter {
    fn from(number: u64) -> Voter {
        Voter(number as i32)
    }
}

/// One entry's commands, encoded once.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    pub(super) bytes: Arc<[u8]>,
    pub(super) commands: Arc<[Command]>,
}

impl Proposal {
    pub(super) fn new(commands: Vec<Command>) -> Proposal {
        Proposal { bytes: encode_entry(&commands).into(), commands: commands.into() }
    }
}

/// What became of an entry's commands; empty for entries without.
#[derive(Debug)]
pub(super) struct Applied(pub(super) Outcomes);

/// Where a member listens; empty while it is the only one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Address(pub(super) String);

openraft::declare_raft_types!(
    pub(super) Types:
        D = Proposal,
        R = Applied,
        NodeId = Voter,
        Node = Address,
);

pub(super) type Entry = openraft::Entry<Types>;
pub(super) type StorageError = openraft::StorageError<Voter>;
pub(super) type StoredMembership = openraft::StoredMembership<Voter, Address>;

pub(super) fn position(id: &LogId<Voter>) -> LogPosition {
    LogPosition { term: id.leader_id.term, leader: id.leader_id.node_id.into(), index: id.index }
}

pub(super) fn log_id(at: LogPosition) -> LogId<Voter> {
    LogId::new(CommittedLeaderId::new(at.term, at.leader.into()), at.index)
}

pub(super) fn voters(membership: &Membership<Voter, Address>) -> Voters {
    Voters {
        groups: membership
            .get_joint_config()
            .iter()
            .map(|g| g.iter().copied().map(NodeId::from).collect())
            .collect(),
        members: membership
            .nodes()
            .map(|(node, address)| Member { node: (*node).into(), address: address.0.clone() })
            .collect(),
    }
}

pub(super) fn membership(voters: &Voters) -> Membership<Voter, Address> {
    let groups = voters.groups.iter().map(|g| g.iter().copied().map(Voter::from).collect()).collect();
    let members: BTreeMap<_, _> =
        voters.members.iter().map(|m| (m.node.into(), Address(m.address.clone()))).collect();
    Membership::new(groups, members)
}

pub(super) fn stored(entry: &Entry) -> LogEntry {
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(proposal) => Payload::Commands(proposal.bytes.clone()),
        EntryPayload::Membership(m) => Payload::Membership(voters(m)),
    };
    LogEntry { at: position(&entry.log_id), payload }
}

pub(super) fn loaded(entry: LogEntry, folder: &Path) -> Result<Entry, MetaLogError> {
    let payload = match entry.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Commands(bytes) => {
            let commands = decode_entry(&bytes).map_err(|e| encoding(folder, entry.at.index, e))?;
            EntryPayload::Normal(Proposal { bytes, commands: commands.into() })
        }
        Payload::Membership(voters) => EntryPayload::Membership(membership(&voters)),
    };
    Ok(Entry { log_id: log_id(entry.at), payload })
}

pub(super) fn stored_vote(vote: &openraft::Vote<Voter>) -> Vote {
    Vote { term: vote.leader_id.term, node: vote.leader_id.node_id.into(), committed: vote.committed }
}

pub(super) fn loaded_vote(vote: Vote) -> openraft::Vote<Voter> {
    let mut loaded = openraft::Vote::new(vote.term, vote.node.into());
    loaded.committed = vote.committed;
    loaded
}
