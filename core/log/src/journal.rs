//! `store.journal`: one group-committed journal for all partitions of a store.
//!
//! Layout: a block of 4 KiB (`BUSLANEJ`, version u32, checksum u32, then the spare area), then frames ([`record`]). It is
//! rewritten whole at each start, and when it has grown far beyond what it has to say: new file, sync, rename, sync of
//! the folder. So a torn tail never stays in it, and what an earlier run could not sync is synced before this run
//! answers anything.
//!
//! The spare area is zeros, until the disk is full when a lost wholeness has to be written: its frame then goes there,
//! over bytes that the file has already.

pub(crate) mod record;
mod replay;
pub(crate) mod state;

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::fs::{FsFile, OpenMode};
use crate::layout;
use crate::sync_site::{SyncSite, Syncs};

use record::{FRAME_HEAD, Record, put_frame};
pub(crate) use replay::{JournalCut, Replayed, replay, replay_before};
use state::State;

/// Version of the file's layout.
pub(crate) const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"BUSLANEJ";
/// Bytes of magic, version and checksum.
const TITLE_LEN: usize = 16;
/// Where the frames start; the spare area lies between the title and here.
pub(crate) const HEAD_LEN: usize = 4096;

/// Records of a rewritten journal are cut into frames of about this many bytes.
const REWRITE_FRAME: usize = 64 * 1024;

/// The journal is rewritten when it is larger than this and than [`GROWTH`] times its content.
const REWRITE_ABOVE: u64 = 1024 * 1024;
const GROWTH: u64 = 4;

/// Why a journal cannot be opened. The sentence names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Made by a newer program.
    #[error(
        "{file}: journal format {found} is newer than this program's {FORMAT}; use the newer program, or an older copy of the folder"
    )]
    Newer {
        /// The journal.
        file: String,
        /// Its format.
        found: u32,
    },
    /// Damaged where a crash cannot have done it.
    #[error(
        "{file}: damaged at byte {position}: {reason}; its promises cannot be trusted: bring the file back from a \
         copy, or move it and `log` away to start with an empty store that the other copies refill"
    )]
    Corrupt {
        /// The journal.
        file: String,
        /// Where.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// Gone, although there are segments.
    #[error(
        "{file} is missing, but {log} has segments: without its promises the store cannot be used; bring the file \
         back from a copy, or move `log` away to start with an empty store that the other copies refill"
    )]
    Missing {
        /// The journal.
        file: String,
        /// The folder of segments.
        log: String,
    },
    /// The disk failed.
    #[error("{file}: {source}")]
    Io {
        /// The journal.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The journal cannot be written any more: the store answers nothing that needs it until the process is restarted.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{file}: {reason}; the store refuses everything that must be durable: free space or replace the disk, then restart"
)]
pub struct JournalFailed {
    /// The journal.
    pub file: String,
    /// What happened first.
    pub reason: String,
}

/// The open journal. Shared by all threads of a store.
#[derive(Debug)]
pub(crate) struct Journal {
    syncs: Syncs,
    path: PathBuf,
    shared: Mutex<Shared>,
    /// A sync has ended.
    synced: Condvar,
}

#[derive(Debug)]
struct Shared {
    state: State,
    file: Arc<dyn FsFile>,
    /// Bytes written.
    len: u64,
    /// Bytes known to be durable.
    durable: u64,
    /// Rewrites so far: positions of different files do not compare.
    generation: u64,
    /// Where the next frame of the spare area goes.
    spare: usize,
    /// A thread is in `sync_data` without the lock.
    syncing: bool,
    /// Bytes when it was last rewritten, or could not be.
    live: u64,
    failed: Option<JournalFailed>,
}

impl Journal {
    /// Opens or makes the journal of a data folder and begins a run: when this returns, the new incarnation and what
    /// the stop before it means for wholeness are durable, and the clean-stop marker is gone. `runs_before`: of which
    /// others know, whatever the journal says.
    pub(crate) fn open(
        syncs: &Syncs,
        boot_id: &str,
        runs_before: u64,
    ) -> Result<(Journal, Replayed), JournalError> {
        let path = syncs.root.join(layout::JOURNAL);
        let mut replayed = replay(&*syncs.fs, &syncs.root, Some(boot_id))?;
        let start = Record::Start {
            incarnation: replayed.state.incarnation.max(runs_before) + 1,
            boot_id: boot_id.to_owned(),
        };
        let mut state = replayed.state.clone();
        state.apply(&start);
        let (file, len) = rewrite(syncs, &state)
            .map_err(|e| JournalError::Io { file: path.display().to_string(), source: e.source })?;
        replayed.state = state.clone();
        let shared = Shared {
            state,
            file,
            len,
            durable: len,
            generation: 0,
            spare: TITLE_LEN,
            syncing: false,
            live: len,
            failed: None,
        };
        let journal =
            Journal { syncs: syncs.clone(), path, shared: Mutex::new(shared), synced: Condvar::new() };
        Ok((journal, replayed))
    }

