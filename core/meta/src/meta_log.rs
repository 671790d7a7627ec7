//! The durable log of entries and votes, and its snapshot, in `<data>/meta/`. Synchronous; no thread, no clock.
//!
//! ```text
//! log:      head, frame*     a frame holds the records of one append: entries, votes, truncations
//! snapshot: head, frame      the image as of one entry
//! ```
//! An append is one write and one sync, so at most the last frame can be torn by a crash: it was never answered and is
//! cut at the next opening. A frame that is not whole with another one behind it was synced once: that is damage, and
//! refused. (Damage to the very last frame cannot be told from a crash.)
//!
//! Entries leave the log only by a rewrite ([`MetaLog::purge`]): a new file with what is still needed takes the old one's
//! place. The snapshot that makes them superfluous is durable before.

mod frame;
mod record;
mod snapshot;
mod sync_site;
#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buslane_log::fs::{Fs, FsFile, OpenMode, read_exact_at};

use crate::encoding::{EncodingError, decode_leveled, encode_leveled};

use self::frame::{
    FRAME_HEAD, HEAD, PAYLOAD_MAX, file_head, frame_at, frame_follows, frame_head, version_of,
};
pub use self::record::{LogEntry, LogPosition, Member, Payload, Record, Vote, Voters};
pub use self::snapshot::{Snapshot, SnapshotFile};
pub use self::sync_site::MetaSyncSite;
use self::sync_site::Syncs;

const MAGIC: &[u8; 8] = b"BUSLMETA";
const VERSION: u32 = 1;

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetaLogError {
    /// The disk failed. After a failed write or sync the log takes nothing more: what is on the disk shows at the next
    /// opening.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A write failed before; see the error that it gave.
    #[error("{file} takes nothing more, since an earlier write to it failed; restart when the disk is well")]
    Failed {
        /// The file.
        file: PathBuf,
    },
    /// Damaged where no crash can have done it.
    #[error(
        "{file} is damaged at byte {position}: {reason}; the metadata cannot be trusted without it, and an older {folder} \
         does not fit newer segments: bring back a copy of the whole data folder"
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where.
        position: u64,
        /// What is wrong.
        reason: String,
        /// What to restore.
        folder: PathBuf,
    },
    /// Written by a later version of this program; nothing is wrong with it.
    #[error(
        "{file} was written by a later version (format {found}, which this one does not know); start that version"
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u32,
    },
    /// An entry or the snapshot cannot be decoded.
    #[error("{file}, entry {index}: {source}")]
    Encoding {
        /// The file.
        file: PathBuf,
        /// The entry, or the newest one in the snapshot.
        index: u64,
        /// Why.
        source: crate::encoding::EncodingError,
    },
}

/// What was found at the opening.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// The snapshot.
    pub snapshot: Option<Snapshot>,
    /// Bytes of the snapshot's file.
    pub snapshot_bytes: u64,
    /// The newest vote.
    pub vote: Option<Vote>,
    /// The newest entry that left the log.
    pub purged: Option<LogPosition>,
    /// The entries in the log, without gaps; the first ones may be in the snapshot, too.
    pub entries: Vec<LogEntry>,
    /// Bytes of a torn end that were cut.
    pub cut: u64,
}

/// The open log.
#[derive(Debug)]
pub struct MetaLog {
    syncs: Syncs,
    folder: PathBuf,
    file: Arc<dyn FsFile>,
    end: u64,
    failed: bool,
}

impl MetaLog {
    /// Whether a data folder has metadata: more than a first start that was cut short leaves. For those who look before
    /// they open it, which makes what is not there.
    pub fn is_there(fs: &dyn Fs, data: &Path) -> io::Result<bool> {
        let folder = data.join("meta");
        let longer_than = |name: &str, len: usize| match fs.open(&folder.join(name), OpenMode::Read) {
            Ok(file) => Ok(file.len()? > len as u64),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        };
        Ok(longer_than("log", HEAD)? || longer_than("snapshot", 0)?)
    }

    /// Opens the log in `data`, which exists, creates it where there is none, and cuts a torn end. What it returns is
    /// durable.
    pub fn open(fs: Arc<dyn Fs>, data: &Path) -> Result<(MetaLog, Replay), MetaLogError> {
        Self::open_skipping(fs, data, None)
    }

