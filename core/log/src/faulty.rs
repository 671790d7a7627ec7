//! A file system that fails on demand, around a real one. For tests of this crate and of those above it.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::fs::{DirEntry, Fs, FsFile, FsLock, OpenMode, Space};

/// How often something was asked of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Files opened.
    pub opens: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// File, folder and whole-system syncs.
    pub syncs: u64,
    /// Everything that changes the disk: creations, writes, cuts, renames, removals, syncs.
    pub changes: u64,
}

#[derive(Debug, Default)]
struct Faults {
    counts: Counts,
    fail_writes: Option<i32>,
    /// Bytes of a failing write that reach the disk.
    short: usize,
    fail_sync: bool,
    fail_reads: bool,
    /// Fails the change with this number.
    fail_change: Option<u64>,
    /// Faults are limited to paths that end in this.
    only: Option<String>,
    space: Option<Space>,
    /// Bytes that may still be written before the disk is full.
    room: Option<u64>,
    full_beyond_end: bool,
    holding: bool,
    holding_reads: bool,
    /// Reads that wait for the gate.
    held_reads: u64,
}

/// The wrapper. Clones share their faults and counts.
#[derive(Clone, Debug)]
pub struct FaultyFs {
    under: Arc<dyn Fs>,
    faults: Arc<(Mutex<Faults>, Condvar)>,
}

/// Holds back every sync while it lives.
#[derive(Debug)]
pub struct SyncGate(Arc<(Mutex<Faults>, Condvar)>);

impl Drop for SyncGate {
    fn drop(&mut self) {
        self.0.0.lock().holding = false;
        self.0.1.notify_all();
    }
}

/// Holds back every read while it lives.
#[derive(Debug)]
pub struct ReadGate(Arc<(Mutex<Faults>, Condvar)>);

impl ReadGate {
    /// Returns when a read is held back.
    pub fn wait_for_one(&self) {
        let mut faults = self.0.0.lock();
        while faults.held_reads == 0 {
            self.0.1.wait(&mut faults);
        }
    }
}

impl Drop for ReadGate {
    fn drop(&mut self) {
        self.0.0.lock().holding_reads = false;
        self.0.1.notify_all();
    }
}

