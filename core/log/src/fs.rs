//! The file-system seam: everything the store and the metadata log do to a disk goes through here.
//!
//! Two implementations run the same conformance tests: [`crate::disk::Disk`] (the real one) and `buslane_sim::SimFs`
//! (power cuts). The contract is POSIX's, at its least generous:
//!
//! * Bytes written to a file survive a power cut only after `sync_data`/`sync_all` on it (or `sync_everything`);
//!   until then any subset of the written ranges may survive, each page old or new.
//! * A directory entry (create, rename, remove) survives only after `sync_dir` on its parent (or `sync_everything`).
//!   A new file needs both. A rename is atomic: after a cut either the old or the new entry is there.
//! * A failed sync may have dropped the dirty pages: it is never retried; the caller gives that file up.
//! * A process crash loses nothing that was written.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// How to open a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// The file must exist; reads only.
    Read,
    /// The file must exist; reads and writes.
    ReadWrite,
    /// The file must not exist (`ErrorKind::AlreadyExists`); reads and writes.
    CreateNew,
    /// Created when missing, kept when there; reads and writes.
    OpenOrCreate,
}

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DirEntry {
    /// The entry's name. Names that are not UTF-8 are not ours and are not reported.
    pub name: String,
    /// True for a directory.
    pub is_dir: bool,
}

/// Free and total bytes of the file system under a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Size of the file system in bytes.
    pub total_bytes: u64,
    /// Bytes this process may still write.
    pub available_bytes: u64,
}

/// A file system. Paths are absolute or relative to the process; no method follows a link out of the data folder.
pub trait Fs: Send + Sync + fmt::Debug + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>>;
    /// Creates a directory and its missing parents. Succeeds when it is there.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The entries of a directory, sorted by name.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Atomically replaces `to` by `from`; both lie on this file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's entry; open handles stay readable.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes all files and directory entries of the file system under `path` durable (`syncfs(2)`, which reports
    /// write-back errors since Linux 5.8).
    fn sync_everything(&self, path: &Path) -> io::Result<()>;
    /// The folder, held open for `syncfs(2)` by a caller who writes under it for long: a handle that is opened for each sync
    /// is told nothing of a write-back error that another process's sync of everything was told before. `None`: not needed.
    fn hold(&self, _path: &Path) -> io::Result<Option<std::fs::File>> {
        Ok(None)
    }
    /// Free space under `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Takes an exclusive lock on the file (created when missing); `None` when another holder has it. Freed on drop and
    /// when the process dies.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FsLock>>>;
}

/// A held lock; dropping it frees it.
pub trait FsLock: Send + Sync + fmt::Debug {}

/// An open file. Reads and writes carry their position; there is no cursor.
pub trait FsFile: Send + Sync + fmt::Debug {
    /// Reads up to `buf.len()` bytes; 0 only at or past the end of the file.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all slices, one after another, from `position` on. On an error any prefix may have been written.
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], position: u64) -> io::Result<()>;
    /// Cuts or extends (with zeros) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// True when the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Makes the bytes (and the length) durable: `fdatasync(2)`.
    fn sync_data(&self) -> io::Result<()>;
    /// The operating system's file, where there is one: for `sendfile(2)` and `preadv2(2)`.
    fn os_file(&self) -> Option<&std::fs::File> {
        None
    }
}

/// Reads exactly `buf.len()` bytes or fails with `UnexpectedEof`.
pub fn read_exact_at(file: &dyn FsFile, mut buf: &mut [u8], mut position: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, position) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buf = &mut buf[n..];
                position += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
