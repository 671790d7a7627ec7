//! The spool: what the agent took and the cluster does not have yet, on the host's disk, in segments of [`buslane_log`].
//!
//! One folder with one store, and four logs for each channel: its *events*, as record batches whose offsets are the events'
//! places; the *ledger* of its drain; the *ids* of its last events; and events that were *parked*, since no broker takes them.
//! A channel is a topic of the store, whose id is made of the channel's name; a log is a partition of it.

mod chain;
mod ids;
mod ledger;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use buslane_log::disk::{Disk, boot_id};
use buslane_log::fs::Fs;
use buslane_log::{DataDir, Identity, SpaceReserve, Store, StoreOptions, Syncer, SyncerOptions, Wanted};
use buslane_wire::ids::{NodeId, TopicId, TopicPartition};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

pub use chain::{Chain, ChainError, EPOCH, Found};
pub use ids::Ids;
pub use ledger::{Ledger, Route, State};

use crate::dedup::Dedup;

/// Bytes of a segment of events.
const EVENT_SEGMENT_BYTES: u64 = 64 << 20;

/// The logs of a channel, by their partition's number.
const EVENTS: i32 = 0;
const LEDGER: i32 = 1;
const IDS: i32 = 2;
const PARKED: i32 = 3;

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The folder is somebody else's, or in use.
    #[error(transparent)]
    Folder(#[from] buslane_log::DataDirError),
    /// The store's journal cannot be used.
    #[error(transparent)]
    Store(#[from] buslane_log::OpenError),
    /// The store makes nothing durable.
    #[error(transparent)]
    Journal(#[from] buslane_log::JournalFailed),
    /// A log of a channel cannot be used.
    #[error("channel {channel:?}: {source}")]
    Channel {
        /// The channel.
        channel: String,
        /// What is wrong.
        source: ChainError,
    },
    /// The system.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// What it said.
        source: std::io::Error,
    },
}

/// The spool of an agent. Dropping it without [`Spool::close`] is what a crash leaves.
#[derive(Debug)]
pub struct Spool {
    folder: DataDir,
    store: Arc<Store>,
    syncer: Mutex<Option<Syncer>>,
    machine_crash: bool,
}

/// The logs of a channel, open.
#[derive(Debug)]
pub struct ChannelLogs {
    /// What was taken.
    pub events: Arc<Chain>,
    /// What the drain knows.
    pub ledger: Ledger,
    /// The ids of the last events.
    pub ids: Arc<Ids>,
    /// Events that no broker takes.
    pub parked: Arc<Chain>,
    /// The ids, at work.
    pub dedup: Dedup,
}

impl Spool {
    /// Opens the spool of a folder, or makes one.
    ///
    /// # Errors
    /// See [`SpoolError`]; each says what is to be done.
    pub fn open(path: &Path, reserve: SpaceReserve) -> Result<Spool, SpoolError> {
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        let make = || Identity { cluster_id: uuid::Uuid::new_v4().simple().to_string(), node_id: NodeId(0) };
        let folder = DataDir::open(&fs, path, &Wanted::default(), make)?;
        let boot_id = boot_id()
            .map_err(|source| SpoolError::Io { path: "/proc/sys/kernel/random/boot_id".into(), source })?;
        let options = StoreOptions { reserve, open_files: 64, ..StoreOptions::default() };
        let (store, report) = Store::open(fs, path, options, &boot_id)?;
        if let Some(cut) = &report.journal_cut {
            tracing::warn!(?cut, "a torn end of the spool's journal was cut off");
        }
        let on_round = |round: Result<_, buslane_log::JournalFailed>| {
            if let Err(error) = round {
                tracing::error!(%error, "the spool makes nothing durable any more");
            }
        };
        let syncer =
            Syncer::start(&store, SyncerOptions { threads: 4, ..SyncerOptions::default() }, on_round)
                .map_err(|source| SpoolError::Io { path: "threads that sync".into(), source })?;
        Ok(Spool {
            folder,
            store: Arc::new(store),
            syncer: Mutex::new(Some(syncer)),
            machine_crash: report.machine_crash,
        })
    }

    /// Who this agent is, for ever: 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.folder.identity().cluster_id
    }

    /// The folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Whether there is room for more.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Opens the logs of a channel.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn channel(
        &self,
        name: &str,
        window_ms: i64,
        ids_max: usize,
        now_ms: i64,
    ) -> Result<ChannelLogs, SpoolError> {
        let topic = topic_of(name);
        let at = |partition| TopicPartition { topic, partition };
        let promises: Vec<_> = [EVENTS, LEDGER, IDS, PARKED].map(|log| (at(log), EPOCH)).into();
        self.store.promise(&promises)?;
        let named = |source| SpoolError::Channel { channel: name.to_owned(), source };
        let (ledger, found) = Ledger::open(self.store.clone(), at(LEDGER), name).map_err(named)?;
        tell(name, "ledger", &found);
        let (events, found) =
            Chain::open(self.store.clone(), at(EVENTS), EVENT_SEGMENT_BYTES).map_err(named)?;
        tell(name, "events", &found);
        // After a crash of the machine events may be missing whose confirmation is there: their offsets are not given again.
        events.begin_at(ledger.state().confirmed);
        let mut dedup = Dedup::new(window_ms, ids_max);
        let (ids, found) =
            Ids::open(self.store.clone(), at(IDS), events.end(), &mut dedup, now_ms, window_ms)
                .map_err(named)?;
        tell(name, "ids", &found);
        let (parked, found) =
            Chain::open(self.store.clone(), at(PARKED), EVENT_SEGMENT_BYTES).map_err(named)?;
        tell(name, "parked events", &found);
        let (events, parked) = (Arc::new(events), Arc::new(parked));
        Ok(ChannelLogs { events, ledger, ids: Arc::new(ids), parked, dedup })
    }

    /// True when the machine stopped since the last run, and not cleanly.
    pub fn machine_crash(&self) -> bool {
        self.machine_crash
    }

    /// The clean stop.
    ///
    /// # Errors
    /// When not all could be made durable: the next start looks at everything.
    pub fn close(&self) -> Result<(), SpoolError> {
        drop(self.syncer.lock().take());
        Ok(self.store.close()?)
    }
}

/// The store's topic of a channel.
fn topic_of(channel: &str) -> TopicId {
    let digest = Sha256::new().chain_update(b"buslane channel ").chain_update(channel).finalize();
    TopicId(digest[..16].try_into().expect("a digest has 32 bytes"))
}

fn tell(channel: &str, log: &str, found: &Found) {
    for cut in &found.cuts {
        tracing::info!(channel, log, cut, "a torn end was cut off");
    }
    for (reason, from, to) in &found.quarantined {
        tracing::error!(channel, log, reason, from, to, "a damaged segment of the spool was set aside");
    }
}
