//! Who may commit, fetch and delete; when offsets expire; how the group is described.

use std::sync::Arc;

use buslane_wire::ErrorCode;

use super::group::{ClassicGroup, GroupState};
use crate::api::{DescribedGroup, ListedGroup};

/// From when on an offset's retention runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retention {
    /// Nothing expires.
    Never,
    /// From its commit on.
    FromCommit,
    /// From this time on, in milliseconds: when the group became empty.
    Since(i64),
}

impl ClassicGroup {
    /// Whether offsets may be committed: by a member of this generation that is not waiting for its assignment, or by anyone
    /// while there are no members.
    pub fn check_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state() == GroupState::Empty {
            return Ok(());
        }
        if generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.check_member(member_id, instance_id)?;
            if generation != self.generation {
                return Err(ErrorCode::ILLEGAL_GENERATION);
            }
        } else if self.state() != GroupState::Empty {
            // A consumer without a group protocol would move the members' positions.
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        match self.state() {
            // It may own other partitions in a moment: it must rejoin first.
            GroupState::CompletingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            _ => Ok(()),
        }
    }

    /// Whether offsets may be deleted at all; of a subscribed topic they may not ([`ClassicGroup::is_subscribed`]).
    pub fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        match self.state() {
            GroupState::Empty => Ok(()),
            // What other kinds of members read is not known.
            _ if !self.is_consumer_type() => Err(ErrorCode::NON_EMPTY_GROUP),
            _ => Ok(()),
        }
    }

    /// Whether the group may be deleted.
    pub fn check_delete(&self) -> Result<(), ErrorCode> {
        match self.state() {
            GroupState::Empty => Ok(()),
            _ => Err(ErrorCode::NON_EMPTY_GROUP),
        }
    }

    /// The rule for offsets of topics that nobody subscribes to (KIP-211). An empty group subscribes to nothing.
    pub fn retention(&self) -> Retention {
        match (&self.protocol_type, self.state()) {
            // Simple consumers: there is no group that could be empty.
            (None, _) => Retention::FromCommit,
            (Some(_), GroupState::Empty) => {
                self.state_since_ms.map_or(Retention::FromCommit, Retention::Since)
            }
            (Some(_), GroupState::Stable) if self.is_consumer_type() && self.knows_subscribed() => {
                Retention::FromCommit
            }
            _ => Retention::Never,
        }
    }

    /// True when the group may go once it has no offsets. One whose first member is on its way may not.
    pub fn may_expire(&self) -> bool {
        self.state() == GroupState::Empty && self.pending_join.is_empty()
    }

    pub fn describe(&self) -> DescribedGroup {
        let stable = self.state() == GroupState::Stable;
        let protocol = self.protocol.as_ref().filter(|_| stable);
        let empty = || Arc::from("");
        DescribedGroup {
            error_code: ErrorCode::NONE,
            error_message: None,
            group: self.id.clone(),
            state: self.state().name(),
            protocol_type: self.protocol_type.clone().unwrap_or_else(empty),
            protocol: protocol.cloned().unwrap_or_else(empty),
            members: self.members().map(|member| member.describe(protocol.map(|p| &**p))).collect(),
        }
    }

    pub fn list(&self) -> ListedGroup {
        ListedGroup {
            group: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| "".into()),
            state: self.state().name(),
            group_type: "classic",
        }
    }
}
