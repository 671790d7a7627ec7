//! The way to the other voters: there is none, while this node is the only one.

use buslane_wire::ids::NodeId;
use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{RaftNetwork, RaftNetworkFactory};

use super::types::{Address, Types};

/// A voter that is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no such peer: node {0}")]
pub(super) struct NoSuchPeer(pub(super) NodeId);

/// The network of the only voter.
#[derive(Debug)]
pub(super) struct NoPeers;

impl RaftNetworkFactory<Types> for NoPeers {
    type Network = NoSuchPeer;

    async fn new_client(&mut self, target: NodeId, _: &Address) -> NoSuchPeer {
        NoSuchPeer(target)
    }
}

type Failed<E> = RPCError<NodeId, Address, E>;

impl NoSuchPeer {
    fn refuse<E: std::error::Error>(&self) -> Failed<E> {
        RPCError::Unreachable(Unreachable::new(self))
    }
}

impl RaftNetwork<Types> for NoSuchPeer {
    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, Failed<RaftError<NodeId>>> {
        Err(self.refuse())
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, Failed<RaftError<NodeId, InstallSnapshotError>>> {
        Err(self.refuse())
    }

    async fn vote(
        &mut self,
        _: VoteRequest<NodeId>,
        _: RPCOption,
    ) -> Result<VoteResponse<NodeId>, Failed<RaftError<NodeId>>> {
        Err(self.refuse())
    }
}
