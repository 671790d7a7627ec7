//! The consensus group by openraft: one voter now, three or five later with the same code and a network.
//!
//! Where things run: openraft's own tasks decide; the log's thread writes and syncs ([`log_thread`]); snapshots are
//! written on the blocking pool; one task gathers proposals into entries ([`crate::coalesce`]), one entry in flight.

mod log_store;
mod log_thread;
mod network;
mod state_machine;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use buslane_log::fs::Fs;
use buslane_wire::ids::NodeId;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{Config, Raft, ServerState, SnapshotPolicy as RaftSnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::log_store::LogStore;
use self::log_thread::{Failure, LogThread};
use self::network::NoPeers;
use self::state_machine::{Snapshots, StateMachine};
use self::types::{Address, Proposal, Types, Voter};
use crate::coalesce::{self, Batch, Waiting};
use crate::command::Command;
use crate::consensus::{Consensus, Leader, ProposeError, Proposing};
use crate::image::Image;
use crate::meta_log::{MetaLog, MetaLogError, MetaSyncSite, Payload, Replay, Voters};
use crate::snapshot_policy::SnapshotPolicy;

/// How long the only voter may take to elect itself and to apply its log. It takes milliseconds; a disk that hangs must
/// end the start with a sentence.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Why the group cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log or the snapshot cannot be used.
    #[error(transparent)]
    Log(#[from] MetaLogError),
    /// No thread for the log.
    #[error("no thread for the metadata log: {0}")]
    Thread(#[source] std::io::Error),
    /// Other nodes vote in it: alone this one could not be heard by them.
    #[error("{folder} holds the metadata of the voters {voters:?}; node {node} cannot open it alone")]
    OtherVoters {
        /// The folder.
        folder: PathBuf,
        /// Who votes in it; nobody where it was written without Raft.
        voters: Vec<NodeId>,
        /// This node.
        node: NodeId,
    },
    /// openraft stopped, or the disk took too long.
    #[error("the metadata did not become ready: {0}")]
    NotReady(String),
}

/// This node's part in the consensus group.
pub struct RaftConsensus {
    me: NodeId,
    raft: Raft<Types>,
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    images: watch::Receiver<Arc<Image>>,
    snapshots: Arc<Snapshots>,
    /// Proposes; ends with the queue.
    proposer: Mutex<Option<JoinHandle<()>>>,
    failure: Failure,
    /// Asks for snapshots; aborted.
    snapshotter: JoinHandle<()>,
    log_thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl std::fmt::Debug for RaftConsensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftConsensus").field("me", &self.me).finish_non_exhaustive()
    }
}

impl RaftConsensus {
    /// Starts the group's only voter on the log in `data`, in the tokio runtime of the caller, and returns when it leads
    /// and its image is as new as its log. The first start founds the group.
    pub async fn open(fs: Arc<dyn Fs>, data: &Path, me: NodeId) -> Result<Arc<RaftConsensus>, StartError> {
        Self::open_with(fs, data, me, None, None).await
    }

    /// For tests: with a snapshot after every so many bytes of log, or without one of the syncs.
    #[doc(hidden)]
    pub async fn open_with(
        fs: Arc<dyn Fs>,
        data: &Path,
        me: NodeId,
        snapshot_after: Option<u64>,
        skip: Option<MetaSyncSite>,
    ) -> Result<Arc<RaftConsensus>, StartError> {
        let folder = data.join("meta");
        let data = data.to_owned();
        let opened = tokio::task::spawn_blocking(move || MetaLog::open_skipping(fs, &data, skip)).await;
        let (log, replay) = opened.map_err(|join| StartError::NotReady(join.to_string()))??;
        if replay.cut > 0 {
            tracing::warn!(
                bytes = replay.cut,
                "a torn end of the metadata log was cut; it was never answered"
            );
        }
        only_voter(&replay, &folder, me)?;
        let policy =
            snapshot_after.map_or_else(|| SnapshotPolicy::new(replay.snapshot_bytes), SnapshotPolicy::after);
        let log_bytes = Arc::new(AtomicU64::new(0));
        let snapshots = Arc::new(Snapshots::new(log.snapshots(), policy, log_bytes.clone()));
        let (machine, images) = StateMachine::new(replay.snapshot.as_ref(), &folder, snapshots.clone())?;
        let failure = Failure::default();
        let (writer, log_thread) =
            LogThread::start(log, log_bytes, failure.clone()).map_err(StartError::Thread)?;
        let store = LogStore::new(replay, me, &folder, writer)?;
        let pristine = store.is_pristine();
        let not_ready = |error: &dyn std::fmt::Display| StartError::NotReady(error.to_string());
        let raft = Raft::new(me.into(), Arc::new(config()), NoPeers, store, machine)
            .await
            .map_err(|e| not_ready(&e))?;
        if pristine {
            let members = BTreeMap::from([(Voter::from(me), Address::default())]);
            raft.initialize(members).await.map_err(|e| not_ready(&e))?;
        } else {
            // Nobody else could be the leader: no reason to wait for a timeout.
            raft.trigger().elect().await.map_err(|e| not_ready(&e))?;
        }
        let ready = raft
            .wait(Some(READY_WITHIN))
            .metrics(
                |m| m.state == ServerState::Leader && m.last_applied.map(|id| id.index) >= m.last_log_index,
                "this node leads and has applied its log",
            )
            .await;
        if let Err(error) = ready {
            let reason = failure.get().cloned().unwrap_or_else(|| error.to_string());
            let _ = raft.shutdown().await;
            return Err(StartError::NotReady(reason));
        }
        let (queue, waiting) = coalesce::queue();
        let proposer = tokio::spawn(propose(raft.clone(), waiting, failure.clone()));
        let snapshotter = tokio::spawn(ask_for_snapshots(raft.clone(), snapshots.clone()));
        Ok(Arc::new(RaftConsensus {
            me,
            raft,
            queue: Mutex::new(Some(queue)),
            images,
            snapshots,
            failure,
            proposer: Mutex::new(Some(proposer)),
            snapshotter,
            log_thread: Mutex::new(Some(log_thread)),
        }))
    }

    /// Answers what waits, then leaves the group: nothing is written after that.
    pub async fn stop(&self) {
        self.queue.lock().take();
        let proposer = self.proposer.lock().take();
        if let Some(proposer) = proposer {
            let _ = proposer.await;
        }
        self.snapshotter.abort();
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "the metadata's consensus ended badly");
        }
        let (snapshots, log_thread) = (self.snapshots.clone(), self.log_thread.lock().take());
        let joined = tokio::task::spawn_blocking(move || {
            snapshots.close();
            // openraft's task had the last way to the thread.
            log_thread.map(thread::JoinHandle::join)
        });
        let _ = joined.await;
    }
}

