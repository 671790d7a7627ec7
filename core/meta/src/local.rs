//! One voter without a network: the log, the image, and a thread that commits what waits in one entry.
//!
//! [`LocalState`] is the synchronous part, which the simulation drives; [`LocalConsensus`] puts it on a thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use buslane_log::fs::Fs;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use crate::apply::apply;
use crate::command::{Command, Event, Refused};
use crate::consensus::{Consensus, ProposeError, Proposing};
use crate::image::Image;
use crate::meta_log::{MetaLog, MetaLogError, MetaSyncSite};

/// Version of an entry's encoding: its first byte.
const FORMAT: u8 = 1;

/// A snapshot is taken once the entries since the last one are this many times its size, and at least this many bytes.
const SNAPSHOT_TIMES: u64 = 2;
const SNAPSHOT_BYTES: u64 = 4 << 20;

/// Commands in one entry at most, so that one entry stays small.
const COALESCED_MAX: usize = 4_096;

type Outcomes = Vec<Result<Event, Refused>>;

/// Log and image, driven by hand.
#[derive(Debug)]
pub struct LocalState {
    log: MetaLog,
    index: u64,
    image: Image,
    snapshot_bytes: u64,
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
        skip_sync: Option<MetaSyncSite>,
    ) -> Result<LocalState, MetaLogError> {
        let (log, replay) = MetaLog::open_skipping(fs, data, skip_sync)?;
        let unreadable = |reason| MetaLogError::Corrupt {
            file: data.join("meta"),
            position: 0,
            reason,
            folder: data.join("meta"),
        };
        let (mut index, mut image, mut snapshot_bytes) = (0, Image::default(), 0);
        if let Some((at, payload)) = replay.snapshot {
            image = decode(&payload).ok_or_else(|| unreadable("the snapshot is of another version"))?;
            image.index_names();
            (index, snapshot_bytes) = (at, payload.len() as u64);
        }
        for (at, payload) in replay.entries {
            let commands: Vec<Command> =
                decode(&payload).ok_or_else(|| unreadable("an entry is of another version"))?;
            for command in &commands {
                // Refused then, refused now: applying is deterministic.
                if let Ok((next, _)) = apply(&image, command) {
                    image = next;
                }
            }
            index = at;
        }
        Ok(LocalState { log, index, image, snapshot_bytes })
    }

    /// The image as of the newest entry.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Commits commands as one entry and applies them. After an error the outcome is not known until the next opening.
    pub fn commit(&mut self, commands: &[Command]) -> Result<Outcomes, MetaLogError> {
        let mut image = self.image.clone();
        let mut accepted = Vec::with_capacity(commands.len());
        let outcomes = commands
            .iter()
            .map(|command| {
                let (next, event) = apply(&image, command)?;
                image = next;
                accepted.push(command);
                Ok(event)
            })
            .collect();
        if accepted.is_empty() {
            return Ok(outcomes);
        }
        self.log.append(self.index + 1, &encode(&accepted))?;
        self.index += 1;
        self.image = image;
        if self.log.log_bytes() > SNAPSHOT_BYTES.max(self.snapshot_bytes * SNAPSHOT_TIMES) {
            let payload = encode(&self.image);
            self.snapshot_bytes = payload.len() as u64;
            self.log.snapshot(self.index, &payload)?;
        }
        Ok(outcomes)
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    serde_json::to_writer(&mut bytes, value).expect("the image and the commands have only text keys");
    bytes
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match bytes.split_first() {
        Some((&FORMAT, json)) => serde_json::from_slice(json).ok(),
        _ => None,
    }
}

struct Waiting {
    commands: Vec<Command>,
    reply: oneshot::Sender<Result<Outcomes, ProposeError>>,
}

/// The one voter of a one-node cluster.
#[derive(Debug)]
pub struct LocalConsensus {
    proposals: Mutex<Option<mpsc::SyncSender<Waiting>>>,
    image: Arc<RwLock<Arc<Image>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LocalConsensus {
    /// Replays what the folder holds and starts the thread.
    pub fn open(fs: Arc<dyn Fs>, data: &Path) -> Result<Arc<LocalConsensus>, MetaLogError> {
        let state = LocalState::open(fs, data)?;
        let image = Arc::new(RwLock::new(Arc::new(state.image.clone())));
        let (proposals, waiting) = mpsc::sync_channel(1024);
        let published = image.clone();
        let thread = std::thread::Builder::new()
            .name("metadata".to_owned())
            .spawn(move || run(state, &waiting, &published))
            .map_err(|source| MetaLogError::Io { file: data.join("meta"), source })?;
        Ok(Arc::new(LocalConsensus {
            proposals: Mutex::new(Some(proposals)),
            image,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Answers what waits and ends the thread.
    pub fn stop(&self) {
        self.proposals.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

fn run(mut state: LocalState, waiting: &mpsc::Receiver<Waiting>, published: &RwLock<Arc<Image>>) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        let mut commands = std::mem::take(&mut batch[0].commands);
        let mut counts = vec![commands.len()];
        while commands.len() < COALESCED_MAX
            && let Ok(mut more) = waiting.try_recv()
        {
            counts.push(more.commands.len());
            commands.append(&mut more.commands);
            batch.push(more);
        }
        let result = state.commit(&commands);
        *published.write() = Arc::new(state.image.clone());
        match result {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for (waiting, count) in batch.into_iter().zip(counts) {
                    // Whoever asked may have gone.
                    let _ = waiting.reply.send(Ok(outcomes.by_ref().take(count).collect()));
                }
            }
            Err(error) => {
                tracing::error!(%error, "a change of the metadata could not be written");
                for waiting in batch {
                    let _ = waiting.reply.send(Err(ProposeError::Unknown(error.to_string())));
                }
            }
        }
    }
}

impl Consensus for LocalConsensus {
    fn propose(&self, commands: Vec<Command>) -> Proposing<'_> {
        let sender = self.proposals.lock().clone();
        Box::pin(async move {
            let Some(sender) = sender else { return Err(ProposeError::Stopped) };
            let (reply, answer) = oneshot::channel();
            let mut waiting = Waiting { commands, reply };
            loop {
                match sender.try_send(waiting) {
                    Ok(()) => break,
                    Err(mpsc::TrySendError::Full(back)) => {
                        waiting = back;
                        tokio::task::yield_now().await;
                    }
                    Err(mpsc::TrySendError::Disconnected(_)) => return Err(ProposeError::Stopped),
                }
            }
            drop(sender);
            answer.await.unwrap_or(Err(ProposeError::Stopped))
        })
    }

    fn image(&self) -> Arc<Image> {
        self.image.read().clone()
    }
}