/// EIO, ENOSPC of Linux.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl FaultyFs {
    /// Wraps a file system; nothing fails yet.
    pub fn new(under: Arc<dyn Fs>) -> FaultyFs {
        FaultyFs { under, faults: Arc::default() }
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        self.faults.0.lock().counts
    }

    /// Every write fails with EIO after `short` bytes of it, until [`FaultyFs::heal`].
    pub fn fail_writes(&self, short: usize) {
        let mut faults = self.faults.0.lock();
        faults.fail_writes = Some(EIO);
        faults.short = short;
    }

    /// Writes fail with ENOSPC once `room` more bytes were written.
    pub fn fill_after(&self, room: u64) {
        self.faults.0.lock().room = Some(room);
    }

    /// Writes that would lengthen their file fail with ENOSPC: what a full disk does.
    pub fn full_beyond_end(&self, full: bool) {
        self.faults.0.lock().full_beyond_end = full;
    }

    /// The next sync fails with EIO.
    pub fn fail_next_sync(&self) {
        self.faults.0.lock().fail_sync = true;
    }

    /// Every read fails with EIO, until [`FaultyFs::heal`].
    pub fn fail_reads(&self) {
        self.faults.0.lock().fail_reads = true;
    }

    /// The `n`th change from now (0 is the next) fails with EIO, once.
    pub fn fail_change(&self, n: u64) {
        let mut faults = self.faults.0.lock();
        faults.fail_change = Some(faults.counts.changes + n);
    }

    /// Faults hit only paths that end in `suffix`.
    pub fn only(&self, suffix: &str) {
        self.faults.0.lock().only = Some(suffix.to_owned());
    }

    /// Reports this much space.
    pub fn set_space(&self, space: Space) {
        self.faults.0.lock().space = Some(space);
    }

    /// Syncs wait until the gate is dropped.
    pub fn hold_syncs(&self) -> SyncGate {
        self.faults.0.lock().holding = true;
        SyncGate(self.faults.clone())
    }

    /// Reads wait until the gate is dropped.
    pub fn hold_reads(&self) -> ReadGate {
        self.faults.0.lock().holding_reads = true;
        ReadGate(self.faults.clone())
    }

    /// Takes all faults away; counts stay.
    pub fn heal(&self) {
        let mut faults = self.faults.0.lock();
        let counts = faults.counts;
        *faults = Faults { counts, ..Faults::default() };
        self.faults.1.notify_all();
    }

    fn change(&self, path: &Path) -> io::Result<()> {
        self.faults.0.lock().change(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut faults = self.faults.0.lock();
        faults.counts.syncs += 1;
        while faults.holding {
            self.faults.1.wait(&mut faults);
        }
        faults.change(path)?;
        if faults.fail_sync && faults.hits(path) {
            faults.fail_sync = false;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(())
    }
}

impl Faults {
    fn hits(&self, path: &Path) -> bool {
        self.only.as_ref().is_none_or(|suffix| path.to_string_lossy().ends_with(suffix.as_str()))
    }

    fn change(&mut self, path: &Path) -> io::Result<()> {
        let number = self.counts.changes;
        self.counts.changes += 1;
        if self.fail_change == Some(number) && self.hits(path) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(())
    }
}

impl Fs for FaultyFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        self.faults.0.lock().counts.opens += 1;
        if mode == OpenMode::CreateNew {
            self.change(path)?;
        }
        let file = self.under.open(path, mode)?;
        Ok(Arc::new(FaultyFile { file, path: path.to_owned(), fs: self.clone() }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change(path)?;
        self.under.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.under.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(from)?;
        self.under.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(path)?;
        self.under.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(path)?;
        self.under.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sync(path)?;
        self.under.sync_dir(path)
    }

    fn sync_everything(&self, path: &Path) -> io::Result<()> {
        self.sync(path)?;
        self.under.sync_everything(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let faked = self.faults.0.lock().space;
        faked.map_or_else(|| self.under.space(path), Ok)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FsLock>>> {
        self.under.try_lock(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn FsFile>,
    path: PathBuf,
    fs: FaultyFs,
}

impl FaultyFile {
    /// Writes the first `len` bytes of the slices.
    fn write_some(&self, slices: &[IoSlice<'_>], position: u64, len: usize) -> io::Result<()> {
        let mut bytes: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
        bytes.truncate(len);
        self.file.write_all_at(&mut [IoSlice::new(&bytes)], position)
    }
}

impl FsFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let fail = {
            let mut faults = self.fs.faults.0.lock();
            faults.counts.reads += 1;
            while faults.holding_reads && faults.hits(&self.path) {
                faults.held_reads += 1;
                self.fs.faults.1.notify_all();
                self.fs.faults.1.wait(&mut faults);
                faults.held_reads -= 1;
            }
            faults.fail_reads && faults.hits(&self.path)
        };
        if fail {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.file.read_at(buf, position)
    }

    fn write_all_at(&self, slices: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        let total: usize = slices.iter().map(|s| s.len()).sum();
        let failure = {
            let mut faults = self.fs.faults.0.lock();
            faults.counts.writes += 1;
            faults.change(&self.path)?;
            if !faults.hits(&self.path) {
                None
            } else if let Some(errno) = faults.fail_writes {
                Some((errno, faults.short.min(total)))
            } else if faults.full_beyond_end && position + total as u64 > self.file.len()? {
                Some((ENOSPC, 0))
            } else if let Some(room) = faults.room {
                let left = room.saturating_sub(total as u64);
                faults.room = Some(left);
                (room < total as u64).then_some((ENOSPC, room as usize))
            } else {
                None
            }
        };
        match failure {
            None => self.file.write_all_at(slices, position),
            Some((errno, short)) => {
                self.write_some(slices, position, short)?;
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.change(&self.path)?;
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.sync(&self.path)?;
        self.file.sync_data()
    }

    /// None while reads fail: those of the system's own file would not.
    fn os_file(&self) -> Option<&std::fs::File> {
        let fail = {
            let faults = self.fs.faults.0.lock();
            faults.fail_reads && faults.hits(&self.path)
        };
        if fail { None } else { self.file.os_file() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;

    #[test]
    fn without_faults_the_contract_of_the_seam_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        crate::fs_tests::conformance(&FaultyFs::new(Arc::new(Disk)), dir.path());
    }
}