    /// For the simulation: without one of the syncs.
    #[doc(hidden)]
    pub fn open_skipping(
        fs: Arc<dyn Fs>,
        data: &Path,
        skip: Option<MetaSyncSite>,
    ) -> Result<(MetaLog, Replay), MetaLogError> {
        let syncs = Syncs { fs, skip };
        let folder = data.join("meta");
        let path = folder.join("log");
        let io = |file: &Path| {
            let file = file.to_owned();
            move |source| MetaLogError::Io { file, source }
        };
        syncs.fs.create_dir_all(&folder).map_err(io(&folder))?;
        let mut replay = Replay::default();
        let snapshots = SnapshotFile { syncs: syncs.clone(), folder: folder.clone() };
        if let Some((snapshot, bytes)) = snapshots.read()? {
            (replay.snapshot, replay.snapshot_bytes) = (Some(snapshot), bytes);
        }
        let (file, end) = match read_all(&*syncs.fs, &path)? {
            Some(bytes) => {
                let end = read_log(&path, &folder, &bytes, &mut replay)?;
                let file = syncs.fs.open(&path, OpenMode::ReadWrite).map_err(io(&path))?;
                if replay.cut > 0 {
                    file.set_len(end).map_err(io(&path))?;
                }
                // An earlier run's sync may have failed: then these pages count as clean, are not on the disk, and no later
                // sync would write them. Written once more, they are dirty again.
                file.write_all_at(&mut [IoSlice::new(&bytes[..end as usize])], 0).map_err(io(&path))?;
                (file, end)
            }
            None if replay.snapshot.is_some() => {
                return Err(log_missing(path, folder));
            }
            None => rewrite(&syncs, &folder, &[]).map_err(io(&path))?,
        };
        // A run before this one may have been killed before its own syncs.
        syncs.file(MetaSyncSite::Opened, &*file).map_err(io(&path))?;
        syncs.dir(MetaSyncSite::OpenedFolder, &folder).map_err(io(&folder))?;
        syncs.dir(MetaSyncSite::MetaFolder, data).map_err(io(data))?;
        Ok((MetaLog { syncs, folder, file, end, failed: false }, replay))
    }

    /// What the folder holds, without a change to it: a torn end stays. Of a damaged one whatever could be read, and what
    /// is wrong. The log is read before the snapshot, which only ever grows, so that a server may be writing.
    pub(crate) fn read(fs: &Arc<dyn Fs>, data: &Path) -> (Replay, Option<MetaLogError>) {
        let folder = data.join("meta");
        let path = folder.join("log");
        let mut replay = Replay::default();
        let log = read_all(&**fs, &path);
        let syncs = Syncs { fs: fs.clone(), skip: None };
        let snapshot = SnapshotFile { syncs, folder: folder.clone() }.read().map(|found| {
            if let Some((snapshot, bytes)) = found {
                (replay.snapshot, replay.snapshot_bytes) = (Some(snapshot), bytes);
            }
        });
        let log = log.and_then(|bytes| match bytes {
            Some(bytes) => read_log(&path, &folder, &bytes, &mut replay).map(drop),
            None if replay.snapshot.is_some() => Err(log_missing(path, folder)),
            None => Ok(()),
        });
        (replay, snapshot.and(log).err())
    }

    /// Appends records, all of them or none, and makes them durable. After an error the log takes nothing more: whether
    /// they are there shows at the next opening.
    ///
    /// # Panics
    /// When they take more than 1 GiB.
    pub fn append(&mut self, records: &[Record]) -> Result<(), MetaLogError> {
        self.usable()?;
        let payload = encode(records);
        let head = frame_head(self.end, &payload);
        let written = self
            .file
            .write_all_at(&mut [IoSlice::new(&head), IoSlice::new(&payload)], self.end)
            .and_then(|()| self.syncs.file(MetaSyncSite::Append, &*self.file));
        self.failed = written.is_err();
        written.map_err(|source| MetaLogError::Io { file: self.path(), source })?;
        self.end += (head.len() + payload.len()) as u64;
        Ok(())
    }

    /// Forgets the entries up to `upto`, which a durable snapshot holds, by a new file of what is `kept`: the newest vote
    /// and the entries after `upto`. After an error as with [`Self::append`].
    pub fn purge(&mut self, upto: LogPosition, kept: &[Record]) -> Result<(), MetaLogError> {
        self.usable()?;
        let mut records = Vec::with_capacity(1 + kept.len());
        records.push(Record::Purged(upto));
        records.extend_from_slice(kept);
        match rewrite(&self.syncs, &self.folder, &records) {
            Ok((file, end)) => {
                (self.file, self.end) = (file, end);
                Ok(())
            }
            Err(source) => {
                self.failed = true;
                Err(MetaLogError::Io { file: self.path(), source })
            }
        }
    }

    /// Where snapshots are written.
    pub fn snapshots(&self) -> SnapshotFile {
        SnapshotFile { syncs: self.syncs.clone(), folder: self.folder.clone() }
    }

    /// Bytes of the log's file.
    pub fn log_bytes(&self) -> u64 {
        self.end
    }