/// Refuses the metadata of other voters.
fn only_voter(replay: &Replay, folder: &Path, node: NodeId) -> Result<(), StartError> {
    let in_log = replay.entries.iter().rev().find_map(|e| match &e.payload {
        Payload::Membership(voters) => Some(voters),
        Payload::Blank | Payload::Commands(_) => None,
    });
    let newest = in_log.or(replay.snapshot.as_ref().map(|s| &s.voters));
    let voters: Vec<NodeId> = newest.map(|Voters { groups, .. }| groups.concat()).unwrap_or_default();
    let empty = replay.snapshot.is_none() && replay.entries.is_empty();
    if empty || voters.iter().all(|v| *v == node) && !voters.is_empty() {
        return Ok(());
    }
    Err(StartError::OtherVoters { folder: folder.to_owned(), voters, node })
}

fn config() -> Config {
    Config {
        cluster_name: "buslane".to_owned(),
        // One voter needs no heartbeats and elects itself at once; these keep openraft's clock slow.
        heartbeat_interval: 500,
        election_timeout_min: 1_500,
        election_timeout_max: 3_000,
        // By bytes, not by entries: see `ask_for_snapshots`.
        snapshot_policy: RaftSnapshotPolicy::Never,
        // What the snapshot holds can go at once: there is nobody to catch up.
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    }
}

async fn propose(raft: Raft<Types>, mut waiting: mpsc::Receiver<Waiting>, failure: Failure) {
    while let Some(first) = waiting.recv().await {
        let mut batch = Batch::gather(first, &mut waiting);
        let proposal = Proposal::new(std::mem::take(&mut batch.commands));
        let outcome = match raft.client_write(proposal).await {
            Ok(written) => Ok(written.data.0),
            // Not proposed, or cut from the log by another leader before it was committed.
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(ProposeError::NotLeader { leader: to.leader_id.map(NodeId::from) })
            }
            Err(error) => {
                let reason = failure.get().cloned().unwrap_or_else(|| error.to_string());
                tracing::error!(%reason, "a change of the metadata could not be written");
                // openraft ends with its first fatal error, whatever it was.
                failure.get_or_init(|| reason.clone());
                Err(ProposeError::Unknown(reason))
            }
        };
        batch.answer(outcome);
    }
}

async fn ask_for_snapshots(raft: Raft<Types>, snapshots: Arc<Snapshots>) {
    loop {
        snapshots.due.notified().await;
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

impl Consensus for RaftConsensus {
    fn propose(&self, commands: Vec<Command>) -> Proposing<'_> {
        let queue = self.queue.lock().clone();
        Box::pin(coalesce::propose(queue, commands))
    }

    fn image(&self) -> Arc<Image> {
        self.images.borrow().clone()
    }

    fn watch(&self) -> watch::Receiver<Arc<Image>> {
        self.images.clone()
    }

    fn leader(&self) -> Leader {
        match self.raft.metrics().borrow().current_leader.map(NodeId::from) {
            Some(leader) if leader == self.me => Leader::Me,
            Some(leader) => Leader::Other(leader),
            None => Leader::Unknown,
        }
    }

    fn term(&self) -> u64 {
        self.raft.metrics().borrow().current_term
    }

    fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }
}
