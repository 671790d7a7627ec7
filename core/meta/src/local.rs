//! One voter without Raft: the log, the image, and a thread that commits what waits in one entry.
//!
//! [`LocalState`] is the synchronous part, which the simulation drives; [`LocalConsensus`] puts it on a thread.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use buslane_log::fs::Fs;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::apply::{Outcomes, apply_entry};
use crate::coalesce::{self, Batch, Waiting};
use crate::command::Command;
use crate::consensus::{Consensus, Leader, ProposeError, Proposing};
use crate::encoding::encode_entry;
use crate::image::Image;
use crate::meta_log::{
    LogEntry, LogPosition, MetaLog, MetaLogError, MetaSyncSite, Payload, Record, Snapshot, SnapshotFile,
    Voters,
};
use crate::replay::{replay_entry, restore};
use crate::snapshot_policy::SnapshotPolicy;

/// Log and image, driven by hand.
#[derive(Debug)]
pub struct LocalState {
    log: MetaLog,
    snapshots: SnapshotFile,
    index: u64,
    image: Arc<Image>,
    policy: SnapshotPolicy,
}

impl LocalState {
    /// Replays what the folder holds.
    pub fn open(fs: Arc<dyn Fs>, data: &Path) -> Result<LocalState, MetaLogError> {
        Self::open_skipping(fs, data, None)
    }

    /// For the simulation: without one of the log's syncs.
    #[doc(hidden)]
    pub fn open_skipping(
        fs: Arc<dyn Fs>,
        data: &Path,
        skip: Option<MetaSyncSite>,
    ) -> Result<LocalState, MetaLogError> {
        let (log, replay) = MetaLog::open_skipping(fs, data, skip)?;
        let folder = data.join("meta");
        let mut image = restore(replay.snapshot.as_ref(), &folder)?;
        let held = replay.snapshot.as_ref().and_then(Snapshot::index).unwrap_or(0);
        let mut index = held.max(replay.purged.map_or(0, |p| p.index));
        for entry in &replay.entries {
            if entry.at.index > held {
                image = replay_entry(&image, entry, &folder)?;
            }
            index = index.max(entry.at.index);
        }
        let policy = SnapshotPolicy::new(replay.snapshot_bytes);
        Ok(LocalState { snapshots: log.snapshots(), log, index, image: Arc::new(image), policy })
    }

    /// The image as of the newest entry.
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// Takes a snapshot after so many bytes of entries, whatever its size. For tests and the simulation.
    #[doc(hidden)]
    pub fn snapshot_after(&mut self, bytes: u64) {
        self.policy = SnapshotPolicy::after(bytes);
    }

    /// Commits commands as one entry and applies them. Commands of which every one is refused leave no entry. After an
    /// error the outcome is not known until the next opening.
    pub fn commit(&mut self, commands: &[Command]) -> Result<Outcomes, MetaLogError> {
        let (image, outcomes) = apply_entry(&self.image, self.index + 1, commands);
        if outcomes.iter().all(Result::is_err) {
            return Ok(outcomes);
        }
        let at = LogPosition { term: 1, index: self.index + 1, ..LogPosition::default() };
        let payload = Payload::Commands(encode_entry(commands).into());
        self.log.append(&[Record::Entry(LogEntry { at, payload })])?;
        self.index = at.index;
        self.image = Arc::new(image);
        if self.policy.is_due(self.log.log_bytes()) {
            let image = crate::encoding::encode_image(&self.image);
            let snapshot = Snapshot { last: Some(at), voters_at: None, voters: Voters::default(), image };
            self.policy = self.policy.taken(self.snapshots.write(&snapshot)?);
            self.log.purge(at, &[])?;
        }
        Ok(outcomes)
    }
}

/// The one voter of a one-node cluster.
#[derive(Debug)]
pub struct LocalConsensus {
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    images: watch::Receiver<Arc<Image>>,
    failure: Arc<OnceLock<String>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LocalConsensus {
    /// Replays what the folder holds and starts the thread.
    pub fn open(fs: Arc<dyn Fs>, data: &Path) -> Result<Arc<LocalConsensus>, MetaLogError> {
        let state = LocalState::open(fs, data)?;
        let (publish, images) = watch::channel(state.image.clone());
        let (queue, waiting) = coalesce::queue();
        let failure = Arc::new(OnceLock::new());
        let failed = failure.clone();
        let thread = std::thread::Builder::new()
            .name("metadata".to_owned())
            .spawn(move || run(state, waiting, &publish, &failed))
            .map_err(|source| MetaLogError::Io { file: data.join("meta"), source })?;
        Ok(Arc::new(LocalConsensus {
            queue: Mutex::new(Some(queue)),
            images,
            failure,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Answers what waits and ends the thread. Blocks meanwhile.
    pub fn stop(&self) {
        self.queue.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

fn run(
    mut state: LocalState,
    mut waiting: mpsc::Receiver<Waiting>,
    publish: &watch::Sender<Arc<Image>>,
    failure: &OnceLock<String>,
) {
    while let Some(first) = waiting.blocking_recv() {
        let batch = Batch::gather(first, &mut waiting);
        let outcome = state.commit(&batch.commands);
        publish.send_replace(state.image.clone());
        batch.answer(outcome.map_err(|error| {
            tracing::error!(%error, "a change of the metadata could not be written");
            failure.get_or_init(|| error.to_string());
            ProposeError::Unknown(error.to_string())
        }));
    }
}

impl Consensus for LocalConsensus {
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
        Leader::Me
    }

    fn term(&self) -> u64 {
        1
    }

    fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }
}