    fn path(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn usable(&self) -> Result<(), MetaLogError> {
        if self.failed { Err(MetaLogError::Failed { file: self.path() }) } else { Ok(()) }
    }
}

fn encode(records: &[Record]) -> Vec<u8> {
    let mut payload = Vec::new();
    for record in records {
        encode_leveled(record.level(), record, &mut payload);
    }
    payload
}

fn log_missing(file: PathBuf, folder: PathBuf) -> MetaLogError {
    let reason = "it is missing, but there is a snapshot beside it".to_owned();
    MetaLogError::Corrupt { file, position: 0, reason, folder }
}

/// Writes a new log of these records in the old one's place.
fn rewrite(syncs: &Syncs, folder: &Path, records: &[Record]) -> io::Result<(Arc<dyn FsFile>, u64)> {
    let new = folder.join("log.new");
    let file = syncs.fs.open(&new, OpenMode::OpenOrCreate)?;
    file.set_len(0)?;
    let mut end = 0;
    let head = file_head(MAGIC, VERSION);
    file.write_all_at(&mut [IoSlice::new(&head)], end)?;
    end += head.len() as u64;
    if !records.is_empty() {
        let payload = encode(records);
        let head = frame_head(end, &payload);
        file.write_all_at(&mut [IoSlice::new(&head), IoSlice::new(&payload)], end)?;
        end += (head.len() + payload.len()) as u64;
    }
    syncs.file(MetaSyncSite::RewriteData, &*file)?;
    syncs.fs.rename(&new, &folder.join("log"))?;
    syncs.dir(MetaSyncSite::RewriteEntry, folder)?;
    Ok((file, end))
}

/// Reads the log's frames into `replay`; returns where they end.
fn read_log(path: &Path, folder: &Path, bytes: &[u8], replay: &mut Replay) -> Result<u64, MetaLogError> {
    let corrupt = |position: usize, reason: String| MetaLogError::Corrupt {
        file: path.to_owned(),
        position: position as u64,
        reason,
        folder: folder.to_owned(),
    };
    // The head was synced before the file got its name.
    match version_of(bytes, MAGIC) {
        Some(VERSION) => {}
        Some(found) if found > VERSION => {
            return Err(MetaLogError::Newer { file: path.to_owned(), found });
        }
        _ => return Err(corrupt(0, "this is not the head of a metadata log".to_owned())),
    }
    let mut at = HEAD;
    while let Some((payload, end)) = frame_at(bytes, at) {
        let mut decoder = minicbor::Decoder::new(payload);
        while decoder.position() < payload.len() {
            let record = decode_leveled(&mut decoder).map_err(|e| match e {
                EncodingError::Newer { found } => {
                    MetaLogError::Newer { file: path.to_owned(), found: u32::from(found) }
                }
                EncodingError::Malformed(reason) => corrupt(at, reason),
            })?;
            take(record, replay).map_err(|reason| corrupt(at, reason))?;
        }
        at = end;
    }
    if at < bytes.len() {
        if frame_follows(bytes, at) {
            return Err(corrupt(at, "a frame's checksum does not match, and frames follow it".to_owned()));
        }
        replay.cut = (bytes.len() - at) as u64;
    }
    complete(replay).map_err(|reason| corrupt(HEAD, reason))?;
    Ok(at as u64)
}

fn take(record: Record, replay: &mut Replay) -> Result<(), String> {
    match record {
        Record::Entry(entry) => {
            let last = replay.entries.last().map(|e| e.at).or(replay.purged);
            if let Some(last) = last
                && (entry.at.index != last.index + 1 || entry.at.term < last.term)
            {
                return Err(format!("entry {:?} follows {last:?}", entry.at));
            }
            replay.entries.push(entry);
        }
        Record::Vote(vote) => replay.vote = Some(vote),
        Record::Truncate(from) => replay.entries.retain(|e| e.at.index < from),
        Record::Purged(upto) => {
            replay.entries.retain(|e| e.at.index > upto.index);
            replay.purged = Some(upto);
        }
    }
    Ok(())
}

/// Snapshot and entries together reach from the first entry to the last one.
fn complete(replay: &Replay) -> Result<(), String> {
    let held = replay.snapshot.as_ref().and_then(Snapshot::index);
    if let Some(purged) = replay.purged
        && held.is_none_or(|held| held < purged.index)
    {
        return Err(format!(
            "entries up to {} were purged, and the snapshot does not hold them",
            purged.index
        ));
    }
    let first = replay.entries.first().map(|e| e.at.index);
    let expected = replay.purged.map_or(1, |p| p.index + 1);
    if let Some(first) = first
        && first > expected
    {
        return Err(format!("the first entry is {first}, not {expected}"));
    }
    Ok(())
}

/// A file's bytes; `None` when there is no such file.
fn read_all(fs: &dyn Fs, path: &Path) -> Result<Option<Vec<u8>>, MetaLogError> {
    let read = || -> io::Result<Option<Vec<u8>>> {
        let file = match fs.open(path, OpenMode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        read_exact_at(&*file, &mut bytes, 0)?;
        Ok(Some(bytes))
    };
    read().map_err(|source| MetaLogError::Io { file: path.to_owned(), source })
}

const _: () = assert!(HEAD == 16 && FRAME_HEAD == 12 && PAYLOAD_MAX <= u32::MAX as usize);
