//! A file system in memory that forgets what was not synced when its power is cut.
//!
//! Files and folders have two states ([`inode`]): what processes see, and what the disk is sure to have; between them
//! the changes since the last sync, each of which a power cut may keep, keep in part or drop ([`power`]). A folder's
//! entry changes are kept or dropped one by one, a rename as a whole; syncing either folder of a rename makes it durable.
//! Reads, writes and syncs fail on demand, and a plan stops the process at any operation ([`faults`]).
//!
//! Everything is a function of the calls and the seeds: same calls, same seeds, same bytes, same trace.

mod disk;
mod faults;
mod inode;
mod power;
mod trace;

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buslane_log::fs::{DirEntry, Fs, FsFile, FsLock, OpenMode, Space};
use parking_lot::Mutex;

use crate::rng::Rng;
use disk::Disk;
use faults::Stop;
use inode::{InodeId, Node};

pub use faults::{LostPages, WriteFault};
pub use power::Survival;
pub use trace::{Event, Op};

/// The disk as one process sees it. Clones belong to the same process.
///
/// [`SimFs::power_cut`] and [`SimFs::process_crash`] end that process: whatever it still holds fails from then on, and
/// the file system they return is the next process's.
#[derive(Clone)]
pub struct SimFs {
    disk: Arc<Mutex<Disk>>,
    process: u64,
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFs").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Default for SimFs {
    fn default() -> SimFs {
        SimFs::new()
    }
}

impl SimFs {
    /// An empty disk, under a machine that has just booted for the first time.
    pub fn new() -> SimFs {
        SimFs { disk: Arc::new(Mutex::new(Disk::new())), process: 0 }
    }

    /// Ends the process and the machine. The file system afterwards has what was synced, and of the rest what survives.
    pub fn power_cut(&self, survival: Survival) -> SimFs {
        self.end(|disk| {
            disk.cut_power(survival);
            disk.trace.note(Op::PowerCut, Path::new(""), disk.boot, 0, true);
        })
    }

    /// Ends the process. Nothing written is lost; its locks are free.
    pub fn process_crash(&self) -> SimFs {
        self.end(|disk| {
            disk.end_process();
            disk.trace.note(Op::ProcessCrash, Path::new(""), 0, 0, true);
        })
    }

    fn end(&self, how: impl FnOnce(&mut Disk)) -> SimFs {
        let mut disk = self.disk.lock();
        assert_eq!(self.process, disk.process, "a process ends once");
        how(&mut disk);
        SimFs { disk: self.disk.clone(), process: disk.process }
    }

    /// Names the boot of the machine: another one after each power cut.
    pub fn boot_id(&self) -> String {
        format!("boot-{}", self.disk.lock().boot)
    }

    /// Operations so far that changed the disk or synced it. Reads do not count.
    pub fn operations(&self) -> u64 {
        self.disk.lock().faults.operations
    }

    /// Stops the process before the operation with this number: it and all later ones, reads too, fail. Follow with
    /// [`SimFs::power_cut`] or [`SimFs::process_crash`].
    pub fn stop_before(&self, operation: u64) {
        self.disk.lock().faults.stop = Some(Stop { operation, within: None });
    }

    /// As [`SimFs::stop_before`], but the operation is done, or a part of a write that the seed draws. Nobody hears of it.
    pub fn stop_within(&self, operation: u64, seed: u64) {
        self.disk.lock().faults.stop = Some(Stop { operation, within: Some(seed) });
    }

    /// True once the plan has stopped the process.
    pub fn is_stopped(&self) -> bool {
        self.disk.lock().faults.stopped
    }

    /// The read after this many more fails with EIO, once.
    pub fn fail_read(&self, after: u64) {
        self.disk.lock().faults.read_fails_after = Some(after);
    }

    /// A later write fails, once.
    pub fn fail_write(&self, fault: WriteFault) {
        self.disk.lock().faults.write_fails = Some(fault);
    }

    /// The sync after this many more fails with EIO, once.
    pub fn fail_sync(&self, after: u64, lost: LostPages) {
        self.disk.lock().faults.sync_fails_after = Some((after, lost));
    }

    /// Faults that came about in this process.
    pub fn faults_hit(&self) -> u64 {
        self.disk.lock().faults.hits
    }

    /// Faults that were asked for and did not come about yet are taken back.
    pub fn heal(&self) {
        let faults = &mut self.disk.lock().faults;
        (faults.read_fails_after, faults.write_fails, faults.sync_fails_after) = (None, None, None);
    }

    /// Reads return fewer bytes than asked for, never none, from now on.
    pub fn shorten_reads(&self, seed: u64) {
        self.disk.lock().faults.short_reads = Some(Rng::new(seed));
    }

    /// Limits the sum of all files' lengths. Beyond it, writes fail with ENOSPC after what fits.
    pub fn set_capacity(&self, bytes: u64) {
        self.disk.lock().faults.capacity_bytes = bytes;
    }

