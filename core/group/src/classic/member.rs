//! A member of a classic group.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::{DescribedMember, Protocol, RequestId};

#[derive(Debug)]
pub(crate) struct Member {
    pub id: Arc<str>,
    /// The name of a static member (KIP-345).
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// Most wanted first, names unique.
    pub protocols: Vec<Protocol>,
    /// What the leader gave it in the last stable generation; empty before.
    pub assignment: Bytes,
    /// Its JoinGroup, not answered yet.
    pub awaiting_join: Option<RequestId>,
    /// Its SyncGroup, not answered yet.
    pub awaiting_sync: Option<RequestId>,
    /// True until its first generation begins. Such a member may be lost while its JoinGroup waits: nobody tells us that
    /// its connection is gone.
    pub is_new: bool,
}

impl Member {
    /// True when its silence means nothing, because it waits for us.
    pub fn is_waiting(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// Its subscription in a protocol.
    ///
    /// # Panics
    /// When it does not support the protocol: the group's is one that all members support.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|supported| &*supported.name == protocol);
        found.unwrap_or_else(|| panic!("member {} has no protocol {protocol}", self.id)).metadata.clone()
    }

    /// The one of `candidates` that it likes best.
    pub fn vote(&self, candidates: &HashSet<&Arc<str>>) -> Option<&Arc<str>> {
        self.protocols.iter().map(|protocol| &protocol.name).find(|name| candidates.contains(name))
    }

    pub fn describe(&self, protocol: Option<&str>) -> DescribedMember {
        DescribedMember {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            metadata: protocol.map(|protocol| self.metadata(protocol)).unwrap_or_default(),
            assignment: self.assignment.clone(),
        }
    }
}
