//! The snapshot file: the image as of one entry, in place of all entries up to it.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use buslane_log::fs::OpenMode;
use minicbor::{Decode, Encode};

use super::frame::{HEAD, file_head, frame_at, frame_head, version_of};
use super::record::{LogPosition, Voters};
use super::sync_site::{MetaSyncSite, Syncs};
use super::{MetaLogError, read_all};
use crate::encoding::{EncodingError, decode_leveled, encode_leveled};

const MAGIC: &[u8; 8] = b"BUSLSNAP";
const VERSION: u32 = 1;

/// The level that introduced what [`Snapshot`] has around the image, which has its own.
const SNAPSHOT_LEVEL: u16 = 1;

/// A snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Snapshot {
    /// The newest entry in it; `None` before the first.
    #[n(0)]
    pub last: Option<LogPosition>,
    /// The newest entry with voters in it; `None` in a log without consensus.
    #[n(1)]
    pub voters_at: Option<LogPosition>,
    /// The voters as of that entry.
    #[n(2)]
    pub voters: Voters,
    /// The image, as [`crate::encoding::encode_image`] wrote it.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub image: Vec<u8>,
}

impl Snapshot {
    /// Index of the newest entry in it.
    pub fn index(&self) -> Option<u64> {
        self.last.map(|last| last.index)
    }
}

/// Where snapshots are written to and read from. Independent of the log's appends: another thread may write one.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    pub(super) syncs: Syncs,
    pub(super) folder: PathBuf,
}

impl SnapshotFile {
    fn path(&self) -> PathBuf {
        self.folder.join("snapshot")
    }

    /// Replaces the snapshot by this one. Durable when it returns; after an error the old one is still there. One caller
    /// at a time. Returns the file's bytes.
    pub fn write(&self, snapshot: &Snapshot) -> Result<u64, MetaLogError> {
        let new = self.folder.join("snapshot.new");
        let mut payload = Vec::with_capacity(snapshot.image.len() + 100);
        encode_leveled(SNAPSHOT_LEVEL, snapshot, &mut payload);
        let head = file_head(MAGIC, VERSION);
        let frame = frame_head(HEAD as u64, &payload);
        let write = || -> io::Result<()> {
            let file = self.syncs.fs.open(&new, OpenMode::OpenOrCreate)?;
            file.set_len(0)?;
            let mut slices = [IoSlice::new(&head), IoSlice::new(&frame), IoSlice::new(&payload)];
            file.write_all_at(&mut slices, 0)?;
            self.syncs.file(MetaSyncSite::SnapshotData, &*file)?;
            self.syncs.fs.rename(&new, &self.path())?;
            self.syncs.dir(MetaSyncSite::SnapshotEntry, &self.folder)
        };
        write().map_err(|source| MetaLogError::Io { file: self.path(), source })?;
        Ok((head.len() + frame.len() + payload.len()) as u64)
    }

    /// The snapshot, where there is one, and the file's bytes.
    pub fn read(&self) -> Result<Option<(Snapshot, u64)>, MetaLogError> {
        let path = self.path();
        let Some(bytes) = read_all(&*self.syncs.fs, &path)? else { return Ok(None) };
        // It was synced before it got its name: whatever is wrong with it is no crash's doing.
        let damaged = |position: usize, reason: String| self.damaged(&path, position, reason);
        match version_of(&bytes, MAGIC) {
            Some(VERSION) => {}
            Some(found) if found > VERSION => return Err(MetaLogError::Newer { file: path, found }),
            _ => return Err(damaged(0, "this is not the head of a metadata snapshot".to_owned())),
        }
        let payload = match frame_at(&bytes, HEAD) {
            Some((payload, end)) if end == bytes.len() => payload,
            _ => return Err(damaged(HEAD, "the checksum does not match".to_owned())),
        };
        let snapshot = decode_leveled(&mut minicbor::Decoder::new(payload)).map_err(|e| match e {
            EncodingError::Newer { found } => {
                MetaLogError::Newer { file: path.clone(), found: u32::from(found) }
            }
            EncodingError::Malformed(reason) => damaged(HEAD, reason),
        })?;
        Ok(Some((snapshot, bytes.len() as u64)))
    }

    fn damaged(&self, file: &Path, position: usize, reason: String) -> MetaLogError {
        MetaLogError::Corrupt {
            file: file.to_owned(),
            position: position as u64,
            reason,
            folder: self.folder.clone(),
        }
    }
}
