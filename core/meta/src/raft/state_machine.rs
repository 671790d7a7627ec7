//! The image as openraft's state machine, and its snapshots.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::types::{
    Address, Applied, Entry, StorageError, StoredMembership, Types, Voter, log_id, membership, position,
    voters,
};
use crate::encoding::{decode_image, encode_image};
use crate::image::Image;
use crate::meta_log::{self, MetaLogError, SnapshotFile};
use crate::replay::{apply_logged, restore};
use crate::snapshot_policy::SnapshotPolicy;

/// What the state machine and the builders of its snapshots share.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// None once the group was stopped: nothing is written after that.
    file: Mutex<Option<SnapshotFile>>,
    policy: Mutex<SnapshotPolicy>,
    /// Bytes of the log, kept by its thread.
    log_bytes: Arc<AtomicU64>,
    /// Told when a snapshot is due.
    pub(super) due: Notify,
}

impl Snapshots {
    pub(super) fn new(file: SnapshotFile, policy: SnapshotPolicy, log_bytes: Arc<AtomicU64>) -> Snapshots {
        Snapshots { file: Mutex::new(Some(file)), policy: Mutex::new(policy), log_bytes, due: Notify::new() }
    }

    /// Waits for a snapshot that is being written; afterwards none is.
    pub(super) fn close(&self) {
        self.file.lock().take();
    }

    /// Writes a snapshot: blocks.
    fn write(&self, snapshot: &meta_log::Snapshot) -> Result<(), AnyError> {
        let file = self.file.lock();
        let file = file.as_ref().ok_or_else(|| AnyError::error("the metadata was stopped"))?;
        let bytes = file.write(snapshot).map_err(|e| AnyError::new(&e))?;
        let mut policy = self.policy.lock();
        *policy = policy.taken(bytes);
        Ok(())
    }

    fn read(&self) -> Result<Option<meta_log::Snapshot>, AnyError> {
        let file = self.file.lock();
        let file = file.as_ref().ok_or_else(|| AnyError::error("the metadata was stopped"))?;
        Ok(file.read().map_err(|e| AnyError::new(&e))?.map(|(snapshot, _)| snapshot))
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AnyError> + Send + 'static,
) -> Result<T, AnyError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(join) => Err(AnyError::new(&join)),
    }
}

/// The newest image, and who sees it.
#[derive(Debug)]
pub(super) struct StateMachine {
    image: Arc<Image>,
    last: Option<LogId<Voter>>,
    membership: StoredMembership,
    publish: watch::Sender<Arc<Image>>,
    snapshots: Arc<Snapshots>,
}

impl StateMachine {
    /// The image of the snapshot; openraft brings the entries after it.
    pub(super) fn new(
        snapshot: Option<&meta_log::Snapshot>,
        folder: &Path,
        snapshots: Arc<Snapshots>,
    ) -> Result<(StateMachine, watch::Receiver<Arc<Image>>), MetaLogError> {
        let image = Arc::new(restore(snapshot, folder)?);
        let (publish, images) = watch::channel(image.clone());
        let last = snapshot.and_then(|s| s.last).map(log_id);
        let membership = snapshot.map(stored_membership).unwrap_or_default();
        Ok((StateMachine { image, last, membership, publish, snapshots }, images))
    }
}

fn stored_membership(snapshot: &meta_log::Snapshot) -> StoredMembership {
    StoredMembership::new(snapshot.voters_at.map(log_id), membership(&snapshot.voters))
}

fn meta(last: Option<LogId<Voter>>, membership: StoredMembership) -> SnapshotMeta<Voter, Address> {
    let snapshot_id = last.map_or_else(String::new, |id| id.to_string());
    SnapshotMeta { last_log_id: last, last_membership: membership, snapshot_id }
}

fn file_of(meta: &SnapshotMeta<Voter, Address>, image: Vec<u8>) -> meta_log::Snapshot {
    meta_log::Snapshot {
        last: meta.last_log_id.as_ref().map(position),
        voters_at: meta.last_membership.log_id().as_ref().map(position),
        voters: voters(meta.last_membership.membership()),
        image,
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId<Voter>>, StoredMembership), StorageError> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut applied = Vec::new();
        let mut image = Image::clone(&self.image);
        for entry in entries {
            let index = entry.log_id.index;
            let outcomes = match entry.payload {
                EntryPayload::Normal(proposal) => {
                    let (next, outcomes) = apply_logged(&image, index, &proposal.commands);
                    image = next;
                    outcomes
                }
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Vec::new()
                }
            };
            image.version = index;
            self.last = Some(entry.log_id);
            applied.push(Applied(outcomes));
        }
        self.image = Arc::new(image);
        // Before openraft answers whoever proposed.
        self.publish.send_replace(self.image.clone());
        if self.snapshots.policy.lock().is_due(self.snapshots.log_bytes.load(Ordering::Relaxed)) {
            self.snapshots.due.notify_one();
        }
        Ok(applied)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            image: self.image.clone(),
            meta: meta(self.last, self.membership.clone()),
            snapshots: self.snapshots.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<Voter, Address>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let failed = |e| StorageIOError::write_snapshot(Some(meta.signature()), e);
        let bytes = snapshot.into_inner();
        let image = decode_image(&bytes).map_err(|e| failed(AnyError::new(&e)))?;
        let (snapshots, file) = (self.snapshots.clone(), file_of(meta, bytes));
        blocking(move || snapshots.write(&file)).await.map_err(failed)?;
        self.image = Arc::new(image);
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.publish.send_replace(self.image.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let snapshots = self.snapshots.clone();
        let read = blocking(move || snapshots.read()).await;
        let found = read.map_err(|e| StorageIOError::read_snapshot(None, e))?;
        Ok(found.map(|s| Snapshot {
            meta: meta(s.last.map(log_id), stored_membership(&s)),
            snapshot: Box::new(Cursor::new(s.image)),
        }))
    }
}

/// Writes a snapshot of one image while others are being made.
#[derive(Debug)]
pub(super) struct Builder {
    image: Arc<Image>,
    meta: SnapshotMeta<Voter, Address>,
    snapshots: Arc<Snapshots>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let (image, meta, snapshots) = (self.image.clone(), self.meta.clone(), self.snapshots.clone());
        let written = blocking(move || {
            let snapshot = file_of(&meta, encode_image(&image));
            snapshots.write(&snapshot)?;
            Ok(snapshot.image)
        });
        let signature = Some(self.meta.signature());
        let bytes = written.await.map_err(|e| StorageIOError::write_snapshot(signature, e))?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: Box::new(Cursor::new(bytes)) })
    }
}