    /// The first failure, once there was one.
    pub(crate) fn failure(&self) -> Option<JournalFailed> {
        self.shared.lock().failed.clone()
    }

    /// Looks at the facts, durable or not yet.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.lock().state)
    }

    /// Writes facts that a process crash must not lose, and a power cut may.
    pub(crate) fn write(&self, records: &[Record]) -> Result<(), JournalFailed> {
        let mut shared = self.shared.lock();
        self.put(&mut shared, records)?;
        if !shared.syncing {
            self.rewrite_if_large(&mut shared)?;
        }
        Ok(())
    }

    /// Writes facts and returns when they are durable. One sync serves all threads that wait.
    pub(crate) fn commit(&self, site: SyncSite, records: &[Record]) -> Result<(), JournalFailed> {
        let mut shared = self.shared.lock();
        self.put(&mut shared, records)?;
        if self.syncs.skip == Some(site) {
            return Ok(());
        }
        let (generation, mine) = (shared.generation, shared.len);
        loop {
            if let Some(failed) = &shared.failed {
                return Err(failed.clone());
            }
            // A rewritten journal holds all earlier facts and is durable.
            if shared.generation != generation || shared.durable >= mine {
                return Ok(());
            }
            if shared.syncing {
                self.synced.wait(&mut shared);
                continue;
            }
            shared.syncing = true;
            let (file, target) = (shared.file.clone(), shared.len);
            let result = MutexGuard::unlocked(&mut shared, || file.sync_data());
            shared.syncing = false;
            match result {
                Ok(()) => {
                    shared.durable = target;
                    // A failure here leaves what was just synced durable; the next caller sees it.
                    let _ = self.rewrite_if_large(&mut shared);
                    self.synced.notify_all();
                    if shared.generation != generation || target >= mine {
                        return Ok(());
                    }
                }
                Err(e) => {
                    // A failed sync is never retried: the kernel may have dropped the pages.
                    self.fail(&mut shared, format!("sync failed: {e}"));
                }
            }
        }
    }

    /// Takes nothing more: the store was closed.
    pub(crate) fn close(&self) {
        let mut shared = self.shared.lock();
        self.fail(&mut shared, "the store was closed".to_owned());
    }

    fn put(&self, shared: &mut Shared, records: &[Record]) -> Result<(), JournalFailed> {
        if let Some(failed) = &shared.failed {
            let failed = failed.clone();
            // Nothing is written any more, and still nothing is called whole in this run that is not.
            records
                .iter()
                .filter(|r| matches!(r, Record::NotWhole { .. }))
                .for_each(|r| shared.state.apply(r));
            return Err(failed);
        }
        let mut body = Vec::with_capacity(64 * records.len());
        for record in records {
            shared.state.apply(record);
            record.encode(&mut body);
        }
        let mut frame = Vec::with_capacity(FRAME_HEAD + body.len());
        put_frame(&mut frame, shared.durable, &body);
        if let Err(e) = shared.file.write_all_at(&mut [IoSlice::new(&frame)], shared.len) {
            // The facts stay in memory, which errs on the safe side; nobody hears that they are durable.
            let reason = format!("write failed: {e}");
            // A full disk is no damage: once the half frame is cut off, a later write may go well.
            if e.kind() == io::ErrorKind::StorageFull && shared.file.set_len(shared.len).is_ok() {
                self.put_spare(shared, records)?;
                return Err(JournalFailed { file: self.path.display().to_string(), reason });
            }
            return Err(self.fail(shared, reason));
        }
        shared.len += frame.len() as u64;
        Ok(())
    }

    /// Writes what must never be forgotten where the file needs no more room, durably: this store would go on knowing
    /// it, and the next start would not. When that fails too, nothing is answered any more.
    fn put_spare(&self, shared: &mut Shared, records: &[Record]) -> Result<(), JournalFailed> {
        let mut body = Vec::new();
        records.iter().filter(|r| matches!(r, Record::NotWhole { .. })).for_each(|r| r.encode(&mut body));
        if body.is_empty() {
            return Ok(());
        }
        let mut frame = Vec::new();
        put_frame(&mut frame, 0, &body);
        if shared.spare + frame.len() >= HEAD_LEN {
            // What is no frame makes the next start call every copy not whole.
            frame = vec![0xFF; HEAD_LEN - shared.spare];
        }
        let written = shared.file.write_all_at(&mut [IoSlice::new(&frame)], shared.spare as u64);
        if let Err(e) = written.and_then(|()| self.syncs.file(SyncSite::JournalNotWhole, &*shared.file)) {
            return Err(self.fail(shared, format!("a lost wholeness could not be written: {e}")));
        }
        shared.spare += frame.len();
        Ok(())
    }

    /// After a sync of everything failed: what was written to the old file and not yet synced may be gone from it, so a
    /// new one is written, with these facts.
    pub(crate) fn renew(&self, records: &[Record]) -> Result<(), JournalFailed> {
        let mut shared = self.shared.lock();
        records.iter().for_each(|r| shared.state.apply(r));
        while shared.syncing {
            self.synced.wait(&mut shared);
        }
        if let Some(failed) = &shared.failed {
            return Err(failed.clone());
        }
        match self.rewrite_now(&mut shared) {
            Ok(()) => Ok(()),
            Err(e) => Err(self.fail(&mut shared, format!("rewriting failed: {}", e.source))),
        }
    }

    fn fail(&self, shared: &mut Shared, reason: String) -> JournalFailed {
        let failed = JournalFailed { file: self.path.display().to_string(), reason };
        shared.failed = Some(failed.clone());
        self.synced.notify_all();
        failed
    }

    fn rewrite_if_large(&self, shared: &mut Shared) -> Result<(), JournalFailed> {
        if shared.len < REWRITE_ABOVE || shared.len < GROWTH * shared.live {
            return Ok(());
        }
        match self.rewrite_now(shared) {
            Ok(()) => Ok(()),
            // As on a full disk. The old one is as good as before; the next try is when it has grown as much again.
            Err(RewriteFailed { renamed: false, .. }) => {
                shared.live = shared.len;
                Ok(())
            }
            // Which of the two files stands under the name is not known: neither may be written on.
            Err(e) => Err(self.fail(shared, format!("rewriting failed: {}", e.source))),
        }
    }

    fn rewrite_now(&self, shared: &mut Shared) -> Result<(), RewriteFailed> {
        let (file, len) = rewrite(&self.syncs, &shared.state)?;
        shared.spare = TITLE_LEN;
        shared.file = file;
        shared.len = len;
        shared.durable = len;
        shared.live = len;
        shared.generation += 1;
        self.synced.notify_all();
        Ok(())
    }
}

