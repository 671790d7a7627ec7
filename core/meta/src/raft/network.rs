//! The way to the other voters: there is none, while this node is the only one.

use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{RaftNetwork, RaftNetworkFactory};

use super::types::{Address, Types, Voter};

/// A voter that is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no such peer: node {0}")]
pub(super) struct NoSuchPeer(pub(super) Voter);

/// The network of the only voter.
#[derive(Debug)]
pub(super) struct NoPeers;

impl RaftNetworkFactory<Types> for NoPeers {
    type Network = NoSuchPeer;

    async fn new_client(&mut self, target: Voter, _: &Address) -> NoSuchPeer {
        NoSuchPeer(target)
    }
}

type Failed<E> = RPCError<Voter, Address, E>;

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
    ) -> Result<AppendEntriesResponse<Voter>, Failed<RaftError<Voter>>> {
        Err(self.refuse())
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<Voter>, Failed<RaftError<Voter, InstallSnapshotError>>> {
        Err(self.refuse())
    }

    async fn vote(
        &mut self,
        _: VoteRequest<Voter>,
        _: RPCOption,
    ) -> Result<VoteResponse<Voter>, Failed<RaftError<Voter>>> {
        Err(self.refuse())
    }
}