    /// Changes one bit of a file, on the disk and in the page cache. The byte is there.
    pub fn flip_bit(&self, path: &Path, position: u64, bit: u32) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let Some(Node::File(inode)) = disk.find(path)?.node else { return Err(ErrorKind::NotFound.into()) };
        let file = disk.file(inode);
        let flip = |content: &mut Vec<u8>| {
            if let Some(byte) = content.get_mut(position as usize) {
                *byte ^= 1 << (bit % 8);
            }
        };
        flip(&mut file.visible);
        flip(&mut file.durable);
        disk.trace.note(Op::BitFlip, path, position, u64::from(bit), true);
        Ok(())
    }

    /// The last operations, oldest first.
    pub fn trace(&self) -> Vec<Event> {
        self.disk.lock().trace.events()
    }

    /// One number over all operations so far: equal for equal runs.
    pub fn trace_digest(&self) -> u64 {
        self.disk.lock().trace.digest()
    }

    fn with<T>(&self, f: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock();
        disk.alive(self.process)?;
        f(&mut disk)
    }
}

impl Fs for SimFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        let inode = self.with(|disk| {
            let found = disk.find(path)?;
            let inode = match (found.node, mode) {
                (Some(Node::Dir(_)), _) => return Err(ErrorKind::IsADirectory.into()),
                (Some(Node::File(_)), OpenMode::CreateNew) => return Err(ErrorKind::AlreadyExists.into()),
                (Some(Node::File(inode)), _) => inode,
                (None, OpenMode::Read | OpenMode::ReadWrite) => return Err(ErrorKind::NotFound.into()),
                (None, OpenMode::CreateNew | OpenMode::OpenOrCreate) => disk.create_file(path, &found)?,
            };
            disk.file(inode).handles += 1;
            Ok(inode)
        })?;
        let writable = mode != OpenMode::Read;
        Ok(Arc::new(SimFile { fs: self.clone(), inode, path: path.to_owned(), writable }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.with(|disk| disk.create_dir_all(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.with(|disk| {
            let dir = disk.dir(path)?;
            let entry = |(name, node): (&String, &Node)| DirEntry {
                name: name.clone(),
                is_dir: matches!(node, Node::Dir(_)),
            };
            Ok(disk.dirs[&dir].visible.iter().map(entry).collect())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|disk| disk.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.with(|disk| disk.remove(path, false))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.with(|disk| disk.remove(path, true))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.with(|disk| disk.sync_dir(path))
    }

    fn sync_everything(&self, path: &Path) -> io::Result<()> {
        self.with(|disk| disk.sync_everything(path))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.with(|disk| {
            disk.dir(path)?;
            Ok(Space { total_bytes: disk.faults.capacity_bytes, available_bytes: disk.available() })
        })
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FsLock>>> {
        self.with(|disk| {
            let found = disk.find(path)?;
            let inode = match found.node {
                Some(Node::Dir(_)) => return Err(ErrorKind::IsADirectory.into()),
                Some(Node::File(inode)) => inode,
                None => disk.create_file(path, &found)?,
            };
            if disk.locked.contains_key(&inode) {
                return Ok(None);
            }
            let lock = disk.next_lock;
            disk.next_lock += 1;
            disk.locked.insert(inode, lock);
            Ok(Some(Box::new(SimLock { disk: self.disk.clone(), inode, lock }) as Box<dyn FsLock>))
        })
    }
}

/// An open file.
struct SimFile {
    fs: SimFs,
    inode: InodeId,
    path: PathBuf,
    writable: bool,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SimFile {
    fn change(&self, f: impl FnOnce(&mut Disk) -> io::Result<()>) -> io::Result<()> {
        self.fs.with(|disk| if self.writable { f(disk) } else { Err(ErrorKind::PermissionDenied.into()) })
    }
}

impl FsFile for SimFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.fs.with(|disk| disk.read(self.inode, &self.path, buf, position))
    }

    fn write_all_at(&self, slices: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.change(|disk| disk.write(self.inode, &self.path, bytes, position))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|disk| disk.set_len(self.inode, &self.path, len))
    }

    fn len(&self) -> io::Result<u64> {
        self.fs.with(|disk| Ok(disk.files[&self.inode].visible.len() as u64))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.with(|disk| disk.sync_file(self.inode, &self.path))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut disk = self.fs.disk.lock();
        // A dead process's handles are gone already.
        if self.fs.process == disk.process {
            disk.file(self.inode).handles -= 1;
        }
    }
}

/// A held lock.
struct SimLock {
    disk: Arc<Mutex<Disk>>,
    inode: InodeId,
    lock: u64,
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimLock").field("inode", &self.inode).finish_non_exhaustive()
    }
}

impl FsLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.lock().unlock(self.inode, self.lock);
    }
}

#[cfg(test)]
mod tests;