/// No new journal, or it is not known.
#[derive(Debug)]
struct RewriteFailed {
    /// The new one may have taken the old one's name. If not, nothing has changed.
    renamed: bool,
    source: io::Error,
}

/// Puts a new journal in the old one's place. Durable when it returns.
fn rewrite(syncs: &Syncs, state: &State) -> Result<(Arc<dyn FsFile>, u64), RewriteFailed> {
    let path = syncs.root.join(layout::JOURNAL);
    let new = path.with_extension("journal.new");
    let bytes = encode(state);
    let make = || {
        match syncs.fs.remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = syncs.fs.open(&new, OpenMode::CreateNew)?;
        file.write_all_at(&mut [IoSlice::new(&bytes)], 0)?;
        syncs.file(SyncSite::JournalRewriteFile, &*file)?;
        Ok(file)
    };
    let file = make().map_err(|source| {
        // Takes no room that others may need. Where it stays, the next try begins with this.
        let _ = syncs.fs.remove_file(&new);
        RewriteFailed { renamed: false, source }
    })?;
    let name = || {
        syncs.fs.rename(&new, &path)?;
        // Without it the old file could come back, without what is committed to the new one from now on.
        syncs.dir(SyncSite::JournalRewriteEntry, &syncs.root)
    };
    name().map_err(|source| RewriteFailed { renamed: true, source })?;
    Ok((file, bytes.len() as u64))
}

/// The bytes of a journal that says just this.
fn encode(state: &State) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_LEN);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_be_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes.resize(HEAD_LEN, 0);
    let mut body = Vec::new();
    let mut frames = Vec::new();
    for record in state.records() {
        record.encode(&mut body);
        if body.len() >= REWRITE_FRAME {
            frames.push(std::mem::take(&mut body));
        }
    }
    if !body.is_empty() {
        frames.push(body);
    }
    // The whole file is synced before it gets its name, so each of its frames vouches for all of them.
    let whole = HEAD_LEN as u64 + frames.iter().map(|f| (FRAME_HEAD + f.len()) as u64).sum::<u64>();
    for frame in frames {
        put_frame(&mut bytes, whole, &frame);
    }
    assert_eq!(bytes.len() as u64, whole, "the journal's length was foretold");
    bytes
}

#[cfg(test)]
mod tests;
